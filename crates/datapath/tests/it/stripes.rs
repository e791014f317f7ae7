//! Stripes to nodes that fail, hang or lie, and back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::{ChunkError, ChunkStore};
use datapath::{BadShard, Copied, LateAnswer, Nodes, ReadError, StripeBytes, StripePart, StripeWrite, WriteError};
use domain::change::WrittenStripe;
use domain::placement::topology::Wish;
use domain::record::{DegradedCause, NodeState};
use domain::stripe::{LocatedShard, LocatedStripe};
use domain::view::{ClusterView, Health, NodeView};
use domain::{ClassId, NodeId, Scheme};
use testkit::mem_chunk_store::{Fault, MemChunkStore};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::InMemory;

const SHARD: u32 = 128;

/// Bytes of the body in the one stripe that is written: its last data shard is not full.
const LENGTH: usize = 4 * SHARD as usize - 10;

struct Cluster {
    stores: Vec<Arc<MemChunkStore>>,
    nodes: Nodes,
    view: watch::Sender<Arc<ClusterView>>,
    late: mpsc::Sender<LateAnswer>,
    late_answers: mpsc::Receiver<LateAnswer>,
}

fn scheme() -> Scheme {
    "4+2".parse().unwrap()
}

fn payload() -> Vec<u8> {
    (0..LENGTH).map(|at| (at * 7 % 251) as u8).collect()
}

fn refuse() -> Fault {
    Fault::Fail(ChunkError::Unreachable { reason: "refused".into() })
}

impl Cluster {
    /// Nodes in these failure domains.
    async fn new(domains: &[&str]) -> Self {
        let (mut nodes, mut stores) = (Vec::new(), Vec::new());
        for (number, domain) in (0u32..).zip(domains) {
            let store = Arc::new(MemChunkStore::formatted(NodeId(number), u64::from(number) + 1));
            let identity = store.status().await.unwrap().identity.unwrap();
            stores.push(store);
            nodes.push(NodeView {
                id: NodeId(number),
                name: format!("dn{number}:8080"),
                addr: format!("dn{number}:8080"),
                incarnation: Some(identity.incarnation),
                state: NodeState::In,
                health: Health::Up,
                generation: 1,
                domain: domain.to_string(),
                class: ClassId::default(),
                weight: 1,
            });
        }
        let (view, receiver) = watch::channel(Arc::new(ClusterView { nodes, ..Default::default() }));
        let (late, late_answers) = mpsc::channel(16);
        let nodes = Nodes::new(receiver, Arc::new(InMemory(stores.clone())));
        Self { stores, nodes, view, late, late_answers }
    }

    async fn plain(count: usize) -> Self {
        Self::new(&vec![""; count]).await
    }

    async fn write(&self) -> Result<WrittenStripe, WriteError> {
        let stripe = self.nodes.cut_stripe(scheme(), payload(), SHARD).await?;
        let request = StripeWrite { stripe, class: ClassId(0), hold: Arc::new(()) };
        self.nodes.write_stripe(request, &self.late).await
    }

    /// The nodes in the order of the stripe that is written.
    async fn order(&self) -> Vec<usize> {
        let stripe = self.nodes.cut_stripe(scheme(), payload(), SHARD).await.unwrap().stripe.id;
        let view = self.view.borrow().clone();
        let order = view.place_stripe(&stripe, Wish { class: ClassId(0), copies: 6 });
        order.into_iter().map(|(node, _)| node.id.0 as usize).collect()
    }

    async fn read(&self, at: &LocatedStripe, part: &StripePart) -> (Result<StripeBytes, ReadError>, Vec<BadShard>) {
        let mut bad = Vec::new();
        (self.nodes.read_stripe(at, part, &mut bad).await, bad)
    }

    /// How many chunks all nodes have together.
    async fn copies(&self) -> usize {
        let mut copies = 0;
        for store in &self.stores {
            copies += store.inventory(None, 1000).await.unwrap().len();
        }
        copies
    }

    fn fault(&self, node: usize, fault: Fault) {
        self.stores[node].set_fault(fault);
    }

