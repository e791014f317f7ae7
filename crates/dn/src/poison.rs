//! What a failed sync does to a store: it is over.
//!
//! After a failed `fsync` the kernel may mark the pages clean and drop the error, so that a second `fsync` says "fine" about bytes that
//! are nowhere but in memory. Nothing that the store believed about the disk can be trusted any more, and no retry can tell
//! how bad it is. So: no puts, touches or deletes, ever again; reads go on, because each is verified. A marker file keeps the
//! verdict over restarts, for as long as the disk can keep anything, and the process ends with [`EXIT_POISONED`], which its
//! supervisor must not answer with a restart. The cluster rebuilds the copies elsewhere.
//!
//! Source: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.

use std::path::{Path, PathBuf};

use api::{ChunkError, Disk};
use tokio::sync::watch;

/// Exit code of a process whose store is poisoned: `EX_IOERR` of sysexits.h. Under systemd, `RestartPreventExitStatus=74`.
pub const EXIT_POISONED: i32 = 74;

/// The name of the marker file.
const MARKER: &str = "poisoned";

/// Whether a store is poisoned, and the first error that did it.
#[derive(Debug)]
pub struct Poison {
    marker: PathBuf,
    reason: watch::Sender<Option<String>>,
}

impl Poison {
    /// What the marker in `directory` says. One that is there but cannot be read poisons as well.
    pub fn of(disk: &dyn Disk, directory: &Path) -> Self {
        let marker = directory.join(MARKER);
        let reason = match api::disk::read(disk, &marker) {
            Ok(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => Some(format!("a marker that cannot be read: {error}")),
        };
        Self { marker, reason: watch::Sender::new(reason) }
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
            tracing::error!(reason, marker = %self.marker.display(), "a sync failed: this store takes no more writes");
            if let Err(error) = api::disk::replace(disk, &self.marker, reason.as_bytes()) {
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
