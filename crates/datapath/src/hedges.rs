//! The cap on hedged reads: at most one in twenty, so that a second question never becomes a second load.

use std::sync::atomic::{AtomicU64, Ordering};

/// A few hedges are allowed before there is anything to take 5 % of.
const FREE: u64 = 4;

/// How many reads there were, and how many were hedged.
#[derive(Debug, Default)]
pub(crate) struct Hedges {
    reads: AtomicU64,
    hedged: AtomicU64,
}

impl Hedges {
    /// One more read.
    pub fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a hedge, if the cap allows one.
    pub fn take(&self) -> bool {
        let allowed = self.reads.load(Ordering::Relaxed) / 20 + FREE;
        self.hedged.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < allowed).then_some(n + 1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_twenty() {
        let hedges = Hedges::default();
        (0..1000).for_each(|_| hedges.count_read());
        assert_eq!((0..1000).filter(|_| hedges.take()).count(), 54);
    }
}
