//! What a script runs on: processes that can be started, hurt and asked.
//!
//! This is the seam between scripts and worlds. [`crate::Processes`] are real ones on this machine; a simulated cluster can stand behind
//! it as well. It has what the vocabulary needs and a user could do too: start and signal processes, speak the public APIs, and look at
//! the files in a node's directory.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use api::{Admin, AdminError};
use async_trait::async_trait;
use client::{Http, HttpError, Native, NativeError};
use domain::ChunkId;

use crate::words::Words;

/// A process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A data node: `dn1`, `dn2`, …
    Node(u8),
    /// A coordinator: `coord1`, `coord2`, …
    Coord(u8),
    /// A gateway: `gateway`, `gateway2`, … Without coordinators beside them, gateways host one each.
    Gateway(u8),
}

impl Who {
    /// The first gateway, which is asked unless a line says otherwise.
    pub const GATEWAY: Who = Who::Gateway(1);
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Node(number) => write!(f, "dn{number}"),
            Who::Coord(number) => write!(f, "coord{number}"),
            Who::Gateway(1) => f.write_str("gateway"),
            Who::Gateway(number) => write!(f, "gateway{number}"),
        }
    }
}

impl FromStr for Who {
    type Err = DemoError;

    fn from_str(text: &str) -> Result<Self, DemoError> {
        let numbered = |kind: &str, first: u8| {
            let number = text.strip_prefix(kind)?.parse().ok()?;
            (number >= first).then_some(number)
        };
        let node = numbered("dn", 1).map(Who::Node);
        let numbered = node.or(numbered("coord", 1).map(Who::Coord)).or(numbered("gateway", 2).map(Who::Gateway));
        match (text, numbered) {
            ("gateway", _) => Ok(Who::GATEWAY),
            (_, Some(who)) => Ok(who),
            _ => Err(DemoError::usage(format!(
                "found `{text}`, expected dn1, dn2, …, coord1, coord2, …, gateway, gateway2, …"
            ))),
        }
    }
}

/// What can be done to a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends it at once: SIGKILL.
    Kill,
    /// Holds it still: SIGSTOP.
    Stop,
    /// Lets it go on: SIGCONT.
    Continue,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It runs.
    Running,
    /// It is held still.
    Stopped,
    /// It was killed.
    Dead,
}

/// How many processes of each kind a cluster is founded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Data nodes.
    pub nodes: u8,
    /// Coordinators of their own; with none, the gateways host them.
    pub coordinators: u8,
    /// Gateways.
    pub gateways: u8,
}

impl Shape {
    /// Those that hold the metadata.
    pub fn hosts(&self) -> Vec<Who> {
        match self.coordinators {
            0 => (1..=self.gateways).map(Who::Gateway).collect(),
            several => (1..=several).map(Who::Coord).collect(),
        }
    }
}

/// What a command of the operator's came to.
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub printed: String,
    /// What it complained about.
    pub complained: String,
}

/// The gateways' and coordinators' settings that a script chose, by their short names.
pub type GatewaySettings = BTreeMap<String, String>;

/// Why a demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A line asks for what cannot be done. Mend the script.
    #[error("{0}")]
    Usage(String),
    /// The world is not as it should be: what a demo is there to find.
    #[error("{0}")]
    Deviation(String),
    /// A process did not do what every process does. Its log says more.
    #[error("{who}: {problem}")]
    Process {
        /// Which one.
        who: Who,
        /// What went wrong.
        problem: String,
    },
    /// Something on this machine failed.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The gateway gave no answer, or refused.
    #[error(transparent)]
    Client(#[from] NativeError),
    /// A plain request got no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The admin API gave no answer, or refused.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl DemoError {
    /// A line that cannot be carried out.
    pub fn usage(problem: impl Into<String>) -> Self {
        DemoError::Usage(problem.into())
    }

    /// Something that is not as it should be.
    pub fn deviation(what: impl Into<String>) -> Self {
        DemoError::Deviation(what.into())
    }

    /// A failure of this machine while doing `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| DemoError::Io { what, error }
    }
}

impl From<String> for DemoError {
    fn from(problem: String) -> Self {
        DemoError::Usage(problem)
    }
}

