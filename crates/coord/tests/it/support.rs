//! A coordinator, three data nodes in directories, and what can happen to those.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::admin::NodeInfo;
use api::{Admin, ChunkError, ChunkStore, Clock, Disk, Metadata};
use bootstrap::{RealDisk, SystemClock, SystemEntropy};
use bytes::Bytes;
use consensus::Group;
use coord::seal::Sealer;
use coord::{Coordinator, Settings};
use datapath::Connect;
use domain::change::{Change, NewBody, Precondition, Session, Written};
use domain::record::{ChunkRef, ObjectName};
use domain::view::NodeView;
use domain::{BucketName, ChunkId, ClassId, Crc32c, NodeId, ObjectKey};
use parking_lot::Mutex;
use testkit::mem_chunk_store::{Fault, MemChunkStore};
use testkit::sim_disk::SimDisk;

/// Which node runs at which address at present.
#[derive(Default)]
pub struct Machines(Mutex<BTreeMap<String, dn::Node>>);

impl Connect for Machines {
    fn connect(&self, node: &NodeView) -> Arc<dyn ChunkStore> {
        match self.0.lock().get(&node.addr) {
            Some(node) => Arc::new(node.clone()),
            None => {
                let nobody = MemChunkStore::new(1);
                nobody.set_fault(Fault::Fail(ChunkError::Unreachable { reason: "nobody listens there".into() }));
                Arc::new(nobody)
            }
        }
    }
}

/// The cluster.
pub struct Cluster {
    pub coordinator: Coordinator,
    pub machines: Arc<Machines>,
    home: tempfile::TempDir,
    disk: SimDisk,
}

/// The address of the nth data node.
pub fn addr(nth: u32) -> String {
    format!("dn{nth}:8080")
}

impl Cluster {
    /// Three nodes that are in, and a coordinator that looks at them often.
    pub async fn start() -> Self {
        Self::start_with(|settings| settings).await
    }

