//! The one bit that ends everything: storage failed.
//!
//! After a failed write or `fsync` nobody knows what the disk has ([`api::poison`]), so nothing is retried: whoever notices says so
//! here, the log and the tables refuse from then on, and the process exits. The first reason is kept; those that follow from it
//! would only distract. A failed write also leaves the marker that keeps the next process from building on memory that the disk
//! does not have. A full disk leaves none: it is well again once there is room.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::disk::Disk;
use api::poison::Marker;
use tokio::sync::watch;

use crate::error::ConsensusError;

/// A shared note of the first storage failure.
#[derive(Clone)]
pub(crate) struct Failure(Arc<Shared>);

struct Shared {
    first: watch::Sender<Option<String>>,
    marker: Marker,
    marked: AtomicBool,
    disk: Arc<dyn Disk>,
}

impl Failure {
    /// No failure so far, in the group of `directory`.
    pub(crate) fn new(directory: &Path, disk: Arc<dyn Disk>) -> Self {
        let (first, marked) = (watch::Sender::new(None), AtomicBool::new(false));
        Self(Arc::new(Shared { first, marker: Marker::of(directory), marked, disk }))
    }

    /// Errs if a write failed in an earlier process.
    pub(crate) fn check_marker(&self) -> Result<(), ConsensusError> {
        match self.0.marker.read(self.0.disk.as_ref()) {
            Some(reason) => Err(ConsensusError::Poisoned { reason, marker: self.0.marker.path().to_owned() }),
            None => Ok(()),
        }
    }

    /// Errs if this process has failed in a way that only a person may call over, whether or not the marker could be left.
    pub(crate) fn check_poisoned(&self) -> Result<(), ConsensusError> {
        match (self.is_poisoned(), self.get()) {
            (true, reason) => Err(ConsensusError::Poisoned {
                reason: reason.unwrap_or_default(),
                marker: self.0.marker.path().to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Notes a failure, unless one is noted already.
    pub(crate) fn note(&self, why: impl Into<String>) {
        let why = why.into();
        self.0.first.send_if_modified(|first| {
            if first.is_some() {
                return false;
            }
            tracing::error!(%why, "storage failed; the group stops and this process must exit");
            *first = Some(why);
            true
        });
    }

    /// Notes an error in passing.
    pub(crate) fn noting<T>(&self, doing: &str, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.note(format!("{doing}: {error}")))
    }

    /// Notes the error of a write, and leaves the marker unless it was a full disk, or a log that was closed.
    pub(crate) fn noting_write<T>(&self, doing: &str, result: io::Result<T>) -> io::Result<T> {
        match &result {
            Err(error) if !is_full(error) => self.noting_sync(doing, result),
            _ => self.noting(doing, result),
        }
    }

    /// Notes the error of a sync, and leaves the marker: also if something else failed before, but not for what only follows from that.
    pub(crate) fn noting_sync<T>(&self, doing: &str, result: io::Result<T>) -> io::Result<T> {
        let own = result.as_ref().is_err_and(|error| error.kind() != ErrorKind::NotConnected);
        // Marked before anybody is woken: the exit code is asked for at once.
        let mark = own && !self.0.marked.swap(true, Ordering::AcqRel);
        let result = self.noting(doing, result);
        if let Err(error) = &result
            && mark
            && let Err(marking) = self.0.marker.leave(self.0.disk.as_ref(), &format!("{doing}: {error}"))
        {
            tracing::error!(%marking, "could not leave a marker: keep this process from starting again");
        }
        result
    }

    /// Whether the failure is one that only a person may call over.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.0.marked.load(Ordering::Acquire)
    }

    /// The first failure, if any.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.first.borrow().clone()
    }

    /// An error once something failed: the gate in front of every write. Its kind tells it from a failure of its own.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.get() {
            None => Ok(()),
            Some(why) => Err(io::Error::new(ErrorKind::NotConnected, format!("storage failed before: {why}"))),
        }
    }

    /// Resolves at the first failure, with its reason.
    pub(crate) async fn wait(&self) -> String {
        let mut seen = self.0.first.subscribe();
        loop {
            if let Some(why) = seen.borrow_and_update().clone() {
                return why;
            }
            // The sender lives in `self`, so this waits for a change and nothing else.
            if seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Whether a disk, or a share of one, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use testkit::sim_disk::SimDisk;

    use super::*;

    fn failed(kinds: &[(bool, ErrorKind)]) -> (bool, bool) {
        let disk = SimDisk::new(1);
        let failure = Failure::new(Path::new("/"), Arc::new(disk.clone()));
        for (sync, kind) in kinds {
            let result = Err::<(), _>(io::Error::from(*kind));
            let noted =
                if *sync { failure.noting_sync("syncing", result) } else { failure.noting_write("writing", result) };
            assert!(noted.is_err() && failure.get().is_some());
        }
        (failure.is_poisoned(), Marker::of(Path::new("/")).read(&disk).is_some())
    }

    #[test]
    fn what_leaves_the_marker() {
        use ErrorKind::{NotConnected, Other, QuotaExceeded, StorageFull};
        type Failures = &'static [(bool, ErrorKind)];
        let table: [(&str, Failures, bool); 7] = [
            ("a full disk", &[(false, StorageFull)], false),
            ("a full share of one", &[(false, QuotaExceeded)], false),
            ("a failed write", &[(false, Other)], true),
            ("a failed sync", &[(true, Other)], true),
            ("a sync for which there is no room", &[(true, StorageFull)], true),
            ("what only follows", &[(false, StorageFull), (false, NotConnected), (true, NotConnected)], false),
            ("a failed sync behind a full disk", &[(false, StorageFull), (true, Other)], true),
        ];
        for (case, kinds, marked) in table {
            assert_eq!(failed(kinds), (marked, marked), "{case}");
        }
    }
}
