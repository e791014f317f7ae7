//! The seam to chunks at rest: a data node in this process, one behind HTTP, memory, or a double that fails on purpose.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::registry::Stamp;
use domain::{ChunkId, Crc32c, Incarnation, NodeId, Token};
use serde::{Deserialize, Serialize};

/// What a node answers when it has made a chunk durable, or says that it holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The formatting of the directory that holds it: part of the answer, so that a wiped disk cannot vouch.
    pub incarnation: Incarnation,
    /// The chunk's token, drawn for this answer.
    pub token: Token,
    /// Whether good bytes were there already.
    pub present: bool,
}

/// A chunk as a node knows it without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which chunk.
    pub id: ChunkId,
    /// Its length on disk, in bytes.
    pub length: u64,
    /// Its present token.
    pub token: Token,
}

/// Digest and count of each of the 256 inventory buckets, and the root over them (see `domain::merkle`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerkleSummary {
    /// Digest over the buckets.
    pub root: [u8; 32],
    /// Chunks in all.
    pub total: u64,
    /// Digest and count of each bucket, by first id byte.
    pub buckets: Vec<([u8; 32], u64)>,
}

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// The cluster that stamped its directory.
    pub cluster_id: u128,
    /// The metadata generation it obeys.
    pub generation: u64,
    /// Its number in the registry.
    pub node: NodeId,
    /// The formatting of its directory.
    pub incarnation: Incarnation,
    /// How often the directory has been opened.
    pub boot: u64,
    /// The last witness that was stored in it; 0 before the first.
    pub witness: u64,
}

impl NodeIdentity {
    /// What the registry compares it with its row by.
    pub fn stamp(&self) -> Stamp {
        let Self { cluster_id, node, incarnation, boot, witness, .. } = *self;
        Stamp { cluster_id, node, incarnation, boot, witness }
    }
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Who it is; `None` while its directory is unformatted.
    pub identity: Option<NodeIdentity>,
    /// Free bytes on its file system.
    pub free_bytes: u64,
    /// All bytes of its file system.
    pub total_bytes: u64,
    /// Free bytes below which it takes no more puts.
    pub reserve_bytes: u64,
    /// Chunks it holds.
    pub chunks: u64,
    /// Why it takes no puts any more, if a sync of its disk failed.
    pub poisoned: Option<String>,
}

/// Why a chunk could not be read, written or deleted, split by what the caller should do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ChunkError {
    /// The node answered and does not hold it. Try another replica.
    #[error("the node does not hold chunk {id}")]
    Missing {
        /// The chunk.
        id: ChunkId,
    },
    /// The stored bytes are not what the id names. Try another replica, and queue a repair.
    #[error("the node's copy of chunk {id} is damaged")]
    Damaged {
        /// The chunk.
        id: ChunkId,
    },
    /// The bytes sent are not what the checksum or the id says. They were damaged on the way, or the caller is wrong.
    #[error("the bytes sent for chunk {id} do not match its {what}")]
    Mismatch {
        /// The chunk.
        id: ChunkId,
        /// Checksum, id or length.
        what: String,
    },
    /// Somebody put or touched the chunk since the token was drawn: it stays.
    #[error("chunk {id} was put or touched since token {named} was drawn; its token is {present} now")]
    Touched {
        /// The chunk.
        id: ChunkId,
        /// The token in the request.
        named: Token,
        /// The token it has.
        present: Token,
    },
    /// No room above the reserve. Deletes still work.
    #[error(
        "the node's disk is full: {free_bytes} bytes free, {reserve_bytes} are kept in reserve; delete objects or add nodes"
    )]
    Full {
        /// Bytes free.
        free_bytes: u64,
        /// Bytes it must keep free.
        reserve_bytes: u64,
    },
    /// Too many bytes are on their way to its disk. Wait and try again.
    #[error("the node has too much to write already; try again in a second")]
    Busy,
    /// The directory is unformatted, or of another cluster or node.
    #[error("not this node: {reason}")]
    NotThisNode {
        /// What was found and expected.
        reason: String,
    },
    /// A sync failed: the node serves verified reads only until it is replaced.
    #[error("the node's store is poisoned: {reason}; it serves reads only until somebody has looked at its disk")]
    Poisoned {
        /// The first error.
        reason: String,
    },
    /// The disk said no.
    #[error("the node's disk failed: {reason}")]
    Disk {
        /// The error.
        reason: String,
    },
    /// No answer. A put may have happened or not; putting again is safe.
    #[error("no answer from the node: {reason}")]
    Unreachable {
        /// What was tried and for how long.
        reason: String,
    },
    /// The node or this caller does not know the cluster secret.
    #[error("the node refused the request: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The caller goes by metadata that were replaced: they were restored from a backup since. It may write and delete nothing; a gateway
    /// learns of the new ones by itself, and a coordinator that says so for long is one of before the restore: stop it.
    #[error(
        "asked in the name of metadata generation {named}, and the node obeys generation {obeyed}: they were restored since"
    )]
    Superseded {
        /// The caller's generation.
        named: u64,
        /// The node's.
        obeyed: u64,
    },
}

