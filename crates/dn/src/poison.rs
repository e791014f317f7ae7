//! What a failed sync does to a node: it takes no more puts, touches or deletes, ever again ([`api::poison`] says why).
//!
//! Reads go on, because each is verified. A marker keeps the verdict over restarts, for as long as the disk can keep anything.
//! The cluster rebuilds the copies elsewhere.

use std::path::Path;

use api::poison::Marker;
use api::{ChunkError, Disk};
use tokio::sync::watch;

/// Whether a store is poisoned, and the first error that did it.
#[derive(Debug)]
pub struct Poison {
    marker: Marker,
    reason: watch::Sender<Option<String>>,
}

impl Poison {
    /// What the marker in `directory` says. One that is there but cannot be read poisons as well.
    pub fn of(disk: &dyn Disk, directory: &Path) -> Self {
        let marker = Marker::of(directory);
        let reason = watch::Sender::new(marker.read(disk));
        Self { marker, reason }
    }

    /// The first error, if there was one.
    pub fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    /// Errs if the store is poisoned: the first line of whatever would change it.
    pub fn check(&self) -> Result<(), ChunkError> {
        match self.reason() {
            Some(reason) => Err(ChunkError::Poisoned { reason }),
            None => Ok(()),
        }
    }

    /// Poisons the store for `reason`; an earlier reason stays. Gives the error to answer with.
    pub fn set(&self, disk: &dyn Disk, reason: String) -> ChunkError {
        let first = self.reason.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(reason.clone());
            first
        });
        if first {
            tracing::error!(reason, marker = %self.marker.path().display(), "a sync failed: this store takes no more writes");
            if let Err(error) = self.marker.leave(disk, &reason) {
                tracing::error!(%error, "could not leave a marker: keep this process from starting again");
            }
        }
        ChunkError::Poisoned { reason: self.reason().unwrap_or(reason) }
    }

    /// Waits until the store is poisoned and gives the reason.
    pub fn poisoned(&self) -> impl Future<Output = String> + Send + use<> {
        let mut watching = self.reason.subscribe();
        async move {
            if let Ok(reason) = watching.wait_for(Option::is_some).await {
                return reason.clone().unwrap_or_default();
            }
            std::future::pending().await // The store is gone; nobody can poison it any more.
        }
    }
}