    fn health(&self, node: usize, health: Health) {
        self.view.send_modify(|view| Arc::make_mut(view).nodes[node].health = health);
    }
}

fn whole() -> StripePart {
    StripePart { shards: 0..4, stretch: 0..SHARD }
}

/// Where a stripe is, by what its writing said.
fn located(written: &WrittenStripe) -> LocatedStripe {
    let shard = |shard: &domain::change::WrittenShard| LocatedShard {
        id: shard.id,
        crc: shard.crc,
        nodes: shard.answers.iter().map(|(node, _)| *node).collect(),
    };
    let shards = written.shards.iter().map(shard).collect();
    LocatedStripe { stripe: written.stripe, scheme: scheme(), shard_bytes: written.shard_bytes, shards }
}

/// By shard: the node that has it.
fn holders(written: &WrittenStripe) -> Vec<Option<usize>> {
    written.shards.iter().map(|shard| shard.answers.first().map(|(node, _)| node.0 as usize)).collect()
}

fn joined(read: StripeBytes) -> Vec<u8> {
    let mut bytes = read.shards.concat();
    bytes.truncate(LENGTH);
    bytes
}

#[tokio::test(start_paused = true)]
async fn shards_go_to_nodes_of_their_own_in_the_order_of_the_stripe() {
    let cluster = Cluster::plain(8).await;
    let order = cluster.order().await;
    let written = cluster.write().await.unwrap();
    assert_eq!(holders(&written), order[..6].iter().map(|node| Some(*node)).collect::<Vec<_>>());
    assert_eq!(written.stripe.length as usize, LENGTH);
}

