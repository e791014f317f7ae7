//! Rendezvous hashing once more: a second, independent implementation that the store's own is measured against.
//!
//! The score of a node for a chunk is the first 8 bytes, big-endian, of SHA-256(chunk id in hex ‖ `|` ‖ node's placement name). The
//! nodes with the highest scores hold the chunk; the name decides between equal scores. This file must never call
//! `domain::placement`: an oracle that asks the accused proves nothing.
//!
//! Source: Thaler & Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN 6(1), 1998.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// How much `node` wants `key`.
pub fn score(key: &str, node: &str) -> u64 {
    let hash = Sha256::new().chain_update(key).chain_update("|").chain_update(node).finalize();
    hash.iter().take(8).fold(0, |score, byte| score << 8 | u64::from(*byte))
}

/// All `nodes`, the one that wants `key` most first.
pub fn order<'a>(key: &str, nodes: &[&'a str]) -> Vec<&'a str> {
    let mut scored: Vec<_> = nodes.iter().map(|node| (std::cmp::Reverse(score(key, node)), *node)).collect();
    scored.sort_unstable();
    scored.into_iter().map(|(_, node)| node).collect()
}

/// The places of an order, given the failure domain of each, dealt out in rounds: each round goes through the order and takes the first of
/// every domain that is left. A node without a domain is one of its own.
pub fn dealt(domains: &[&str]) -> Vec<usize> {
    let (mut left, mut dealt): (Vec<usize>, Vec<usize>) = ((0..domains.len()).collect(), Vec::new());
    while !left.is_empty() {
        let mut taken = BTreeSet::new();
        let (round, later) = left.into_iter().partition(|place| {
            let domain = domains[*place];
            domain.is_empty() && dealt.is_empty() || !domain.is_empty() && taken.insert(domain)
        });
        dealt.extend::<Vec<usize>>(round);
        left = later;
    }
    dealt
}

/// What a change of the node list does to keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Keys whose set of nodes is another afterwards.
    pub moved: usize,
    /// Of them, those that a removed node held, or an added node holds.
    pub concerned: usize,
    /// Copies on each node before.
    pub before: Vec<usize>,
    /// Copies on each node afterwards.
    pub after: Vec<usize>,
}

/// Places `keys` keys `chunk-0`, `chunk-1`, … in `copies` on `from` nodes `dn1`, `dn2`, … and again on `to` of them.
pub fn simulate(from: usize, to: usize, keys: usize, copies: usize) -> Shift {
    let names: Vec<String> = (1..=from.max(to)).map(|number| format!("dn{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (few, many) = (from.min(to), from.max(to));
    let mut shift = Shift { moved: 0, concerned: 0, before: vec![0; from], after: vec![0; to] };
    for key in (0..keys).map(|number| format!("chunk-{number}")) {
        // One ranking of all nodes serves both lists: taking a node out of it never reorders the rest.
        let ranked = order(&key, &names);
        let place = |node: &&str| names.iter().position(|name| name == node).unwrap_or(0);
        let ranked: Vec<usize> = ranked.iter().map(place).collect();
        let chosen = |limit: usize| ranked.iter().copied().filter(|node| *node < limit).take(copies).collect();
        let (before, after): (BTreeSet<usize>, BTreeSet<usize>) = (chosen(from), chosen(to));
        before.iter().for_each(|node| shift.before[*node] += 1);
        after.iter().for_each(|node| shift.after[*node] += 1);
        let changed = before != after;
        shift.moved += usize::from(changed);
        shift.concerned += usize::from(changed && before.union(&after).any(|node| (few..many).contains(node)));
    }
    shift
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn golden_orders() {
        let hash = |text: &str| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let nodes: Vec<_> = (1..=6).map(|number| format!("dn{number}:8080")).collect();
        let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
        let short = |key: &str, nodes: &[&str]| order(key, nodes).join(" ").replace(":8080", "");
        assert_eq!(hash("hello"), HELLO);
        assert_eq!(score(HELLO, "dn1:8080"), 0x8533_dac9_d367_f550);
        assert!(short("chunk-0", &["dn1", "dn2", "dn3", "dn4"]).starts_with("dn1 dn4 dn2"));
        assert!(short(HELLO, &nodes[..4]).starts_with("dn2 dn3 dn4"));
        assert_eq!(short(HELLO, &nodes), "dn2 dn5 dn3 dn4 dn1 dn6");
        assert!(short(&hash("kvfs"), &nodes).starts_with("dn1 dn5 dn4"));
    }

    #[test]
    fn rounds() {
        assert_eq!(dealt(&["a", "a", "b", "a", "c", "b"]), [0, 2, 4, 1, 5, 3]);
        assert_eq!(dealt(&["", "a", "", "a", ""]), [0, 1, 2, 4, 3]);
        assert_eq!(dealt(&[""; 3]), [0, 1, 2]);
    }

    #[test]
    fn golden_simulations() {
        // (from, to, keys, moved)
        let table = [
            (3, 4, 10_000, 7_550),
            (5, 6, 10_000, 4_926),
            (10, 9, 10_000, 2_911),
            (10, 11, 10_000, 2_740),
            (20, 25, 50_000, 25_512),
        ];
        for (from, to, keys, moved) in table {
            let shift = simulate(from, to, keys, 3);
            assert_eq!((shift.moved, shift.concerned), (moved, moved), "{from} to {to}");
        }
        assert_eq!(simulate(3, 4, 10_000, 3).after, [7458, 7506, 7486, 7550]);
        let shift = simulate(5, 6, 10_000, 3);
        assert_eq!(shift.before, [5974, 5960, 6009, 6065, 5992]);
        assert_eq!(shift.after, [4964, 4989, 5019, 5097, 5005, 4926]);
    }
}
