//! The nodes of the view, each with a way to reach it and what was learned of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::ChunkStore;
use api::metadata::{MAX_SEEN, REPORT_EVERY, Seen};
use domain::NodeId;
use domain::view::{ClusterView, Health, NodeView};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::experience::Experience;
use crate::hedges::Hedges;
use crate::stripe::Codecs;

/// Makes the way to a node: a client for its address, or the node itself if it lives in this process.
pub trait Connect: Send + Sync + 'static {
    /// A store that speaks to `node`. Called once for each node, address and generation; must not block.
    fn connect(&self, node: &NodeView) -> Arc<dyn ChunkStore>;
}

/// How often a slow node is asked whether it is well again.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// All nodes, as this process knows them. Cheap to clone.
#[derive(Clone)]
pub struct Nodes {
    view: watch::Receiver<Arc<ClusterView>>,
    known: Arc<Mutex<BTreeMap<NodeId, Arc<Peer>>>>,
    connect: Arc<dyn Connect>,
    pub(crate) hedges: Arc<Hedges>,
    pub(crate) codecs: Codecs,
}

/// One node: how to reach it, and how it went so far.
pub(crate) struct Peer {
    pub addr: String,
    generation: u64,
    pub store: Arc<dyn ChunkStore>,
    pub experience: Experience,
}

impl Nodes {
    /// Nodes as `view` shows them, reached as `connect` says.
    pub fn new(view: watch::Receiver<Arc<ClusterView>>, connect: Arc<dyn Connect>) -> Self {
        Self { view, known: Arc::default(), connect, hedges: Arc::default(), codecs: Codecs::default() }
    }

    /// The present view.
    pub fn view(&self) -> Arc<ClusterView> {
        self.view.borrow().clone()
    }

    /// The store of one node, if the view has it.
    pub fn store(&self, id: NodeId) -> Option<Arc<dyn ChunkStore>> {
        let view = self.view();
        view.node(id).map(|node| self.peer(node).store.clone())
    }

    /// How those nodes look from here that somebody has doubts about: the view, or this process itself.
    pub fn doubtful(&self) -> Vec<(NodeId, Seen)> {
        let (view, known) = (self.view(), self.known.lock());
        let look = |node: &NodeView| {
            let seen = known.get(&node.id)?.experience.seen(REPORT_EVERY * 2)?;
            (node.health != Health::Up || seen == Seen::Silent).then_some((node.id, seen))
        };
        view.nodes.iter().filter_map(look).take(MAX_SEEN).collect()
    }

    /// How many nodes were silent for too long and have not answered since.
    pub fn silent(&self) -> usize {
        self.known.lock().values().filter(|peer| peer.experience.is_slow()).count()
    }

    pub(crate) fn peer(&self, node: &NodeView) -> Arc<Peer> {
        let mut known = self.known.lock();
        match known.get(&node.id) {
            Some(peer) if (&peer.addr, peer.generation) == (&node.addr, node.generation) => peer.clone(),
            _ => {
                let peer = Arc::new(Peer {
                    addr: node.addr.clone(),
                    generation: node.generation,
                    store: self.connect.connect(node),
                    experience: Experience::default(),
                });
                known.insert(node.id, peer.clone());
                peer
            }
        }
    }

    /// Notes that a node was silent for too long, and asks it from time to time until it answers.
    pub(crate) fn suspect(&self, peer: &Arc<Peer>) {
        if !peer.experience.mark_slow() {
            return;
        }
        tracing::warn!(node = %peer.addr, "node does not answer; others are asked first until it does");
        let peer = Arc::downgrade(peer);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PROBE_EVERY).await;
                let Some(peer) = peer.upgrade() else { return };
                if matches!(tokio::time::timeout(PROBE_EVERY, peer.store.status()).await, Ok(Ok(_))) {
                    peer.experience.mark_well();
                    tracing::info!(node = %peer.addr, "node answers again");
                    return;
                }
            }
        });
    }
}

/// How much a node is to be avoided: our own experience first, the view breaks ties.
pub(crate) fn doubt(peer: &Peer, node: &NodeView) -> u8 {
    let view = match node.health {
        Health::Up => 0,
        Health::Suspect => 1,
        Health::Down => 2,
    };
    u8::from(peer.experience.is_slow()) * 4 + view
}
