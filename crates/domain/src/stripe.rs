//! Stripes: a run of bytes kept as K data shards and M parity shards, any K of which are enough.
//!
//! A **shard** is stored on a node as a chunk, under the SHA-256 of its bytes; a **stripe** is the list of its K + M shards, in order. Its id is
//! the SHA-256 over K, M and the ids of all shards ([`StripeId::of`]): whoever has the shards' names can compute it without the bytes, and equal
//! ids mean equal shards. The id is what placement orders nodes by.
//!
//! **Lengths.** A full stripe has a set payload, 8 MiB by default; a shard is a K-th of that, rounded up to 64 KiB. The last stripe of a body is
//! cut to what is left: its shards are a K-th of the rest, rounded up to 64 bytes, so that 100 KB at 4+2 take 150 KB and not 12 MiB. The rest of
//! the last data shard is zeros; how many bytes of a stripe belong to a body is written where the body refers to it ([`StripeRef`]), because two
//! bodies that differ in zeros at their end have the same stripe.
//!
//! **How many must answer.** A stripe is written when K + ⌈M/2⌉ of its shards are durable on as many nodes ([`Scheme::min_ack`]): then ⌈M/2⌉
//! nodes may be lost before the gap is repaired, and M after. It is never K alone: the first loss would take the bytes along.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::hex;
use crate::record::{Replica, ReplicaState};
use crate::{ChunkId, Crc32c, LogPosition, NodeId};

/// Bytes of a body in a full stripe, if nothing else is set: 8 MiB.
pub const DEFAULT_PAYLOAD_BYTES: u32 = 8 << 20;

/// A body of at most so many bytes is stored in whole copies: shards of it would be smaller than what it costs to name them.
pub const SMALL_BODY_BYTES: u64 = 64 << 10;

/// The most shards of a stripe.
pub const MAX_SHARDS: u16 = 255;

/// Shards of full stripes are multiples of this: pages of a disk, and whole blocks of the vector kernels.
const FULL_GRAIN: u64 = 64 << 10;

/// Shards of last stripes are multiples of this: one register of the widest kernel.
const SHORT_GRAIN: u64 = 64;

/// K + M: how many data shards a stripe has, and how many of all may be lost. Both are at least 1, and at most 255 together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)", into = "(u8, u8)")]
pub struct Scheme {
    k: u8,
    m: u8,
}

/// What is no [`Scheme`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// Not two numbers with a plus between.
    #[error(
        "{found:?} is not of the form K+M; expected two whole numbers, as in 4+2: data shards, and shards that may be lost"
    )]
    Malformed {
        /// The text, cut to a length fit for a message.
        found: String,
    },
    /// Two numbers that make no code.
    #[error("{k}+{m} is no code: both numbers are at least 1, and at most {MAX_SHARDS} together")]
    OutOfRange {
        /// Data shards asked for.
        k: u64,
        /// Parity shards asked for.
        m: u64,
    },
}

impl Scheme {
    /// `k` data shards and `m` that may be lost.
    pub fn new(k: u64, m: u64) -> Result<Self, SchemeError> {
        let (found, limit) = (SchemeError::OutOfRange { k, m }, u64::from(MAX_SHARDS));
        match (u8::try_from(k), u8::try_from(m)) {
            (Ok(k @ 1..), Ok(m @ 1..)) if u64::from(k) + u64::from(m) <= limit => Ok(Self { k, m }),
            _ => Err(found),
        }
    }

    /// K: data shards, and how many of all are enough.
    pub fn data(self) -> usize {
        self.k.into()
    }

    /// M: parity shards, and how many of all may be lost.
    pub fn parity(self) -> usize {
        self.m.into()
    }

    /// K + M.
    pub fn shards(self) -> usize {
        self.data() + self.parity()
    }

