//! What a commit costs: one sync when it is alone, a share of one when it is not.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::group::{Group, Setup, Shape};
use crate::report::number;

const AT_ONCE: [usize; 3] = [1, 16, 256];

/// One and sixteen in turns, so that what the machine does beside it meets both of them.
const TURNS: usize = 5;

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
    for coords in [1, 3] {
        latency(coords, quick).await.with_context(|| format!("latency with {coords} coordinators"))?;
        syncs(coords, quick).await.with_context(|| format!("syncs with {coords} coordinators"))?;
    }
    Ok(())
}

/// How long a commit waits, alone and beside others.
async fn latency(coords: usize, quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let group = Group::start(home.path(), Shape { coords, edges: 1, nodes: 3 }).await?;
    let (turns, length) = if quick { (1, "2s") } else { (TURNS, "4s") };
    let few = [1, 16].repeat(turns);
    // Last, since it grows the tables tenfold.
    let many = [256].repeat(turns);
    let all = bench(&group, length, &[few, many].concat()).await.context("measuring")?;
    let mut medians = Vec::new();
    for at_once in AT_ONCE {
        let these: Vec<_> = all.iter().filter(|one| one.concurrency == at_once).collect();
        let of = |what: fn(&Measured) -> f64| median(these.iter().map(|one| what(one)).collect());
        let (rate, p50) = (of(|one| one.per_second), of(|one| one.p50_ms));
        let p999 = these.iter().map(|one| one.p999_ms).fold(0.0, f64::max);
        let shown =
            format!("{rate:.0} commits/s, p50 {p50:.2} ms (medians of {turns}), p99.9 {p999:.1} ms (the worst)");
        number(&format!("{coords} coordinators, {at_once} at once"), shown);
        medians.push(p50);
    }
    let [alone, sixteen, _] = medians[..] else { return Ok(()) };
    // The short form runs a slow binary beside other tests: it shows that the measurement works.
    ensure!(quick || sixteen <= 2.0 * alone, "p50 at 16 is {sixteen:.2} ms, alone {alone:.2} ms: something waits");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// How many commits share a sync of the leader's log.
async fn syncs(coords: usize, quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let setup = Setup { syncs_traced: true, ..Setup::default() };
    let group = Group::start_as(home.path(), Shape { coords, edges: 1, nodes: 3 }, setup).await?;
    for one in bench(&group, if quick { "1s" } else { "5s" }, &AT_ONCE).await.context("measuring")? {
        let leader = group.until_led().await?;
        let syncs = log_syncs(&group.trace_of(leader), one.began, one.began + one.seconds)?;
        let share = one.commits as f64 / syncs.max(1) as f64;
        number(
            &format!("{coords} coordinators, {} at once: commits, syncs of the leader's log", one.concurrency),
            format!("{}, {syncs}: {share:.2} a sync", one.commits),
        );
        match one.concurrency {
            _ if quick => ensure!(syncs > 0 && one.commits > 0, "nothing was measured"),
            1 => ensure!((0.97..=1.03).contains(&share), "a commit alone costs {:.2} syncs", 1.0 / share),
            16 => ensure!(share >= 8.0, "{share:.1} commits share a sync at 16, 8 should"),
            at_once => ensure!(share >= 60.0, "{share:.1} commits share a sync at {at_once}, 60 should"),
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