/// Whom a coordinator can still reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Everybody.
    Whole,
    /// Everybody but the other coordinators.
    CutFromPeers,
    /// Nobody.
    Unplugged,
}

/// Processes that a script starts, hurts and asks. Whatever it started ends when it is dropped.
#[async_trait]
pub trait Cluster: Send {
    /// Starts processes of all kinds that know each other, and returns when they serve.
    async fn found(&mut self, shape: Shape, settings: &GatewaySettings) -> Result<(), DemoError>;
    /// Starts a process that is dead, where it was; or a new node beside the others, which nobody knows yet.
    async fn start(&mut self, who: Who) -> Result<(), DemoError>;
    /// Starts a coordinator without waiting for it: it may have to be taken in first.
    fn spawn(&mut self, who: Who) -> Result<(), DemoError>;
    /// Waits until a process serves that was spawned.
    async fn until_ready(&mut self, who: Who) -> Result<(), DemoError>;
    /// Empties the directory of a process that is dead.
    fn wipe(&mut self, who: Who) -> Result<(), DemoError>;
    /// Does something to a running process, and returns when it is done.
    async fn signal(&mut self, who: Who, signal: Signal) -> Result<(), DemoError>;
    /// Cuts a coordinator off, or connects it again.
    fn link(&mut self, who: Who, link: Link) -> Result<(), DemoError>;
    /// All processes, and how they are.
    fn processes(&mut self) -> BTreeMap<Who, Condition>;
    /// Where a process listens, or listened.
    fn address(&self, who: Who) -> Result<String, DemoError>;

    /// A client of a gateway that signs with the key of that name.
    fn native(&self, gateway: Who, kid: &str) -> Result<Native, DemoError>;
    /// Plain requests to any address, signed by nobody.
    fn http(&self) -> Http;
    /// The admin API, of whoever holds the metadata and runs.
    fn admin(&self) -> Result<Arc<dyn Admin>, DemoError>;
    /// The admin API of one process.
    fn admin_of(&self, who: Who) -> Result<Arc<dyn Admin>, DemoError>;
    /// Those that hold the metadata.
    fn hosts(&self) -> Vec<Who>;
    /// Runs `kvfs` with these arguments, as an operator does, in the directory in which the processes have theirs.
    async fn kvfs(&self, arguments: &[&str]) -> Result<Ran, DemoError>;
    /// Turns one byte in the middle of a file around, below the directory of the demo.
    fn spoil(&self, file: &str) -> Result<(), DemoError>;
    /// The names of the files in a directory of a process, below the directory of the demo.
    fn listing(&self, dir: &str) -> Vec<String>;

    /// The chunk files in a node's directory.
    fn chunks(&self, node: Who) -> Result<Vec<ChunkId>, DemoError>;
    /// A chunk file's bytes.
    fn read_chunk(&self, node: Who, chunk: ChunkId) -> Result<Vec<u8>, DemoError>;
    /// Puts other bytes into a chunk file.
    fn write_chunk(&self, node: Who, chunk: ChunkId, bytes: &[u8]) -> Result<(), DemoError>;
    /// Deletes a chunk file.
    fn remove_chunk(&self, node: Who, chunk: ChunkId) -> Result<(), DemoError>;
    /// How many unfinished files lie in a node's directory.
    fn temporary_files(&self, node: Who) -> Result<usize, DemoError>;

    /// The most memory that a process ever had, in bytes.
    fn peak_bytes(&self, who: Who) -> Result<u64, DemoError>;
    /// What a process has logged.
    fn log(&self, who: Who) -> String;
    /// What a person would type to do the same, if there is such a thing.
    fn shell(&self, words: &Words) -> Option<String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes() {
        for name in ["dn1", "dn12", "coord1", "gateway", "gateway2"] {
            assert_eq!(name.parse::<Who>().unwrap().to_string(), name);
        }
        for bad in ["dn", "dn0", "dn999", "coord", "coord0", "gateway0", "gateway1", "edge", ""] {
            assert!(bad.parse::<Who>().is_err(), "{bad}");
        }
    }
}
