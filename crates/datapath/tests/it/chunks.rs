//! Chunks to nodes that fail, hang, lie or are full, and back.

use std::sync::Arc;
use std::time::Duration;

use api::{ChunkError, ChunkStore};
use bytes::Bytes;
use datapath::{Copied, LateAnswer, Nodes, Part, ReadError, WriteError, WriteRequest};
use domain::change::Written;
use domain::record::{ChunkRef, DegradedCause, NodeState};
use domain::view::{ClusterView, Health, NodeView};
use domain::{ChunkId, ClassId, Crc32c, Incarnation, NodeId};
use testkit::mem_chunk_store::{Fault, MemChunkStore};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::InMemory;

const BYTES: &[u8] = b"the bytes of a chunk";

/// Nodes in memory, in the rendezvous order of the one chunk that is written.
struct Cluster {
    stores: Vec<Arc<MemChunkStore>>,
    nodes: Nodes,
    view: watch::Sender<Arc<ClusterView>>,
    late: mpsc::Sender<LateAnswer>,
    late_answers: mpsc::Receiver<LateAnswer>,
}

fn chunk() -> ChunkRef {
    ChunkRef { id: ChunkId::of(BYTES), length: BYTES.len() as u32, crc: Crc32c::of(BYTES) }
}

impl Cluster {
    /// `count` nodes, numbered by their place in the chunk's order: node 0 is wanted most.
    async fn new(count: u32) -> Self {
        let names: Vec<_> = (0..count).map(|number| format!("dn{number}:8080")).collect();
        let order = domain::placement::order(&chunk().id.to_hex(), &names);
        let mut nodes = Vec::new();
        let mut stores = Vec::new();
        for (place, &name) in order.iter().enumerate() {
            let id = NodeId(place as u32);
            let store = Arc::new(MemChunkStore::formatted(id, place as u64 + 1));
            let identity = store.status().await.unwrap().identity.unwrap();
            stores.push(store);
            nodes.push(NodeView {
                id,
                name: names[name].clone(),
                addr: names[name].clone(),
                incarnation: Some(identity.incarnation),
                state: NodeState::In,
                health: Health::Up,
                generation: 1,
                domain: String::new(),
                class: ClassId::default(),
                weight: 1,
            });
        }
        let (view, receiver) = watch::channel(Arc::new(ClusterView { nodes, ..Default::default() }));
        let (late, late_answers) = mpsc::channel(16);
        let nodes = Nodes::new(receiver, Arc::new(InMemory(stores.clone())));
        Self { stores, nodes, view, late, late_answers }
    }

    fn fault(&self, node: usize, fault: Fault) {
        self.stores[node].set_fault(fault);
    }

    fn health(&self, node: usize, health: Health) {
        self.view.send_modify(|view| Arc::make_mut(view).nodes[node].health = health);
    }

    async fn write(&self, quorum: u8) -> Result<Written, WriteError> {
        let (bytes, hold) = (Bytes::from_static(BYTES), Arc::new(()));
        let request = WriteRequest { chunk: chunk(), class: ClassId(0), bytes, copies: 3, quorum, hold };
        self.nodes.write(request, &self.late).await
    }

    async fn read(&self, holders: &[u32]) -> (Result<Bytes, ReadError>, Vec<(u32, DegradedCause)>) {
        self.read_part(holders, Part::Whole).await
    }

    async fn read_part(&self, holders: &[u32], part: Part) -> (Result<Bytes, ReadError>, Vec<(u32, DegradedCause)>) {
        let holders: Vec<_> = holders.iter().copied().map(NodeId).collect();
        let mut bad = Vec::new();
        let read = self.nodes.read(&chunk(), &holders, &part, &mut bad).await;
        (read, bad.into_iter().map(|copy| (copy.node.0, copy.cause)).collect())
    }
}

fn holders(written: &Written) -> Vec<u32> {
    let mut nodes: Vec<_> = written.answers.iter().map(|(node, _)| node.0).collect();
    nodes.sort_unstable();
    nodes
}

