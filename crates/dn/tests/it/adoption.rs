//! Directories that somebody else filled, uses, or wrote in another time.

use std::path::Path;
use std::sync::Arc;

use api::{ChunkStore, Disk};
use domain::{ChunkId, NodeId};
use testkit::chunk_suite::chunk;
use testkit::sim_disk::SimDisk;

use crate::support::{HOME, no_reserve, node_on, open, path_of};

/// Writes a file as the reference does: without a sync.
fn write(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    disk.create_dir_all(path.parent().expect("has one")).expect("directory");
    disk.create(path).and_then(|file| file.write_at(bytes, 0)).expect("file");
}

#[tokio::test]
async fn a_reference_node_is_adopted_and_made_durable() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let ids = [b"one", b"two"].map(|bytes| {
            write(&disk, &path_of(Path::new(HOME), ChunkId::of(bytes)), bytes);
            ChunkId::of(bytes)
        });
        let torn = path_of(Path::new(HOME), ids[0]).with_extension("tmp");
        write(&disk, &torn, b"half");
        write(&disk, &Path::new(HOME).join("chunks/README"), b"not a chunk");
        let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens");
        assert_eq!(node.identity(), None, "whose it is, only a cluster can say");
        node.format(7, 1, NodeId(3)).await.expect("adopts");
        drop(node);
        disk.crash();
        disk.restart();
        let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens");
        let mut listed = node.inventory(None, 10).await.expect("inventory");
        let mut expected = ids.to_vec();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected, "seed {seed}");
        for id in ids {
            assert_eq!(node.verify(id).await, Ok(()), "seed {seed}");
        }
    }
}

#[tokio::test]
async fn one_process_at_a_time() {
    let disk = SimDisk::new(1);
    let node = node_on(&disk, no_reserve()).await;
    let second = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await;
    assert!(second.err().expect("refused").to_string().contains("locked"));
    drop(node);
    open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("free again");
}

#[tokio::test]
async fn a_stamp_of_another_time_is_not_guessed_at() {
    let disk = SimDisk::new(1);
    drop(node_on(&disk, no_reserve()).await);
    let stamp = Path::new(HOME).join("stamp");
    disk.open(&stamp).and_then(|file| file.write_at(&[99], 0)).expect("write");
    let opened = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await;
    assert!(opened.err().expect("refused").to_string().contains("layout 99"));
}

#[tokio::test]
async fn what_unfinished_puts_left_is_removed() {
    let disk = SimDisk::new(1);
    let node = node_on(&disk, no_reserve()).await;
    let (id, crc, bytes) = chunk("kept");
    node.put(id, crc, bytes).await.expect("put");
    drop(node);
    write(&disk, &Path::new(HOME).join("tmp/0123-4"), b"half");
    let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens");
    assert_eq!(disk.list(&Path::new(HOME).join("tmp")).expect("list"), Vec::<String>::new());
    assert_eq!(node.inventory(None, 10).await, Ok(vec![id]));
}
