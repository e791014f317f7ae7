//! What a commit costs: one sync when it is alone, a share of one when it is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::process::{Child, Command};

use super::group::{Group, Shape};
use crate::report::number;

const AT_ONCE: [usize; 3] = [1, 16, 256];

/// A line of `kvfs bench meta --output json`.
#[derive(Clone, Debug, Deserialize)]
struct Measured {
    concurrency: usize,
    commits: u64,
    began: f64,
    seconds: f64,
    per_second: f64,
    p50_ms: f64,
    p999_ms: f64,
}

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let length = if quick { "2s" } else { "15s" };
    for coords in [1, 3] {
        let home = tempfile::tempdir()?;
        let group = Group::start(home.path(), Shape { coords, edges: 1, nodes: 3 }).await?;
        let free = bench(&group, length, &AT_ONCE).await.context("measuring")?;
        for one in &free {
            let (rate, p50, p999) = (one.per_second, one.p50_ms, one.p999_ms);
            let shown = format!("{rate:.0} commits/s, p50 {p50:.2} ms, p99.9 {p999:.1} ms");
            number(&format!("{coords} coordinators, {} at once", one.concurrency), shown);
        }
        let p50: BTreeMap<usize, f64> = free.iter().map(|one| (one.concurrency, one.p50_ms)).collect();
        // The short form runs a slow binary beside other tests: it shows that the measurement works.
        ensure!(
            quick || p50[&16] <= 2.0 * p50[&1],
            "p50 at 16 is {:.2} ms, alone {:.2} ms: something waits",
            p50[&16],
            p50[&1]
        );
        for at_once in AT_ONCE {
            let (commits, syncs) = traced(&group, home.path(), at_once, quick).await?;
            let share = commits as f64 / syncs.max(1) as f64;
            number(
                &format!("{coords} coordinators, {at_once} at once: commits, syncs of the leader's log"),
                format!("{commits}, {syncs}: {share:.2} a sync"),
            );
            match at_once {
                _ if quick => ensure!(syncs > 0 && commits > 0, "nothing was measured"),
                1 => ensure!((0.97..=1.03).contains(&share), "a commit alone costs {:.2} syncs", 1.0 / share),
                16 => ensure!(share >= 8.0, "{share:.1} commits share a sync at 16, 8 should"),
                _ => ensure!(share >= 60.0, "{share:.1} commits share a sync at {at_once}, 60 should"),
            }
        }
    }
    Ok(())
}

/// Runs `kvfs bench meta` against the group.
async fn bench(group: &Group, length: &str, at_once: &[usize]) -> Result<Vec<Measured>> {
    let at_once: Vec<_> = at_once.iter().map(usize::to_string).collect();
    let (at_once, coords) = (at_once.join(","), group.coord_addrs.join(","));
    let wanted = ["bench", "meta", "--output", "json", "--chunks", "200", "--length", length];
    let reach = ["--concurrency", &at_once, "--coord", &coords, "--endpoint", &group.edges[0].address];
    let printed = group.kvfs(&[&wanted[..], &reach[..]].concat()).await?;
    Ok(serde_json::from_str(&printed)?)
}

/// Commits of a measurement, and the syncs of the leader's log meanwhile.
async fn traced(group: &Group, dir: &Path, at_once: usize, quick: bool) -> Result<(u64, u64)> {
    let leader = group.until_led().await?;
    let process = group.coords[leader].as_ref().context("the leader runs")?.id()?;
    let trace = dir.join(format!("trace-{at_once}"));
    let strace = attach(process, &trace).await?;
    let measured = bench(group, if quick { "1s" } else { "5s" }, &[at_once]).await?;
    let measured = measured.first().context("one measurement")?;
    let syncs = log_syncs(&trace, measured.began, measured.began + measured.seconds)?;
    drop(strace);
    Ok((measured.commits, syncs))
}

/// Starts strace on a process, and waits until it writes.
async fn attach(process: u32, trace: &Path) -> Result<Child> {
    let child = Command::new("strace")
        .args(["-f", "-y", "-ttt", "-e", "trace=fdatasync,fsync", "-o"])
        .arg(trace)
        .args(["-p", &process.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting strace; is it installed?")?;
    let begun = Instant::now();
    // The leader syncs something every few seconds: leases are renewed.
    while std::fs::metadata(trace).map_or(0, |trace| trace.len()) == 0 {
        if begun.elapsed() > Duration::from_secs(20) {
            bail!("strace shows nothing of process {process}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(child)
}

/// Syncs of files of the log that began between two moments. The tables have theirs, at checkpoints.
fn log_syncs(trace: &Path, from: f64, to: f64) -> Result<u64> {
    let text = std::fs::read_to_string(trace)?;
    let is_one = |line: &&str| {
        let moment = line.split_whitespace().nth(1).and_then(|moment| moment.parse::<f64>().ok());
        let begins = line.contains("fdatasync(") || line.contains("fsync(");
        begins && line.contains("/log/") && moment.is_some_and(|moment| (from..=to).contains(&moment))
    };
    Ok(text.lines().filter(is_one).count() as u64)
}
