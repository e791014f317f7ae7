//! Orders with domains, classes and weights: golden vectors, every labelling of small clusters, and what moves.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::placement::order;

const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("dn{number}:8080")).collect()
}

/// Sites with these domains and weights, all of the default class.
fn sites<'a>(names: &'a [String], domains: &'a [&str], weights: &[u32]) -> Vec<Site<'a>> {
    let at = |i: usize, name: &'a String| Site {
        name,
        domain: domains.get(i).copied().unwrap_or(""),
        class: ClassId::default(),
        weight: weights.get(i).copied().unwrap_or(1),
    };
    names.iter().enumerate().map(|(i, name)| at(i, name)).collect()
}

fn placed(key: &str, wish: Wish, sites: &[Site]) -> Vec<usize> {
    place(key, wish, sites).into_iter().map(|ranked| ranked.site).collect()
}

fn copies(copies: usize) -> Wish {
    Wish { class: ClassId::default(), copies }
}

#[test]
fn golden_orders_with_domains() {
    let names = names(6);
    for domains in [["r1", "r1", "r1", "r2", "r2", "r3"], ["r1", "r1", "r1", "r2", "r2", ""]] {
        let sites = sites(&names, &domains, &[]);
        let five = |key| placed(key, copies(5), &sites)[..5].iter().map(|site| site + 1).collect::<Vec<_>>();
        assert_eq!(five(HELLO), [2, 5, 6, 3, 4]);
        assert_eq!(five("abc"), [1, 5, 6, 2, 4]);
    }
}

#[test]
fn a_class_comes_first_where_it_has_enough_nodes() {
    let names = names(6);
    let mut sites = sites(&names, &["r1", "r1", "r2", "r2", "r3", "r3"], &[]);
    let ssd = ClassId(1);
    sites[..4].iter_mut().for_each(|site| site.class = ssd);
    let order = place(HELLO, Wish { class: ssd, copies: 3 }, &sites);
    // Rendezvous has 2 5 3 4 1 6: of the class, 2 is first in r1 and 3 in r2.
    assert_eq!(order.iter().map(|ranked| ranked.site + 1).collect::<Vec<_>>(), [2, 3, 4, 1, 5, 6]);
    assert_eq!(order.iter().filter(|ranked| ranked.last_resort).count(), 2);
    let anywhere = placed(HELLO, copies(3), &sites);
    assert_eq!(placed(HELLO, Wish { class: ssd, copies: 5 }, &sites), anywhere, "too few of the class");
    assert_eq!(placed(HELLO, Wish { class: ClassId(9), copies: 1 }, &sites), anywhere, "none of the class");
}

#[test]
fn who_stands_in_takes_the_place_of_the_failed() {
    let candidates = [(0, "a"), (0, "b"), (1, "c"), (0, "")];
    assert_eq!(next(candidates, &["a", "b"]), Some(3), "a node without a label is a domain of its own");
    assert_eq!(next(candidates[..3].to_vec(), &["a"]), Some(1));
    assert_eq!(next(candidates[..3].to_vec(), &["a", "b"]), Some(0), "a higher tier comes last");
    assert_eq!(next([], &[]), None);
}

/// Every way of labelling six to nine nodes with three racks of at least two nodes, and many keys: each rack can be lost.
#[test]
fn no_rack_is_needed() {
    for nodes in 6..=9_usize {
        let names = names(nodes);
        for labelling in 0..3_usize.pow(nodes as u32) {
            let rack = |node: usize| ["r1", "r2", "r3"][labelling / 3_usize.pow(node as u32) % 3];
            let domains: Vec<_> = (0..nodes).map(rack).collect();
            if ["r1", "r2", "r3"].iter().any(|rack| domains.iter().filter(|domain| domain == &rack).count() < 2) {
                continue;
            }
            let sites = sites(&names, &domains, &[]);
            let order = placed(&format!("chunk-{labelling}"), copies(6), &sites);
            let most = |count: usize| {
                let held = |rack| order[..count].iter().filter(|site| domains[**site] == rack).count();
                ["r1", "r2", "r3"].map(held).into_iter().max().unwrap()
            };
            assert_eq!((most(3), most(6)), (1, 2), "{domains:?}: {order:?}");
        }
    }
}

/// Copies of `keys` keys on each site.
fn load(keys: usize, copies: usize, sites: &[Site]) -> Vec<f64> {
    let mut load = vec![0.0; sites.len()];
    for key in (0..keys).map(|number| format!("chunk-{number}")) {
        rank(&key, sites).into_iter().take(copies).for_each(|site| load[site] += 1.0);
    }
    load
}

