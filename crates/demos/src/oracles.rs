//! What must be true at the end of every demo, whatever it showed.
//!
//! | Oracle | Asks |
//! |---|---|
//! | bodies | does every acknowledged, not deleted object read back byte for byte? |
//! | placement | is every chunk on exactly the nodes that an independent computation names? |
//! | disks | is every file whole and named by its SHA-256, is none unfinished, and do metadata and disks agree? |
//! | logs | did no process log an error, or end by itself? |
//!
//! Copies that come late, and garbage that goes late, are waited for, with a deadline. What the script damaged itself is excused, and
//! nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::ChunkId;
use tokio::time::Instant;

use crate::cluster::{Condition, DemoError};
use crate::disks::{LOOK_EVERY, PATIENCE};
use crate::stage::Stage;

/// After this, a copy that is not where it belongs is excused if metadata knows that it is not: a node that was silent for too long
/// on a busy machine was passed over. Long enough for every late answer to have come, or to have been given up.
const LATE: Duration = Duration::from_secs(5);

/// An oracle's verdict.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verdict {
    /// Which oracle.
    pub oracle: &'static str,
    /// What it looked at, or what is wrong.
    pub says: String,
    /// Whether all is well.
    pub passed: bool,
    /// How long it took.
    pub ms: u64,
}

/// How the disks compare with the formula.
struct Placement {
    /// What nothing excuses.
    wrong: Vec<String>,
    /// Copies that are not where they belong.
    missing: Vec<String>,
    /// Whether metadata has as many chunks with too few copies as there are.
    known: bool,
}

impl Stage {
    /// Asks all oracles.
    pub(crate) async fn ask_oracles(&mut self) -> Vec<Verdict> {
        // Downloads that are still held open rely on what they read: let go of them first.
        self.readers.clear();
        let mut verdicts = Vec::new();
        let mut begun = Instant::now();
        let mut note = |oracle, said: Result<String, DemoError>| {
            let passed = said.is_ok();
            let says = said.unwrap_or_else(|error| error.to_string());
            verdicts.push(Verdict { oracle, says, passed, ms: begun.elapsed().as_millis() as u64 });
            begun = Instant::now();
        };
        note("bodies", self.bodies().await);
        note("placement", self.placement().await);
        note("disks", self.disks().await);
        note("logs", self.logs());
        verdicts
    }

    async fn bodies(&mut self) -> Result<String, DemoError> {
        let wrong = self.read_all_back().await?;
        match wrong.is_empty() {
            true => Ok(format!("{} objects read back equal", self.objects.len())),
            false => Err(DemoError::deviation(wrong.join("; "))),
        }
    }

    async fn placement(&mut self) -> Result<String, DemoError> {
        let begun = Instant::now();
        loop {
            let Placement { wrong, missing, known } = self.compare_placement().await?;
            let passed_over = missing.len();
            if wrong.is_empty() && (missing.is_empty() || known && begun.elapsed() > LATE) {
                let wanted = self.wanted("")?;
                let copies: usize = wanted.values().map(|place| place.must.len()).sum();
                let there = copies - passed_over;
                let but = if passed_over > 0 {
                    format!("; metadata knows of the {passed_over} that are not")
                } else {
                    String::new()
                };
                return Ok(format!("{there} copies of {} chunks are where the formula puts them{but}", wanted.len()));
            }
            if begun.elapsed() > PATIENCE {
                return Err(DemoError::deviation([wrong, missing].concat().join("; ")));
            }
            // waits: for late copies and for garbage that is being collected, within a deadline
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Copies that are missing, and copies that should not be there.
    async fn compare_placement(&mut self) -> Result<Placement, DemoError> {
        let (wanted, found) = (self.wanted("")?, self.found()?);
        let (mut wrong, mut missing) = (Vec::new(), Vec::new());
        let (mut surplus, mut short) = (BTreeSet::new(), BTreeSet::new());
        for (id, place) in &wanted {
            let on = found.get(id).cloned().unwrap_or_default();
            for node in place.must.difference(&on).filter(|node| !self.damaged.contains(&(**node, *id))) {
                missing.push(format!("{id} is missing on {node}"));
                short.insert(*id);
            }
            if place.must.len() < place.copies {
                short.insert(*id);
            }
            if on.iter().any(|node| !place.must.contains(node) && !place.may.contains(node)) {
                surplus.insert(*id);
            }
        }
        let collects = self.gateway.contains_key("sweep-every") || self.gateway.contains_key("gc-delay");
        for id in found.keys().filter(|id| !wanted.contains_key(id)) {
            match self.leftovers.contains(id) {
                false => wrong.push(format!("{id} is on a disk, and nobody ever put it")),
                true if collects => wrong.push(format!("{id} belongs to no object and is not collected")),
                true => {}
            }
        }
        // A node that was slow for half a second gets company: metadata must know of each copy that is one too many.
        let status = self.cluster.admin()?.status().await?;
        if surplus.len() as u64 != status.misplaced {
            let (here, there) = (surplus.len(), status.misplaced);
            wrong.push(format!("{here} chunks have a copy too many, metadata knows of {there}: {surplus:?}"));
        }
        Ok(Placement { wrong, missing, known: short.len() as u64 <= status.degraded })
    }

    async fn disks(&mut self) -> Result<String, DemoError> {
        let mut files = 0;
        for node in self.nodes() {
            for id in self.cluster.chunks(node)? {
                files += 1;
                let bytes = self.cluster.read_chunk(node, id)?;
                if ChunkId::of(&bytes) != id && !self.damaged.contains(&(node, id)) {
                    return Err(DemoError::deviation(format!("{node}: the bytes of {id} do not hash to its name")));
                }
            }
            let unfinished = self.cluster.temporary_files(node)?;
            if unfinished > 0 {
                return Err(DemoError::deviation(format!("{node}: {unfinished} unfinished files")));
            }
        }
        // Records of deleted objects' chunks stay until they are collected.
        let live = self.recorded()?.len();
        let records = self.cluster.admin()?.meta_info().await?.chunks as usize;
        match (live..=live + self.leftovers.len()).contains(&records) {
            true => Ok(format!("{files} files hash to their names, none is unfinished; {records} records agree")),
            false => Err(DemoError::deviation(format!("metadata has {records} chunks, the objects have {live}"))),
        }
    }

    fn logs(&mut self) -> Result<String, DemoError> {
        let processes = self.cluster.processes();
        for (who, condition) in &processes {
            if *condition == Condition::Dead && !self.killed.contains(who) {
                return Err(DemoError::deviation(format!("{who} ended by itself")));
            }
            let log = self.cluster.log(*who);
            let unexpected = log.lines().find(|line| {
                line.contains("ERROR") && !self.allowed_errors.iter().any(|allowed| line.contains(allowed.as_str()))
            });
            if let Some(line) = unexpected {
                return Err(DemoError::deviation(format!("{who} logged: {line}")));
            }
        }
        Ok(format!("{} processes logged no error, and none ended by itself", processes.len()))
    }
}