    /// How many shards must be durable, each on a node of its own, before a stripe counts as written: K + ⌈M/2⌉, which is at least K + 1.
    pub fn min_ack(self) -> usize {
        self.data() + self.parity().div_ceil(2)
    }

    /// Whole copies of a body too small for shards: M + 1, so that as many losses are survived.
    pub fn small_copies(self) -> u8 {
        self.m.saturating_add(1)
    }

    /// How many of [`small_copies`](Self::small_copies) must be durable: 1 + ⌈M/2⌉, so that as many losses are survived at once.
    pub fn small_quorum(self) -> u8 {
        self.m.div_ceil(2).saturating_add(1)
    }

    /// Length of each shard of a full stripe, in bytes, if its payload should be about `payload` bytes.
    pub fn full_shard(self, payload: u32) -> u64 {
        (u64::from(payload.max(1)).div_ceil(self.k.into())).next_multiple_of(FULL_GRAIN)
    }

    /// Length of each shard of a last stripe that holds `rest` bytes, where those of full stripes have `full`.
    pub fn last_shard(self, rest: u64, full: u64) -> u64 {
        rest.max(1).div_ceil(self.k.into()).next_multiple_of(SHORT_GRAIN).min(full)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.k, self.m)
    }
}

impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Scheme {
    type Err = SchemeError;

    /// Reads `K+M`; spaces around the numbers are passed over.
    fn from_str(text: &str) -> Result<Self, SchemeError> {
        let malformed = || SchemeError::Malformed { found: text.chars().take(40).collect() };
        let number = |part: &str| {
            let digits = part.trim();
            let plain = !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain).ok_or_else(malformed)
        };
        let (k, m) = text.split_once('+').ok_or_else(malformed)?;
        Self::new(number(k)?, number(m)?)
    }
}

impl TryFrom<(u8, u8)> for Scheme {
    type Error = SchemeError;

    fn try_from((k, m): (u8, u8)) -> Result<Self, SchemeError> {
        Self::new(k.into(), m.into())
    }
}

impl From<Scheme> for (u8, u8) {
    fn from(scheme: Scheme) -> Self {
        (scheme.k, scheme.m)
    }
}

/// Name of a stripe: the SHA-256 over K, M and the ids of its shards in order (32 bytes, shown as 64 lowercase hex digits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StripeId([u8; 32]);

impl StripeId {
    /// The id of the stripe of these shards, data first. Costs one pass over their ids, not over their bytes.
    pub fn of<'a>(scheme: Scheme, shards: impl IntoIterator<Item = &'a ChunkId>) -> Self {
        let mut hasher = Sha256::new_with_prefix([scheme.k, scheme.m]);
        shards.into_iter().for_each(|id| hasher.update(id.as_bytes()));
        Self(hasher.finalize().into())
    }

    /// An id read back from a record.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lowercase hex digits: what placement orders nodes by.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for StripeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for StripeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.to_hex()[..12])
    }
}

/// What a body is made of, and what is counted and placed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// A chunk, in whole copies.
    Chunk(ChunkId),
    /// A stripe.
    Stripe(StripeId),
}

/// A stripe as a body names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeRef {
    /// Which.
    pub id: StripeId,
    /// Bytes of the body in it; zeros follow them up to the end of the last data shard.
    pub length: u32,
}

/// A piece of the reference list of a body of stripes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeExtent {
    /// Stripes in body order; those of one extent touch at most [`MAX_EXTENT_ROWS`] rows.
    pub stripes: Vec<StripeRef>,
}

/// Rows that the stripes of one command may touch ([`rows_of`]), of the 4,096 that a command may: 2 GiB at 4+2.
pub const MAX_EXTENT_ROWS: usize = 3072;

/// Rows that a stripe with so many answers touches: its own, its places among garbage and in both queues, and one for each answer.
pub const fn rows_of(answers: usize) -> usize {
    4 + answers
}

