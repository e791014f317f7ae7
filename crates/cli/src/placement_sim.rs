//! `kvfs placement-sim`: where chunks would lie, and how many would move, before anything is changed.
//!
//! Nothing is asked and nothing is stored: placement is a pure function of names ([`domain::placement`]), so the chunks
//! `chunk-0`, `chunk-1`, … on the nodes `dn1`, `dn2`, … show what any chunks on any nodes would do.
//!
//! What must move when `a` of `n + a` nodes are new is the share of chunks that have one of them among their `r`:
//! `1 - C(n, r) / C(n + a, r)`; for three copies and one node more, `3 / (n + 1)`. A hash that moved more would be a worse one.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Result, bail};
use domain::placement;
use serde::Serialize;

use crate::output::Output;

/// What to try.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// Nodes at first.
    pub nodes: u32,
    /// Chunks.
    pub chunks: u32,
    /// Copies of each.
    pub replicas: u32,
    /// Nodes that join.
    pub add: u32,
    /// Nodes that leave, the last ones.
    pub remove: u32,
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
    copies: u64,
}

/// Where copies lie, and what moved.
#[derive(Debug, Serialize)]
struct Outcome {
    chunks: u32,
    replicas: u32,
    before: Vec<Load>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Vec<Load>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_chunks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ideal_share: Option<f64>,
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
    let Simulation { nodes, chunks, replicas, add, remove } = *simulation;
    if !(1..=1000).contains(&nodes) || add > 1000 {
        bail!("--nodes {nodes} --add {add}: expected 1 to 1000 nodes");
    }
    if !(1..=10_000_000).contains(&chunks) {
        bail!("--chunks {chunks}: expected 1 to 10,000,000");
    }
    if !(1..=nodes).contains(&replicas) {
        bail!("--replicas {replicas}: expected 1 to {nodes}, the number of nodes");
    }
    if add > 0 && remove > 0 {
        bail!("--add and --remove: expected one of them at a time");
    }
    if nodes - remove.min(nodes) < replicas {
        bail!("--remove {remove}: expected at least {replicas} nodes to be left, one for each copy");
    }
    Ok(())
}

fn simulate(simulation: &Simulation) -> Outcome {
    let Simulation { nodes, chunks, replicas, add, remove } = *simulation;
    let names = |count: u32| (1..=count).map(|number| format!("dn{number}")).collect::<Vec<_>>();
    let (before, after) = (names(nodes), names(nodes + add - remove));
    let (mut loads, mut loads_after, mut moved) = (vec![0; before.len()], vec![0; after.len()], 0);
    let place = |key: &str, names: &[String]| {
        let mut chosen = placement::order(key, names);
        chosen.truncate(replicas as usize);
        chosen.sort_unstable();
        chosen
    };
    for number in 0..chunks {
        let key = format!("chunk-{number}");
        let (old, new) = (place(&key, &before), place(&key, &after));
        old.iter().for_each(|node| loads[*node] += 1);
        new.iter().for_each(|node| loads_after[*node] += 1);
        moved += u64::from(old != new);
    }
    let show = |names: Vec<String>, loads: Vec<u64>| {
        names.into_iter().zip(loads).map(|(node, copies)| Load { node, copies }).collect()
    };
    let changed = add + remove > 0;
    let (fewer, more) = (nodes.min(nodes + add - remove), nodes.max(nodes + add - remove));
    Outcome {
        chunks,
        replicas,
        before: show(before, loads),
        after: changed.then(|| show(after, loads_after)),
        moved_chunks: changed.then_some(moved),
        moved_share: changed.then(|| moved as f64 / f64::from(chunks)),
        ideal_share: changed.then(|| 1.0 - share_without(fewer, more, replicas)),
    }
}

/// `C(fewer, r) / C(more, r)`: the share of chunks whose copies avoid the nodes that only one side has.
fn share_without(fewer: u32, more: u32, replicas: u32) -> f64 {
    (0..replicas).map(|nth| f64::from(fewer.saturating_sub(nth)) / f64::from(more - nth)).product()
}

fn table(outcome: &Outcome) -> String {
    let mut text = format!("{} chunks, {} copies of each\n", outcome.chunks, outcome.replicas);
    lines(&mut text, outcome, &outcome.before);
    if outcome.before.len() == outcome.replicas as usize {
        text += "every node has a copy of every chunk: placement has no choice\n";
    }
    if let (Some(after), Some(moved), Some(share), Some(ideal)) =
        (&outcome.after, outcome.moved_chunks, outcome.moved_share, outcome.ideal_share)
    {
        let _ = writeln!(text, "\nwith {} nodes instead of {}", after.len(), outcome.before.len());
        lines(&mut text, outcome, after);
        let (share, ideal) = (share * 100.0, ideal * 100.0);
        let _ = writeln!(
            text,
            "{moved} chunks move a copy: {share:.2} %; no placement with equal loads moves fewer than {ideal:.2} %"
        );
    }
    text
}

