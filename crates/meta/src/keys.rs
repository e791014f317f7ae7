//! Keys of the tables: bytes whose order is the order that readers want.
//!
//! Numbers are big-endian. A text that is followed by something else is escaped (00 → 00 FF) and closed with 00 00, so
//! that no name can run into its neighbour and the order of the bytes is kept. Versions are stored as
//! complements: the newest comes first.

use domain::record::ObjectName;
use domain::stripe::Unit;
use domain::{BucketName, ChunkId, ClassId, LogPosition, NodeId, StripeId};

/// The key of the one cluster row.
pub const CLUSTER: &[u8] = b"cluster";

/// The key of the row of totals, beside it.
pub const TOTALS: &[u8] = b"totals";

/// A bucket: its name.
pub fn bucket(name: &BucketName) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

/// What all versions of all keys of a bucket begin with.
pub fn objects_of(bucket: &BucketName) -> Vec<u8> {
    let mut key = Vec::with_capacity(80);
    escape(bucket.as_str().as_bytes(), &mut key);
    key.extend([0, 0]);
    key
}

/// What all versions of all keys that begin with `prefix` begin with.
pub fn objects_with_prefix(bucket: &BucketName, prefix: &[u8]) -> Vec<u8> {
    let mut key = objects_of(bucket);
    escape(prefix, &mut key);
    key
}

/// What all versions of one object begin with.
pub fn versions_of(bucket: &BucketName, key: &[u8]) -> Vec<u8> {
    let mut row = objects_with_prefix(bucket, key);
    row.extend([0, 0]);
    row
}

/// One version of an object.
pub fn object(name: &ObjectName, version: LogPosition) -> Vec<u8> {
    let mut key = versions_of(&name.bucket, name.key.as_bytes());
    key.extend((!version.0).to_be_bytes());
    key
}

/// The object key and version that follow [`objects_of`] in a key; `None` if it is not such a key.
pub fn parse_object(rest: &[u8]) -> Option<(Vec<u8>, LogPosition)> {
    let mut key = Vec::with_capacity(rest.len());
    let mut at = 0;
    loop {
        match rest.get(at..)? {
            [0, 0, version @ ..] => return Some((key, LogPosition(!u64::from_be_bytes(version.try_into().ok()?)))),
            [0, 0xff, ..] => {
                key.push(0);
                at += 2;
            }
            [0, ..] | [] => return None,
            [byte, ..] => {
                key.push(*byte);
                at += 1;
            }
        }
    }
}

/// A row named by a log position: bodies, trash, leases.
pub fn position(id: LogPosition) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// A row named by two numbers: uploads (lease, body), extents (body, index), sessions (lease, request).
pub fn pair(first: LogPosition, second: u64) -> Vec<u8> {
    [first.0.to_be_bytes(), second.to_be_bytes()].concat()
}

/// A chunk in its class.
pub fn chunk(class: ClassId, id: &ChunkId) -> Vec<u8> {
    let mut key = Vec::with_capacity(33);
    key.push(class.0);
    key.extend(id.as_bytes());
    key
}

/// A stripe in its class.
pub fn stripe(class: ClassId, id: &StripeId) -> Vec<u8> {
    chunk(class, &ChunkId::from_bytes(*id.as_bytes()))
}

/// The parts of a [`stripe`] key.
pub fn parse_stripe(key: &[u8]) -> Option<(ClassId, StripeId)> {
    let (class, id) = key.split_first()?;
    Some((ClassId(*class), StripeId::from_bytes(id.try_into().ok()?)))
}

/// A stripe where chunks are listed too: in the queues, by its key and this byte behind it, which no chunk has.
pub fn queued_stripe(class: ClassId, id: &StripeId) -> Vec<u8> {
    let mut key = stripe(class, id);
    key.push(STRIPE_MARK);
    key
}

/// What tells a stripe from a chunk in tables that list both.
const STRIPE_MARK: u8 = 1;

/// What all placements of a chunk id on a node as a shard begin with: the id, by which alone one may also look, and the node.
pub fn shards_on(node: NodeId, id: &ChunkId) -> Vec<u8> {
    let mut key = id.as_bytes().to_vec();
    key.extend(self::node(node));
    key
}

/// That a stripe places a shard on a node.
pub fn shard(node: NodeId, id: &ChunkId, class: ClassId, of: &StripeId) -> Vec<u8> {
    let mut key = shards_on(node, id);
    key.extend(stripe(class, of));
    key
}

