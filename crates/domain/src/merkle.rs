//! What a node holds, as one hash: two inventories agree, or one descends to where they differ.
//!
//! Chunk ids fall into 256 buckets by their first byte. A bucket's digest is SHA-256 over its ids in order, each as 64 hex
//! digits and a newline; the root is SHA-256 over the 256 raw digests. Equal roots mean equal inventories, for
//! 32 bytes of talk; unequal ones are narrowed to the buckets that differ before any id is sent. It speaks
//! of names only, never of contents: that is the scrubber's business.
//!
//! Kept incrementally: a change marks its bucket, and only marked buckets are hashed again when somebody asks.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::ChunkId;

/// How many buckets there are: one for each first byte.
pub const BUCKETS: usize = 256;

/// Digest and number of ids of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// SHA-256 over the ids in order.
    pub digest: [u8; 32],
    /// How many ids there are.
    pub count: usize,
}

/// The digest and count of one bucket's ids, which must come in order.
pub fn bucket<'a>(ids: impl Iterator<Item = &'a ChunkId>) -> Bucket {
    let mut hasher = Sha256::new();
    let mut count = 0;
    for id in ids {
        hasher.update(id.to_hex());
        hasher.update(b"\n");
        count += 1;
    }
    Bucket { digest: hasher.finalize().into(), count }
}

/// The root over all buckets.
pub fn root(buckets: &[Bucket; BUCKETS]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    buckets.iter().for_each(|bucket| hasher.update(bucket.digest));
    hasher.finalize().into()
}

/// A set of chunk ids that knows its own Merkle tree.
#[derive(Debug)]
pub struct Inventory {
    ids: BTreeSet<ChunkId>,
    buckets: Box<[Option<Bucket>; BUCKETS]>,
}

impl Default for Inventory {
    fn default() -> Self {
        Self { ids: BTreeSet::new(), buckets: Box::new([None; BUCKETS]) }
    }
}

impl Inventory {
    /// Adds `id`; true if it was new.
    pub fn insert(&mut self, id: ChunkId) -> bool {
        self.buckets[usize::from(id.as_bytes()[0])] = None;
        self.ids.insert(id)
    }

    /// Takes `id` out; true if it was there.
    pub fn remove(&mut self, id: &ChunkId) -> bool {
        self.buckets[usize::from(id.as_bytes()[0])] = None;
        self.ids.remove(id)
    }

    /// Whether `id` is there.
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.ids.contains(id)
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// At most `limit` ids after `after`, in order.
    pub fn page(&self, after: Option<ChunkId>, limit: usize) -> Vec<ChunkId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.ids.range((from, Unbounded)).take(limit).copied().collect()
    }

    /// The ids of bucket `index`, in order.
    pub fn bucket_ids(&self, index: u8) -> impl Iterator<Item = &ChunkId> {
        let mut first = [0; 32];
        first[0] = index;
        let mut last = [0xff; 32];
        last[0] = index;
        self.ids.range(ChunkId::from_bytes(first)..=ChunkId::from_bytes(last))
    }

    /// All buckets, hashing again only those that changed since the last call.
    pub fn buckets(&mut self) -> [Bucket; BUCKETS] {
        std::array::from_fn(|index| match self.buckets[index] {
            Some(known) => known,
            None => *self.buckets[index].insert(bucket(self.ids_of(index as u8))),
        })
    }

    fn ids_of(&self, index: u8) -> std::vec::IntoIter<&ChunkId> {
        self.bucket_ids(index).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::hex;
    use proptest::prelude::*;

    #[test]
    fn golden_roots_of_the_reference() {
        let mut inventory = Inventory::default();
        let empty = "0e89e7ed74c9a5944c886585d634e3c68f4dccd0a31968fe52d6df0873ccdec6";
        assert_eq!(hex(&root(&inventory.buckets())), empty);

        inventory.insert(ChunkId::of(b"hello"));
        let buckets = inventory.buckets();
        assert_eq!(hex(&buckets[44].digest), "e62965c744c6b6df887dbcdc8349aa67ad79c762f2310b40dc444893719163fd");
        assert_eq!(hex(&root(&buckets)), "58769bb16f07440e0de644aaaff5ef53880d86fb6a9fb1f3e50f792cc57184d6");

        inventory.remove(&ChunkId::of(b"hello"));
        assert_eq!(hex(&root(&inventory.buckets())), empty);
    }

    proptest! {
        /// However it came about, the incremental tree is the tree of what is there.
        #[test]
        fn incremental_equals_from_scratch(steps in proptest::collection::vec((any::<bool>(), 0u8..20, any::<bool>()), 0..60)) {
            let mut inventory = Inventory::default();
            for (put, which, ask) in steps {
                let id = ChunkId::of(&[which]);
                if put { inventory.insert(id); } else { inventory.remove(&id); }
                if ask { inventory.buckets(); }
            }
            let mut fresh = Inventory::default();
            inventory.page(None, usize::MAX).into_iter().for_each(|id| { fresh.insert(id); });
            prop_assert_eq!(inventory.buckets(), fresh.buckets());
        }
    }
}