/// A stripe: how often it is referenced, and where its shards are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeRow {
    /// K + M.
    pub scheme: Scheme,
    /// Length of each shard in bytes.
    pub shard_bytes: u32,
    /// References from extents.
    pub count: u64,
    /// Where the count fell to 0, while it is 0: its key in the garbage table.
    pub zero_at: Option<LogPosition>,
    /// Last change of any shard's copies; plans name it, and are void once it has moved on.
    pub placement: LogPosition,
    /// The shards, data first, in order.
    pub shards: Vec<ShardRow>,
}

/// One shard of a stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRow {
    /// The chunk that it is stored as.
    pub id: ChunkId,
    /// CRC-32C of its bytes.
    pub crc: Crc32c,
    /// Its copies: one as a rule, more while it moves or where a node answered after it had been replaced.
    pub replicas: Vec<Replica>,
}

impl ShardRow {
    /// The nodes whose copy can be relied on.
    pub fn held(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().filter(|replica| replica.state == ReplicaState::Held).map(|replica| replica.node)
    }
}

impl StripeRow {
    /// Bytes of its data shards together.
    pub fn data_bytes(&self) -> u64 {
        self.scheme.data() as u64 * u64::from(self.shard_bytes)
    }

    /// How many shards can be relied on, each on a node of its own: what a loss of nodes is counted from.
    pub fn standing(&self) -> usize {
        standing(self.shards.iter().map(|shard| shard.held().collect()))
    }
}

/// How many of these shards (each: the nodes that have it) stand on a node of their own, if nodes with several are counted for those that
/// need them: a maximum matching of shards and nodes (Kuhn, 1955). Costs one step a shard where each is on one node, as they are as a rule.
pub fn standing(shards: impl IntoIterator<Item = Vec<NodeId>>) -> usize {
    let shards: Vec<_> = shards.into_iter().collect();
    let mut counted_for = BTreeMap::new();
    (0..shards.len()).filter(|shard| stands(*shard, &shards, &mut counted_for, &mut BTreeSet::new())).count()
}

/// Counts a node for `shard`: a free one, or one whose shard can stand elsewhere. Nodes `tried` were of no help.
fn stands(
    shard: usize,
    shards: &[Vec<NodeId>],
    counted_for: &mut BTreeMap<NodeId, usize>,
    tried: &mut BTreeSet<NodeId>,
) -> bool {
    shards[shard].iter().any(|node| {
        let free = tried.insert(*node)
            && counted_for.get(node).copied().is_none_or(|other| stands(other, shards, counted_for, tried));
        if free {
            counted_for.insert(*node, shard);
        }
        free
    })
}

/// A stripe and where to read it from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatedStripe {
    /// Which, and how much of it belongs to the body.
    pub stripe: StripeRef,
    /// K + M.
    pub scheme: Scheme,
    /// Length of each shard in bytes.
    pub shard_bytes: u32,
    /// The shards, data first, in order.
    pub shards: Vec<LocatedShard>,
}

