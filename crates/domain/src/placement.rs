//! Rendezvous hashing: which nodes hold a chunk, decided without a table.
//!
//! Score every (chunk, node) pair by hashing the two together; the `r` best scores hold the chunk.
//! Whoever has the node list computes the same answer: with scores n4 > n1 > n5 > n2, and r = 3,
//! the chunk is on n4, n1, n5. A node that joins can push one node out of a list, and never
//! reorders the rest: `r/(n+1)` of the chunks move one replica each, the least that balance allows.
//!
//! The score is the first 8 bytes, big-endian, of SHA-256(`key` ‖ `|` ‖ node name); the key is a chunk's or
//! stripe's id as hex text, and the name is the one a node was registered under, which never changes, so a
//! node that moves to another address keeps its chunks. Equal scores are ordered by name.
//!
//! [`weights`] gives nodes unequal shares, [`topology`] spreads copies over failure domains and storage classes; what places chunks is
//! [`topology::place`], which is this order as long as nothing is labelled.
//!
//! Costs `n` hashes a lookup, less than it sounds below a few hundred nodes. Source: Thaler & Ravishankar,
//! "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN 6(1), 1998.

pub mod topology;
pub mod weights;

use sha2::{Digest, Sha256};

use crate::ClassId;

/// How strongly `node` attracts `key`.
pub fn score(key: &str, node: &str) -> u64 {
    let digest = Sha256::new().chain_update(key).chain_update(b"|").chain_update(node).finalize();
    u64::from_be_bytes(std::array::from_fn(|i| digest[i]))
}

/// The indexes of `names`, most attracted first: where `key` should be, and where it goes next if it cannot.
///
/// The first `r` of the result are the placement. A name listed twice appears once.
pub fn order<S: AsRef<str>>(key: &str, names: &[S]) -> Vec<usize> {
    let mut scored: Vec<_> = names.iter().enumerate().map(|(i, name)| (score(key, name.as_ref()), i)).collect();
    scored.sort_by(|(a, i), (b, j)| b.cmp(a).then_with(|| names[*i].as_ref().cmp(names[*j].as_ref())));
    scored.dedup_by(|(_, i), (_, j)| names[*i].as_ref() == names[*j].as_ref());
    scored.into_iter().map(|(_, i)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes() -> Vec<String> {
        (1..=6).map(|i| format!("dn{i}:8080")).collect()
    }

    #[test]
    fn golden_orders_of_the_reference() {
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let table = [
            (hello, [2, 5, 3, 4, 1, 6], 0x8533_dac9_d367_f550, 0x2724_2050_bf2c_8ca7),
            ("abc", [1, 2, 5, 6, 4, 3], 0xaf6f_ec5f_f8f7_da3e, 0x50dd_4adf_e793_9f89),
        ];
        for (key, expected, first, sixth) in table {
            let found: Vec<_> = order(key, &nodes()).into_iter().map(|i| i + 1).collect();
            assert_eq!(found, expected, "{key}");
            assert_eq!(score(key, "dn1:8080"), first);
            assert_eq!(score(key, "dn6:8080"), sixth);
        }
    }

    #[test]
    fn a_name_listed_twice_counts_once() {
        let names = ["a", "b", "a"];
        assert_eq!(order("k", &names).len(), 2);
    }

    #[test]
    fn movement_on_join_is_near_the_ideal() {
        let (before, mut after) = (nodes(), nodes());
        after.push("dn7:8080".into());
        let keys = 20_000;
        let moved = (0..keys)
            .filter(|i| {
                let key = format!("chunk-{i}");
                order(&key, &after)[..3].contains(&6) && order(&key, &before).len() == 6
            })
            .count();
        let share = moved as f64 / f64::from(keys);
        assert!((share / (3.0 / 7.0) - 1.0).abs() < 0.05, "one replica of {share} of the chunks moved");
    }

    proptest! {
        /// A node that joins enters each order somewhere and leaves all others where they were, so at most
        /// one replica of a chunk moves, and only to the new node.
        #[test]
        fn a_join_reorders_nobody(key in "[a-f0-9]{8,64}", count in 1usize..12, joins in "[a-z]{3,8}:[0-9]{4}") {
            let before: Vec<String> = (0..count).map(|i| format!("n{i}:1")).collect();
            let mut after = before.clone();
            after.push(joins);
            let without: Vec<_> = order(&key, &after).into_iter().filter(|&i| i != count).collect();
            prop_assert_eq!(without, order(&key, &before));
        }

        /// The order in which nodes are listed never matters.
        #[test]
        fn listing_order_never_matters(key in "[a-f0-9]{8}", seed in any::<u64>()) {
            let sorted = nodes();
            let mut mixed = nodes();
            mixed.sort_by_key(|name| score(&seed.to_string(), name));
            let names = |list: &[String]| order(&key, list).into_iter().map(|i| list[i].clone()).collect::<Vec<_>>();
            prop_assert_eq!(names(&sorted), names(&mixed));
        }
    }
}
