//! The seam to administration: what an operator asks of the cluster.

use async_trait::async_trait;
use domain::policy::BucketPolicy;
use domain::record::{NodeState, ObjectName};
use domain::registry::NodeLabels;
use domain::view::Health;
use domain::{BucketName, NodeId};
use serde::{Deserialize, Serialize};

use crate::insight::{Heartbeat, ObjectRecord, RoleInfo};
use crate::keys::{Rotation, UrlKeyInfo};
use crate::meta_admin::MetaAdmin;

/// A node, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its number.
    pub id: NodeId,
    /// The name it is placed by.
    pub name: String,
    /// Where it is reached.
    pub addr: String,
    /// Whether it takes chunks.
    pub state: NodeState,
    /// How its probes go.
    pub health: Health,
    /// What the last failed probe said, or why its directory is not believed.
    pub problem: Option<String>,
    /// Storage class, by name; empty is the default class.
    pub class: String,
    /// Failure domain; empty means its own.
    pub domain: String,
    /// Share of the load, relative to other nodes' weights.
    pub weight: u32,
    /// The incarnation of its directory whose answers count.
    pub incarnation: Option<String>,
    /// Whether its directory is not the one that was stamped for it: `kvfs node replace` takes it in anew.
    pub lost: bool,
    /// Chunks it says it holds.
    pub chunks: Option<u64>,
    /// Free bytes on its disk.
    pub free_bytes: Option<u64>,
    /// All bytes of its disk.
    pub total_bytes: Option<u64>,
}

/// The cluster on one screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster's id, as 32 hex digits.
    pub cluster_id: String,
    /// The layout's number.
    pub epoch: u64,
    /// Its nodes.
    pub nodes: Vec<NodeInfo>,
    /// Chunks with fewer good copies than wanted.
    pub degraded: u64,
    /// Chunks with copies where placement does not want them.
    pub misplaced: u64,
    /// Chunks without references, waiting to be deleted.
    pub garbage: u64,
    /// Bodies without objects, waiting to be emptied.
    pub trash: u64,
    /// Why no chunk is deleted at present, if so.
    pub hold_deletes: Option<String>,
    /// What garbage collection last did.
    pub gc: GcReport,
    /// The consensus group.
    pub consensus: ConsensusInfo,
}

/// The state of the replicated log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsensusInfo {
    /// Raft term.
    pub term: u64,
    /// Last entry of the log.
    pub last_log: u64,
    /// Last entry applied.
    pub applied: u64,
    /// Last entry in a durable checkpoint of the tables.
    pub checkpointed: u64,
    /// Last entry that is no longer kept in the log; 0 if all are. Who lacks more than what is kept is sent a snapshot.
    #[serde(default)]
    pub purged: u64,
}

/// A coordinator, as its group sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordInfo {
    /// Its number in the group; nobody else ever had it.
    pub node: u64,
    /// Where it is reached.
    pub addr: String,
    /// Whether it votes; a learner does not, until it is promoted.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// Log entries that it lacks, as far as the leader knows; `None` where that is not known.
    pub lag: Option<u64>,
}

/// A change of the coordinators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum CoordChange {
    /// Takes a pristine coordinator in, as a learner.
    Add {
        /// Where it is reached.
        addr: String,
    },
    /// Gives a learner that has caught up its vote.
    Promote {
        /// Its number.
        node: u64,
    },
    /// Removes a coordinator.
    Remove {
        /// Its number.
        node: u64,
    },
    /// Gives the vote of one to a learner that has caught up, and removes the one.
    Replace {
        /// Whose vote.
        old: u64,
        /// The learner.
        new: u64,
    },
}

/// What garbage collection did since the coordinator started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Passes done.
    pub passes: u64,
    /// Bodies emptied.
    pub bodies: u64,
    /// Chunk records removed.
    pub records: u64,
    /// Copies deleted on nodes.
    pub copies: u64,
    /// Copies that somebody touched in time, and so stayed.
    pub spared: u64,
    /// What the last pass waited for or failed at.
    pub note: Option<String>,
}

