//! Streams of real tables, whole and damaged, and what a power cut leaves of an installation.

use std::path::Path;
use std::sync::Arc;

use domain::codec;
use domain::record::ClusterRow;
use meta::{Table, Tables, TablesMut, keys};
use proptest::collection::vec;
use proptest::prelude::*;
use testkit::mem_tables::MemTables;
use testkit::sim_disk::SimDisk;

use super::format::{BLOCK_BYTES, HEAD_BYTES, MAX_PAYLOAD_BYTES, PREAMBLE_BYTES};
use super::*;
use crate::failure::Failure;
use crate::record::{Applied, Members, Position};
use crate::tables::{self, Store};

const DIR: &str = "/";
const CACHE: usize = 1 << 20;

fn failure(disk: &SimDisk) -> Failure {
    Failure::new(Path::new(DIR), Arc::new(disk.clone()))
}

fn applied(index: u64) -> Applied {
    let at = Position { term: 3, index };
    Applied { last: Some(at), members_at: Some(Position { term: 1, index: 1 }), members: Members::default() }
}

fn cluster(generation: u64) -> Vec<u8> {
    codec::encode(&ClusterRow {
        cluster_id: 77,
        generation,
        epoch: 1,
        next_node: 1,
        hold_deletes: None,
        ticks_ms: 5,
        classes: vec![String::new()],
        most_copies: 0,
        keys_revision: 0,
    })
}

/// A store on `disk` that holds `rows` as of entry `index`.
fn store_of(disk: &SimDisk, rows: &MemTables, index: u64) -> Store {
    let database = tables::empty(Path::new("/tables.redb"), CACHE, disk, &failure(disk)).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut writer = tables::Writer::new(&transaction);
    for table in Table::ALL {
        for (key, value) in rows.scan(table, &[], &[], usize::MAX).unwrap() {
            writer.put(table, &key, &value).unwrap();
        }
    }
    drop(writer);
    transaction.commit().unwrap();
    tables::seal(database, &applied(index)).unwrap();
    use api::disk::Disk;
    disk.sync_dir(Path::new(DIR)).unwrap();
    open(disk)
}

fn open(disk: &SimDisk) -> Store {
    Store::open(Path::new(DIR), None, CACHE, disk, failure(disk)).unwrap()
}

fn blocks(store: &Store) -> Vec<bytes::Bytes> {
    let mut writer = Writer::new(store.snapshot().unwrap(), 1234).unwrap();
    let blocks: Vec<_> = std::iter::from_fn(|| writer.next_block().unwrap()).collect();
    assert_eq!(writer.written_bytes(), blocks.iter().map(|block| block.len() as u64).sum::<u64>());
    blocks
}

fn stream(store: &Store) -> Vec<u8> {
    blocks(store).concat()
}

/// Reads `bytes` in pieces of `step`.
fn read(bytes: &[u8], step: usize) -> Result<(MemTables, Summary), SnapshotError> {
    let (mut found, mut reader) = (MemTables::default(), Reader::new());
    for piece in bytes.chunks(step) {
        reader.push(piece, &mut |block| {
            for (key, value) in block.rows() {
                found.put(block.table, key, value).map_err(std::io::Error::other)?;
            }
            Ok(())
        })?;
    }
    Ok((found, reader.finish()?))
}

fn install(store: &Store, disk: &SimDisk, bytes: &[u8]) -> std::io::Result<()> {
    let disk_seam: Arc<dyn api::disk::Disk> = Arc::new(disk.clone());
    let mut installer = Installer::begin(Path::new(DIR), disk_seam, failure(disk))?;
    for piece in bytes.chunks(1000) {
        installer.push(piece)?;
    }
    let (ready, summary) = installer.finish()?;
    assert_eq!(summary.bytes, bytes.len() as u64);
    store.install(&ready, Path::new(DIR), CACHE, disk)
}

fn some_rows(generation: u64, objects: u8) -> MemTables {
    let mut rows = MemTables::default();
    rows.put(Table::Cluster, keys::CLUSTER, &cluster(generation)).unwrap();
    for n in 0..objects {
        rows.put(Table::Objects, &[n], &[n; 40]).unwrap();
        rows.put(Table::Extents, &[n, 1], &[]).unwrap();
    }
    rows
}

