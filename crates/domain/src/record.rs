//! The rows of the metadata tables: what the cluster remembers of buckets, objects, bodies, chunks, nodes and leases.
//!
//! An object version points at a **body**; a body is a list of chunk references cut into **extents**; a chunk's nodes
//! are stored once, in its own row, however many bodies share it (so are those of a stripe's shards, see [`crate::stripe`]). So moving a replica touches one row, and
//! deleting an object touches three, whatever its size.

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::placement::topology::Site;
use crate::policy::BucketPolicy;
use crate::registry::{Loss, Sweep};
use crate::{BucketName, ChunkId, ClassId, Crc32c, Incarnation, LogPosition, NodeId, ObjectKey, Scheme};

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRow {
    /// Wall clock at its creation, in milliseconds.
    pub created_ms: u64,
    /// What its objects are kept by, if it says anything.
    pub policy: Option<BucketPolicy>,
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// Bytes in the object.
    pub size: u64,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Its media type, as the writer named it.
    pub content_type: String,
    /// Further headers of the writer's, lowercase name and value.
    pub user_metadata: Vec<(String, String)>,
    /// The body it points at.
    pub body: LogPosition,
    /// 1 for a new key, one more at each overwrite: what users see as the version.
    pub revision: u64,
    /// Wall clock at its commit, in milliseconds.
    pub created_ms: u64,
}

/// What a body's extents list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// Chunks, in whole copies.
    Chunks,
    /// Stripes, all of one scheme.
    Stripes(Scheme),
}

/// A body: what object versions point at. Immutable once complete.
///
/// Its record has two layouts: the first is of a time when all bodies were of chunks, and still says those. So equal logs make equal rows,
/// whichever build applies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRow {
    /// What its extents list.
    pub kind: BodyKind,
    /// Object versions that point here; 0 while under construction and in the trash.
    pub uses: u32,
    /// The lease it is being built under, until it is complete.
    pub builder: Option<LogPosition>,
    /// Storage class of its chunks.
    pub class: ClassId,
    /// Bytes so far, or in all once complete.
    pub size: u64,
    /// Extents so far, or in all.
    pub extents: u32,
}

/// The layout of bodies that are not of chunks.
const BODY_LAYOUT: u8 = 2;

type BodyFields = (u32, Option<LogPosition>, ClassId, u64, u32);

impl BodyRow {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let fields: BodyFields = (self.uses, self.builder, self.class, self.size, self.extents);
        match self.kind {
            BodyKind::Chunks => codec::encode(&fields),
            BodyKind::Stripes(scheme) => codec::encode_as(BODY_LAYOUT, &(fields, scheme)),
        }
    }

    /// The record in `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (fields, kind): (BodyFields, _) = match bytes.first() {
            Some(&BODY_LAYOUT) => {
                let (fields, scheme) = codec::decode_as(BODY_LAYOUT, bytes)?;
                (fields, BodyKind::Stripes(scheme))
            }
            _ => (codec::decode(bytes)?, BodyKind::Chunks),
        };
        let (uses, builder, class, size, extents) = fields;
        Ok(Self { kind, uses, builder, class, size, extents })
    }
}

/// A chunk as a body names it: enough to read it and to notice that it is not it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Content address.
    pub id: ChunkId,
    /// Length in bytes.
    pub length: u32,
    /// CRC-32C of its bytes.
    pub crc: Crc32c,
}

/// A piece of a body's reference list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Chunks in body order; at most [`MAX_EXTENT_CHUNKS`].
    pub chunks: Vec<ChunkRef>,
}

/// Chunk references in one extent: 4 GiB of fixed chunks, well under the row limit of a command.
pub const MAX_EXTENT_CHUNKS: usize = 1024;

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaState {
    /// Being copied there; not to be relied on.
    Incoming,
    /// Durable there.
    Held,
    /// To be deleted there by the protocol; not to be relied on.
    Leaving,
    /// Expected there and found absent or damaged, at this wall clock in milliseconds.
    Missing {
        /// When it was noticed.
        since_ms: u64,
    },
}

/// One node's copy of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// On which node.
    pub node: NodeId,
    /// In which formatting of its directory.
    pub incarnation: Incarnation,
    /// Whether it can be relied on.
    pub state: ReplicaState,
}

/// A chunk: how often it is referenced, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRow {
    /// Length in bytes.
    pub length: u32,
    /// CRC-32C of its bytes.
    pub crc: Crc32c,
    /// References from extents.
    pub count: u64,
    /// Where the count fell to 0, while it is 0: its key in the garbage table.
    pub zero_at: Option<LogPosition>,
    /// Copies wanted: the most that any referencing policy asks.
    pub wanted: u8,
    /// Last change of `replicas`; plans name it, and are void once it has moved on.
    pub placement: LogPosition,
    /// Its copies, at most one a node.
    pub replicas: Vec<Replica>,
}

