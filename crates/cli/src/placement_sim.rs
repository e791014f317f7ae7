//! `kvfs placement-sim`: where chunks would lie, and how many would move, before anything is changed.
//!
//! Placement is a pure function of the nodes' names and labels ([`domain::placement`]), so the chunks `chunk-0`, `chunk-1`, … show what any chunks would
//! do, on made-up nodes or on those of a cluster, as they are and as they would be.
//!
//! What must move when `a` of `n + a` equal nodes are new is the share of chunks that have one of them among their `r`:
//! `1 - C(n, r) / C(n + a, r)`; for three copies and one node more, `3 / (n + 1)`. For any change at all: the copies that nodes have more
//! afterwards than before must have come from somewhere, so their sum is the least that can move.

pub mod layout;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Result, ensure};
use domain::placement::topology::{Site, Wish, place};
use serde::Serialize;

use self::layout::Node;
use crate::output::Output;

/// What to try.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The nodes as they are.
    pub before: Vec<Node>,
    /// The nodes as they would be.
    pub after: Vec<Node>,
    /// Chunks.
    pub chunks: u32,
    /// Copies of each; or the shards of a stripe, which are spread alike.
    pub replicas: u32,
}

/// In which form it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Lines of text, or JSON.
    Table,
    /// A drawing.
    Svg,
}

/// Copies on one node.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Load {
    node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    weight: u32,
    copies: u64,
}

/// Where copies lie, and what moved.
#[derive(Debug, Serialize)]
struct Outcome {
    chunks: u32,
    replicas: u32,
    before: Vec<Load>,
    /// The most copies of one chunk that a failure domain holds: what its loss takes from a chunk.
    most_in_a_domain: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Vec<Load>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most_in_a_domain_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_chunks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_share: Option<f64>,
    /// What equal nodes without domains must move.
    #[serde(skip_serializing_if = "Option::is_none")]
    ideal_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_copies: Option<u64>,
    /// What must move to come from the loads before to those after.
    #[serde(skip_serializing_if = "Option::is_none")]
    least_copies: Option<u64>,
}

/// Runs it and shows what came of it.
pub fn run(simulation: &Simulation, picture: Picture, output: Output, out: &mut dyn Write) -> Result<()> {
    check(simulation)?;
    let outcome = simulate(simulation);
    match picture {
        Picture::Svg => Ok(out.write_all(svg(&outcome).as_bytes())?),
        Picture::Table => Ok(output.write(out, &outcome, |out, outcome| out.write_all(table(outcome).as_bytes()))?),
    }
}

fn check(simulation: &Simulation) -> Result<()> {
    let Simulation { before, after, chunks, replicas } = simulation;
    for nodes in [before, after] {
        ensure!((1..=1000).contains(&nodes.len()), "{} nodes: expected 1 to 1000", nodes.len());
    }
    ensure!((1..=10_000_000).contains(chunks), "--chunks {chunks}: expected 1 to 10,000,000");
    let fits = |nodes: &[Node]| (1..=nodes.len()).contains(&(*replicas as usize));
    ensure!(fits(before), "--replicas {replicas}: expected 1 to {}, the number of nodes", before.len());
    ensure!(fits(after), "{} nodes are left: expected at least {replicas}, one for each copy", after.len());
    Ok(())
}