#[tokio::test(start_paused = true)]
async fn a_chunk_goes_to_the_first_three_in_rendezvous_order() {
    let cluster = Cluster::new(5).await;
    assert_eq!(holders(&cluster.write(2).await.unwrap()), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_is_replaced_by_the_next() {
    let cluster = Cluster::new(5).await;
    cluster.fault(0, Fault::Fail(ChunkError::Unreachable { reason: "refused".into() }));
    cluster.fault(1, Fault::Fail(ChunkError::Disk { reason: "broken".into() }));
    assert_eq!(holders(&cluster.write(2).await.unwrap()), [2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_known_to_be_down_are_written_to_only_if_nobody_else_will_do() {
    let cluster = Cluster::new(4).await;
    cluster.health(0, Health::Down);
    assert_eq!(holders(&cluster.write(2).await.unwrap()), [1, 2, 3]);
    (1..3).for_each(|node| cluster.fault(node, Fault::Fail(ChunkError::Disk { reason: "broken".into() })));
    assert_eq!(holders(&cluster.write(2).await.unwrap()), [0, 3], "better there than nowhere");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_node_costs_a_moment_and_its_answer_comes_late() {
    let mut cluster = Cluster::new(3).await;
    cluster.fault(1, Fault::Slow(Duration::from_millis(400)));
    let begun = Instant::now();
    assert_eq!(holders(&cluster.write(2).await.unwrap()), [0, 2]);
    assert!(begun.elapsed() <= Duration::from_millis(50), "no longer than its patience: {:?}", begun.elapsed());
    let late = cluster.late_answers.recv().await.expect("the answer still comes");
    assert_eq!((late.node, late.of), (NodeId(1), Copied::Chunk(ClassId(0), chunk().id)));
}

#[tokio::test(start_paused = true)]
async fn hanging_nodes_without_a_quorum_get_company() {
    let cluster = Cluster::new(5).await;
    cluster.fault(0, Fault::Hang);
    cluster.fault(1, Fault::Hang);
    let begun = Instant::now();
    assert_eq!(holders(&cluster.write(2).await.unwrap())[..2], [2, 3]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_counts_before_it_came() {
    let cluster = Cluster::new(3).await;
    cluster.fault(0, Fault::LoseAnswers);
    cluster.fault(1, Fault::LoseAnswers);
    let write = tokio::time::timeout(Duration::from_secs(60), cluster.write(2)).await;
    assert!(write.is_err(), "one answer is no quorum, however long one waits: {write:?}");
}

#[tokio::test(start_paused = true)]
async fn too_few_nodes_is_said_as_what_it_is() {
    let cluster = Cluster::new(3).await;
    let all = |fault: &Fault| (0..2).for_each(|node| cluster.fault(node, fault.clone()));
    all(&Fault::Fail(ChunkError::Disk { reason: "broken".into() }));
    assert!(matches!(cluster.write(2).await, Err(WriteError::QuorumShort { answered: 1, quorum: 2, .. })));
    all(&Fault::Fail(ChunkError::Full { free_bytes: 1, reserve_bytes: 2 }));
    assert!(matches!(cluster.write(2).await, Err(WriteError::Full { .. })));
    all(&Fault::Fail(ChunkError::Busy));
    let begun = Instant::now();
    assert!(matches!(cluster.write(2).await, Err(WriteError::Busy { .. })));
    assert!(begun.elapsed() >= Duration::from_secs(5), "a busy node is asked again for a while");
    assert!(cluster.write(1).await.is_ok(), "one is enough for who wants one");
}

#[tokio::test(start_paused = true)]
async fn reads_pass_over_bad_copies_and_name_them() {
    let cluster = Cluster::new(3).await;
    cluster.write(3).await.unwrap();
    let (read, bad) = cluster.read(&[0, 1, 2]).await;
    assert_eq!((read.unwrap(), bad), (Bytes::from_static(BYTES), vec![]));
    for (fault, cause) in [
        (Fault::WrongBytes, DegradedCause::Damaged),
        (Fault::Fail(ChunkError::Missing { id: chunk().id }), DegradedCause::Absent),
    ] {
        cluster.fault(0, fault.clone());
        cluster.fault(1, fault);
        let (read, bad) = cluster.read(&[0, 1, 2]).await;
        assert_eq!(read.unwrap(), BYTES);
        assert!(bad.iter().all(|(node, found)| *node < 2 && *found == cause), "{bad:?}");
        let (part, _) = cluster.read_part(&[0, 1, 2], Part::Range(4..9)).await;
        assert_eq!(part.unwrap(), BYTES[4..9]);
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_never_leave() {
    let cluster = Cluster::new(3).await;
    cluster.write(3).await.unwrap();
    (0..3).for_each(|node| cluster.fault(node, Fault::WrongBytes));
    let (read, bad) = cluster.read(&[0, 1, 2]).await;
    assert!(matches!(read, Err(ReadError::Unreadable { .. })), "{read:?}");
    assert_eq!(bad.len(), 3);
    let holders = [NodeId(0), NodeId(1), NodeId(2)];
    assert!(cluster.nodes.read_agreeing(&chunk(), &holders, 2, &mut vec![]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn copies_that_moved_away_are_told_apart_from_copies_that_broke() {
    let cluster = Cluster::new(3).await;
    let (read, _) = cluster.read(&[0, 1, 2]).await;
    assert_eq!(read, Err(ReadError::AllMissing { chunk: chunk().id }));
    cluster.fault(1, Fault::Fail(ChunkError::Disk { reason: "broken".into() }));
    let (read, _) = cluster.read(&[0, 1, 2]).await;
    assert!(matches!(read, Err(ReadError::Unreadable { .. })), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_node_is_felt_once() {
    let cluster = Cluster::new(3).await;
    cluster.write(3).await.unwrap();
    cluster.fault(0, Fault::Hang);
    cluster.fault(1, Fault::Hang);
    let begun = Instant::now();
    let (read, _) = cluster.read(&[0, 1, 2]).await;
    assert_eq!(read.unwrap(), BYTES);
    assert!(begun.elapsed() <= Duration::from_millis(110), "two silences of 50 ms: {:?}", begun.elapsed());
    let begun = Instant::now();
    for _ in 0..100 {
        cluster.read(&[0, 1, 2]).await.0.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_millis(60), "the others are asked first now: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_probes_again_is_used_again() {
    let cluster = Cluster::new(1).await;
    cluster.write(1).await.unwrap();
    cluster.fault(0, Fault::Hang);
    let (read, _) = cluster.read(&[0]).await;
    assert!(read.is_err(), "nobody else has it");
    cluster.fault(0, Fault::None);
    assert_eq!(cluster.read(&[0]).await.0.unwrap(), BYTES, "asked last is still asked");
}

#[tokio::test(start_paused = true)]
async fn a_read_quorum_reads_that_many_good_copies() {
    let cluster = Cluster::new(4).await;
    cluster.write(3).await.unwrap();
    let holders: Vec<_> = (0..3).map(NodeId).collect();
    let mut bad = Vec::new();
    assert_eq!(cluster.nodes.read_agreeing(&chunk(), &holders, 3, &mut bad).await.unwrap(), BYTES);
    cluster.fault(0, Fault::WrongBytes);
    assert_eq!(cluster.nodes.read_agreeing(&chunk(), &holders, 2, &mut bad).await.unwrap(), BYTES);
    let short = cluster.nodes.read_agreeing(&chunk(), &holders, 3, &mut bad).await;
    assert!(matches!(short, Err(ReadError::Unreadable { found: 2, wanted: 3, .. })), "{short:?}");
}

#[tokio::test(start_paused = true)]
async fn answers_carry_the_incarnation_that_gave_them() {
    let cluster = Cluster::new(3).await;
    let known: Vec<Incarnation> = cluster.view.borrow().nodes.iter().filter_map(|node| node.incarnation).collect();
    for (node, incarnation) in cluster.write(3).await.unwrap().answers {
        assert_eq!(incarnation, known[node.0 as usize]);
    }
}

#[tokio::test(start_paused = true)]
async fn copies_are_spread_over_racks_and_a_stand_in_comes_from_the_rack_that_lost() {
    let cluster = Cluster::new(6).await;
    let label = |racks: [&str; 6]| {
        cluster.view.send_modify(|view| {
            let nodes = &mut Arc::make_mut(view).nodes;
            nodes.iter_mut().zip(racks).for_each(|(node, rack)| node.domain = rack.into());
        });
    };
    label(["a", "a", "a", "b", "c", "b"]);
    assert_eq!(holders(&cluster.write(3).await.unwrap()), [0, 3, 4]);
    cluster.fault(3, Fault::Fail(ChunkError::Disk { reason: "broken".into() }));
    assert_eq!(holders(&cluster.write(3).await.unwrap()), [0, 4, 5], "5 is the other node of rack b");
    cluster.health(0, Health::Down);
    assert_eq!(holders(&cluster.write(3).await.unwrap()), [1, 4, 5], "a rack is there as long as one of its nodes is");
}

#[tokio::test(start_paused = true)]
async fn a_class_is_preferred_and_others_stand_in() {
    let cluster = Cluster::new(6).await;
    cluster.view.send_modify(|view| {
        Arc::make_mut(view).nodes.iter_mut().skip(2).for_each(|node| node.class = ClassId(1));
    });
    let write = async || {
        let (bytes, hold) = (Bytes::from_static(BYTES), Arc::new(()));
        let request = WriteRequest { chunk: chunk(), class: ClassId(1), bytes, copies: 3, quorum: 2, hold };
        holders(&cluster.nodes.write(request, &cluster.late).await.unwrap())
    };
    assert_eq!(write().await, [2, 3, 4]);
    cluster.fault(3, Fault::Fail(ChunkError::Disk { reason: "broken".into() }));
    cluster.health(4, Health::Down);
    assert_eq!(write().await, [0, 2, 5], "a node of another class that answers before one of the class that does not");
}
