//! The power goes at every point of a story; afterwards what was acknowledged must be there, and nothing by halves.
//!
//! A checker that finds nothing proves nothing until it has found something: the same one is run over a disk whose syncs lie and over
//! a store that answers too early, and must object to both.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use api::chunk_store::Restamp;
use api::{ChunkError, ChunkStore, Disk};
use bytes::Bytes;
use dn::Node;
use domain::{ChunkId, Crc32c, NodeId};
use testkit::sim_disk::SimDisk;

use crate::support::{HOME, no_reserve, node_on, open};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Planted {
    Nothing,
    LyingSyncs,
    EarlyAnswers,
}

enum Step {
    Put(u8),
    Touch(u8),
    Delete(u8),
}

/// Chunks come, come again, go, come back; 7 of 5,000 bytes has sectors to tear, 0 is empty.
const STORY: &[Step] = &[
    Step::Put(1),
    Step::Put(7),
    Step::Put(1),
    Step::Put(0),
    Step::Delete(1),
    Step::Touch(7),
    Step::Put(2),
    Step::Put(1),
    Step::Delete(7),
    Step::Put(7),
    Step::Delete(2),
    Step::Delete(0),
    Step::Put(3),
];

const CHUNKS: [u8; 5] = [0, 1, 2, 3, 7];

fn bytes_of(n: u8) -> Bytes {
    let length = if n == 7 { 5_000 } else { usize::from(n) * 10 };
    (0..length).map(|at| (at / 7) as u8 ^ n).collect::<Vec<_>>().into()
}

/// The story as it is told to a node, with what was acknowledged so far.
struct Teller {
    node: Node,
    planted: Planted,
    put_later: Option<Bytes>,
    must_be_there: BTreeSet<u8>,
}

impl Teller {
    async fn put(&mut self, n: u8) -> Result<(), ChunkError> {
        let mut bytes = bytes_of(n);
        if self.planted == Planted::EarlyAnswers {
            match self.put_later.replace(bytes) {
                Some(earlier) => bytes = earlier,
                None => return Ok(()),
            }
        }
        self.node.put(ChunkId::of(&bytes), Crc32c::of(&bytes), bytes).await.map(drop)
    }

    async fn tell(&mut self, step: &Step) -> Result<(), ChunkError> {
        match step {
            Step::Put(n) => {
                self.put(*n).await?;
                self.must_be_there.insert(*n);
            }
            Step::Touch(n) => drop(self.node.touch(ChunkId::of(&bytes_of(*n))).await?),
            Step::Delete(n) => {
                self.must_be_there.remove(n); // From here on nobody promises anything.
                let id = ChunkId::of(&bytes_of(*n));
                let held = self.node.stat(&[id]).await?;
                let token = held.first().ok_or(ChunkError::Missing { id })?.token;
                self.node.delete(id, token).await?;
            }
        }
        Ok(())
    }
}

/// Tells the story up to a crash instead of change `n`, and says what is wrong afterwards. `Ok` holds how many changes there were.
async fn crash_at(n: u64, seed: u64, planted: Planted) -> Result<u64, String> {
    let disk = SimDisk::new(seed);
    let node = node_on(&disk, no_reserve()).await;
    let begun = disk.counters().changes;
    disk.lie_about_sync(planted == Planted::LyingSyncs);
    disk.crash_at(n);
    let mut teller = Teller { node, planted, put_later: None, must_be_there: BTreeSet::new() };
    for step in STORY {
        if teller.tell(step).await.is_err() {
            break;
        }
    }
    let changes = disk.counters().changes - begun;
    if !disk.is_down() {
        disk.crash();
    }
    let must_be_there = teller.must_be_there.clone();
    drop(teller);
    disk.restart();
    disk.lie_about_sync(false);
    let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.map_err(|error| error.to_string())?;
    inspect(&node, &disk, &must_be_there).await.map_err(|wrong| format!("crash at {n}, seed {seed}: {wrong}"))?;
    Ok(changes)
}

