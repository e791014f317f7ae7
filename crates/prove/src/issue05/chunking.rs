//! Content-defined cuts: their speed by the binary's own bench, and what one inserted byte stores anew.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use domain::ChunkId;
use domain::cdc::{Profile, cuts};
use serde_json::Value;

use crate::cluster::binary;
use crate::content::Content;
use crate::report::number;

/// The section.
pub fn run(quick: bool) -> Result<()> {
    speed(quick)?;
    insertions(quick)
}

/// `kvfs bench chunking`, held against what is promised; a dev binary is only asked whether it answers.
fn speed(quick: bool) -> Result<()> {
    let run_ms = if quick { "1" } else { "1000" };
    let arguments = ["bench", "chunking", "--run-ms", run_ms, "--output", "json"];
    let output = Command::new(binary()?).args(arguments).output().context("running kvfs bench chunking")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).context("reading what the bench says")?;
    for (op, promised) in [("cdc scan", 2.0), ("cdc stream", 0.9)] {
        let row = rows.iter().find(|row| row["op"] == op).with_context(|| format!("there is no row {op}"))?;
        ensure!(row["chunks"] == 20, "{op}: {} chunks, the golden vectors have 20", row["chunks"]);
        let speed = row["mib_per_s"].as_f64().unwrap_or(0.0) * f64::from(1 << 20) / 1e9;
        number(op, format!("{speed:.2} GB/s on one core, promised are {promised}"));
        ensure!(quick || speed >= promised, "{op} is slower than promised");
    }
    Ok(())
}

/// One byte at a random place of a large body, again and again: chunks and bytes that were not there before.
fn insertions(quick: bool) -> Result<()> {
    let (bytes, positions) = if quick { (24 << 20, 4) } else { (256 << 20, 100) };
    let body: Vec<u8> = Content { seed: 5, size: bytes }.pieces().flatten().collect();
    let known: BTreeSet<_> = chunks(&body).into_iter().map(|(id, _)| id).collect();
    number("bytes, and chunks of them", format!("{bytes}, {}", known.len()));
    let (mut anew, mut most) = (Vec::new(), 0);
    let mut state = 0x5DEE_CE66_D123_4567_u64;
    for _ in 0..positions {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = ((u128::from(state) * body.len() as u128) >> 64) as usize;
        let changed = [&body[..at], &[state as u8], &body[at..]].concat();
        let fresh: Vec<_> = chunks(&changed).into_iter().filter(|(id, _)| !known.contains(id)).collect();
        most = fresh.len().max(most);
        anew.push(fresh.iter().map(|(_, length)| length).sum::<usize>() as f64 * 100.0 / body.len() as f64);
    }
    anew.sort_by(f64::total_cmp);
    let median = anew[anew.len() / 2];
    number(&format!("stored anew by one byte at each of {positions} places, median"), format!("{median:.2} %"));
    number("of them the most", format!("{:.2} %, {most} chunks", anew.last().unwrap_or(&0.0)));
    ensure!(most <= 3, "an inserted byte made {most} chunks new");
    ensure!(quick || median <= 2.0, "an inserted byte stores {median:.2} % anew");
    Ok(())
}

fn chunks(body: &[u8]) -> Vec<(ChunkId, usize)> {
    cuts(body, Profile::DEFAULT).map(|cut| (ChunkId::of(&body[cut.clone()]), cut.len())).collect()
}
