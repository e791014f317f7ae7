//! What can go wrong, split by what the caller should do.

use std::io;
use std::path::PathBuf;

/// Why a group could not be opened, checkpointed or shut down. The process should exit and say so.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// A file could not be read, written or synced, or holds what nobody wrote.
    #[error("{doing}: {source}")]
    Storage {
        /// What was being done.
        doing: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A write or sync failed in an earlier process, so nobody may build on what this machine shows of the disk.
    #[error(
        "a write failed here before ({reason}): what this machine shows may not be what its disk has. \
         Check the disk, reboot or unmount it so that nothing is left in memory, then remove {} and start again",
        marker.display()
    )]
    Poisoned {
        /// The first failure.
        reason: String,
        /// The file that says so.
        marker: PathBuf,
    },
    /// openraft stopped or refused.
    #[error("consensus stopped while {doing}: {why}")]
    Raft {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        why: String,
    },
}

impl ConsensusError {
    pub(crate) fn storage(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        |source| Self::Storage { doing, source }
    }

    pub(crate) fn raft<E: std::fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |why| Self::Raft { doing, why: why.to_string() }
    }
}

/// Why a proposal did not come back with replies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was done: another process leads, or none. Ask there, or again later.
    #[error("this process does not lead: {0}; nothing was done, try the leader")]
    Unavailable(String),
    /// Nothing was done: the commands make an entry that is too large. Split them.
    #[error(
        "an entry of {found} bytes is over the limit of {limit}; nothing was done, propose fewer commands at a time"
    )]
    TooLarge {
        /// The entry's size in bytes.
        found: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// The commands may have been carried out, or may yet be. Propose again under the same session, which carries them out once.
    #[error("no answer to the proposal: {0}; it may have been carried out, ask again under the same session")]
    OutcomeUnknown(String),
    /// Storage failed (a full disk included). The group has stopped for good and the process must exit; whether the commands
    /// survive shows after the restart.
    #[error("storage failed and the group stopped: {0}; the next start says what to do")]
    Failed(String),
}

/// Why a read could not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another process leads, or none. Ask there, or again later.
    #[error("this process cannot serve reads now: {0}; try the leader")]
    Unavailable(String),
    /// Storage failed. The group has stopped for good and the process must exit.
    #[error("storage failed and the group stopped: {0}; the next start says what to do")]
    Failed(String),
}
