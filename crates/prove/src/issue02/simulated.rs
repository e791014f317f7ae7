//! A million random operations in one process, against the model, with crashes in between; and planted faults, each found.
//!
//! `KVFS_SIM_SEED=17` tells the story of that seed alone, and shows what led to its end if it ends badly.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use sim::plant::Plant;
use sim::tell::{Counts, Finding, tell};

use crate::report::number;

/// Operations in one story: enough for some dozen faults on top of each other, few enough to look at.
const STORY: u64 = 2000;

/// Stories with one fault planted before it counts as not found.
const STORIES_TO_FIND: u64 = 60;

/// Stories are told side by side on so many threads, each on its own.
const THREADS: usize = 2;

/// Runs the section.
pub fn run(quick: bool) -> Result<()> {
    if let Ok(seed) = std::env::var("KVFS_SIM_SEED") {
        let seed = seed.parse().context("KVFS_SIM_SEED is not a number")?;
        return tell_one(seed);
    }
    let operations = if quick { 10_000 } else { 1_000_000 };
    let begun = Instant::now();
    let (stories, counts) = tell_all(operations)?;
    let seconds = begun.elapsed().as_secs_f64();
    show(&counts);
    number("seeds", stories);
    number("seconds", format!("{seconds:.1}"));
    number("operations a second", format!("{:.0}", counts.operations as f64 / seconds));
    if counts.operations < operations {
        bail!("only {} operations were told", counts.operations);
    }
    // In the short form `sim`'s own tests have found them already, with seeds that find them soon.
    match quick {
        true => Ok(()),
        false => Plant::ALL.into_iter().try_for_each(find),
    }
}

fn tell_one(seed: u64) -> Result<()> {
    let told = tell(seed, STORY, None).map_err(explain)?;
    show(&told.counts);
    number("digest", format!("{:016x}", told.digest));
    Ok(())
}

/// Tells stories of the seeds 0, 1, 2, … until they are long enough together; how many there were, and what happened.
fn tell_all(operations: u64) -> Result<(u64, Counts)> {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let stories = operations.div_ceil(STORY);
    let some = || -> Result<Counts, Box<Finding>> {
        let mut counts = Counts::default();
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= stories {
                break;
            }
            let told = tell(seed, STORY, None).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            counts += told.counts;
        }
        Ok(counts)
    };
    let mut all = Counts::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(some)).collect();
        for thread in threads {
            all += thread.join().map_err(|_| anyhow!("a story's thread panicked"))?.map_err(explain)?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok((stories, all))
}

/// Tells stories with a fault planted until one goes wrong.
fn find(plant: Plant) -> Result<()> {
    for seed in 0..STORIES_TO_FIND {
        if let Err(finding) = tell(seed, STORY, Some(plant)) {
            let by = format!("found by seed {seed} after {} operations", finding.operations);
            number(&format!("planted: {plant:?}"), by);
            return Ok(());
        }
    }
    bail!("{plant:?} was planted, and {STORIES_TO_FIND} stories did not notice")
}

fn show(counts: &Counts) {
    number("operations", counts.operations);
    number("acknowledged changes", counts.acknowledged);
    number("requests whose outcome nobody learned", counts.unknown);
    number("faults", counts.faults);
    number("processes crashed", counts.crashes);
    number("power cuts of everything", counts.power_cuts);
    number("restarts, each followed by a look at everything", counts.restarts);
    number("objects verified after restarts", counts.verified);
    number("copies deleted by garbage collection", counts.collected);
    number("copies spared because they were wanted again", counts.spared);
    number("bits flipped", counts.flipped);
}

fn explain(finding: Box<Finding>) -> anyhow::Error {
    anyhow!("{finding}\n   again: KVFS_SIM_SEED={}", finding.seed)
}
