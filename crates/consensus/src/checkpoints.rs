//! When to make checkpoints, and how much log to keep behind them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::disk::Disk;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::blocking;
use crate::error::ConsensusError;
use crate::log::LogHome;
use crate::settings::Settings;
use crate::tables::Store;
use crate::types::Raft;

/// What the checkpoint task works with.
pub(crate) struct Checkpoints {
    pub(crate) store: Arc<Store>,
    pub(crate) home: Arc<dyn LogHome>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) raft: Raft,
    pub(crate) settings: Settings,
    /// Told after every apply.
    pub(crate) applied: Arc<Notify>,
    /// Checkpoints of the past, youngest last: when, and how far they reached.
    pub(crate) past: VecDeque<(Instant, u64)>,
}

/// How far apart remembered checkpoints are at least: enough to know the age of an entry within a minute.
const REMEMBER_EVERY: Duration = Duration::from_secs(30);

impl Checkpoints {
    /// Makes a checkpoint whenever one is due. Ends when one fails: the group is over then, and its failure is noted.
    pub(crate) async fn run(mut self) {
        loop {
            self.until_due().await;
            if let Err(error) = self.once().await {
                tracing::error!(%error, "no checkpoint");
                return;
            }
        }
    }

    /// Waits until enough was applied, or something for long enough.
    async fn until_due(&self) {
        let mut deadline: Option<Instant> = None;
        loop {
            let unsaved = self.store.unsaved_bytes();
            if unsaved.is_some_and(|bytes| bytes >= self.settings.checkpoint_bytes) {
                return;
            }
            if unsaved.is_some() && deadline.is_none() {
                deadline = Some(Instant::now() + self.settings.checkpoint_after);
            }
            let wait = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = self.applied.notified() => {}
                () = tokio::time::sleep(wait), if deadline.is_some() => return,
            }
        }
    }

    async fn once(&mut self) -> Result<(), ConsensusError> {
        let reached = checkpoint(&self.store, &self.disk).await;
        let reached = reached.map_err(ConsensusError::storage("checkpointing the tables"))?;
        if self.past.back().is_none_or(|(at, _)| at.elapsed() >= REMEMBER_EVERY) {
            self.past.push_back((Instant::now(), reached));
        }
        self.purge().await
    }

    /// Has openraft purge what no longer needs keeping.
    ///
    /// openraft purges nothing that no snapshot covers, and a snapshot here is a checkpoint: so building one comes first.
    async fn purge(&mut self) -> Result<(), ConsensusError> {
        let Some(upto) = self.purgeable() else { return Ok(()) };
        let built = self.raft.trigger().snapshot().await;
        built.map_err(ConsensusError::raft("building a snapshot"))?;
        let covered =
            |metrics: &openraft::RaftMetrics<_>| metrics.snapshot.as_ref().is_some_and(|at| at.index() >= upto);
        let waited = self.raft.wait(None).metrics(covered, "a snapshot covers what is to be purged").await;
        waited.map_err(ConsensusError::raft("waiting for a snapshot"))?;
        self.raft.trigger().purge_log(upto).await.map_err(ConsensusError::raft("purging the log"))
    }

    /// Up to where the log may be purged, if that is worth doing: what is old, and what is too much.
    fn purgeable(&mut self) -> Option<u64> {
        let last = self.store.checkpointed().last?.index;
        let first = self.home.bounds().purged.map_or(0, |purged| purged.index + 1);
        let mut old = 0;
        while let Some((at, reached)) = self.past.front()
            && at.elapsed() >= self.settings.log_keep
        {
            old = *reached;
            self.past.pop_front();
        }
        let held = last.saturating_sub(first);
        let fits = self
            .settings
            .log_keep_bytes
            .checked_mul(held)
            .map_or(u64::MAX, |product| product / self.home.file_bytes().max(1));
        let keep = self.settings.log_keep_entries.min(fits);
        // A tenth more than is kept, so that a purge is rare and takes whole files.
        let surplus = if held > keep + keep / 10 { last - keep } else { 0 };
        Some(old.max(surplus)).filter(|upto| *upto > first)
    }
}

/// One durable checkpoint; the index it reached.
pub(crate) async fn checkpoint(store: &Arc<Store>, disk: &Arc<dyn Disk>) -> io::Result<u64> {
    let store = store.clone();
    Ok(blocking::run(disk, move || store.checkpoint()).await?.index())
}
