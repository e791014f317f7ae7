//! When a node is down: the coordinator's probes and the gateways' experience together, on a clock that is paused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::metadata::Seen;
use api::{Admin, ChunkError, ChunkStore, Disk, Metadata};
use consensus::Group;
use coord::{Coordinator, Settings};
use datapath::Connect;
use domain::view::{Health, NodeView};
use domain::{LogPosition, NodeId};
use testkit::clock::SimClock;
use testkit::entropy::SeededEntropy;
use testkit::mem_chunk_store::{Fault, MemChunkStore};
use testkit::sim_disk::SimDisk;

use crate::support::addr;

/// Nodes in memory, by address.
struct InMemory(BTreeMap<String, Arc<MemChunkStore>>);

impl Connect for InMemory {
    fn connect(&self, node: &NodeView) -> Arc<dyn ChunkStore> {
        self.0[&node.addr].clone()
    }
}

async fn start() -> (Coordinator, Arc<InMemory>) {
    let disk = SimDisk::new(3);
    disk.create_dir_all("/kvfs".as_ref()).and_then(|()| disk.sync_dir("/".as_ref())).expect("a directory");
    let clock = Arc::new(SimClock::new(1_750_000_000_000));
    let nodes = Arc::new(InMemory((1..=3).map(|nth| (addr(nth), Arc::new(MemChunkStore::new(nth.into())))).collect()));
    let group = Group::open(consensus::Settings::simulated("/kvfs/meta"), Arc::new(disk), clock.clone()).await;
    let settings = Settings { nodes: (1..=3).map(addr).collect(), ..Settings::default() };
    let entropy = Arc::new(SeededEntropy::new(5));
    let coordinator = Coordinator::start(group.expect("opens"), nodes.clone(), clock, entropy, settings).await;
    (coordinator.expect("starts"), nodes)
}

/// Lets `seconds` pass, while a gateway reports what it has seen of the second node.
async fn pass(coordinator: &Coordinator, lease: LogPosition, seconds: u32, seen: Option<Seen>) -> Health {
    for _ in 0..seconds {
        if let Some(seen) = seen {
            coordinator.report_nodes(lease, &[(NodeId(2), seen)]).await.expect("noted");
        }
        // waits: the clock is paused, and time itself is the point.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let beat = coordinator.heartbeat().await.expect("a heartbeat");
    beat.statuses.iter().find(|node| node.addr == addr(2)).expect("registered").health
}

#[tokio::test(start_paused = true)]
async fn a_node_that_a_gateway_reaches_is_not_down() {
    let (coordinator, nodes) = start().await;
    let lease = coordinator.open_lease("gateway").await.expect("lease").lease;
    assert_eq!(pass(&coordinator, lease, 2, None).await, Health::Up);
    nodes.0[&addr(2)].set_fault(Fault::Fail(ChunkError::Unreachable { reason: "a broken cable".into() }));
    assert_eq!(pass(&coordinator, lease, 3, None).await, Health::Suspect, "two misses");
    assert_eq!(pass(&coordinator, lease, 30, Some(Seen::Answers)).await, Health::Suspect, "a gateway reaches it");
    let beat = coordinator.heartbeat().await.expect("a heartbeat");
    let node = beat.statuses.iter().find(|node| node.addr == addr(2)).expect("registered");
    assert!(!node.healthy && node.consec_fails > 30 && node.gateways_reaching == 1, "{node:?}");
    assert!(node.last_error.as_deref().is_some_and(|error| error.contains("a gateway reaches it")), "{node:?}");
    assert_eq!(pass(&coordinator, lease, 5, Some(Seen::Silent)).await, Health::Down, "nobody reaches it");
    nodes.0[&addr(2)].set_fault(Fault::None);
    assert_eq!(pass(&coordinator, lease, 2, None).await, Health::Up);
}

#[tokio::test(start_paused = true)]
async fn gateways_without_an_opinion_leave_it_to_the_probes() {
    let (coordinator, nodes) = start().await;
    let lease = coordinator.open_lease("gateway").await.expect("lease").lease;
    nodes.0[&addr(2)].set_fault(Fault::Hang);
    assert_eq!(pass(&coordinator, lease, 15, None).await, Health::Down);
    let status = coordinator.status().await.expect("status");
    assert!(status.nodes.iter().filter(|node| node.health == Health::Up).count() == 2, "the others are not blamed");
}