fn lines(text: &mut String, outcome: &Outcome, loads: &[Load]) {
    let most = loads.iter().map(|load| load.copies).max().unwrap_or(1).max(1);
    for load in loads {
        let share = load.copies as f64 / f64::from(outcome.chunks) / f64::from(outcome.replicas) * 100.0;
        let bar = "#".repeat((load.copies * 30 / most) as usize);
        let _ = writeln!(text, "  {:<8} {:>9} {share:>6.2} %  {bar}", load.node, load.copies);
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
                load.node, load.copies
            );
        }
    }
    for nth in 0..count {
        let _ = writeln!(text, "<text x=\"{}\" y=\"236\">dn{}</text>", 20 + nth * step, nth + 1);
    }
    if let (Some(share), Some(ideal)) = (outcome.moved_share, outcome.ideal_share) {
        let (share, ideal) = (share * 100.0, ideal * 100.0);
        let _ = writeln!(
            text,
            "<text x=\"20\" y=\"252\">{share:.2} % of the chunks move a copy (ideal {ideal:.2} %)</text>"
        );
    }
    text + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulation(nodes: u32, chunks: u32, add: u32, remove: u32) -> Simulation {
        Simulation { nodes, chunks, replicas: 3, add, remove }
    }

    /// The reference's numbers, which any implementation of the same placement must give.
    #[test]
    fn golden_vectors() {
        // (nodes, add, remove, chunks, moved, copies before, copies after)
        const FIVE: [u64; 5] = [5974, 5960, 6009, 6065, 5992];
        const SIX: [u64; 6] = [4964, 4989, 5019, 5097, 5005, 4926];
        const FOUR: [u64; 4] = [7458, 7506, 7486, 7550];
        type Row = (u32, u32, u32, u32, u64, &'static [u64], &'static [u64]);
        let table: [Row; 5] = [
            (3, 1, 0, 10_000, 7550, &[10_000; 3], &FOUR),
            (5, 1, 0, 10_000, 4926, &FIVE, &SIX),
            (10, 0, 1, 10_000, 2911, &[], &[]),
            (10, 1, 0, 10_000, 2740, &[], &[]),
            (20, 5, 0, 50_000, 25_512, &[], &[]),
        ];
        assert_eq!(FIVE.iter().sum::<u64>(), 30_000);
        for (nodes, add, remove, chunks, moved, before, after) in table {
            let outcome = simulate(&simulation(nodes, chunks, add, remove));
            assert_eq!(outcome.moved_chunks, Some(moved), "{nodes} +{add} -{remove}");
            let copies = |loads: &[Load]| loads.iter().map(|load| load.copies).collect::<Vec<_>>();
            if !before.is_empty() {
                assert_eq!(copies(&outcome.before), before);
                assert_eq!(copies(outcome.after.as_ref().unwrap()), after);
            }
        }
    }

    #[test]
    fn what_must_move_at_least() {
        let ideal = |nodes, add, remove| simulate(&simulation(nodes, 1, add, remove)).ideal_share.unwrap();
        for (share, expected) in
            [(ideal(3, 1, 0), 0.75), (ideal(5, 1, 0), 0.5), (ideal(10, 0, 1), 0.3), (ideal(20, 5, 0), 0.504_35)]
        {
            assert!((share - expected).abs() < 1e-4, "{share} is not {expected}");
        }
    }

    #[test]
    fn what_cannot_be_simulated() {
        for (wrong, says) in [
            (simulation(0, 1, 0, 0), "1 to 1000 nodes"),
            (simulation(2, 1, 0, 0), "the number of nodes"),
            (simulation(5, 1, 1, 1), "one of them"),
            (simulation(5, 1, 0, 3), "to be left"),
            (simulation(5, 1, 0, 9), "to be left"),
            (simulation(5, 0, 0, 0), "--chunks"),
        ] {
            let error = check(&wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn pictures() {
        let outcome = simulate(&simulation(5, 1000, 1, 0));
        assert!(table(&outcome).contains("with 6 nodes instead of 5"));
        let drawing = svg(&outcome);
        assert_eq!(drawing.matches("<rect ").count(), 11);
        assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>\n"));
    }
}