fn simulate(simulation: &Simulation) -> Outcome {
    let Simulation { before, after, chunks, replicas } = simulation;
    let (mut old, mut new) = (Tally::new(before), Tally::new(after));
    let (mut moved_chunks, mut moved_copies) = (0, 0);
    let changed = before != after;
    for key in (0..*chunks).map(|number| format!("chunk-{number}")) {
        let was = old.place(&key, *replicas);
        if changed {
            let is = new.place(&key, *replicas);
            let arrived = is.iter().filter(|node| !was.contains(node)).count() as u64;
            moved_copies += arrived;
            moved_chunks += u64::from(arrived > 0);
        }
    }
    let (most, most_after) = (old.most, new.most);
    let least = least_copies(&old, &new);
    let (before_loads, after_loads) = (old.loads(), new.loads());
    Outcome {
        chunks: *chunks,
        replicas: *replicas,
        before: before_loads,
        most_in_a_domain: most,
        after: changed.then_some(after_loads),
        most_in_a_domain_after: changed.then_some(most_after),
        moved_chunks: changed.then_some(moved_chunks),
        moved_share: changed.then(|| moved_chunks as f64 / f64::from(*chunks)),
        ideal_share: ideal(before, after, *replicas).filter(|_| changed),
        moved_copies: changed.then_some(moved_copies),
        least_copies: changed.then_some(least),
    }
}

/// The loads of a layout, as chunks are placed.
struct Tally<'a> {
    nodes: &'a [Node],
    sites: Vec<Site<'a>>,
    copies: Vec<u64>,
    most: u64,
}

impl<'a> Tally<'a> {
    fn new(nodes: &'a [Node]) -> Self {
        Self { nodes, sites: nodes.iter().map(Node::site).collect(), copies: vec![0; nodes.len()], most: 0 }
    }

    /// Places a chunk; the names of its nodes.
    fn place(&mut self, key: &str, replicas: u32) -> Vec<&'a str> {
        let wish = Wish { copies: replicas as usize, ..Wish::default() };
        let mut domains: BTreeMap<&str, u64> = BTreeMap::new();
        let mut names = Vec::new();
        for ranked in place(key, wish, &self.sites).into_iter().take(replicas as usize) {
            let site = &self.sites[ranked.site];
            self.copies[ranked.site] += 1;
            *domains.entry(if site.domain.is_empty() { site.name } else { site.domain }).or_default() += 1;
            names.push(site.name);
        }
        self.most = domains.into_values().max().unwrap_or(0).max(self.most);
        names
    }

    fn loads(self) -> Vec<Load> {
        let load = |(node, copies): (&Node, u64)| Load {
            node: node.name.clone(),
            domain: node.domain.clone(),
            weight: node.weight,
            copies,
        };
        self.nodes.iter().zip(self.copies).map(load).collect()
    }
}

/// What nodes have more afterwards than before.
fn least_copies(old: &Tally, new: &Tally) -> u64 {
    let had = |name: &str| old.nodes.iter().position(|node| node.name == name).map_or(0, |place| old.copies[place]);
    new.nodes.iter().zip(&new.copies).map(|(node, copies)| copies.saturating_sub(had(&node.name))).sum()
}

/// The share of chunks that must move, where that is known: nodes that are all alike, of which some come or some go.
fn ideal(before: &[Node], after: &[Node], replicas: u32) -> Option<f64> {
    let alike = |node: &Node| node.domain.is_empty() && node.weight == before[0].weight;
    let within = |few: &[Node], many: &[Node]| few.iter().all(|node| many.contains(node));
    let plain = before.iter().chain(after).all(alike) && (within(before, after) || within(after, before));
    let (fewer, more) = (before.len().min(after.len()) as u32, before.len().max(after.len()) as u32);
    plain.then(|| 1.0 - share_without(fewer, more, replicas))
}

/// `C(fewer, r) / C(more, r)`: the share of chunks whose copies avoid the nodes that only one side has.
fn share_without(fewer: u32, more: u32, replicas: u32) -> f64 {
    (0..replicas).map(|nth| f64::from(fewer.saturating_sub(nth)) / f64::from(more - nth)).product()
}

