//! The cap on hedges: at most one in twenty questions, so that a second question never becomes a second load.

use std::sync::atomic::{AtomicU64, Ordering};

/// A few hedges are allowed before there is anything to take 5 % of.
const FREE: u64 = 4;

/// How many questions there were, and how many were hedged.
#[derive(Debug, Default)]
pub(crate) struct Hedges {
    questions: AtomicU64,
    hedged: AtomicU64,
}

impl Hedges {
    /// So many more questions: one for a chunk, one for each wanted shard of a stripe.
    pub fn count(&self, questions: usize) {
        self.questions.fetch_add(questions as u64, Ordering::Relaxed);
    }

    /// Takes a hedge, if the cap allows one.
    pub fn take(&self) -> bool {
        let allowed = self.questions.load(Ordering::Relaxed) / 20 + FREE;
        self.hedged.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < allowed).then_some(n + 1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_twenty() {
        let hedges = Hedges::default();
        (0..500).for_each(|_| hedges.count(2));
        assert_eq!((0..1000).filter(|_| hedges.take()).count(), 54);
    }
}
