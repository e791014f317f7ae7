//! Metadata restored from a backup: who still goes by those of before writes and deletes nothing any more.

use api::{ChunkError, ChunkStore};
use bytes::Bytes;
use domain::{ChunkId, Crc32c, NodeId};
use futures_util::future::join_all;
use testkit::chunk_suite::chunk;
use testkit::sim_disk::SimDisk;

use crate::support::{behind_http, no_reserve, node_on};

const SUPERSEDED: ChunkError = ChunkError::Superseded { named: 1, obeyed: 2 };

#[tokio::test]
async fn a_lower_generation_changes_nothing() {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    let http = behind_http(&node);
    let stores = |generation: u64| -> [Box<dyn ChunkStore>; 2] {
        [Box::new(node.in_the_name_of(Some(generation))), Box::new(http.clone().in_the_name_of(generation))]
    };
    let (id, crc, bytes) = chunk("written before the restore");
    let (old, new) = (stores(1), stores(2));
    for store in old.iter().chain(&new) {
        store.put(id, crc, bytes.clone()).await.expect("who knows of a later generation first is no stranger");
    }
    node.format(7, 2, NodeId(3)).await.expect("restored");

    let (other, other_crc, other_bytes) = chunk("written after it");
    for store in &old {
        assert_eq!(store.put(other, other_crc, other_bytes.clone()).await, Err(SUPERSEDED));
        assert_eq!(store.touch(id).await, Err(SUPERSEDED));
        let token = store.stat(&[id]).await.expect("reads go on")[0].token;
        assert_eq!(store.delete(id, token).await, Err(SUPERSEDED));
        assert_eq!(store.get(id, Some(crc)).await, Ok(bytes.clone()), "reads go on");
    }
    for store in &new {
        let stored = store.put(other, other_crc, other_bytes.clone()).await.expect("put");
        assert_eq!(store.delete(other, stored.token).await, Ok(()));
        store.touch(id).await.expect("touch");
    }
    assert_eq!(node.format(7, 1, NodeId(3)).await, Err(SUPERSEDED), "there is no way back");
}

/// Once the node has answered that it obeys the new generation, nothing that was let in under the old one is still to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_answer_waits_for_what_was_let_in() {
    let home = tempfile::tempdir().expect("a place for files");
    let disk = std::sync::Arc::new(bootstrap::RealDisk);
    for round in 0..20 {
        let path = home.path().join(round.to_string());
        let node = crate::support::open(disk.clone(), &path, no_reserve()).await.expect("opens");
        node.format(7, 1, NodeId(3)).await.expect("formats");
        let old = node.in_the_name_of(Some(1));
        let puts = (0..64_u32).map(|n| {
            let (old, bytes) = (old.clone(), Bytes::from(n.to_le_bytes().to_vec()));
            tokio::spawn(async move { old.put(ChunkId::of(&bytes), Crc32c::of(&bytes), bytes).await })
        });
        let puts: Vec<_> = puts.collect();
        node.format(7, 2, NodeId(3)).await.expect("restored");
        let then = node.inventory(None, 1000).await.expect("inventory").len();
        let taken = join_all(puts).await.into_iter().filter(|put| matches!(put, Ok(Ok(_)))).count();
        let after = node.inventory(None, 1000).await.expect("inventory").len();
        assert_eq!((then, taken), (after, after), "round {round}");
    }
}
