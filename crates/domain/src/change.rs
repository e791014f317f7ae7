//! What an edge asks the metadata to change, and what it is told.
//!
//! These values are the body of a request on the wire and of a command in the log, so that nothing is translated on the
//! way. Each is sent under a lease with a request number; sent twice, it is carried out once.

use serde::{Deserialize, Serialize};

use crate::record::{ChunkRef, DegradedCause, ObjectName};
use crate::stripe::StripeRef;
use crate::{BucketName, ChunkId, ClassId, Crc32c, Incarnation, LogPosition, NodeId, Scheme, StripeId};

/// Under which lease a change is asked for, and which request of that lease it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The holder's lease.
    pub lease: LogPosition,
    /// The request's number under that lease, from 1; a retry keeps it.
    pub request: u64,
    /// The lowest number that is still without answer: replies below it may be forgotten.
    pub lowest: u64,
}

/// A chunk that an edge wrote, and the nodes that said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The chunk.
    pub chunk: ChunkRef,
    /// Every node that made it durable, with the incarnation that answered.
    pub answers: Vec<(NodeId, Incarnation)>,
    /// How many of these answers must count: W.
    pub quorum: u8,
    /// How many copies there should be: R.
    pub copies: u8,
}

/// A stripe that an edge wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenStripe {
    /// Which, and how many bytes of the body are in it.
    pub stripe: StripeRef,
    /// Length of each shard in bytes.
    pub shard_bytes: u32,
    /// The shards, data first, in order.
    pub shards: Vec<WrittenShard>,
}

/// A shard of it, and the nodes that said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenShard {
    /// The chunk that it is stored as.
    pub id: ChunkId,
    /// CRC-32C of its bytes.
    pub crc: Crc32c,
    /// Every node that made it durable, with the incarnation that answered; none if it is a gap.
    pub answers: Vec<(NodeId, Incarnation)>,
}

/// A shard by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardAt {
    /// Storage class of the stripe.
    pub class: ClassId,
    /// The stripe.
    pub stripe: StripeId,
    /// Which of its shards, from 0.
    pub index: u8,
}

/// What must be true of a key for a change to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precondition {
    /// Some version must be there and, unless the list is empty (`*`), carry one of these entity tags.
    pub if_match: Option<Vec<String>>,
    /// No version may be there (empty list, `*`), or none with one of these entity tags.
    pub if_none_match: Option<Vec<String>>,
}

impl Precondition {
    /// Whether a key with this current entity tag (`None`: no such object) satisfies it.
    pub fn holds(&self, etag: Option<&str>) -> bool {
        let hits = |tags: &[String]| etag.is_some_and(|etag| tags.is_empty() || tags.iter().any(|tag| tag == etag));
        self.if_match.as_deref().is_none_or(hits) && !self.if_none_match.as_deref().is_some_and(hits)
    }
}

/// Where a new version's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewBody {
    /// In these chunks: the whole body, at most one extent.
    Whole(Vec<Written>),
    /// In a body under construction, closed by these last chunks.
    Finish {
        /// The body.
        body: LogPosition,
        /// What follows its last extent.
        last: Vec<Written>,
    },
    /// In these stripes: the whole body, at most one extent.
    WholeStripes {
        /// K + M of all of them.
        scheme: Scheme,
        /// The stripes.
        stripes: Vec<WrittenStripe>,
    },
    /// In a body of stripes under construction, closed by these last ones.
    FinishStripes {
        /// The body.
        body: LogPosition,
        /// What follows its last extent.
        last: Vec<WrittenStripe>,
    },
}

