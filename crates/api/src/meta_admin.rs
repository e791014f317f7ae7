//! The seam to what keeps metadata safe: backups of them while the cluster runs.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::admin::AdminError;

/// A backup on its way: a snapshot stream in pieces.
#[async_trait]
pub trait BackupStream: Send {
    /// The next piece; `None` after the last. A stream that ends without its trailer is not whole, whatever this returned.
    async fn next(&mut self) -> Result<Option<Bytes>, AdminError>;
}

/// A file that a scheduled backup left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its full path, on the coordinator.
    pub path: String,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// When it was written, RFC 3339: as its name says.
    pub mod_time: String,
}

/// How scheduled backups go on the coordinator that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHistory {
    /// Whether backups are scheduled. If not, nothing else is there.
    pub enabled: bool,
    /// Where they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// How often, like `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How many are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// When the last one was tried, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,
    /// Length of the last good one in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_size_bytes: Option<u64>,
    /// Why the last one failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_err: Option<String>,
    /// How many were tried since the start.
    #[serde(default)]
    pub total_runs: u64,
    /// How many of them failed.
    #[serde(default)]
    pub total_errors: u64,
    /// Those that are there, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<BackupFile>,
}

/// Everything that the tables say, as one number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash {
    /// The log index that the tables reflect.
    pub index: u64,
    /// SHA-256 over all rows in order, as 64 hex digits.
    pub hash: String,
}

/// An object of which the nodes no longer have everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HurtObject {
    /// `BUCKET/KEY`, for people.
    pub name: String,
    /// How many of its chunks are on no node.
    pub chunks_missing: u64,
    /// The first of them.
    pub chunk: String,
}

/// Where the audit is that must be over before a hold on deletes is lifted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditState {
    /// None was begun since this coordinator began to lead.
    #[default]
    None,
    /// It goes on.
    Running,
    /// It has looked at everything.
    Done,
    /// It broke off.
    Failed,
}

/// What an audit of all records against all nodes has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldAudit {
    /// Why deletes are on hold now; `None` if they are not.
    pub hold: Option<String>,
    /// How far the audit is.
    pub state: AuditState,
    /// Why it broke off.
    pub failure: Option<String>,
    /// The hold that it was begun for.
    pub audited_hold: Option<String>,
    /// Log index at which it was begun.
    pub index: u64,
    /// Chunk records to look at.
    pub chunks: u64,
    /// Of these, looked at.
    pub chunks_done: u64,
    /// Copies that a record relies on and its node does not have, or not in that length.
    pub copies_missing: u64,
    /// Chunks of which no node has a copy.
    pub chunks_lost: u64,
    /// Chunks of which nothing is known, since a node that should have a copy did not answer.
    pub chunks_unseen: u64,
    /// Objects that refer to lost chunks.
    pub objects_hurt: u64,
    /// Their names, by bucket and key; the first thousand.
    pub hurt: Vec<HurtObject>,
    /// Copies on nodes that no record names: what was written after the backup. Once the hold is lifted they are deleted.
    pub copies_unknown: u64,
    /// Nodes that did not answer, with what was wrong.
    pub silent_nodes: Vec<String>,
}

/// Care for the metadata of a cluster.
#[async_trait]
pub trait MetaAdmin: Send + Sync + 'static {
    /// All metadata, as of all changes that were answered before.
    async fn backup(&self) -> Result<Box<dyn BackupStream>, AdminError>;
    /// How scheduled backups go.
    async fn backup_history(&self) -> Result<BackupHistory, AdminError>;
    /// What is known about the hold on deletes, and of the audit before its end.
    async fn hold(&self) -> Result<HoldAudit, AdminError>;
    /// Begins an audit of all records against all nodes, unless one is running.
    async fn audit_hold(&self) -> Result<HoldAudit, AdminError>;
    /// Lifts the hold on deletes. Refused before an audit for this hold is over, and, without `force`, if it found objects without their
    /// chunks or nodes that do not answer.
    async fn release_hold(&self, force: bool) -> Result<HoldAudit, AdminError>;
    /// The state's hash, as of all changes that were answered before. Costs a read of everything.
    async fn state_hash(&self) -> Result<StateHash, AdminError>;
}
