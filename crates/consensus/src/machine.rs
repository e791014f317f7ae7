//! The state machine as openraft sees it: entries in, replies out, and a snapshot that is a recipe.

use std::io;
use std::sync::Arc;

use api::disk::Disk;
use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::Notify;

use crate::blocking;
use crate::failure::Failure;
use crate::record::{Applied, Position, RaftLogId, Stored};
use crate::settings::Settings;
use crate::tables::Store;
use crate::types::{Recipe, Replies, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// Payload applied in one transaction at most. One `apply` call is one transaction, unless a restart replays far more.
const TRANSACTION_BYTES: usize = 8 << 20;

/// The tables, and the threads they are written on.
#[derive(Clone)]
pub(crate) struct Machine {
    store: Arc<Store>,
    disk: Arc<dyn Disk>,
    settings: Settings,
    failure: Failure,
    /// Told after every apply, for whoever makes checkpoints.
    applied: Arc<Notify>,
}

impl Machine {
    pub(crate) fn new(
        store: Arc<Store>,
        disk: Arc<dyn Disk>,
        settings: Settings,
        failure: Failure,
        applied: Arc<Notify>,
    ) -> Self {
        Self { store, disk, settings, failure, applied }
    }

    /// One transaction away from here; then the replies go out.
    async fn transact(&self, entries: Vec<Stored>, waiting: Vec<Option<ApplyResponder<TypeConfig>>>) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let store = self.store.clone();
        let replies = blocking::run(&self.disk, move || store.apply(&entries)).await;
        let replies = self.failure.noting("applying entries", replies)?;
        self.applied.notify_one();
        for (responder, replies) in waiting.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(Replies(replies));
            }
        }
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Recipe;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let applied = self.store.applied();
        Ok((applied.last.map(Position::to_raft), applied.membership()?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        let (mut batch, mut waiting, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let entry = Stored::of(entry);
            bytes += entry.body.len();
            batch.push(entry);
            waiting.push(responder);
            if bytes >= TRANSACTION_BYTES {
                self.transact(std::mem::take(&mut batch), std::mem::take(&mut waiting)).await?;
                bytes = 0;
            }
        }
        self.transact(batch, waiting).await
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, recipe: Recipe) -> io::Result<()> {
        let ready = match recipe {
            Recipe::Received(ready) => ready.lock().take(),
            Recipe::Checkpoint => None,
        };
        let ready = ready.ok_or_else(|| io::Error::other("a snapshot without tables was to be installed"))?;
        let (store, disk, settings) = (self.store.clone(), self.disk.clone(), self.settings.clone());
        let install = move || store.install(&ready, &settings.dir, settings.table_cache_bytes, disk.as_ref());
        self.failure.noting("installing a snapshot", blocking::run(&self.disk, install).await)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let checkpointed = self.store.checkpointed();
        checkpointed.last.map(|_| recipe(&checkpointed)).transpose()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Recipe;

    /// One durable checkpoint. Nothing is copied.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let store = self.store.clone();
        recipe(&blocking::run(&self.disk, move || store.checkpoint()).await?)
    }
}

/// The snapshot that a checkpoint amounts to.
fn recipe(checkpoint: &Applied) -> io::Result<Snapshot> {
    let meta =
        SnapshotMeta { last_log_id: checkpoint.last.map(Position::to_raft), last_membership: checkpoint.membership()? };
    Ok(Snapshot { meta, snapshot: Recipe::Checkpoint })
}
