//! Disks that fail, fill up, or take their time, and callers who go away.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use api::{ChunkError, ChunkStore, Disk};
use bootstrap::{RealDisk, SystemClock, SystemEntropy};
use bytes::Bytes;
use dn::{Node, Options};
use domain::NodeId;
use testkit::chunk_suite::chunk;
use testkit::sim_disk::SimDisk;

use crate::support::{HOME, no_reserve, node_on, open};

#[tokio::test]
async fn a_failed_sync_poisons_for_good() {
    for (sync, case) in [(1, "of the data"), (2, "of the directory")] {
        let disk = SimDisk::new(1);
        let node = node_on(&disk, no_reserve()).await;
        let (good, good_crc, bytes) = chunk("good");
        let token = node.put(good, good_crc, bytes.clone()).await.expect("put").token;
        let watched = tokio::spawn(node.poisoned());
        disk.fail_sync(sync);
        let (bad, bad_crc, more) = chunk("bad");
        let poisoned = |result: Result<(), ChunkError>| matches!(result, Err(ChunkError::Poisoned { .. }));
        assert!(poisoned(node.put(bad, bad_crc, more.clone()).await.map(drop)), "{case}");
        for node in [node.clone(), reopened(node, &disk).await] {
            assert!(poisoned(node.put(bad, bad_crc, more.clone()).await.map(drop)), "{case}: no retry");
            assert!(
                poisoned(node.put(good, good_crc, bytes.clone()).await.map(drop)),
                "{case}: not even for what is there"
            );
            assert!(poisoned(node.touch(good).await.map(drop)), "{case}");
            assert!(poisoned(node.delete(good, token).await), "{case}");
            assert_eq!(node.get(good, Some(good_crc)).await.as_ref(), Ok(&bytes), "{case}: reads go on");
            assert!(node.status().await.expect("status").poisoned.is_some(), "{case}");
        }
        assert!(watched.await.expect("ends").contains("sync failed"), "{case}");
    }
}

#[tokio::test]
async fn a_failed_sync_of_a_delete_or_a_start_poisons_too() {
    let disk = SimDisk::new(1);
    let node = node_on(&disk, no_reserve()).await;
    let (id, crc, bytes) = chunk("good");
    let token = node.put(id, crc, bytes.clone()).await.expect("put").token;
    disk.fail_sync(1);
    assert!(matches!(node.delete(id, token).await, Err(ChunkError::Poisoned { .. })));

    let disk = SimDisk::new(1);
    node_on(&disk, no_reserve()).await.put(id, crc, bytes.clone()).await.expect("put");
    disk.fail_sync(100);
    let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("comes up, for its reads");
    assert!(node.status().await.expect("status").poisoned.is_some());
    assert_eq!(node.get(id, Some(crc)).await, Ok(bytes));
}

/// `node` after a restart of its process.
async fn reopened(node: Node, disk: &SimDisk) -> Node {
    drop(node);
    disk.crash();
    disk.restart();
    open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens")
}

