//! Weighted rendezvous: a node of weight 2 holds twice what a node of weight 1 holds, and nobody keeps a table.
//!
//! Plain rendezvous is a race that every node wins equally often. To make it fair by weight, let each node wait a random time before it
//! answers, the shorter the larger its weight, and take the first to answer. If the time is exponentially distributed with rate *w*, node *i*
//! is first with probability *wᵢ / Σw*, exactly. A uniform number *u* in (0, 1] becomes such a time as `-log(u) / w`, and the
//! score is a uniform number already: `u = (score + 1) / 2⁶⁴`. So nodes are ordered by
//!
//! ```text
//! distance(score) / weight,  smallest first,     distance(score) = -log2((score + 1) / 2^64)
//! ```
//!
//! With weights 1 and 3 and scores of ¾ and ¼ of the range, the distances are 0.415 and 2: 0.415 / 1 against 2 / 3, the light node wins this key.
//! Whether *a* comes before *b* depends on *a* and *b* alone. So a node that joins, leaves or changes its weight moves only what it takes or
//! gives, and nothing between others.
//!
//! **No floating point.** All processes must come to the same order, and `f64::ln` may differ from one machine to the next in its last bit. The
//! logarithm here is made of integers ([`distance`]), and quotients are compared by multiplying crosswise, exactly, in 128 bits. The logarithm
//! never grows where the score does, and where two quotients are equal the larger score wins: so equal weights give exactly the plain order.
//!
//! **What weights promise.** The *first* choice follows them exactly. Of further copies of a chunk a node gets none twice, so with few nodes and
//! uneven weights the heavy ones fall behind: of 3 copies on nodes of weight 1, 1 and 2, each node has one. `kvfs placement-sim` shows it.
//!
//! Costs 48 multiplications a node beside its hash; nothing where all weights are equal. Source: Schindelhauer & Schomaker, "Weighted Distributed Hash
//! Tables", SPAA 2005; binary logarithms by squaring: Knuth, TAOCP vol. 1, section 1.2.2, exercise 25.

use std::cmp::Ordering;

/// Fractional bits of a [`distance`].
pub const FRACTION_BITS: u32 = 48;

/// `-log2((score + 1) / 2⁶⁴)` in units of 2⁻⁴⁸: 0 for the largest score, 64 · 2⁴⁸ for 0.
///
/// At most one and a half units too large, never too small; never grows with the score.
///
/// The whole part of log2(x) is the place of the topmost bit of x. What is left is a number from 1 to 2, and squaring it doubles its
/// logarithm: if the square reaches 2, the next binary digit is 1, and half of the square goes on; else it is 0, and the square does.
pub fn distance(score: u64) -> u64 {
    let Some(x) = score.checked_add(1) else { return 0 };
    let whole = u64::from(x.ilog2());
    // 1.63 fixed point: the topmost bit is the one before the point.
    let mut rest = x << x.leading_zeros();
    let mut log = whole;
    for _ in 0..FRACTION_BITS {
        let square = (u128::from(rest) * u128::from(rest)) >> 63;
        let digit = (square >> 64) as u64;
        rest = (square >> digit) as u64;
        log = log << 1 | digit;
    }
    (64 << FRACTION_BITS) - log
}

/// A node's standing for one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    pub score: u64,
    pub distance: u64,
    /// At least 1.
    pub weight: u32,
    pub name: &'a str,
}

impl Standing<'_> {
    /// The order of nodes for a key, best first.
    pub fn cmp(&self, other: &Self) -> Ordering {
        let crosswise = |one: &Self, by: &Self| u128::from(one.distance) * u128::from(by.weight);
        let by_weight = crosswise(self, other).cmp(&crosswise(other, self));
        by_weight.then(other.score.cmp(&self.score)).then(self.name.cmp(other.name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What mathematics says, in the same units, as exactly as a double knows it.
    fn exact(score: u64) -> f64 {
        -((score as f64 + 1.0) / 2_f64.powi(64)).log2() * 2_f64.powi(FRACTION_BITS as i32)
    }

    #[test]
    fn distances_known_by_heart() {
        let unit = 1 << FRACTION_BITS;
        for (score, expected) in [
            (u64::MAX, 0),
            (0, 64 * unit),
            (1, 63 * unit),
            (u64::MAX / 2, unit),
            (u64::MAX / 4, 2 * unit),
            // log2(3) = 1.5849625…, so 3/4 of the range is 0.4150375… away.
            (3 << 62, 116_822_670_443_561),
        ] {
            assert!(distance(score).abs_diff(expected) <= 1, "{score:x}: {} is not {expected}", distance(score));
        }
    }

    proptest! {
        /// Within two units of the truth; a double is no better than a few hundred units at large distances.
        #[test]
        fn distances_are_logarithms(score: u64, shift in 0u32..64) {
            let score = score >> shift;
            let error = distance(score) as f64 - exact(score);
            prop_assert!(error.abs() < 512.0, "{error} units");
        }

        /// A larger score is never farther away.
        #[test]
        fn distances_never_grow(score: u64, step in 0u64..1 << 20) {
            prop_assert!(distance(score.saturating_add(step)) <= distance(score));
        }
    }
}