#[test]
fn load_follows_weights() {
    let names = names(8);
    let weights = [1, 2, 3, 4, 4, 3, 2, 1];
    let load = load(100_000, 1, &sites(&names, &[], &weights));
    for (site, weight) in weights.into_iter().enumerate() {
        let ideal = 100_000.0 * f64::from(weight) / 20.0;
        assert!((load[site] / ideal - 1.0).abs() < 0.03, "node {site} of weight {weight}: {} of {ideal}", load[site]);
    }
}

#[test]
fn movement_is_what_weights_demand() {
    let names = names(9);
    let weights = [1, 2, 3, 1, 2, 3, 1, 2, 5];
    let all = sites(&names, &[], &weights);
    let (keys, mut moved) = (100_000, 0.0);
    for key in (0..keys).map(|number| format!("chunk-{number}")) {
        let (before, after) = (rank(&key, &all[..8]), rank(&key, &all));
        assert_eq!(
            after.iter().copied().filter(|site| *site != 8).collect::<Vec<_>>(),
            before,
            "a join reorders nobody"
        );
        moved += f64::from(u8::from(after[0] == 8));
    }
    let share = moved / f64::from(keys);
    assert!((share / (5.0 / 20.0) - 1.0).abs() < 0.05, "{share} of the first copies moved");
}

fn labelled() -> impl Strategy<Value = Vec<(u8, u8, u32)>> {
    proptest::collection::vec((0u8..4, 0u8..3, 1u32..6), 1..12)
}

proptest! {
    /// Equal weights, whatever they are, give exactly the plain order; so do no labels.
    #[test]
    fn equal_weights_are_plain_rendezvous(key in "[a-f0-9]{8,64}", count in 1usize..20, weight in 1u32..1_000_000) {
        let names = names(count);
        let plain = order(&key, &names);
        prop_assert_eq!(&rank(&key, &sites(&names, &[], &vec![weight; count])), &plain);
        let standing = |site: usize| {
            let score = score(&key, &names[site]);
            Standing { score, distance: distance(score), weight, name: &names[site] }
        };
        prop_assert!(plain.windows(2).all(|two| standing(two[0]).cmp(&standing(two[1])).is_lt()), "also by the logarithm");
        prop_assert_eq!(placed(&key, copies(3), &sites(&names, &[], &[])), plain);
    }

    /// Whatever is taken from the front, a domain with nodes left holds at most one less than any other; the preferred come first; everybody comes once.
    #[test]
    fn rounds_are_fair(key in "[a-f0-9]{8}", nodes in labelled(), class in 0u8..3, wanted in 1usize..5) {
        let names = names(nodes.len());
        let labels = ["", "r1", "r2", "r3"];
        let sites: Vec<_> = names.iter().zip(&nodes)
            .map(|(name, &(domain, class, weight))| Site { name, domain: labels[usize::from(domain)], class: ClassId(class), weight })
            .collect();
        let order = place(&key, Wish { class: ClassId(class), copies: wanted }, &sites);
        let mut seen: Vec<_> = order.iter().map(|ranked| ranked.site).collect();
        prop_assert!(order.is_sorted_by_key(|ranked| ranked.last_resort));
        let front: Vec<_> = order.iter().filter(|ranked| !ranked.last_resort).map(|ranked| sites[ranked.site].domain).collect();
        for taken in 0..=front.len() {
            let mut held: BTreeMap<&str, usize> = BTreeMap::new();
            front[..taken].iter().filter(|domain| !domain.is_empty()).for_each(|domain| *held.entry(domain).or_default() += 1);
            let most = held.values().copied().max().unwrap_or(0);
            for left in front[taken..].iter().filter(|domain| !domain.is_empty()) {
                prop_assert!(held.get(left).copied().unwrap_or(0) + 1 >= most, "{:?} after {}", &front, taken);
            }
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..nodes.len()).collect::<Vec<_>>());
    }

    /// Asking for the next one after the other gives the same order.
    #[test]
    fn next_after_next_is_the_order(key in "[a-f0-9]{8}", nodes in labelled(), class in 0u8..3) {
        let names = names(nodes.len());
        let labels = ["", "r1", "r2", "r3"];
        let sites: Vec<_> = names.iter().zip(&nodes)
            .map(|(name, &(domain, class, weight))| Site { name, domain: labels[usize::from(domain)], class: ClassId(class), weight })
            .collect();
        let order = place(&key, Wish { class: ClassId(class), copies: 2 }, &sites);
        let (mut left, mut taken) = (order.clone(), Vec::new());
        for expected in &order {
            let candidates = left.iter().map(|ranked| (u8::from(ranked.last_resort), sites[ranked.site].domain));
            let found = left.remove(next(candidates, &taken).unwrap());
            prop_assert_eq!(found, *expected);
            taken.push(sites[found.site].domain);
        }
    }
}
