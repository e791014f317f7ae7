//! Sends every case of the table, compares the answers, and then sends them a hundred thousand times.
//!
//! After each case the store must still give a good answer. In the long run it must end up with the memory and the file
//! descriptors with which it began: what a wrong request takes, it must give back.

use anyhow::{Context, Result, ensure};
use http::HeaderMap;

use super::requests::{self, Case, To};
use super::wire::{Then, exchange};
use crate::cluster::Fleet;
use crate::report::number;

/// Memory that may be more at the end than after a tenth of the requests: allocators keep some.
const SLACK_KIB: u64 = 16 << 10;

/// Files that may be open more: connections of the processes among each other come and go.
const SLACK_FILES: usize = 8;

/// Wrong requests under way at the same time.
const AT_ONCE: usize = 16;

/// Sends them.
pub async fn run(quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let fleet = Fleet::start(home.path(), 3).await?;
    for (bucket, key) in [("b", "key"), ("full", "object")] {
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>("hello".into())]);
        fleet.native.put(bucket, key.as_bytes(), Some(5), HeaderMap::new(), body).await?;
    }
    let cases = requests::all(&fleet.native)?;
    let wrong = table(&fleet, &cases).await?;
    number("wrong requests in the table", cases.len());
    ensure!(wrong.is_empty(), "{} answers are not as they must be:\n{}", wrong.len(), wrong.join("\n"));
    long_run(&fleet, &cases, if quick { 3_000 } else { 100_000 }).await?;
    let mut found = fleet.native.get("b", b"key", HeaderMap::new()).await?;
    ensure!(found.next().await?.is_some_and(|bytes| bytes == "hello"), "the object has changed");
    Ok(())
}

/// Every case once, one after the other; what was wrong.
async fn table(fleet: &Fleet, cases: &[Case]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for case in cases {
        let answer = exchange(address(fleet, case.to)?, &case.bytes, case.then).await?;
        if answer.status != case.status || !answer.text.contains(case.says) {
            let expected = format!("{} {:?}", case.status, case.says);
            wrong.push(format!("   {}: expected {expected}, got {:?}", case.what, answer.text));
        }
        fleet.native.head("b", b"key").await.with_context(|| format!("after {}: a good request", case.what))?;
    }
    Ok(wrong)
}

fn address(fleet: &Fleet, to: To) -> Result<&str> {
    match to {
        To::Gateway => Ok(&fleet.edge.address),
        To::Node => Ok(&fleet.nodes[0].as_ref().context("the node is down")?.address),
    }
}

/// All cases but the large, over and over; memory and descriptors of gateway and node before and after.
async fn long_run(fleet: &Fleet, cases: &[Case], count: usize) -> Result<()> {
    let small: Vec<&Case> = cases.iter().filter(|case| case.bytes.len() < 1 << 20).collect();
    let begun = std::time::Instant::now();
    send(fleet, &small, count / 10).await?;
    let before = Footprint::settled(fleet, None).await?;
    send(fleet, &small, count - count / 10).await?;
    let after = Footprint::settled(fleet, Some(&before)).await?;
    number("wrong requests in a row", format!("{count}, {:.0}/s", count as f64 / begun.elapsed().as_secs_f64()));
    for ((who, before), (_, after)) in before.0.iter().zip(&after.0) {
        number(&format!("{who}: resident KiB, after a tenth and at the end"), format!("{} {}", before.kib, after.kib));
        number(&format!("{who}: file descriptors, likewise"), format!("{} {}", before.files, after.files));
        ensure!(after.kib <= before.kib + SLACK_KIB, "{who} grew by {} KiB", after.kib - before.kib);
        ensure!(after.files <= before.files + SLACK_FILES, "{who} has {} more files open", after.files - before.files);
    }
    Ok(())
}

async fn send(fleet: &Fleet, cases: &[&Case], count: usize) -> Result<()> {
    use futures_util::{StreamExt, TryStreamExt};
    let sending = (0..count).map(|nth| async move {
        let case = cases[nth % cases.len()];
        // That a listener is at its bound for a moment is no failure of this section's; a dead process is.
        let answer = exchange(address(fleet, case.to)?, &case.bytes, case.then).await?;
        // Who closes early may be gone before the answer is.
        let same = answer.status == case.status || (case.then == Then::Closes && answer.status == 0);
        ensure!(same, "{}: expected {}, got {:?}", case.what, case.status, answer.text);
        Ok(())
    });
    futures_util::stream::iter(sending).buffer_unordered(AT_ONCE).try_collect().await
}

struct Process {
    kib: u64,
    files: usize,
}

struct Footprint([(&'static str, Process); 2]);

impl Footprint {
    /// Once connections of before are gone, and no more files are open than at `before`; or at a deadline.
    async fn settled(fleet: &Fleet, before: Option<&Self>) -> Result<Self> {
        let node = fleet.nodes[0].as_ref().context("the node is down")?;
        let look = |daemon: &crate::cluster::Daemon| -> Result<Process> {
            Ok(Process { kib: daemon.memory_kib("VmRSS")?, files: daemon.open_files()? })
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let found = Self([("gateway", look(&fleet.edge)?), ("node", look(node)?)]);
            // Connections of the cluster's own processes among each other are fewer than this.
            let most = |nth: usize| before.map_or(120, |before| before.0[nth].1.files + SLACK_FILES);
            let few = found.0.iter().enumerate().all(|(nth, (_, process))| process.files <= most(nth));
            if few || std::time::Instant::now() > deadline {
                return Ok(found);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