/// Where chunks rest. One node, one directory.
///
/// `Ok` from [`put`](Self::put) and [`touch`](Self::touch) means *durable*: bytes and name are past the disk's sync, whoever wrote
/// them. Nothing but [`delete`](Self::delete) with the present token removes a chunk.
#[async_trait]
pub trait ChunkStore: Send + Sync + 'static {
    /// Stores `bytes`, whose CRC-32C is `crc`, under `id`. Idempotent; heals a damaged copy.
    async fn put(&self, id: ChunkId, crc: Crc32c, bytes: Bytes) -> Result<Stored, ChunkError>;
    /// Draws a new token for a chunk that is there: whoever planned to delete it must plan anew.
    async fn touch(&self, id: ChunkId) -> Result<Stored, ChunkError>;
    /// The bytes as they are on the disk; checked against `crc` where the caller gives one, else against the id.
    async fn get(&self, id: ChunkId, crc: Option<Crc32c>) -> Result<Bytes, ChunkError>;
    /// A part of the chunk, after the whole of it was checked against `crc`, with the part's own CRC-32C.
    async fn get_range(&self, id: ChunkId, crc: Crc32c, range: Range<u32>) -> Result<(Bytes, Crc32c), ChunkError>;
    /// Length and token of those of `ids` that are there (at most 4,096 are asked), without reading them.
    async fn stat(&self, ids: &[ChunkId]) -> Result<Vec<Held>, ChunkError>;
    /// Removes the chunk if `token` is still its token; [`ChunkError::Touched`] if not.
    async fn delete(&self, id: ChunkId, token: Token) -> Result<(), ChunkError>;
    /// At most `limit` ids after `after`, in order, from memory.
    async fn inventory(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError>;
    /// The inventory's Merkle tree, from memory.
    async fn merkle(&self) -> Result<MerkleSummary, ChunkError>;
    /// The ids of one bucket, in order, from memory.
    async fn merkle_bucket(&self, bucket: u8) -> Result<Vec<ChunkId>, ChunkError>;
    /// Names and lengths in one bucket as the *disk* has them, in order.
    async fn deep_scan(&self, bucket: u8) -> Result<Vec<Held>, ChunkError>;
    /// Reads the chunk and compares it with its id.
    async fn verify(&self, id: ChunkId) -> Result<(), ChunkError>;
    /// Who and how the node is.
    async fn status(&self) -> Result<NodeStatus, ChunkError>;
    /// Stamps an empty directory as `node` of this cluster; repeating it gives the same identity.
    ///
    /// With a higher generation than before, the node obeys that one from now on: when this returns, no put, touch or delete in the name of
    /// a lower one is under way any more, and none will be taken. With a lower one it errs.
    async fn format(&self, cluster_id: u128, generation: u64, node: NodeId) -> Result<NodeIdentity, ChunkError>;
    /// Stores a witness in the stamp, durable on Ok, if it is larger than the one there; see `domain::registry`.
    async fn witness(&self, witness: u64) -> Result<NodeIdentity, ChunkError>;
    /// Gives a directory of this cluster a new incarnation, if it is incarnation `was` still: its chunks stay, and nobody relies on them.
    /// Its boot counter becomes larger than `boot`, so that no token of an earlier life comes back.
    async fn restamp(&self, stamp: Restamp) -> Result<NodeIdentity, ChunkError>;
}

/// How a directory is taken in anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restamp {
    /// The cluster that it must belong to already.
    pub cluster_id: u128,
    /// The metadata generation it is to obey.
    pub generation: u64,
    /// Which node it is to be.
    pub node: NodeId,
    /// The incarnation that ends.
    pub was: Incarnation,
    /// What the registry remembers of its boot counter.
    pub boot: u64,
}

/// A chunk operation is given up after this long without progress.
pub const CHUNK_TIMEOUT: Duration = Duration::from_secs(2);
