//! Placement: what moves when nodes come and go, whether loads follow weights, and whether a rack may be lost.

use anyhow::{Result, ensure};
use domain::placement::topology::{Site, Wish, place};

use crate::report::number;

/// The section.
pub fn run(quick: bool) -> Result<()> {
    let keys = if quick { 20_000 } else { 100_000 };
    let alike = |count: usize| (0..count).map(|i| Node::new(i, 0, 1)).collect::<Vec<_>>();
    moved("11th of equal nodes joins", keys, &alike(10), &alike(11), 3, 3.0 / 11.0)?;
    moved("10th of equal nodes leaves", keys, &alike(10), &alike(9), 3, 3.0 / 10.0)?;
    let weighted = |count: usize| (0..count).map(|i| Node::new(i, 0, 1 + i as u32 % 4)).collect::<Vec<_>>();
    // Weights 1 2 3 4 1 2 3 4 and 1: 21 in all. Of the first copies a node takes what its weight demands.
    moved("node of weight 1 joins eight of 20", keys, &weighted(8), &weighted(9), 1, 1.0 / 21.0)?;
    moved("node of weight 4 leaves eight of 20", keys, &weighted(8), &weighted(7), 1, 4.0 / 20.0)?;
    loads(keys, &weighted(8))?;
    racks(if quick { 7 } else { 9 })
}

/// A node: its name, the rack it is in (0 for none), its weight.
struct Node(String, String, u32);

impl Node {
    fn new(number: usize, rack: usize, weight: u32) -> Self {
        let rack = if rack == 0 { String::new() } else { format!("rack{rack}") };
        Self(format!("dn{number}:8080"), rack, weight)
    }

    fn site(&self) -> Site<'_> {
        let Self(name, domain, weight) = self;
        Site { name, domain, class: Default::default(), weight: *weight }
    }
}

fn placed(key: &str, nodes: &[Node], copies: usize) -> Vec<usize> {
    let sites: Vec<_> = nodes.iter().map(Node::site).collect();
    let wish = Wish { copies, ..Wish::default() };
    place(key, wish, &sites).into_iter().take(copies).map(|ranked| ranked.site).collect()
}

/// The share of keys of which a copy moves, against what must.
fn moved(what: &str, keys: u32, before: &[Node], after: &[Node], copies: usize, ideal: f64) -> Result<()> {
    let mut moves = 0;
    for key in (0..keys).map(|number| format!("chunk-{number}")) {
        let (mut was, mut is) = (placed(&key, before, copies), placed(&key, after, copies));
        was.sort_unstable();
        is.sort_unstable();
        moves += u32::from(was != is);
    }
    let share = f64::from(moves) / f64::from(keys);
    let off = (share / ideal - 1.0) * 100.0;
    number(
        what,
        format!("{:.2} % of {keys} keys move, {off:+.2} % off the ideal {:.2} %", share * 100.0, ideal * 100.0),
    );
    ensure!(off.abs() <= 5.0, "{what}: {off:.2} % off what must move");
    Ok(())
}

fn loads(keys: u32, nodes: &[Node]) -> Result<()> {
    let mut first = vec![0_u32; nodes.len()];
    (0..keys).for_each(|number| first[placed(&format!("chunk-{number}"), nodes, 1)[0]] += 1);
    let weights: u32 = nodes.iter().map(|node| node.2).sum();
    let off = |(node, load): (&Node, &u32)| {
        (f64::from(*load) * f64::from(weights) / f64::from(node.2) / f64::from(keys) - 1.0).abs() * 100.0
    };
    let worst = nodes.iter().zip(&first).map(off).fold(0.0, f64::max);
    number("worst load of nodes of weight 1 to 4, against its weight", format!("{worst:.2} % off"));
    // A fifth of the keys has more chance in it.
    let allowed = if keys < 100_000 { 7.0 } else { 3.0 };
    ensure!(worst <= allowed, "a load is {worst:.2} % off its weight");
    Ok(())
}

/// Every way to put up to `most` nodes into three racks of two or more: whichever rack is lost, two of three copies are left, and four of six shards.
fn racks(most: usize) -> Result<()> {
    let mut layouts = 0;
    for count in 6..=most {
        for labelling in 0..3_usize.pow(count as u32) {
            let rack = |node: usize| labelling / 3_usize.pow(node as u32) % 3 + 1;
            let nodes: Vec<_> = (0..count).map(|node| Node::new(node, rack(node), 1)).collect();
            if (1..=3).any(|lost| (0..count).filter(|node| rack(*node) == lost).count() < 2) {
                continue;
            }
            layouts += 1;
            let order = placed(&format!("chunk-{labelling}"), &nodes, 6);
            for lost in 1..=3 {
                let left = |copies: usize| order[..copies].iter().filter(|node| rack(**node) != lost).count();
                ensure!(
                    left(3) == 2 && left(6) == 4,
                    "{count} nodes, labelling {labelling}: rack {lost} takes too much"
                );
            }
        }
    }
    number("layouts of three racks, each of which may lose any rack", layouts);
    Ok(())
}