fn table(outcome: &Outcome) -> String {
    let mut text = format!("{} chunks, {} copies of each\n", outcome.chunks, outcome.replicas);
    lines(&mut text, outcome, &outcome.before, outcome.most_in_a_domain);
    if outcome.before.len() == outcome.replicas as usize {
        text += "every node has a copy of every chunk: placement has no choice\n";
    }
    let (Some(after), Some(moved), Some(share)) = (&outcome.after, outcome.moved_chunks, outcome.moved_share) else {
        return text;
    };
    let _ = writeln!(text, "\nwith {} nodes instead of {}", after.len(), outcome.before.len());
    lines(&mut text, outcome, after, outcome.most_in_a_domain_after.unwrap_or(0));
    let _ = write!(text, "{moved} chunks move a copy: {:.2} %", share * 100.0);
    let _ = match outcome.ideal_share {
        Some(ideal) => writeln!(text, "; no placement with equal loads moves fewer than {:.2} %", ideal * 100.0),
        None => writeln!(text),
    };
    let (copies, least) = (outcome.moved_copies.unwrap_or(0), outcome.least_copies.unwrap_or(0));
    let _ = writeln!(text, "{copies} copies move; {least} must, to come from those loads to these");
    text
}

fn lines(text: &mut String, outcome: &Outcome, loads: &[Load], most_in_a_domain: u64) {
    let most = loads.iter().map(|load| load.copies).max().unwrap_or(1).max(1);
    let weights: u64 = loads.iter().map(|load| u64::from(load.weight)).sum();
    let uneven = loads.iter().any(|load| load.weight != loads[0].weight);
    let all = f64::from(outcome.chunks) * f64::from(outcome.replicas);
    for load in loads {
        let share = load.copies as f64 / all * 100.0;
        let bar = "#".repeat((load.copies * 30 / most) as usize);
        let _ = write!(text, "  {:<8} {:>9} {share:>6.2} %", load.node, load.copies);
        if uneven {
            let _ = write!(text, " of {:>6.2} % by weight", f64::from(load.weight) * 100.0 / weights as f64);
        }
        if !load.domain.is_empty() {
            let _ = write!(text, "  {:<8}", load.domain);
        }
        let _ = writeln!(text, "  {bar}");
    }
    if loads.iter().any(|load| !load.domain.is_empty()) {
        let _ = writeln!(text, "losing a domain takes at most {most_in_a_domain} copies of a chunk");
    }
}

/// Bars side by side: grey before, blue after.
fn svg(outcome: &Outcome) -> String {
    let after = outcome.after.as_deref().unwrap_or_default();
    let count = outcome.before.len().max(after.len());
    let most = outcome.before.iter().chain(after).map(|load| load.copies).max().unwrap_or(1).max(1);
    let (width, height, step) = (40 * count + 40, 260, 40);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"10\">\n"
    );
    let _ = writeln!(text, "<title>{} chunks, {} copies of each</title>", outcome.chunks, outcome.replicas);
    for (loads, color, shift) in [(outcome.before.as_slice(), "#999", 0), (after, "#2a6fdb", 14)] {
        for (nth, load) in loads.iter().enumerate() {
            let bar = load.copies * 200 / most;
            let (x, y) = (20 + nth * step + shift, 220 - bar);
            let _ = writeln!(
                text,
                "<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"{bar}\" fill=\"{color}\"><title>{}: {}</title></rect>",
                escaped(&load.node),
                load.copies
            );
        }
    }
    let longer = if after.len() > outcome.before.len() { after } else { &outcome.before };
    for (nth, load) in longer.iter().enumerate() {
        let name = escaped(&load.node);
        let _ = writeln!(text, "<text x=\"{}\" y=\"236\">{name}</text>", 20 + nth * step);
    }
    if let Some(share) = outcome.moved_share {
        let ideal = outcome.ideal_share.map_or_else(String::new, |ideal| format!(" (ideal {:.2} %)", ideal * 100.0));
        let share = share * 100.0;
        let _ = writeln!(text, "<text x=\"20\" y=\"252\">{share:.2} % of the chunks move a copy{ideal}</text>");
    }
    text + "</svg>\n"
}

/// A name as text of a drawing.
fn escaped(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests;
