//! The code's speed beside others: ISA-L's, in a C program of ours, and the fastest crates'.
//!
//! Rounds take turns: the binary's own `kvfs bench erasure`, ISA-L, the crates, and again. Of each row the median round counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::crates;
use crate::cluster::binary;
use crate::report::number;

/// One thing that is measured: K, M, bytes of a shard, and how many data shards are lost; 0 is encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// Data shards.
    pub k: usize,
    /// Parity shards.
    pub m: usize,
    /// Bytes of each.
    pub shard_bytes: usize,
    /// Data shards to be rebuilt: 0, 1 or M.
    pub lost: usize,
}

/// Speeds in MiB of data a second, one for each round, by task and by who.
type Speeds = BTreeMap<(Task, String), Vec<f64>>;

const ISA_L: &str = "ISA-L";

/// The section.
pub fn run(quick: bool) -> Result<()> {
    let tasks = tasks();
    let home = tempfile::tempdir()?;
    let isa_l = compile(home.path())?;
    let mut speeds = Speeds::new();
    for _ in 0..if quick { 1 } else { 5 } {
        ours(quick, &mut speeds)?;
        theirs(&isa_l, &tasks, &mut speeds)?;
        for task in &tasks {
            for (who, speed) in crates::speeds(*task, quick)? {
                speeds.entry((*task, who.to_string())).or_default().push(speed);
            }
        }
    }
    let median = |task: Task, who: &str| {
        let mut rounds = speeds.get(&(task, who.to_string()))?.clone();
        rounds.sort_by(f64::total_cmp);
        Some(rounds[rounds.len() / 2])
    };
    for task in tasks {
        judge(task, &speeds, |who| median(task, who), quick)?;
    }
    Ok(())
}

fn tasks() -> Vec<Task> {
    let shapes = [(4, 2), (10, 4)].into_iter().flat_map(|shape| [(shape, 1 << 16), (shape, 1 << 20)]);
    shapes.flat_map(|((k, m), shard_bytes)| [0, 1, m].map(|lost| Task { k, m, shard_bytes, lost })).collect()
}

/// Shows a task's speeds and holds them against what is promised; a dev binary is only asked whether it answers.
fn judge(task: Task, speeds: &Speeds, median: impl Fn(&str) -> Option<f64>, quick: bool) -> Result<()> {
    let Task { k, m, shard_bytes, lost } = task;
    let name = match lost {
        0 => format!("encode {k}+{m}, {} KiB", shard_bytes >> 10),
        lost => format!("rebuild {lost} of {k}+{m}, {} KiB", shard_bytes >> 10),
    };
    let isa_l = median(ISA_L).context("ISA-L said nothing about a task")?;
    let named = speeds.keys().filter(|(of, _)| *of == task).map(|(_, who)| who.as_str());
    let row = |who: &str| median(who).map(|speed| format!("{who} {speed:.0} ({:.2})", speed / isa_l));
    number(&name, named.filter_map(row).collect::<Vec<_>>().join(", "));
    let (scalar, avx2) = (median("scalar").context("no row for scalar")?, median("avx2"));
    let kernels = speeds.keys().filter(|(of, who)| *of == task && is_ours(who));
    let best = kernels.filter_map(|(_, who)| median(who)).fold(scalar, f64::max);
    let crates = crates::NAMES.iter().filter_map(|who| median(who)).fold(0.0, f64::max);
    if quick {
        return Ok(());
    }
    ensure!(best >= 0.9 * isa_l, "{name}: {best:.0} MiB/s is less than 0.9 of ISA-L's {isa_l:.0}");
    ensure!(best >= crates, "{name}: a crate has {crates:.0} MiB/s, and we {best:.0}");
    ensure!(avx2.is_none_or(|avx2| avx2 >= 0.5 * isa_l), "{name}: AVX2 is slower than half of ISA-L");
    let promised = 1.2e9 / f64::from(1 << 20);
    ensure!((k, m, lost) != (4, 2, 0) || scalar >= promised, "{name}: scalar has {scalar:.0} MiB/s");
    Ok(())
}

fn is_ours(who: &str) -> bool {
    who != ISA_L && !crates::NAMES.contains(&who)
}

/// A round of `kvfs bench erasure`: the rows of every kernel of this CPU.
fn ours(quick: bool, speeds: &mut Speeds) -> Result<()> {
    let run_ms = if quick { "1" } else { "100" };
    let arguments = ["bench", "erasure", "--runs", "1", "--run-ms", run_ms, "--output", "json"];
    let output = Command::new(binary()?).args(arguments).output().context("running kvfs bench erasure")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).context("reading what the bench says")?;
    for row in rows {
        let count = |field: &str| row[field].as_u64().map(|value| value as usize).with_context(|| field.to_string());
        let task = Task { k: count("k")?, m: count("m")?, shard_bytes: count("shard_bytes")?, lost: count("lost")? };
        let kernel = row["kernel"].as_str().context("a row without its kernel")?.to_string();
        speeds.entry((task, kernel)).or_default().push(row["mib_per_s"].as_f64().context("a row without its speed")?);
    }
    Ok(())
}

/// Compiles the program that runs ISA-L.
fn compile(home: &Path) -> Result<std::path::PathBuf> {
    let (source, program) = (home.join("isal.c"), home.join("isal"));
    std::fs::write(&source, include_str!("isal.c"))?;
    let output = Command::new("cc").args(["-O2", "-o"]).args([&program, &source]).arg("-lisal").output();
    let output = output.context("running cc: a C compiler is needed")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ISA-L is needed for comparison: install Debian's package libisal-dev\n{said}");
    }
    Ok(program)
}

/// A round of ISA-L.
fn theirs(program: &Path, tasks: &[Task], speeds: &mut Speeds) -> Result<()> {
    let words = tasks.iter().flat_map(|task| [task.k, task.m, task.shard_bytes, task.lost]);
    let output = Command::new(program).args(words.map(|word| word.to_string())).output()?;
    ensure!(output.status.success(), "the ISA-L program ended with {}", output.status);
    let said = String::from_utf8(output.stdout)?;
    ensure!(said.lines().count() == tasks.len(), "ISA-L answered {} of {} tasks", said.lines().count(), tasks.len());
    for (task, line) in tasks.iter().zip(said.lines()) {
        let speed = line.rsplit(' ').next().and_then(|word| word.parse().ok()).context("a line of ISA-L's")?;
        speeds.entry((*task, ISA_L.to_string())).or_default().push(speed);
    }
    Ok(())
}