/// A small stream.
pub(crate) fn sample() -> Vec<u8> {
    stream(&store_of(&SimDisk::new(1), &some_rows(2, 3), 40))
}

fn contents(rows: &impl Tables) -> MemTables {
    let mut found = MemTables::default();
    for table in Table::ALL {
        for (key, value) in rows.scan(table, &[], &[], usize::MAX).unwrap() {
            found.put(table, &key, &value).unwrap();
        }
    }
    found
}

fn tables_of_rows() -> impl Strategy<Value = MemTables> {
    let length = prop_oneof![8 => 0..300usize, 1 => 60_000..300_000usize];
    let row = (0..Table::ALL.len(), vec(any::<u8>(), 0..4), length, any::<u8>());
    vec(row, 0..60).prop_map(|rows| {
        let mut tables = some_rows(2, 0);
        for (table, key, length, byte) in rows {
            if Table::ALL[table] != Table::Cluster {
                tables.put(Table::ALL[table], &key, &vec![byte; length]).unwrap();
            }
        }
        tables
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What goes in comes out, in pieces of any size, with the hash that it had; and equal rows make equal streams.
    #[test]
    fn tables_come_back_as_they_were(rows in tables_of_rows(), step in 1..700_000usize) {
        let disk = SimDisk::new(1);
        let store = store_of(&disk, &rows, 40);
        let blocks = blocks(&store);
        let largest = blocks.iter().map(bytes::Bytes::len).max().unwrap();
        prop_assert!(largest <= BLOCK_BYTES.max(300_000) + 100);
        let bytes = blocks.concat();
        let (found, summary) = read(&bytes, step).unwrap();
        prop_assert_eq!(&found, &contents(&rows));
        prop_assert_eq!((summary.header.index(), summary.header.term(), summary.header.generation), (40, 3, 2));
        prop_assert_eq!(summary.bytes, bytes.len() as u64);
        for table in Table::ALL {
            prop_assert_eq!(summary.rows[&table], rows.count(table).unwrap());
        }
        let other = SimDisk::new(2);
        let target = store_of(&other, &some_rows(1, 9), 7);
        install(&target, &other, &bytes).unwrap();
        prop_assert_eq!(contents(&target.snapshot().unwrap()), found);
        prop_assert_eq!(state_hash(&target.snapshot().unwrap()).unwrap(), state_hash(&store.snapshot().unwrap()).unwrap());
        prop_assert_eq!(stream(&target), bytes);
    }
}

/// Any byte changed in any way that a single bit can, and any length but the right one, is an error that names a place.
#[test]
fn every_flip_and_every_cut_is_refused() {
    let disk = SimDisk::new(1);
    let bytes = stream(&store_of(&disk, &some_rows(2, 3), 40));
    read(&bytes, 64).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut hurt = bytes.clone();
            hurt[at] ^= 1 << bit;
            match read(&hurt, 64) {
                Ok(_) => panic!("bit {bit} of byte {at} may be flipped"),
                Err(SnapshotError::Damaged { offset, .. }) => assert!(offset <= at as u64, "{offset} for {at}"),
                Err(_) => {}
            }
        }
        match read(&bytes[..at], 64) {
            Err(SnapshotError::Cut { offset, .. }) => assert_eq!(offset, at as u64),
            other => panic!("cut at {at}: {other:?}"),
        }
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(read(&longer, 64), Err(SnapshotError::Damaged { .. })), "a byte behind the end");
}

/// Whole frames in the wrong number or order, each with a checksum that matches its bytes.
#[test]
fn frames_that_do_not_belong_are_refused() {
    let disk = SimDisk::new(1);
    let whole = blocks(&store_of(&disk, &some_rows(2, 3), 40));
    assert_eq!(whole.len(), 5, "header, three tables, trailer");
    let orders: [(&str, &[usize]); 6] = [
        ("one left out", &[0, 1, 3, 4]),
        ("one doubled", &[0, 1, 1, 2, 3, 4]),
        ("two exchanged", &[0, 2, 1, 3, 4]),
        ("no header", &[1, 2, 3, 4]),
        ("two headers", &[0, 0, 1, 2, 3, 4]),
        ("twice", &[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]),
    ];
    for (case, order) in orders {
        let bytes: Vec<u8> = order.iter().flat_map(|&n| whole[n].clone()).collect();
        assert!(read(&bytes, 64).is_err(), "{case}");
    }
    let other = blocks(&store_of(&SimDisk::new(1), &some_rows(3, 3), 40));
    let mixed: Vec<u8> =
        [&whole[0], &other[1], &whole[2], &whole[3], &whole[4]].into_iter().flatten().copied().collect();
    let error = read(&mixed, 64).unwrap_err().to_string();
    assert!(error.contains("another cluster or generation"), "{error}");
}

