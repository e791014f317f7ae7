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

/// Care for the metadata of a cluster.
#[async_trait]
pub trait MetaAdmin: Send + Sync + 'static {
    /// All metadata, as of all changes that were answered before.
    async fn backup(&self) -> Result<Box<dyn BackupStream>, AdminError>;
    /// How scheduled backups go.
    async fn backup_history(&self) -> Result<BackupHistory, AdminError>;
    /// The state's hash, as of all changes that were answered before. Costs a read of everything.
    async fn state_hash(&self) -> Result<StateHash, AdminError>;
}
