//! The replicated log on disk: a seam of ours with two homes, and the adapter that openraft sees.
//!
//! Raft's promises rest on three rules, whatever the home: entries and votes reach the disk in the order they were given; a
//! completion is called only once its write is past `fdatasync`; and what has failed once is never tried again. Opening a log
//! syncs and re-reads it first, because a process that died may have left bytes in the page cache that look written and are
//! not: promising Raft a last log id that a power cut could still take back would let a log id be used twice.
//!
//! | Home | Files | Threads | Group commit | Used |
//! |---|---|---|---|---|
//! | `chunked` | the operating system's, through `raft-log` | its flush thread | yes | real processes |
//! | `inline` | [`api::disk::Disk`] | none | one sync per append call | the simulator |

pub(crate) mod chunked;
pub(crate) mod frame;
pub(crate) mod inline;
pub(crate) mod store;
#[cfg(test)]
mod suite;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::disk::Disk;

use crate::record::{Ballot, Position, Stored};
use crate::settings::{LogKind, Settings};

/// Called once, when a write is durable or has failed.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What the log spans: entries after `purged` up to `last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) purged: Option<Position>,
    pub(crate) last: Option<Position>,
}

/// How commits share syncs of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// Writes that the last sync made durable together; 0 before the first.
    pub last_batch: u64,
    /// For how long the oldest write has waited that is not durable yet; zero if none waits.
    pub oldest_waiting: Duration,
}

/// A place where the log lives. The caller makes no more writes once one has failed ([`store`] sees to it). Writes are carried out in call order; each is durable when its `done` is called with `Ok`.
pub(crate) trait LogHome: Send + Sync + 'static {
    /// What the log spans, writes that are not yet durable included.
    fn bounds(&self) -> Bounds;
    /// The last vote given to [`LogHome::save_vote`].
    fn vote(&self) -> Option<Ballot>;
    /// Keeps a vote.
    fn save_vote(&self, vote: Ballot, done: Done);
    /// Adds entries, which can be read as soon as this returns.
    fn append(&self, entries: Vec<Stored>, done: Done);
    /// Takes back entries after `last`; all of them if `None`.
    fn truncate_after(&self, last: Option<Position>, done: Done);
    /// Forgets entries up to and with `upto`.
    fn purge(&self, upto: Position, done: Done);
    /// Entries with `from` ≤ index < `to`, in order; stops early, but not before the first, once they exceed `bytes`.
    fn read(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<Stored>>;
    /// How commits share syncs.
    fn commits(&self) -> Commits;
    /// Size of the log's files in bytes.
    fn file_bytes(&self) -> u64;
    /// Lets go of files and locks; every later call is an error.
    fn close(&self);
}

/// The error of every call after [`LogHome::close`]. Its kind tells it from a failure of the disk.
pub(crate) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the log is closed")
}

/// Opens the log in `dir/log`, which is made if need be. Blocks.
pub(crate) fn open(settings: &Settings, disk: &Arc<dyn Disk>) -> io::Result<Arc<dyn LogHome>> {
    let dir = settings.dir.join("log");
    disk.create_dir_all(&dir)?;
    disk.sync_dir(&settings.dir)?;
    settle(disk.as_ref(), &dir)?;
    Ok(match settings.log {
        LogKind::Chunked => chunked::ChunkedLog::open(&dir, settings)?,
        LogKind::Inline => Arc::new(inline::InlineLog::open(&dir, settings, disk.clone())?),
    })
}

/// Makes what the files of `dir` seem to hold what the disk holds: syncs them and their names, then forgets cached pages.
fn settle(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let files: Vec<PathBuf> = disk.list(dir)?.into_iter().map(|name| dir.join(name)).collect();
    for path in &files {
        disk.open(path)?.sync_data()?;
    }
    disk.sync_dir(dir)?;
    files.iter().try_for_each(|path| disk.drop_cache(path))
}