/// A length field promises; only bytes that arrive take memory.
#[test]
fn a_promised_length_is_not_believed() {
    let disk = SimDisk::new(1);
    let bytes = stream(&store_of(&disk, &some_rows(2, 0), 40));
    for (length, refused) in [(MAX_PAYLOAD_BYTES as u32, false), (MAX_PAYLOAD_BYTES as u32 + 1, true), (u32::MAX, true)]
    {
        let mut head = bytes[..PREAMBLE_BYTES + HEAD_BYTES].to_vec();
        head[PREAMBLE_BYTES + 1..PREAMBLE_BYTES + 5].copy_from_slice(&length.to_le_bytes());
        let mut reader = Reader::new();
        assert_eq!(reader.push(&head, &mut |_| Ok(())).is_err(), refused, "{length}");
        assert!(matches!(reader.finish(), Err(SnapshotError::Cut { .. })));
    }
    let error = read(b"PK\x03\x04 and so on, a zip", 5).unwrap_err().to_string();
    assert!(error.contains("not a metadata snapshot"), "{error}");
}

/// Wherever the power goes during an installation, the next start has all of the old tables or all of the new ones.
#[test]
fn a_power_cut_leaves_the_old_or_the_new() {
    let (old, new) = (some_rows(1, 5), some_rows(2, 60));
    let bytes = stream(&store_of(&SimDisk::new(9), &new, 90));
    let mut seen = [0; 2];
    for change in 1.. {
        let disk = SimDisk::new(change);
        let store = store_of(&disk, &old, 7);
        disk.crash_at(change);
        let done = install(&store, &disk, &bytes).is_ok();
        let crashed = disk.is_down();
        disk.crash();
        drop(store);
        disk.restart();
        let store = open(&disk);
        let rows = store.snapshot().unwrap();
        let (found, expected) = match rows.index() {
            7 => (0, &old),
            90 => (1, &new),
            other => panic!("entry {other}"),
        };
        assert_eq!(contents(&rows), contents(expected), "crash at change {change}");
        assert!(!done || found == 1, "installed, and gone at change {change}");
        assert!(!store.was_repaired());
        seen[found] += 1;
        drop(install(&store, &disk, &bytes));
        assert_eq!(store.snapshot().unwrap().index(), 90, "the leavings of a crash are in nobody's way");
        if !crashed {
            break;
        }
    }
    assert!(seen[0] > 10 && seen[1] > 1, "{seen:?}");
}

/// A failed or lying stream changes nothing, older tables are refused, and who reads the old ones goes on reading.
#[test]
fn what_an_installation_leaves_alone() {
    let disk = SimDisk::new(1);
    let store = store_of(&disk, &some_rows(1, 5), 7);
    let before = store.snapshot().unwrap();
    let mut watch = store.watch();
    let good = stream(&store_of(&SimDisk::new(9), &some_rows(2, 60), 90));
    assert!(install(&store, &disk, &good[..good.len() - 1]).is_err());
    let older = stream(&store_of(&SimDisk::new(9), &some_rows(2, 60), 6));
    assert!(install(&store, &disk, &older).unwrap_err().to_string().contains("entry 6"));
    assert_eq!((store.snapshot().unwrap().index(), watch.has_changed().unwrap()), (7, false));

    install(&store, &disk, &good).unwrap();
    assert_eq!(*watch.borrow_and_update(), 90);
    assert_eq!((store.applied(), store.checkpointed()), (applied(90), applied(90)));
    assert_eq!(store.unsaved_bytes(), None);
    assert_eq!(contents(&before), contents(&some_rows(1, 5)), "a reader of the old tables");
    assert_eq!(contents(&store.snapshot().unwrap()), contents(&some_rows(2, 60)));
    assert_eq!(store.checkpoint().unwrap(), applied(90));
}
