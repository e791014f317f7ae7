//! Telling stories: what they count, and what is shown of one that went wrong.

use std::collections::VecDeque;

use crate::cluster::on_one_thread;
use crate::panics;
use crate::plant::Plant;
use crate::story::Story;

/// How many lines of a story are kept to show what led to its end.
const TRACE_LINES: usize = 60;

/// What happened in stories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests made.
    pub operations: u64,
    /// Of these, changes that were acknowledged.
    pub acknowledged: u64,
    /// Of these, requests whose outcome nobody learned.
    pub unknown: u64,
    /// Faults of any kind.
    pub faults: u64,
    /// Processes that ended: by power cut, kill, or failed storage.
    pub crashes: u64,
    /// Times that the power of everything was cut.
    pub power_cuts: u64,
    /// Times that what was down was started again and everything was read.
    pub restarts: u64,
    /// Objects read and compared after restarts.
    pub verified: u64,
    /// Copies that garbage collection deleted on nodes, as far as it lived to say so.
    pub collected: u64,
    /// Copies that it spared, because somebody had put or touched them meanwhile.
    pub spared: u64,
    /// Bits flipped.
    pub flipped: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.power_cuts += other.power_cuts;
        self.restarts += other.restarts;
        self.verified += other.verified;
        self.collected += other.collected;
        self.spared += other.spared;
        self.flipped += other.flipped;
    }
}

/// Where a story went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed}, after {operations} operations: {what}\n{trace}")]
pub struct Finding {
    /// Its seed.
    pub seed: u64,
    /// Requests made until then.
    pub operations: u64,
    /// What cannot be.
    pub what: String,
    /// What led to it.
    pub trace: String,
}

/// A story's end: what happened, and a number that two equal stories share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub counts: Counts,
    /// A digest of every request, answer and fault.
    pub digest: u64,
}

/// Tells the story of `seed`, at least `operations` long, with a fault planted or not.
///
/// A panic of any task is a finding too.
pub fn tell(seed: u64, operations: u64, plant: Option<Plant>) -> Result<Told, Box<Finding>> {
    let mut notes = Notes::default();
    let ended = panics::caught(|| on_one_thread(async { Story::new(seed, &mut notes).run(operations, plant).await }));
    let what = match ended {
        Ok(Ok(())) => return Ok(Told { counts: notes.counts, digest: notes.digest }),
        Ok(Err(what)) => what,
        Err(panic) => format!("a task panicked: {panic}"),
    };
    let trace = notes
        .trace
        .iter()
        .map(|line| {
            format!(
                "    {line}
"
            )
        })
        .collect();
    Err(Box::new(Finding { seed, operations: notes.counts.operations, what, trace }))
}

/// What is known of a story while it goes on, and after it broke off.
#[derive(Default)]
pub(crate) struct Notes {
    pub counts: Counts,
    trace: VecDeque<String>,
    digest: u64,
}

impl Notes {
    /// Adds a line to the story.
    pub fn add(&mut self, line: String) {
        // FNV-1a: anything that differs when two stories differ.
        for byte in line.as_bytes() {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }
}