/// Row counts, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaInfo {
    /// Buckets.
    pub buckets: u64,
    /// Objects.
    pub objects: u64,
    /// Chunk records.
    pub chunks: u64,
    /// Stripe records.
    #[serde(default)]
    pub stripes: u64,
    /// Places of shards of stripes, those that are on no node yet included.
    #[serde(default)]
    pub shards: u64,
    /// Registered nodes.
    pub nodes: u64,
    /// Live URL keys.
    pub url_keys: u64,
    /// Leases.
    pub leases: u64,
    /// Bytes of the tables' file.
    pub file_bytes: u64,
    /// Bytes of all objects.
    #[serde(default)]
    pub logical_bytes: u64,
    /// Bytes of all chunks, each counted once however many objects share it.
    #[serde(default)]
    pub unique_bytes: u64,
    /// Bytes of all copies on nodes.
    #[serde(default)]
    pub stored_bytes: u64,
}

/// Why an operator's wish was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AdminError {
    /// The wish itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// What it names is not there.
    #[error("{0}")]
    NotFound(String),
    /// It would break a promise.
    #[error("{0}")]
    Conflict(String),
    /// The caller may not.
    #[error("{0}")]
    Refused(String),
    /// Nothing was done; try again.
    #[error("{0}")]
    Unavailable(String),
}

/// Administration of a cluster.
#[async_trait]
pub trait Admin: MetaAdmin {
    /// The cluster on one screen.
    async fn status(&self) -> Result<ClusterStatus, AdminError>;
    /// Row counts.
    async fn meta_info(&self) -> Result<MetaInfo, AdminError>;
    /// Registers a data node by its address; fine if it is registered already.
    async fn add_node(&self, addr: &str) -> Result<NodeInfo, AdminError>;
    /// The coordinators.
    async fn coordinators(&self) -> Result<Vec<CoordInfo>, AdminError>;
    /// Changes them; who they are afterwards.
    async fn change_coordinators(&self, change: &CoordChange) -> Result<Vec<CoordInfo>, AdminError>;
    /// Removes a node that no record names any more, if enough remain.
    async fn remove_node(&self, addr: &str) -> Result<(), AdminError>;
    /// Takes in a node whose directory is not the one that was stamped for it: whatever it held before counts as missing.
    async fn replace_node(&self, addr: &str) -> Result<NodeInfo, AdminError>;
    /// Changes a node's class, failure domain or weight.
    async fn label_node(&self, addr: &str, labels: &NodeLabels) -> Result<NodeInfo, AdminError>;
    /// Notes that a node is reached at another address; its name, and so its chunks, stay.
    async fn move_node(&self, addr: &str, to: &str) -> Result<NodeInfo, AdminError>;
    /// How the probes of all nodes go.
    async fn heartbeat(&self) -> Result<Heartbeat, AdminError>;
    /// What the process that answers is to its cluster.
    async fn role(&self) -> Result<RoleInfo, AdminError>;
    /// One object's record; the error if there is none.
    async fn inspect(&self, name: &ObjectName) -> Result<ObjectRecord, AdminError>;
    /// What a bucket says of its objects; the error if there is no such bucket.
    async fn bucket_policy(&self, bucket: &BucketName) -> Result<BucketPolicy, AdminError>;
    /// Sets it; one that says nothing takes it away. Gateways know of it within a second.
    async fn set_bucket_policy(&self, bucket: &BucketName, policy: &BucketPolicy) -> Result<(), AdminError>;
    /// The URL keys, by name, without their secrets.
    async fn list_url_keys(&self) -> Result<Vec<UrlKeyInfo>, AdminError>;
    /// Adds a URL key, or gives a known one another secret; the primary unless it says otherwise. Gives the keys there are then.
    async fn rotate_url_key(&self, wish: &Rotation) -> Result<Vec<UrlKeyInfo>, AdminError>;
    /// Removes a URL key that is neither the primary nor the last. Gives the keys there are then.
    async fn remove_url_key(&self, kid: &str) -> Result<Vec<UrlKeyInfo>, AdminError>;
}
