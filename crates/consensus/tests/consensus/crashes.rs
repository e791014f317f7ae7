//! Power cuts at any moment: what was answered survives, and no log id is given out twice.

use std::collections::{BTreeMap, BTreeSet};

use domain::LogPosition;
use testkit::entropy::split_mix;
use testkit::sim_disk::SimDisk;

use crate::common::*;

/// What a client knows.
#[derive(Default)]
struct Known {
    /// Answered: name → index.
    answered: BTreeMap<String, u64>,
    /// Asked for and not answered.
    unanswered: BTreeSet<String>,
    /// Every log id that an answer ever named.
    log_ids: BTreeSet<(u64, LogPosition)>,
}

/// A few lives of a group, each ended by a power cut at a random change of the disk. Errs with what was lost.
fn story(seed: u64, lies: bool) -> Result<(), String> {
    let disk = SimDisk::new(seed);
    let (mut random, mut known) = (seed ^ 0x5eed, Known::default());
    disk.lie_about_sync(lies);
    for nth in 0..6 {
        let reach = if nth == 0 { 400 } else { 150 };
        disk.crash_at(1 + split_mix(&mut random) % reach);
        life(one_life(&disk, nth, &mut known))?;
        disk.crash();
        disk.restart();
    }
    life(async {
        let group = open_sim(&disk).await.map_err(|error| format!("cannot be opened: {error}"))?;
        known.check(&marks(&group).await)
    })
}

/// Proposes from four tasks until the power goes.
async fn one_life(disk: &SimDisk, nth: u32, known: &mut Known) -> Result<(), String> {
    let group = match open_sim(disk).await {
        Ok(group) => group,
        Err(_) if disk.is_down() => return Ok(()),
        Err(error) => return Err(format!("cannot be opened: {error}")),
    };
    match try_marks(&group).await {
        Ok(found) => known.check(&found)?,
        Err(_) if disk.is_down() => return Ok(()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    }
    let propose = |task: u32| {
        let group = group.clone();
        tokio::spawn(async move {
            let mut done = Vec::new();
            for n in 0..100 {
                let name = format!("{nth}-{task}-{n}");
                let outcome = propose(&group, &name).await;
                let over = outcome.is_err();
                done.push((name, outcome));
                if over {
                    break;
                }
            }
            done
        })
    };
    let tasks: Vec<_> = (0..4).map(propose).collect();
    for task in tasks {
        for (name, outcome) in task.await.map_err(|error| error.to_string())? {
            match outcome {
                Ok(proposed) => {
                    let place = match proposed.replies[..] {
                        [meta::Reply::Lease(place)] if place.index() == proposed.index => place,
                        ref other => return Err(format!("{name} at {} got {other:?}", proposed.index)),
                    };
                    if !known.log_ids.insert((proposed.term, place)) {
                        return Err(format!("place {place} of term {} was used twice", proposed.term));
                    }
                    known.answered.insert(name, proposed.index);
                }
                Err(_) => drop(known.unanswered.insert(name)),
            }
        }
    }
    Ok(())
}

impl Known {
    /// All that was answered is there, at its place, and nothing that nobody asked for.
    fn check(&self, found: &BTreeMap<String, u64>) -> Result<(), String> {
        for (name, index) in &self.answered {
            if found.get(name) != Some(index) {
                return Err(format!("{name}, answered at {index}, is at {:?}", found.get(name)));
            }
        }
        match found.keys().find(|&name| !self.answered.contains_key(name) && !self.unanswered.contains(name)) {
            Some(stranger) => Err(format!("{stranger} is there, and nobody asked for it")),
            None => Ok(()),
        }
    }
}

#[test]
fn what_was_answered_survives_power_cuts() {
    for seed in 0..60 {
        story(seed, false).unwrap_or_else(|lost| panic!("seed {seed}: {lost}"));
    }
}

/// The test above can see: on a disk whose syncs do nothing it finds losses.
#[test]
fn a_disk_that_lies_is_found_out() {
    assert!((0..20).any(|seed| story(seed, true).is_err()));
}
