//! The cluster view: all that placing and finding chunks needs, as one value that edges watch.

use serde::{Deserialize, Serialize};

use crate::placement::topology::{self, Ranked, Site, Wish};
use crate::policy::BucketPolicy;
use crate::record::{NodeRow, NodeState};
use crate::{BucketName, ChunkId, ClassId, Incarnation, NodeId, StripeId};

/// How a node looks to the coordinator's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Answers as the node it should be.
    Up,
    /// Missed two probes.
    Suspect,
    /// Has not answered for five seconds, or answered as another node.
    Down,
}

/// One node, as an edge needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its number.
    pub id: NodeId,
    /// The name it is placed by.
    pub name: String,
    /// Where it is reached.
    pub addr: String,
    /// The formatting that answers count for; `None` until it was stamped.
    pub incarnation: Option<Incarnation>,
    /// Whether it takes new chunks.
    pub state: NodeState,
    /// How its probes go.
    pub health: Health,
    /// The metadata generation in whose name it is asked: the view's own.
    pub generation: u64,
    /// Failure domain; empty means its own.
    pub domain: String,
    /// Storage class.
    pub class: ClassId,
    /// Share of the load, relative to other nodes' weights.
    pub weight: u32,
}

impl NodeView {
    /// The node `id` as its row has it, with the health that its probes came to, asked in the name of `generation`.
    pub fn of(id: NodeId, row: NodeRow, health: Health, generation: u64) -> Self {
        let NodeRow { name, addr, incarnation, state, domain, class, weight, .. } = row;
        Self { id, name, addr, incarnation, state, health, generation, domain, class, weight }
    }

    /// The node as placement sees it; `None` if it takes no new chunks.
    pub fn site(&self) -> Option<Site<'_>> {
        let Self { name, domain, class, weight, .. } = self;
        let takes = self.state == NodeState::In && self.incarnation.is_some();
        takes.then_some(Site { name, domain, class: *class, weight: *weight })
    }
}

/// The nodes of the cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// Grows with every change of anything in here; what a watcher waits to see pass.
    pub revision: u64,
    /// The layout's number.
    pub epoch: u64,
    /// The cluster's id.
    pub cluster_id: u128,
    /// The metadata's generation.
    pub generation: u64,
    /// All registered nodes, by id.
    pub nodes: Vec<NodeView>,
    /// The names of storage classes, by [`ClassId`]; the first is the default class, without a name.
    pub classes: Vec<String>,
    /// Grows with every change of a URL key or credential: who follows those asks again when it passes.
    pub keys_revision: u64,
    /// The policies of buckets that have one, by name.
    pub policies: Vec<(BucketName, BucketPolicy)>,
}

impl ClusterView {
    /// Nodes that may take `chunk`, best first: those that are *in* and stamped, as [`topology::place`] has it. With each, whether it is a last
    /// resort only.
    pub fn place(&self, chunk: &ChunkId, wish: Wish) -> Vec<(&NodeView, bool)> {
        self.place_key(&chunk.to_hex(), wish)
    }

    /// [`Self::place`] for the shards of a stripe, one on each of the first nodes.
    pub fn place_stripe(&self, stripe: &StripeId, wish: Wish) -> Vec<(&NodeView, bool)> {
        self.place_key(&stripe.to_hex(), wish)
    }

    fn place_key(&self, key: &str, wish: Wish) -> Vec<(&NodeView, bool)> {
        let (takers, sites): (Vec<_>, Vec<_>) =
            self.nodes.iter().filter_map(|node| node.site().map(|site| (node, site))).unzip();
        let place = |Ranked { site, last_resort }| (takers[site], last_resort);
        topology::place(key, wish, &sites).into_iter().map(place).collect()
    }

    /// [`Self::place`] for the default class.
    pub fn order(&self, chunk: &ChunkId) -> Vec<&NodeView> {
        self.place(chunk, Wish::default()).into_iter().map(|(node, _)| node).collect()
    }

    /// The id of a storage class, if the cluster knows one of that name.
    pub fn class(&self, name: &str) -> Option<ClassId> {
        let place = self.classes.iter().position(|class| class == name)?;
        u8::try_from(place).ok().map(ClassId)
    }

    /// What a bucket says of its objects; nothing, if it has no policy.
    pub fn policy(&self, bucket: &BucketName) -> BucketPolicy {
        let found = self.policies.binary_search_by(|(name, _)| name.as_str().cmp(bucket.as_str()));
        found.map_or_else(|_| BucketPolicy::default(), |place| self.policies[place].1)
    }

    /// The node with this number.
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stamped_nodes_that_are_in_take_chunks() {
        let node = |id: u32, state, stamped: bool| NodeView {
            id: NodeId(id),
            name: format!("dn{id}:8080"),
            addr: String::new(),
            incarnation: stamped.then_some(Incarnation(7)),
            state,
            health: Health::Down,
            generation: 1,
            domain: String::new(),
            class: ClassId::default(),
            weight: 1,
        };
        let view = ClusterView {
            nodes: vec![
                node(1, NodeState::In, true),
                node(2, NodeState::Draining, true),
                node(3, NodeState::In, false),
                node(4, NodeState::In, true),
            ],
            ..Default::default()
        };
        let order: Vec<_> = view.order(&ChunkId::of(b"hello")).iter().map(|node| node.id.0).collect();
        assert_eq!(order, [4, 1]);
    }
}
