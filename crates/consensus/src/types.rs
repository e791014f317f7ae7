//! The types that openraft is instantiated with. They stay inside this crate.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::snapshot::Ready;

openraft::declare_raft_types!(
    /// Terms have at most one leader, as in the paper, so a log id is a term and an index.
    pub(crate) TypeConfig:
        D = Commands,
        R = Replies,
        NodeId = u64,
        Node = openraft::BasicNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = openraft::impls::TokioRuntime,
);

pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Node = openraft::BasicNode;
pub(crate) type Membership = openraft::Membership<u64, Node>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Recipe>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::Machine>;

/// The payload of an entry: an encoded `meta::Batch`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commands(pub(crate) Bytes);

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of commands", self.0.len())
    }
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the commands of an entry came to, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replies(pub(crate) Vec<meta::Reply>);

/// A snapshot is a recipe, not bytes: whoever builds one copies nothing, and whoever sends one reads the rows from a read transaction.
#[derive(Clone)]
pub(crate) enum Recipe {
    /// "A durable checkpoint exists that reaches to this log id."
    Checkpoint,
    /// Tables that another member sent, whole and durable beside ours; taken by whoever installs them.
    Received(Arc<Mutex<Option<Ready>>>),
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "a checkpoint",
            Self::Received(_) => "received tables",
        })
    }
}