/// A change to the metadata that an edge may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Makes a bucket; refused if it is there.
    CreateBucket {
        /// Its name.
        bucket: BucketName,
    },
    /// Removes a bucket; refused unless it is empty.
    DeleteBucket {
        /// Its name.
        bucket: BucketName,
    },
    /// Starts a body too long for one command.
    BeginBody {
        /// Storage class of its chunks.
        class: ClassId,
    },
    /// Adds the next extent to a body under construction.
    Append {
        /// The body.
        body: LogPosition,
        /// How many extents it has before this one.
        extent: u32,
        /// The extent's chunks.
        chunks: Vec<Written>,
    },
    /// Gives a body under construction up.
    Abort {
        /// The body.
        body: LogPosition,
    },
    /// Points a key at a new version, making the bucket if need be.
    PutObject {
        /// Bucket and key.
        name: ObjectName,
        /// Whether a missing bucket is made on the way, rather than refused.
        make_bucket: bool,
        /// What must be true of the key.
        when: Precondition,
        /// The bytes.
        body: NewBody,
        /// Storage class of a whole body's chunks.
        class: ClassId,
        /// Bytes in all; checked against the body.
        size: u64,
        /// Entity tag, without quotes.
        etag: String,
        /// Media type.
        content_type: String,
        /// Further headers of the writer's.
        user_metadata: Vec<(String, String)>,
    },
    /// Removes a key.
    DeleteObject {
        /// Bucket and key.
        name: ObjectName,
        /// What must be true of the key.
        when: Precondition,
    },
    /// Adds answers that came after their commit.
    Confirm {
        /// Storage class, chunk, node and the incarnation that answered.
        late: Vec<(ClassId, ChunkId, NodeId, Incarnation)>,
    },
    /// Reports a copy that a read found absent or damaged.
    Report {
        /// Storage class of the chunk.
        class: ClassId,
        /// The chunk.
        chunk: ChunkId,
        /// The node whose copy it is.
        node: NodeId,
        /// The incarnation that was asked.
        incarnation: Incarnation,
        /// What was found.
        cause: DegradedCause,
    },
    /// Starts a body of stripes too long for one command.
    BeginStripes {
        /// Storage class of its stripes.
        class: ClassId,
        /// K + M of all of them.
        scheme: Scheme,
    },
    /// Adds the next extent to a body of stripes under construction.
    AppendStripes {
        /// The body.
        body: LogPosition,
        /// How many extents it has before this one.
        extent: u32,
        /// The extent's stripes.
        stripes: Vec<WrittenStripe>,
    },
    /// Adds answers about shards that came after their commit.
    ConfirmShards {
        /// Shard, node and the incarnation that answered.
        late: Vec<(ShardAt, NodeId, Incarnation)>,
    },
    /// Reports a copy of a shard that a read found absent or damaged.
    ReportShard {
        /// The shard.
        shard: ShardAt,
        /// The node whose copy it is.
        node: NodeId,
        /// The incarnation that was asked.
        incarnation: Incarnation,
        /// What was found.
        cause: DegradedCause,
    },
}

