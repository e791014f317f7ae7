//! A set of shards of one stripe, by index: four words, copied as a value.
#![forbid(unsafe_code)]

use std::fmt;

/// Which shards of a stripe are meant: indexes counted from 0, first the data shards, then the parity shards.
///
/// ```
/// use erasure::ShardSet;
///
/// let lost = ShardSet::from_iter([5, 1]);
/// assert_eq!(lost.iter().collect::<Vec<_>>(), [1, 5]);
/// assert_eq!(ShardSet::all(6).without(lost).len(), 4);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ShardSet([u64; 4]);

impl ShardSet {
    /// The shards 0 to `shards` - 1; all 256 that can be named, if `shards` is more.
    pub fn all(shards: usize) -> Self {
        (0..=u8::MAX).take(shards).collect()
    }

    /// Adds shard `index`.
    pub fn insert(&mut self, index: u8) {
        self.0[usize::from(index) / 64] |= 1 << (index % 64);
    }

    /// Whether shard `index` is in it.
    pub fn contains(self, index: u8) -> bool {
        self.0[usize::from(index) / 64] >> (index % 64) & 1 == 1
    }

    /// How many are in it.
    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none is.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Those of it that are not in `others`.
    pub fn without(self, others: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & !others.0[i]))
    }

    /// The indexes, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |&index| self.contains(index))
    }
}

impl FromIterator<u8> for ShardSet {
    fn from_iter<I: IntoIterator<Item = u8>>(indexes: I) -> Self {
        let mut set = Self::default();
        indexes.into_iter().for_each(|index| set.insert(index));
        set
    }
}

impl fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        for index in 0..=u8::MAX {
            let set = ShardSet::from_iter([index]);
            assert_eq!((set.len(), set.contains(index), set.iter().collect::<Vec<_>>()), (1, true, vec![index]));
            assert!(set.without(set).is_empty());
            assert_eq!(ShardSet::all(256).without(set).len(), 255);
        }
        assert_eq!(ShardSet::all(3), ShardSet::from_iter([2, 0, 1, 1]));
        assert_eq!(format!("{:?}", ShardSet::from_iter([200, 64])), "{64, 200}");
    }
}
