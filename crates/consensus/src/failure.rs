//! The one bit that ends everything: storage failed.
//!
//! After a failed write or `fsync` nobody knows what the disk has (Rebello et al., "Can Applications Recover from fsync
//! Failures?", ATC 2020), so nothing is retried: whoever notices says so here, the log and the tables refuse from then on,
//! and the process exits. The first reason is kept; those that follow from it would only distract.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

/// A shared note of the first storage failure.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Arc<watch::Sender<Option<String>>>);

impl Failure {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Notes a failure, unless one is noted already.
    pub(crate) fn note(&self, why: impl Into<String>) {
        let why = why.into();
        self.0.send_if_modified(|first| {
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

    /// The first failure, if any.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// An error once something failed: the gate in front of every write.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.get() {
            None => Ok(()),
            Some(why) => Err(io::Error::other(format!("storage failed before: {why}"))),
        }
    }

    /// Resolves at the first failure, with its reason.
    pub(crate) async fn wait(&self) -> String {
        let mut seen = self.0.subscribe();
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