impl Change {
    /// The object whose present version it changes.
    pub fn object(&self) -> Option<&ObjectName> {
        match self {
            Change::PutObject { name, .. } | Change::DeleteObject { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// What a change that was carried out did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done; nothing more to say.
    Done,
    /// A body was started, under this id.
    Body(LogPosition),
    /// A version was written.
    Put {
        /// Its place in the log.
        version: LogPosition,
        /// Its number among the versions of its key.
        revision: u64,
        /// Wall clock of its commit, in milliseconds.
        created_ms: u64,
    },
}

/// Why a change was not carried out. Equal on every replica; asking again gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The lease was removed: what was put under it may be gone.
    #[error("the lease is gone (not renewed in time, or closed); start the request again under a new lease")]
    LeaseGone,
    /// An answered request was asked again after its reply was forgotten.
    #[error("request {request} was answered before, and its reply has been forgotten")]
    Forgotten {
        /// Its number.
        request: u64,
    },
    /// There is no such bucket.
    #[error("bucket {bucket} not found")]
    NoSuchBucket {
        /// Its name.
        bucket: BucketName,
    },
    /// The bucket is there already.
    #[error("bucket {bucket} already exists")]
    BucketExists {
        /// Its name.
        bucket: BucketName,
    },
    /// The bucket still holds objects.
    #[error("bucket {bucket} is not empty: remove its objects first")]
    BucketNotEmpty {
        /// Its name.
        bucket: BucketName,
    },
    /// There is no such object.
    #[error("object not found")]
    NoSuchObject,
    /// The key is not in the state that the request demands.
    #[error("precondition failed: {}", current(etag.as_deref()))]
    Precondition {
        /// The entity tag found; `None` if there is no such object.
        etag: Option<String>,
    },
    /// No such body is under construction under this lease.
    #[error("upload {body} is gone")]
    BodyGone {
        /// Its id.
        body: LogPosition,
    },
    /// The extent does not follow the body's last one, or the sizes disagree.
    #[error("upload {body} has {found} where the request says {said}")]
    BodyDiffers {
        /// Its id.
        body: LogPosition,
        /// What the body has.
        found: u64,
        /// What was expected.
        said: u64,
    },
    /// Too few answers count.
    #[error("chunk {chunk}: {counted} of {quorum} answers are of registered nodes in their present incarnation")]
    QuorumShort {
        /// The chunk.
        chunk: ChunkId,
        /// Answers that count.
        counted: u8,
        /// How many must.
        quorum: u8,
    },
    /// A chunk of this id is known with another length or checksum.
    #[error("chunk {chunk} is known with another length or checksum: the bytes were damaged before they were sent")]
    ChunkDiffers {
        /// The chunk.
        chunk: ChunkId,
    },
    /// The cluster knows no storage class of this number.
    #[error("there is no storage class {}; label a node with a class to make one", class.0)]
    NoSuchClass {
        /// The number.
        class: ClassId,
    },
    /// More than one command may carry.
    #[error("{found} {what} in one request; at most {limit} are allowed")]
    TooMany {
        /// Of what.
        what: String,
        /// How many there were.
        found: u64,
        /// How many may be.
        limit: u64,
    },
    /// Too few shards of a stripe stand on nodes of their own.
    #[error(
        "stripe {stripe}: {counted} of {needed} shards that must be durable are on registered nodes in their present incarnation, one on each"
    )]
    StripeShort {
        /// The stripe.
        stripe: StripeId,
        /// Shards that count.
        counted: u16,
        /// How many must.
        needed: u16,
    },
    /// A stripe of this id is known with other lengths or checksums.
    #[error("stripe {stripe} is known with another length or checksum: the bytes were damaged before they were sent")]
    StripeDiffers {
        /// The stripe.
        stripe: StripeId,
    },
    /// A stripe that contradicts itself.
    #[error("stripe {stripe} {why}")]
    StripeMalformed {
        /// The stripe.
        stripe: StripeId,
        /// What is wrong with it.
        why: String,
    },
    /// Chunks for a body of stripes, stripes for one of chunks, or of another scheme.
    #[error("upload {body} is of another kind than what should be added to it")]
    BodyKind {
        /// Its id.
        body: LogPosition,
    },
}

fn current(etag: Option<&str>) -> String {
    etag.map_or_else(|| "there is no such object".into(), |etag| format!("the object's current entity tag is {etag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions() {
        let tags = |list: &[&str]| Some(list.iter().map(|tag| tag.to_string()).collect::<Vec<_>>());
        // (case, if_match, if_none_match, current, holds)
        let table = [
            ("none", None, None, Some("a"), true),
            ("match any, absent", tags(&[]), None, None, false),
            ("match any, present", tags(&[]), None, Some("a"), true),
            ("match one of two", tags(&["b", "a"]), None, Some("a"), true),
            ("match none of them", tags(&["b"]), None, Some("a"), false),
            ("create only, absent", None, tags(&[]), None, true),
            ("create only, present", None, tags(&[]), Some("a"), false),
            ("not this one, this one", None, tags(&["a"]), Some("a"), false),
            ("not this one, another", None, tags(&["b"]), Some("a"), true),
            ("not this one, absent", None, tags(&["b"]), None, true),
        ];
        for (case, if_match, if_none_match, current, holds) in table {
            assert_eq!(Precondition { if_match, if_none_match }.holds(current), holds, "{case}");
        }
    }
}
