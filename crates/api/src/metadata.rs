//! The seam to the metadata: what an edge asks a coordinator, in this process or behind HTTP.

use std::time::Duration;

use async_trait::async_trait;
use domain::change::{Change, Outcome, Refusal, Session};
use domain::record::{BucketRow, ChunkRef, ObjectName, ObjectRow};
use domain::stripe::LocatedStripe;
use domain::urlkey::UrlKey;
use domain::view::ClusterView;
use domain::{BucketName, ClassId, LogPosition, NodeId};
use serde::{Deserialize, Serialize};

/// A lease, just granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    pub lease: LogPosition,
    /// The log index at which it was granted: nothing that the holder begins now relies on anything older.
    pub index: u64,
}

/// The answer to a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Log index of the command.
    pub index: u64,
    /// What came of it; a refusal is final.
    pub outcome: Result<Outcome, Refusal>,
}

/// A chunk reference, and the nodes that hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The chunk.
    pub chunk: ChunkRef,
    /// Nodes whose copy can be relied on.
    pub nodes: Vec<NodeId>,
}

/// A piece of a body, and where to read it from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LocatedExtent {
    /// Chunks, each in whole copies.
    Chunks(Vec<Located>),
    /// Stripes, all of one scheme.
    Stripes(Vec<LocatedStripe>),
}

impl Default for LocatedExtent {
    /// Nothing: what an empty body begins with.
    fn default() -> Self {
        Self::Chunks(Vec::new())
    }
}

impl LocatedExtent {
    /// How many bytes of the body each chunk or stripe has, in order.
    pub fn lengths(&self) -> Vec<u32> {
        match self {
            Self::Chunks(chunks) => chunks.iter().map(|chunk| chunk.chunk.length).collect(),
            Self::Stripes(stripes) => stripes.iter().map(|stripe| stripe.stripe.length).collect(),
        }
    }

    /// How many chunks and shards it names: what it takes in memory is in proportion.
    pub fn references(&self) -> usize {
        match self {
            Self::Chunks(chunks) => chunks.len(),
            Self::Stripes(stripes) => stripes.iter().map(|stripe| stripe.shards.len()).sum(),
        }
    }
}

/// An object as a reader finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Log index of the state that was read.
    pub index: u64,
    /// The version's place in the log.
    pub version: LogPosition,
    /// The version.
    pub row: ObjectRow,
    /// How many extents its body has.
    pub extents: u32,
    /// Storage class of its chunks.
    pub class: ClassId,
    /// The first extent, located.
    pub first: LocatedExtent,
}

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuery {
    /// In which bucket.
    pub bucket: BucketName,
    /// Only keys that begin with these bytes.
    pub prefix: Vec<u8>,
    /// Only keys after this one.
    pub after: Option<Vec<u8>>,
    /// At most this many; never more than [`MAX_LIST`].
    pub limit: usize,
}

/// The most entries in one page of a list.
pub const MAX_LIST: usize = 1000;

/// A page of a list, in byte order of the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPage {
    /// Whether the bucket exists.
    pub bucket_exists: bool,
    /// Keys and their current versions.
    pub objects: Vec<(ObjectName, ObjectRow)>,
    /// Where the next page goes on, if there is more.
    pub more: bool,
}

/// Why the metadata could not be asked or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MetaError {
    /// There is no such object.
    #[error("object not found")]
    NotFound,
    /// No coordinator could be reached, or none leads. Nothing was done; try again.
    #[error("the metadata is not available: {reason}; try again")]
    Unavailable {
        /// What was tried.
        reason: String,
    },
    /// Another coordinator leads. Nothing was done; ask there.
    #[error("this coordinator does not lead; {}", leader.as_ref().map_or("no leader is known at present".into(), |leader| format!("{leader} does")))]
    NotLeader {
        /// The leader's address, if it is known.
        leader: Option<String>,
    },
    /// The change may have been carried out, or may still be. Only a read can tell.
    #[error("outcome unknown: {reason}; read the object to see")]
    OutcomeUnknown {
        /// What was lost.
        reason: String,
    },
    /// The coordinator cannot go on: its disk failed or its state is damaged.
    #[error("the metadata failed: {reason}")]
    Failed {
        /// The error.
        reason: String,
    },
    /// The coordinator's disk is nearly full: what adds rows is refused, what removes them goes on.
    #[error("the coordinator's disk is full: {reason}; delete objects or give it room")]
    Full {
        /// How full.
        reason: String,
    },
    /// The caller does not know the cluster secret.
    #[error("the coordinator refused the request: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
}

/// The metadata as edges use it. Reads are linearizable: each reflects every change acknowledged before it began.
#[async_trait]
pub trait Metadata: Send + Sync + 'static {
    /// Opens a lease.
    async fn open_lease(&self, holder: &str) -> Result<Grant, MetaError>;
    /// Keeps it, reports the holder's floor, and returns the present log index; `None` if it is gone.
    async fn renew_lease(&self, lease: LogPosition, floor: u64) -> Result<Option<u64>, MetaError>;
    /// Gives it up: what was under construction beneath it goes to the trash.
    async fn close_lease(&self, lease: LogPosition) -> Result<(), MetaError>;
    /// Changes something, at most once for each request number.
    async fn change(&self, session: Session, change: Change) -> Result<Changed, MetaError>;
    /// The current version of an object.
    async fn lookup(&self, name: &ObjectName) -> Result<Found, MetaError>;
    /// Extent `extent` of a body, located.
    async fn extent(&self, body: LogPosition, extent: u32) -> Result<LocatedExtent, MetaError>;
    /// A page of a bucket's objects.
    async fn list(&self, query: &ListQuery) -> Result<ListPage, MetaError>;
    /// At most `limit` buckets after `after`, in order.
    async fn buckets(&self, after: Option<&str>, limit: usize) -> Result<Vec<(BucketName, BucketRow)>, MetaError>;
    /// The cluster view, as soon as its revision differs from `known`, or after [`VIEW_POLL`] as it is.
    async fn view(&self, known: u64) -> Result<ClusterView, MetaError>;
    /// Tells how nodes look from here, at most [`MAX_SEEN`] of them: the leader calls a node down only if no gateway reaches it.
    async fn report_nodes(&self, lease: LogPosition, seen: &[(NodeId, Seen)]) -> Result<(), MetaError>;
    /// All URL keys, secrets included.
    async fn url_keys(&self) -> Result<Vec<UrlKey>, MetaError>;
}

/// How a node looks to a gateway that has asked it for something lately; one that has not has no opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// It has done what it was asked.
    Answers,
    /// It was silent for too long.
    Silent,
}

/// The most nodes of one report.
pub const MAX_SEEN: usize = 256;

/// How often a gateway reports what it has seen, while there is a node in doubt.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How long what was seen is good: three reports.
pub const SEEN_FOR: Duration = Duration::from_secs(3);

/// How long a watch of the view is held open.
pub const VIEW_POLL: Duration = Duration::from_secs(20);

/// The most buckets in one page.
pub const MAX_BUCKETS: usize = 1000;