#[tokio::test]
async fn below_the_reserve_only_deletes_work() {
    let disk = SimDisk::new(1);
    disk.set_capacity(100_000);
    let node = node_on(&disk, Options { reserve_bytes: Some(50_000), ..Options::default() }).await;
    let (first, first_crc, bytes) = chunk(vec![1; 30_000]);
    let (second, second_crc, more) = chunk(vec![2; 30_000]);
    node.put(first, first_crc, bytes.clone()).await.expect("there is room for one");
    let full = node.put(second, second_crc, more.clone()).await;
    assert!(matches!(full, Err(ChunkError::Full { reserve_bytes: 50_000, .. })), "{full:?}");
    let token = node.put(first, first_crc, bytes).await.expect("what is there needs no room").token;
    node.delete(first, token).await.expect("deletes work");
    node.put(second, second_crc, more).await.expect("and make room");
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_of_a_put_loses_nothing() {
    let disk = SimDisk::new(1);
    let node = node_on(&disk, no_reserve()).await;
    let (first, first_crc, bytes) = chunk(vec![1; 30_000]);
    let token = node.put(first, first_crc, bytes.clone()).await.expect("put").token;
    disk.set_capacity(40_000); // What the node was told a moment ago says otherwise.
    let (second, second_crc, more) = chunk(vec![2; 30_000]);
    assert!(matches!(node.put(second, second_crc, more.clone()).await, Err(ChunkError::Full { .. })));
    assert_eq!(disk.list(&Path::new(HOME).join("tmp")).expect("list"), Vec::<String>::new());
    assert_eq!(node.status().await.expect("status").poisoned, None);
    assert_eq!(node.get(first, Some(first_crc)).await, Ok(bytes));
    node.delete(first, token).await.expect("delete");
    node.put(second, second_crc, more).await.expect("fits now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_puts_at_once_are_one_put() {
    let home = tempfile::tempdir().expect("a place for files");
    let node = real_node(home.path()).await;
    let (id, crc, bytes) = chunk(vec![7; 1 << 20]);
    let puts: Vec<_> = (0..32)
        .map(|_| {
            let (node, bytes) = (node.clone(), bytes.clone());
            tokio::spawn(async move {
                let stored = node.put(id, crc, bytes.clone()).await.expect("every one succeeds");
                assert_eq!(node.get(id, Some(crc)).await.expect("at once readable"), bytes);
                stored
            })
        })
        .collect();
    let mut stored = Vec::new();
    for put in puts {
        stored.push(put.await.expect("ends"));
    }
    assert_eq!(stored.iter().filter(|stored| !stored.present).count(), 1, "one writes, the others find it");
    let tokens: std::collections::BTreeSet<_> = stored.iter().map(|stored| stored.token).collect();
    assert_eq!(tokens.len(), 32);
    assert_eq!(node.stat(&[id]).await.expect("stat")[0].token, *tokens.last().expect("some"));
}

async fn real_node(home: &Path) -> Node {
    let (disk, clock) = (Arc::new(RealDisk), Arc::new(SystemClock::new()));
    let node = Node::open(disk, clock, Arc::new(SystemEntropy), home.to_owned(), no_reserve()).await.expect("opens");
    node.format(7, 1, NodeId(3)).await.expect("formats");
    node
}

/// Work for a disk.
type Job = Box<dyn FnOnce() + Send>;

/// A disk whose jobs wait until the test lets them run.
struct Held {
    disk: SimDisk,
    jobs: Sender<Job>,
}

impl Held {
    fn new(disk: SimDisk) -> (Arc<Self>, Receiver<Job>) {
        let (jobs, waiting) = channel();
        (Arc::new(Self { disk, jobs }), waiting)
    }
}

impl Disk for Held {
    fn spawn(&self, job: Job) {
        let _ = self.jobs.send(job);
    }
    fn open(&self, path: &Path) -> std::io::Result<Box<dyn api::DiskFile>> {
        self.disk.open(path)
    }
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn api::DiskFile>> {
        self.disk.create(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove(path)
    }
    fn create_dir_all(&self, path: &Path) -> std::io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(path)
    }
    fn len(&self, path: &Path) -> std::io::Result<u64> {
        self.disk.len(path)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn space(&self, path: &Path) -> std::io::Result<api::disk::Space> {
        self.disk.space(path)
    }
    fn drop_cache(&self, path: &Path) -> std::io::Result<()> {
        self.disk.drop_cache(path)
    }
    fn lock(&self, path: &Path) -> std::io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
}

/// Polls `future` once; it must not be done.
async fn begin<T>(future: &mut (impl Future<Output = T> + Unpin)) {
    let pending = futures_util::future::poll_fn(|cx| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
    });
    assert!(pending.await, "it waits for the disk");
}

#[tokio::test]
async fn callers_may_go_and_too_many_bytes_are_refused() {
    let disk = SimDisk::new(1);
    drop(node_on(&disk, no_reserve()).await);
    let (held, jobs) = Held::new(disk);
    let opening = open(held.clone(), Path::new(HOME), Options { write_budget_bytes: 0, ..no_reserve() });
    let mut opening = Box::pin(opening);
    begin(&mut opening).await;
    jobs.recv().expect("the opening")();
    let node = opening.await.expect("opens");

    let (id, crc, bytes) = chunk(vec![1; 10 << 20]);
    let mut put = Box::pin(node.put(id, crc, bytes.clone()));
    begin(&mut put).await;
    let (other, other_crc, more) = chunk(vec![2; 10 << 20]);
    assert_eq!(node.put(other, other_crc, more).await, Err(ChunkError::Busy), "10 + 10 MiB are more than 16");
    let mut second = Box::pin(node.touch(id));
    begin(&mut second).await;
    drop(put);
    assert_eq!(node.in_flight().0, 10 << 20, "the job goes on without its caller, and keeps its share");
    jobs.recv().expect("the put")();
    assert_eq!(node.in_flight().0, 0, "and gives it back");
    begin(&mut second).await; // It has the lock now.
    jobs.recv().expect("the touch")();
    assert!(second.await.expect("the chunk is there").present);
}

#[tokio::test]
async fn read_bytes_are_lent_until_the_reader_drops_them() {
    let disk = SimDisk::new(1);
    let node = node_on(&disk, Options { read_budget_bytes: 0, ..no_reserve() }).await;
    let (id, crc, bytes) = chunk(vec![1; 10 << 20]);
    node.put(id, crc, bytes).await.expect("put");
    let lent = node.get_range(id, crc, 5..6).await.expect("first read").0;
    assert_eq!(node.get(id, Some(crc)).await.map(drop), Err(ChunkError::Busy), "one byte holds the whole chunk");
    drop(lent);
    assert!(node.get(id, Some(crc)).await.is_ok());
}

#[tokio::test]
async fn a_rotten_copy_never_turns_good_bytes_away() {
    let disk = SimDisk::new(1);
    let node = node_on(&disk, no_reserve()).await;
    let (id, crc, bytes) = chunk("good bytes");
    node.put(id, crc, bytes.clone()).await.expect("put");
    assert!(disk.corrupt(&crate::support::path_of(Path::new(HOME), id), 3));
    assert_eq!(node.get(id, Some(crc)).await, Err(ChunkError::Damaged { id }));
    let wrong = Bytes::from_static(b"bad bytes!");
    let refused = node.put(id, domain::Crc32c::of(&wrong), wrong).await;
    assert!(matches!(refused, Err(ChunkError::Mismatch { .. })), "{refused:?}");
    assert!(!node.put(id, crc, bytes.clone()).await.expect("heals").present);
    disk.crash();
    disk.restart();
    let node = open(Arc::new(disk.clone()), Path::new(HOME), no_reserve()).await.expect("opens");
    assert_eq!(node.get(id, Some(crc)).await, Ok(bytes), "healed for good");
}