impl ChunkRow {
    /// The nodes whose copy can be relied on.
    pub fn held(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().filter(|replica| replica.state == ReplicaState::Held).map(|replica| replica.node)
    }
}

/// A node's standing in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Takes new chunks.
    In,
    /// Gives its chunks away; still answers.
    Draining,
}

/// A data node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// The name it is placed by: its first address, for ever.
    pub name: String,
    /// Where it is reached now.
    pub addr: String,
    /// The formatting whose answers count: what was stamped for it; none before that, and none once it is lost.
    pub incarnation: Option<Incarnation>,
    /// The highest boot counter that its directory was known to hold.
    pub boot: u64,
    /// The last witness that its directory was known to hold.
    pub witness: u64,
    /// That its directory is not the one that was stamped, until the node is replaced.
    pub lost: Option<Loss>,
    /// While copies of earlier incarnations are being counted as missing: how far that is.
    pub sweep: Option<Sweep>,
    /// Whether it takes chunks.
    pub state: NodeState,
    /// Failure domain; empty means its own.
    pub domain: String,
    /// Storage class.
    pub class: ClassId,
    /// Share of the load, relative to other nodes' weights.
    pub weight: u32,
    /// When it was registered.
    pub added: LogPosition,
}

impl NodeRow {
    /// The node as placement sees it; `None` if it takes no new chunks.
    pub fn site(&self) -> Option<Site<'_>> {
        let Self { name, domain, class, weight, .. } = self;
        let takes = self.state == NodeState::In && self.incarnation.is_some();
        takes.then_some(Site { name, domain, class: *class, weight: *weight })
    }
}

/// A lease: a process's right to commit and to rely on what it read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// Who holds it: a name for people.
    pub holder: String,
    /// Log index that the holder knew when the oldest thing it still relies on began.
    pub floor: u64,
    /// Cluster ticks (milliseconds) at its last renewal.
    pub renewed_ticks: u64,
    /// Requests below this number were answered, and their replies forgotten.
    pub lowest: u64,
}

/// The one row about the cluster itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// Drawn when the cluster was founded.
    pub cluster_id: u128,
    /// Raised by every restore from a backup.
    pub generation: u64,
    /// Raised whenever the answer to "where should a chunk be" may change.
    pub epoch: u64,
    /// The number the next node gets.
    pub next_node: u32,
    /// Why no chunk may be deleted, while that is so.
    pub hold_deletes: Option<String>,
    /// Milliseconds of leadership so far, summed over all leaders: the clock of time-outs.
    pub ticks_ms: u64,
    /// The names of storage classes, by [`ClassId`]; the first is the default class, without a name.
    pub classes: Vec<String>,
    /// The most nodes that any write has asked for, a copy or a shard on each: fewer than that must never remain.
    pub most_copies: u8,
    /// Raised by every change of a key: what whoever follows the keys waits to see pass.
    pub keys_revision: u64,
}

/// What the store holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsRow {
    /// The sizes of all objects.
    pub logical_bytes: u64,
    /// The sizes of all chunks that have a record, each once.
    pub unique_bytes: u64,
    /// The sizes of all copies that records name.
    pub stored_bytes: u64,
}

/// Why a chunk has fewer good copies than wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegradedRow {
    /// Wall clock when it was noticed, in milliseconds.
    pub since_ms: u64,
    /// What was noticed.
    pub cause: DegradedCause,
}

/// What made a chunk degraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DegradedCause {
    /// Fewer nodes than wanted answered its put in time.
    ShortWrite,
    /// A copy was found absent.
    Absent,
    /// A copy was found damaged.
    Damaged,
    /// The directory that held a copy is not there any more.
    Lost,
}

/// An object by its full name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_chunks_is_written_as_it_always_was() {
        let row = BodyRow {
            kind: BodyKind::Chunks,
            uses: 1,
            builder: Some(LogPosition(300)),
            class: ClassId(2),
            size: 5,
            extents: 7,
        };
        assert_eq!(row.encode(), [1, 1, 1, 0xac, 2, 2, 5, 7]);
        assert_eq!(BodyRow::decode(&row.encode()), Ok(row.clone()));
        let stripes = BodyRow { kind: BodyKind::Stripes("4+2".parse().unwrap()), ..row };
        assert_eq!(stripes.encode(), [2, 1, 1, 0xac, 2, 2, 5, 7, 4, 2]);
        assert_eq!(BodyRow::decode(&stripes.encode()), Ok(stripes));
        assert!(BodyRow::decode(&[2, 1, 1, 0xac, 2, 2, 5, 7, 0, 2]).is_err(), "0+2 is no scheme");
        assert!(matches!(BodyRow::decode(&[3, 0]), Err(CodecError::Version { found: 3, .. })));
        assert!(BodyRow::decode(&[]).is_err());
    }
}