/// That a stripe has a shard which is on no node yet: so that a copy of it that turns up is known for what it is.
pub fn shard_nowhere(id: &ChunkId, class: ClassId, of: &StripeId) -> Vec<u8> {
    // Numbers of nodes are counted up from 0.
    shard(NodeId(u32::MAX), id, class, of)
}

/// A stripe without references, by when it lost the last one.
pub fn garbage_stripe(since: LogPosition, class: ClassId, id: &StripeId) -> Vec<u8> {
    let mut key = position(since);
    key.extend(queued_stripe(class, id));
    key
}

/// A chunk without references, by when it lost the last one.
pub fn garbage(since: LogPosition, class: ClassId, id: &ChunkId) -> Vec<u8> {
    let mut key = position(since);
    key.extend(chunk(class, id));
    key
}

/// The parts of a [`garbage`] or [`garbage_stripe`] key.
pub fn parse_garbage(key: &[u8]) -> Option<(LogPosition, ClassId, Unit)> {
    let (since, rest) = key.split_first_chunk::<8>()?;
    let (class, unit) = match rest.split_last() {
        Some((&STRIPE_MARK, stripe)) if stripe.len() == 33 => {
            parse_stripe(stripe).map(|(class, id)| (class, Unit::Stripe(id)))?
        }
        _ => parse_chunk(rest).map(|(class, id)| (class, Unit::Chunk(id)))?,
    };
    Some((LogPosition(u64::from_be_bytes(*since)), class, unit))
}

/// The parts of a [`chunk`] key.
pub fn parse_chunk(key: &[u8]) -> Option<(ClassId, ChunkId)> {
    let (class, id) = key.split_first()?;
    Some((ClassId(*class), ChunkId::from_bytes(id.try_into().ok()?)))
}

/// A node.
pub fn node(id: NodeId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// The number that a key made of one number holds.
pub fn parse_position(key: &[u8]) -> Option<LogPosition> {
    Some(LogPosition(u64::from_be_bytes(key.try_into().ok()?)))
}

/// The second number of a key made of two.
pub fn parse_second(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(8..)?.try_into().ok()?))
}

/// The first key that no longer begins with `prefix`; empty if there is none.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    end
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ObjectKey;
    use proptest::prelude::*;

    fn name(key: &[u8]) -> ObjectName {
        ObjectName { bucket: BucketName::parse("b").unwrap(), key: ObjectKey::parse(key).unwrap() }
    }

    proptest! {
        /// Rows are in the order of the keys as users see them, whatever bytes they hold, newest version first.
        #[test]
        fn rows_are_in_key_order(a in proptest::collection::vec(0u8..3, 1..6), b in proptest::collection::vec(0u8..3, 1..6), v in 0u64..9, w in 0u64..9) {
            let (ra, rb) = (object(&name(&a), LogPosition(v)), object(&name(&b), LogPosition(w)));
            prop_assert_eq!(ra.cmp(&rb), a.cmp(&b).then(w.cmp(&v)));
        }

        /// A row says which key and version it is of.
        #[test]
        fn rows_parse_back(a in proptest::collection::vec(any::<u8>(), 1..20), v in any::<u64>()) {
            let name = name(&a);
            let row = object(&name, LogPosition(v));
            let rest = row.strip_prefix(&objects_of(&name.bucket)[..]).unwrap();
            prop_assert_eq!(parse_object(rest), Some((a, LogPosition(v))));
        }

        /// Garbage of both kinds parses back, in the order in which it became garbage.
        #[test]
        fn garbage_parses_back(bytes in any::<[u8; 32]>(), class in any::<u8>(), since in any::<u64>()) {
            let (chunk, stripe) = (ChunkId::from_bytes(bytes), StripeId::from_bytes(bytes));
            let (class, since) = (ClassId(class), LogPosition(since));
            prop_assert_eq!(parse_garbage(&garbage(since, class, &chunk)), Some((since, class, Unit::Chunk(chunk))));
            let key = garbage_stripe(since, class, &stripe);
            prop_assert_eq!(parse_garbage(&key), Some((since, class, Unit::Stripe(stripe))));
        }

        /// All that begins with a prefix, and nothing else, lies before `after_prefix`.
        #[test]
        fn prefix_ranges(prefix in proptest::collection::vec(250u8.., 0..4), key in proptest::collection::vec(250u8.., 0..6)) {
            let end = after_prefix(&prefix);
            let inside = key >= prefix && (end.is_empty() || key < end);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }
    }

    #[test]
    fn damaged_rows_do_not_parse() {
        for rest in [&b""[..], b"a", b"a\0", b"a\0\x01rest", b"a\0\0short"] {
            assert_eq!(parse_object(rest), None);
        }
    }
}
