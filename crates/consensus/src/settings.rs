//! How a group is set up: one documented struct.

use std::path::PathBuf;
use std::time::Duration;

/// Where a group keeps its files, and how it spends disk and memory.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The group's own directory; it takes its lock. Inside: `log/`, `tables.redb`, `ballast`.
    pub dir: PathBuf,
    /// What the log is kept in.
    pub log: LogKind,
    /// Where the audit log is written, if one is: JSON lines of what was applied.
    pub audit_log: Option<PathBuf>,
    /// A full log file gives way to the next at this size. Small files let a purge free disk early.
    pub log_file_bytes: usize,
    /// Entries kept in memory for applying and for followers, by payload.
    pub log_cache_bytes: usize,
    /// How long applied and checkpointed entries are kept for followers that lag; who lags further is sent a snapshot.
    pub log_keep: Duration,
    /// No more of them than this are kept, however young.
    pub log_keep_entries: u64,
    /// The log's size on disk above which fewer entries than that are kept.
    pub log_keep_bytes: u64,
    /// Memory for pages of the tables, dirty ones included.
    pub table_cache_bytes: usize,
    /// Log payload applied since the last durable checkpoint that makes the next one due.
    pub checkpoint_bytes: u64,
    /// Time since the first unsaved apply that makes a checkpoint due.
    pub checkpoint_after: Duration,
    /// Free space below which the ballast is given up and callers should refuse commands that add rows.
    pub reserve_bytes: u64,
    /// Size of the ballast file, which occupies room that deletes can have back on a full disk.
    pub ballast_bytes: u64,
    /// Lets a restarted leader lead on without an election. **Unsafe, for the test that shows why**: its term then hands
    /// out log ids a second time.
    pub leader_restore: bool,
}

/// What the log is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// The `raft-log` crate on the operating system's files: a flush thread, made for throughput.
    Chunked,
    /// Our own log over [`api::disk::Disk`]: no thread, every append synced on the spot. For the simulator.
    Inline,
}

impl Settings {
    /// The defaults for a real directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        const MIB: usize = 1 << 20;
        Self {
            dir: dir.into(),
            log: LogKind::Chunked,
            audit_log: None,
            log_file_bytes: 16 * MIB,
            log_cache_bytes: 16 * MIB,
            log_keep: Duration::from_secs(15 * 60),
            log_keep_entries: u64::MAX,
            log_keep_bytes: 2 << 30,
            table_cache_bytes: 64 * MIB,
            checkpoint_bytes: 32 << 20,
            checkpoint_after: Duration::from_secs(2),
            reserve_bytes: 256 << 20,
            ballast_bytes: 64 << 20,
            leader_restore: false,
        }
    }

    /// The defaults for a simulated disk: everything on one thread, and no ballast.
    pub fn simulated(dir: impl Into<PathBuf>) -> Self {
        Self { log: LogKind::Inline, log_file_bytes: 1 << 18, ballast_bytes: 0, reserve_bytes: 0, ..Self::new(dir) }
    }
}