/// A shard and where to read it from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatedShard {
    /// The chunk that it is stored as.
    pub id: ChunkId,
    /// CRC-32C of its bytes.
    pub crc: Crc32c,
    /// Nodes that hold it, then those whose copy was reported bad.
    pub nodes: Vec<NodeId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn schemes_in_words() {
        let ok = ["4+2", " 4 + 2 ", "1+1", "254+1", "10+4"];
        for text in ok {
            assert_eq!(text.parse::<Scheme>().map(|scheme| scheme.to_string()), Ok(text.replace(' ', "")), "{text:?}");
        }
        let bad = [
            ("", "\"\" is not of the form K+M"),
            ("4", "\"4\" is not of the form"),
            ("4+", "is not of the form"),
            ("+2", "is not of the form"),
            ("4-2", "is not of the form"),
            ("4+2+1", "is not of the form"),
            ("4+-2", "is not of the form"),
            ("++", "is not of the form"),
            ("4.0+2", "is not of the form"),
            ("99999999999999999999+1", "is not of the form"),
            ("0+2", "0+2 is no code"),
            ("4+0", "4+0 is no code"),
            ("254+2", "254+2 is no code: both numbers are at least 1, and at most 255 together"),
            ("255+1", "255+1 is no code"),
        ];
        for (text, expected) in bad {
            let found = text.parse::<Scheme>().unwrap_err().to_string();
            assert!(found.contains(expected), "{text:?}: {found}");
        }
    }

    #[test]
    fn lengths_of_shards_and_answers_needed() {
        // (scheme, full shard, min_ack, copies and quorum of what is small)
        let table = [
            ("4+2", 2 << 20, 5, (3, 2)),
            ("10+4", 13 << 16, 12, (5, 3)),
            ("1+1", 8 << 20, 2, (2, 2)),
            ("2+1", 4 << 20, 3, (2, 2)),
            ("6+3", 22 << 16, 8, (4, 3)),
            ("254+1", 1 << 16, 255, (2, 2)),
        ];
        for (scheme, full, ack, small) in table {
            let scheme: Scheme = scheme.parse().unwrap();
            assert_eq!(scheme.full_shard(DEFAULT_PAYLOAD_BYTES), full, "{scheme}");
            assert_eq!(scheme.min_ack(), ack, "{scheme}");
            assert_eq!((scheme.small_copies(), scheme.small_quorum()), small, "{scheme}");
        }
        let scheme: Scheme = "4+2".parse().unwrap();
        for (rest, last) in [(1, 64), (256, 64), (257, 128), (100_000, 25_024), (8 << 20, 2 << 20)] {
            assert_eq!(scheme.last_shard(rest, 2 << 20), last, "{rest}");
        }
    }

    #[test]
    fn an_id_is_of_the_scheme_and_all_shards_in_order() {
        let ids: Vec<_> = (0u8..6).map(|n| ChunkId::of(&[n])).collect();
        let id = |scheme: &str, ids: &[ChunkId]| StripeId::of(scheme.parse().unwrap(), ids);
        let swapped: Vec<_> = ids.iter().rev().copied().collect();
        assert_ne!(id("4+2", &ids), id("4+2", &swapped));
        assert_ne!(id("4+2", &ids), id("3+3", &ids), "all zeros have the same shards at any K and M");
    }

    #[test]
    fn a_node_carries_one_shard() {
        let nodes =
            |lists: &[&[u32]]| lists.iter().map(|list| list.iter().map(|n| NodeId(*n)).collect()).collect::<Vec<_>>();
        let twice: &[&[u32]] = &[&[1, 6], &[2, 1], &[3, 2], &[4, 3], &[5, 4], &[5]];
        let table = [(&[&[1][..], &[2], &[]][..], 2), (&[&[1], &[1]], 1), (&[&[1], &[1, 2]], 2), (&[], 0), (twice, 6)];
        for (lists, expected) in table {
            assert_eq!(standing(nodes(lists)), expected, "{lists:?}");
        }
    }

    proptest! {
        /// Any last stripe fits its shards, wastes less than one grain a shard, and is never longer than a full one.
        #[test]
        fn last_shards_fit(k in 1u64..=200, m in 1u64..=55, rest in 1u64..=(8 << 20)) {
            let scheme = Scheme::new(k, m).unwrap();
            let full = scheme.full_shard(DEFAULT_PAYLOAD_BYTES);
            let last = scheme.last_shard(rest, full);
            prop_assert!(last * k >= rest && last <= full);
            prop_assert!(last == full || (last - SHORT_GRAIN) * k < rest);
            prop_assert!(scheme.min_ack() > scheme.data() && scheme.min_ack() <= scheme.shards());
            prop_assert!(u64::from(scheme.small_quorum()) - 1 == (scheme.min_ack() - scheme.data()) as u64);
        }
    }
}
