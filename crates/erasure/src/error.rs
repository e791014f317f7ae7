//! What a caller can do wrong, split by what it should do about it.

/// Why shards could not be encoded, checked or rebuilt. Nothing has been written when one of these is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such code exists: choose others.
    #[error("a code of {k} data and {m} parity shards is not possible: both are at least 1, and at most 255 together")]
    Shape {
        /// Data shards asked for.
        k: usize,
        /// Parity shards asked for.
        m: usize,
    },
    /// More or fewer slices were handed in than the code has shards of that kind: a bug of the caller.
    #[error("{found} {kind} shards were given where the code has {expected}")]
    Count {
        /// `data`, `parity`, `source`, …: which list it was.
        kind: &'static str,
        /// How many it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// The shards of one stripe, and the pieces given in one call, have one length.
    #[error("{kind} shard {index} has {found} bytes where the first shard has {expected}")]
    Length {
        /// Which list it was in.
        kind: &'static str,
        /// Its place in that list.
        index: usize,
        /// Bytes of the first shard.
        expected: usize,
        /// Bytes of this one.
        found: usize,
    },
    /// Fewer shards are left than the code has data shards: nothing can be rebuilt until more are found.
    #[error("only {present} shards are there, and {needed} are needed")]
    TooFew {
        /// How many are needed: K.
        needed: usize,
        /// How many there are.
        present: usize,
    },
    /// A shard was named that the code does not have: a bug of the caller.
    #[error("there is no shard {index}: the code has {shards}, counted from 0")]
    NoSuchShard {
        /// What was named.
        index: usize,
        /// K + M.
        shards: usize,
    },
    /// The matrix has no inverse. No matrix of a code is so; only one that was put together by hand can be.
    #[error("the rows of the matrix depend on each other, so it has no inverse")]
    Singular,
}
