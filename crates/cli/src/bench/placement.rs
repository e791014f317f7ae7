//! `kvfs bench placement`: deciding where chunks go, for several sizes of cluster and for nodes that are alike or not.

use std::hint::black_box;
use std::io::Write;

use anyhow::{Result, ensure};
use domain::ChunkId;
use domain::placement::topology::{Site, Wish, place};
use serde::Serialize;

use super::{Effort, Task, per_second, table};
use crate::output::Output;

/// Keys that are placed, over and over.
const KEYS: u32 = 1024;

#[derive(Debug, Serialize)]
struct Row {
    op: &'static str,
    nodes: usize,
    per_second: f64,
}

/// Places chunks on each number of nodes: all alike; in racks of four; of weights 1 to 4.
pub fn run(nodes: &[usize], effort: Effort, output: Output, out: &mut dyn Write) -> Result<()> {
    let mut rows = Vec::new();
    for &count in nodes {
        ensure!((1..=1000).contains(&count), "{count} nodes: expected 1 to 1000");
        let names: Vec<_> = (1..=count).map(|number| format!("dn{number}:8080")).collect();
        let racks: Vec<_> = (0..count).map(|number| format!("rack-{}", number / 4)).collect();
        let sites = |labelled: bool, weighted: bool| -> Vec<Site<'_>> {
            let site = |i: usize| Site {
                name: &names[i],
                domain: if labelled { &racks[i] } else { "" },
                class: Default::default(),
                weight: if weighted { 1 + i as u32 % 4 } else { 1 },
            };
            (0..count).map(site).collect()
        };
        let ops = [("plain", sites(false, false)), ("racks", sites(true, false)), ("weights", sites(false, true))];
        let mut tasks = ops.each_ref().map(|(_, sites)| Placing { keys: keys(), next: 0, sites });
        let speeds = per_second(&mut tasks, effort);
        rows.extend(ops.iter().zip(speeds).map(|((op, _), speed)| Row { op, nodes: count, per_second: speed.round() }));
    }
    output.write(out, &rows, |out, rows| {
        let head = ["op", "nodes", "a second"].map(String::from).to_vec();
        let line = |row: &Row| vec![row.op.to_string(), row.nodes.to_string(), format!("{:.0}", row.per_second)];
        table(out, &std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>())
    })?;
    Ok(())
}

fn keys() -> Vec<String> {
    (0..KEYS).map(|number| ChunkId::of(&number.to_be_bytes()).to_hex()).collect()
}

struct Placing<'a> {
    keys: Vec<String>,
    next: usize,
    sites: &'a [Site<'a>],
}

impl Task for Placing<'_> {
    fn step(&mut self) -> u64 {
        self.next = (self.next + 1) % self.keys.len();
        black_box(place(&self.keys[self.next], Wish { copies: 3, ..Wish::default() }, black_box(self.sites)));
        1
    }
}