    /// The same with other settings.
    pub async fn start_with(change: impl FnOnce(Settings) -> Settings) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let disk = SimDisk::new(1);
        let machines = Arc::new(Machines::default());
        for nth in 1..=3 {
            run_node(&machines, home.path(), &addr(nth), &nth.to_string()).await;
        }
        let coordinator = start_coordinator(&disk, &machines, change(settings())).await;
        Self { coordinator, machines, home, disk }
    }

    /// Stops the coordinator and starts it on what it saved.
    pub async fn restart_coordinator(self, change: impl FnOnce(Settings) -> Settings) -> Self {
        let Self { coordinator, machines, home, disk } = self;
        coordinator.group().shutdown().await.expect("saves");
        drop(coordinator);
        let coordinator = start_coordinator(&disk, &machines, change(settings())).await;
        Self { coordinator, machines, home, disk }
    }

    /// Runs a node over directory `name` at `addr`.
    pub async fn run(&self, addr: &str, name: &str) {
        run_node(&self.machines, self.home.path(), addr, name).await;
    }

    /// Ends the node at `addr`.
    pub fn stop(&self, addr: &str) {
        self.machines.0.lock().remove(addr);
    }

    /// Where directory `name` is.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Copies directory `from` to `to`, which must not be there.
    pub fn copy(&self, from: &str, to: &str) {
        copy_tree(&self.directory(from), &self.directory(to));
    }

    /// Formats the empty directory behind `addr` by hand.
    pub async fn format(&self, addr: &str, cluster_id: u128, node: NodeId) {
        let running = self.machines.0.lock()[addr].clone();
        running.format(cluster_id, 1, node).await.expect("formats");
    }

    /// How many chunks the node at `addr` holds.
    pub fn chunks(&self, addr: &str) -> usize {
        self.machines.0.lock()[addr].pulse().0
    }

    /// Waits until the registry has noted a witness, and a boot, that were handed to the node at `addr` after now.
    pub async fn witnessed(&self, addr: &str) {
        let running = self.machines.0.lock()[addr].clone();
        // The second one is handed out after the first one was noted.
        for _ in 0..2 {
            let before = running.identity().expect("stamped").witness;
            let after = || running.identity().is_some_and(|identity| identity.witness > before);
            self.until("a witness is handed out", addr, |_| after()).await;
        }
    }

    /// The node at `addr`, as operators see it.
    pub async fn node(&self, addr: &str) -> NodeInfo {
        let status = self.coordinator.status().await.expect("status");
        status.nodes.into_iter().find(|node| node.addr == addr).expect("registered")
    }

    /// Waits until the node at `addr` is as it should be.
    pub async fn until(&self, what: &str, addr: &str, holds: impl Fn(&NodeInfo) -> bool) -> NodeInfo {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let node = self.node(addr).await;
            if holds(&node) {
                return node;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}; {node:?}");
            // waits: between two looks at the condition above, which has a deadline.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many chunks have too few good copies.
    pub async fn until_degraded(&self, count: u64) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let found = self.coordinator.status().await.expect("status").degraded;
            if found == count {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{found} chunks are degraded, {count} expected");
            // waits: between two looks at the condition above, which has a deadline.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Writes `count` chunks to all nodes, as one object.
    pub async fn write(&self, count: u32) {
        let view = self.coordinator.view(0).await.expect("view");
        let mut written = Vec::new();
        for nth in 0..count {
            let bytes = Bytes::from(format!("chunk {nth}"));
            let chunk = ChunkRef { id: ChunkId::of(&bytes), length: bytes.len() as u32, crc: Crc32c::of(&bytes) };
            let mut answers = Vec::new();
            for node in &view.nodes {
                let stored = self.machines.connect(node).put(chunk.id, chunk.crc, bytes.clone()).await.expect("put");
                answers.push((node.id, stored.incarnation));
            }
            written.push(Written { chunk, answers, quorum: 2, copies: 3 });
        }
        let lease = self.coordinator.open_lease("test").await.expect("lease").lease;
        let change = Change::PutObject {
            name: ObjectName { bucket: BucketName::parse("b").unwrap(), key: ObjectKey::parse(b"k").unwrap() },
            make_bucket: true,
            when: Precondition::default(),
            size: written.iter().map(|write| u64::from(write.chunk.length)).sum(),
            body: NewBody::Whole(written),
            class: ClassId::default(),
            etag: "e".into(),
            content_type: String::new(),
            user_metadata: vec![],
        };
        let session = Session { lease, request: 1, lowest: 1 };
        self.coordinator.change(session, change).await.expect("answered").outcome.expect("accepted");
    }
}

/// Looks every few milliseconds, and hands out a witness at every look.
fn settings() -> Settings {
    Settings {
        nodes: (1..=3).map(addr).collect(),
        sealer: Sealer::new([&b"the secret of a cluster under test"[..]]),
        copies: 3,
        probe_every: Duration::from_millis(10),
        witness_every: Duration::ZERO,
        ..Settings::default()
    }
}

async fn start_coordinator(disk: &SimDisk, machines: &Arc<Machines>, settings: Settings) -> Coordinator {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    disk.create_dir_all("/kvfs".as_ref()).and_then(|()| disk.sync_dir("/".as_ref())).expect("a directory");
    let group = Group::open(consensus::Settings::simulated("/kvfs/meta"), Arc::new(disk.clone()), clock.clone()).await;
    let group = group.expect("opens");
    Coordinator::start(group, machines.clone(), clock, Arc::new(SystemEntropy), settings).await.expect("starts")
}

async fn run_node(machines: &Machines, home: &Path, addr: &str, name: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let options = dn::Options { reserve_bytes: Some(0), ..dn::Options::default() };
    machines.0.lock().remove(addr);
    let node = loop {
        let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
        match dn::Node::open(Arc::new(RealDisk), clock, entropy, home.join(name), options.clone()).await {
            Ok(node) => break node,
            // A probe may hold the last handle of the node that ran there.
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    machines.0.lock().insert(addr.to_string(), node);
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("its type").is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => match fs::copy(entry.path(), target) {
                // A stamp that was just being replaced.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.expect("copied")),
            },
        }
    }
}