async fn inspect(node: &Node, disk: &SimDisk, must_be_there: &BTreeSet<u8>) -> Result<(), String> {
    let listed = node.inventory(None, 100).await.map_err(|error| error.to_string())?;
    for n in CHUNKS {
        let bytes = bytes_of(n);
        let id = ChunkId::of(&bytes);
        match node.get(id, None).await {
            Ok(found) if found == bytes && listed.contains(&id) => {}
            Err(ChunkError::Missing { .. }) if !must_be_there.contains(&n) && !listed.contains(&id) => {}
            other => return Err(format!("chunk {n}: {other:?}, listed: {}", listed.contains(&id))),
        }
        let again = node.put(id, Crc32c::of(&bytes), bytes).await.map_err(|error| format!("put again: {error}"))?;
        if again.present != listed.contains(&id) {
            return Err(format!("chunk {n}: present is {}", again.present));
        }
    }
    match disk.list(&Path::new(HOME).join("tmp")).map_err(|error| error.to_string())?.is_empty() {
        true => Ok(()),
        false => Err("temporary files stayed".into()),
    }
}

/// The first objection over all crash points and a few seeds.
async fn first_violation(planted: Planted) -> Option<String> {
    for seed in 0..6 {
        let mut n = 1;
        loop {
            match crash_at(n, seed, planted).await {
                Err(violation) => return Some(violation),
                Ok(changes) if changes < n => break, // The story ended before change `n`.
                Ok(_) => n += 1,
            }
        }
        assert!(n > 30, "the story has more changes than that");
    }
    None
}

#[tokio::test]
async fn acknowledged_chunks_survive_a_crash_at_every_change() {
    assert_eq!(first_violation(Planted::Nothing).await, None);
}

#[tokio::test]
async fn the_checker_finds_missing_syncs() {
    assert!(first_violation(Planted::LyingSyncs).await.is_some());
}

#[tokio::test]
async fn the_checker_finds_early_answers() {
    assert!(first_violation(Planted::EarlyAnswers).await.is_some());
}

#[tokio::test]
async fn a_crash_while_formatting_leaves_a_node_or_none() {
    for n in (1..700).step_by(3) {
        let disk = SimDisk::new(n);
        let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens");
        disk.crash_at(n);
        let formatted = node.format(7, 1, NodeId(3)).await;
        disk.crash();
        drop(node);
        disk.restart();
        let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens again");
        if let Ok(identity) = &formatted {
            assert_eq!(
                node.identity().map(|found| found.incarnation),
                Some(identity.incarnation),
                "acknowledged at {n}"
            );
        }
        node.format(7, 1, NodeId(3)).await.expect("formats, or is formatted");
        let bytes = bytes_of(7);
        node.put(ChunkId::of(&bytes), Crc32c::of(&bytes), bytes).await.expect("takes chunks");
    }
}

#[tokio::test]
async fn every_start_raises_the_boot_counter_for_good() {
    for n in 1..300 {
        let disk = SimDisk::new(n);
        let first = node_on(&disk, no_reserve()).await.identity().expect("formatted").boot;
        disk.crash_at(n);
        let second = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await;
        let second = second.ok().and_then(|node| node.identity()).map_or(first, |identity| identity.boot);
        disk.crash();
        disk.restart();
        let third = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens");
        assert!(third.identity().expect("formatted").boot > second, "crash at {n}: a token could come back");
    }
}

#[tokio::test]
async fn a_witness_that_was_answered_is_there_after_a_crash_and_no_stamp_is_by_halves() {
    let (mut answered, mut unanswered) = (0, 0);
    for n in 1..40 {
        let disk = SimDisk::new(n);
        let node = node_on(&disk, no_reserve()).await;
        let first = node.identity().expect("formatted");
        disk.crash_at(n);
        let witnessed = node.witness(50).await;
        let stamp =
            Restamp { cluster_id: 7, generation: 1, node: NodeId(4), was: first.incarnation, boot: first.boot + 9 };
        let restamped = node.restamp(stamp).await;
        disk.crash();
        drop(node);
        disk.restart();
        let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens again");
        let found = node.identity().expect("stamped");
        match (witnessed, restamped) {
            (_, Ok(anew)) => {
                assert_eq!((found.node, found.incarnation, found.boot), (NodeId(4), anew.incarnation, anew.boot + 1));
                answered += 1;
            }
            (Ok(_), Err(_)) if found.incarnation == first.incarnation => {
                assert_eq!((found.node, found.witness, found.boot), (NodeId(3), 50, first.boot + 1), "crash at {n}");
                answered += 1;
            }
            // Whole, whichever it is.
            _ if found.incarnation == first.incarnation => assert_eq!(found.node, NodeId(3), "crash at {n}"),
            _ => assert_eq!((found.node, found.witness), (NodeId(4), 0), "crash at {n}"),
        }
        unanswered += u32::from(found.witness != 50 && found.node == NodeId(3));
    }
    assert!(answered > 10 && unanswered > 2, "{answered} were answered, {unanswered} lost");
}