#[tokio::test(start_paused = true)]
async fn any_two_of_six_nodes_may_be_lost_and_three_never_give_wrong_bytes() {
    for a in 0..6 {
        for b in 0..6 {
            for c in 0..6 {
                let cluster = Cluster::plain(6).await;
                let at = located(&cluster.write().await.unwrap());
                let lost: BTreeSet<_> = [a, b, c].into();
                lost.iter().for_each(|node| cluster.fault(*node, refuse()));
                let (read, _) = cluster.read(&at, &whole()).await;
                match lost.len() {
                    3 => {
                        let short = matches!(read, Err(ReadError::StripeShort { found: 3, needed: 4, .. }));
                        assert!(short, "without {lost:?}: {read:?}");
                    }
                    _ => assert_eq!(joined(read.unwrap()), payload(), "without {lost:?}"),
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_read_asks_for_nothing_that_is_not_wanted() {
    let cluster = Cluster::plain(6).await;
    let written = cluster.write().await.unwrap();
    let wanted = holders(&written)[2].unwrap();
    (0..6).filter(|node| *node != wanted).for_each(|node| cluster.fault(node, refuse()));
    let part = StripePart { shards: 2..3, stretch: 10..60 };
    let (read, bad) = cluster.read(&located(&written), &part).await;
    let read = read.unwrap();
    assert_eq!((&read.shards[0][..], read.rebuilt), (&payload()[2 * 128 + 10..2 * 128 + 60], 0));
    assert!(bad.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stretch_of_a_lost_shard_is_rebuilt_from_the_same_stretch_of_others() {
    let cluster = Cluster::plain(6).await;
    let written = cluster.write().await.unwrap();
    for lost in [0, 2] {
        cluster.fault(holders(&written)[lost].unwrap(), refuse());
    }
    let part = StripePart { shards: 2..3, stretch: 10..60 };
    let (read, _) = cluster.read(&located(&written), &part).await;
    let read = read.unwrap();
    assert_eq!((&read.shards[0][..], read.rebuilt), (&payload()[2 * 128 + 10..2 * 128 + 60], 1));
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_never_leave_and_are_told() {
    let cluster = Cluster::plain(6).await;
    let written = cluster.write().await.unwrap();
    let nodes = holders(&written);
    cluster.fault(nodes[1].unwrap(), Fault::WrongBytes);
    assert!(cluster.stores[nodes[3].unwrap()].alter(written.shards[3].id, |bytes| bytes[5] ^= 1));
    let (read, bad) = cluster.read(&located(&written), &whole()).await;
    assert_eq!(joined(read.unwrap()), payload());
    assert!(bad.iter().all(|bad| bad.copy.cause == DegradedCause::Damaged));
    let told: BTreeSet<_> = bad.iter().map(|bad| (bad.index, bad.copy.node.0 as usize)).collect();
    assert_eq!(told, [1, 3].map(|index| (index as u8, nodes[index].unwrap())).into());

    cluster.fault(nodes[0].unwrap(), Fault::WrongBytes);
    let (read, _) = cluster.read(&located(&written), &whole()).await;
    assert!(matches!(read, Err(ReadError::StripeShort { found: 3, stale: false, .. })), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn shards_that_moved_away_are_told_apart_from_shards_that_broke() {
    let cluster = Cluster::plain(6).await;
    let at = located(&cluster.write().await.unwrap());
    for shard in [0, 1, 2] {
        let node = at.shards[shard].nodes[0].0 as usize;
        cluster.fault(node, Fault::Fail(ChunkError::Missing { id: at.shards[shard].id }));
    }
    let (read, bad) = cluster.read(&at, &whole()).await;
    assert!(matches!(read, Err(ReadError::StripeShort { stale: true, .. })), "{read:?}");
    assert!(bad.iter().all(|bad| bad.copy.cause == DegradedCause::Absent) && bad.len() == 3);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_node_is_felt_once_by_readers() {
    let cluster = Cluster::plain(6).await;
    let written = cluster.write().await.unwrap();
    let at = located(&written);
    for _ in 0..50 {
        cluster.read(&at, &whole()).await.0.unwrap();
    }
    cluster.fault(holders(&written)[0].unwrap(), Fault::Hang);
    let begun = Instant::now();
    for _ in 0..1000 {
        let read = cluster.read(&at, &whole()).await.0.unwrap();
        assert_eq!((read.rebuilt, joined(read)), (1, payload()));
    }
    // Hedges come first, then the cap lets no more of them through, and the rest of the silence is waited for.
    assert_eq!(begun.elapsed(), Duration::from_millis(50), "all readers together");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_is_replaced_and_its_domain_stays_covered() {
    let racks = ["a", "b", "c", "a", "b", "c", "a", "b", "c"];
    let cluster = Cluster::new(&racks).await;
    let order = cluster.order().await;
    cluster.fault(order[1], refuse());
    cluster.fault(order[4], Fault::Fail(ChunkError::Disk { reason: "broken".into() }));
    let written = cluster.write().await.unwrap();
    let mut per_rack = [0; 3];
    for node in holders(&written) {
        let node = node.expect("no gap: there are nodes enough");
        assert!(node != order[1] && node != order[4]);
        per_rack[node % 3] += 1;
    }
    let short = order[1] % 3;
    // The rack that lost two has one node left; the shard that it cannot take goes where fewest are.
    let expected = if order[4] % 3 == short { 1 } else { 2 };
    assert_eq!(per_rack[short], expected, "{per_rack:?}");
    assert!(per_rack.iter().all(|shards| *shards <= 3));
}

#[tokio::test(start_paused = true)]
async fn one_hanging_node_of_six_leaves_a_gap_and_is_waited_for_once() {
    let mut cluster = Cluster::plain(6).await;
    let order = cluster.order().await;
    cluster.fault(order[3], Fault::Slow(Duration::from_secs(20)));
    let gap = [Some(order[0]), Some(order[1]), Some(order[2]), None, Some(order[4]), Some(order[5])];
    let begun = Instant::now();
    let written = cluster.write().await.unwrap();
    let mut found = holders(&written);
    found.sort_unstable();
    let mut expected = gap.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    let begun = Instant::now();
    cluster.write().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "a node that is known to hang is not waited for");
    let late = cluster.late_answers.recv().await.expect("the answer still comes");
    let Copied::Shard(at) = late.of else { panic!("{:?}", late.of) };
    assert_eq!((late.node.0 as usize, at.stripe), (order[3], written.stripe.id));
    assert!(written.shards[usize::from(at.index)].answers.is_empty(), "it is for the gap");
}

#[tokio::test(start_paused = true)]
async fn fewer_than_the_least_are_never_acknowledged() {
    // (nodes, hanging, shards that are acknowledged)
    for (nodes, hanging, acknowledged) in
        [(6, 1, Some(5)), (6, 2, None), (7, 2, Some(5)), (8, 2, Some(6)), (8, 3, Some(5)), (8, 4, None)]
    {
        let cluster = Cluster::plain(nodes).await;
        let order = cluster.order().await;
        (0..hanging).for_each(|place| cluster.fault(order[place], Fault::Hang));
        let outcome = tokio::time::timeout(Duration::from_secs(60), cluster.write()).await;
        let found = match outcome {
            Ok(Ok(written)) => Some(holders(&written).into_iter().flatten().collect::<BTreeSet<_>>().len()),
            Ok(Err(_)) | Err(_) => None,
        };
        assert_eq!(found, acknowledged, "{hanging} of {nodes} hang");
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_refuse_are_told_with_how_many_were_needed() {
    let cluster = Cluster::plain(6).await;
    cluster.fault(0, refuse());
    cluster.fault(1, refuse());
    let error = cluster.write().await.unwrap_err();
    assert!(matches!(error, WriteError::QuorumShort { answered: 4, quorum: 5, .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_node_known_to_be_down_is_not_asked_while_others_do() {
    let cluster = Cluster::plain(7).await;
    let order = cluster.order().await;
    cluster.health(order[0], Health::Down);
    let begun = Instant::now();
    let written = cluster.write().await.unwrap();
    let holders: BTreeSet<_> = holders(&written).into_iter().flatten().collect();
    assert!(holders.len() == 6 && !holders.contains(&order[0]), "{holders:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// Once, where all nodes seemed slow (which is what an overloaded gateway sees), every stripe was at once written to all the others as well.
#[tokio::test(start_paused = true)]
async fn when_all_nodes_seem_slow_no_stripe_is_written_twice() {
    let cluster = Cluster::plain(12).await;
    let mut at = located(&cluster.write().await.unwrap());
    (0..12).for_each(|node| cluster.fault(node, Fault::Slow(Duration::from_millis(60))));
    let holders: Vec<_> = at.shards.iter().flat_map(|shard| shard.nodes.clone()).collect();
    cluster.read(&at, &whole()).await.0.unwrap();
    let mut others = (0..12).map(NodeId).filter(|node| !holders.contains(node));
    at.shards.iter_mut().for_each(|shard| shard.nodes = others.by_ref().take(1).collect());
    cluster.read(&at, &whole()).await.0.unwrap_err();
    assert_eq!(cluster.nodes.doubtful().len(), 12, "all seem slow");

    let stripe = cluster.nodes.cut_stripe(scheme(), vec![7; LENGTH], SHARD).await.unwrap();
    let request = StripeWrite { stripe, class: ClassId(0), hold: Arc::new(()) };
    cluster.nodes.write_stripe(request, &cluster.late).await.unwrap();
    // Those that are asked last have all answered by then.
    tokio::time::sleep(Duration::from_millis(900)).await; // waits: the clock is paused
    assert_eq!(cluster.copies().await, 6 + 6);
}

/// Once, a node with two shards of a stripe that answered for one and then hung was not waited for any more, and never given up either.
#[tokio::test(start_paused = true)]
async fn a_node_with_two_shards_that_answers_for_one_does_not_stop_a_read() {
    let cluster = Cluster::plain(6).await;
    let mut at = located(&cluster.write().await.unwrap());
    let (first, second) = (at.shards[0].nodes[0], at.shards[1].nodes[0]);
    let bytes = cluster.stores[second.0 as usize].get(at.shards[1].id, None).await.unwrap();
    cluster.stores[first.0 as usize].put(at.shards[1].id, at.shards[1].crc, bytes).await.unwrap();
    at.shards[1].nodes = vec![first];
    cluster.fault(first.0 as usize, Fault::HangOn(at.shards[1].id));
    let begun = Instant::now();
    let read = cluster.read(&at, &whole()).await.0.unwrap();
    assert_eq!((read.rebuilt, joined(read)), (1, payload()));
    assert!(begun.elapsed() <= Duration::from_millis(50), "{:?}", begun.elapsed());
}
