//! What operators may look into: the heartbeat, the role of a process, one object's record.
//!
//! The shapes are the reference's, with what this system knows besides.

use domain::view::Health;
use serde::{Deserialize, Serialize};

/// How the probes of all nodes go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Whether nodes are probed: always.
    pub enabled: bool,
    /// Each node, by address.
    pub statuses: Vec<NodeHeartbeat>,
}

/// How the probes of one node go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHeartbeat {
    /// Where it is reached.
    pub addr: String,
    /// Whether it is up.
    pub healthy: bool,
    /// When it last answered well, RFC 3339; year 1 if never.
    pub last_seen: String,
    /// What was wrong the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How long its last good answer took.
    pub latency_ms: u64,
    /// Probes in a row without a good answer.
    pub consec_fails: u32,
    /// Probes in all, by the coordinator that leads.
    pub total_probes: u64,
    /// What follows: up, suspect or down.
    pub health: Health,
    /// Gateways that reach it, of those that have been in doubt about it lately.
    pub gateways_reaching: usize,
    /// Gateways that it was silent for.
    pub gateways_missing: usize,
}

/// What a process is to its cluster, in the reference's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleInfo {
    /// `primary` where changes are made, `follower` elsewhere.
    pub role: String,
    /// Where changes are made, if not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_url: Option<String>,
    /// When a follower last copied its primary, RFC 3339; year 1, because nobody copies here: the log is replicated.
    pub last_sync: String,
    /// How often it did.
    pub total_syncs: u64,
    /// How often it failed to.
    pub total_errors: u64,
}

impl RoleInfo {
    /// The role of a process that makes changes itself.
    pub fn primary() -> Self {
        Self { role: "primary".into(), primary_url: None, last_sync: NEVER.into(), total_syncs: 0, total_errors: 0 }
    }

    /// The role of one of several coordinators that does not lead; `leader` is the address of the one that does, as far as it is known.
    pub fn follower(leader: Option<String>) -> Self {
        let primary_url = leader.map(|address| format!("http://{address}"));
        Self { role: "follower".into(), primary_url, ..Self::primary() }
    }
}

/// A moment that never was, as the reference writes it.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// One object's record, in the reference's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Its bucket.
    pub bucket: String,
    /// Its key; bytes that are no UTF-8 are shown as U+FFFD.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Its media type.
    pub content_type: String,
    /// Its entity tag.
    pub etag: String,
    /// How often the key was written.
    pub version: u64,
    /// When this version was, RFC 3339.
    pub created_at: String,
    /// Its storage class, by name; empty is the default class.
    pub class: String,
    /// Its chunks in order: all of them, or the first [`MAX_RECORD_CHUNKS`].
    pub chunks: Vec<ChunkRecord>,
    /// How its stripes are made, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec: Option<SchemeRecord>,
    /// Its stripes in order: all of them, or those whose shards are among the first [`MAX_RECORD_CHUNKS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stripes: Vec<StripeRecord>,
    /// Whether it has more chunks or stripes than are shown.
    pub more: bool,
}

/// How an object's stripes are made, in the reference's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemeRecord {
    /// Data shards.
    pub k: usize,
    /// Parity shards.
    pub m: usize,
    /// Length of a shard of the first stripe, in bytes.
    pub shard_size: u64,
    /// Bytes of the object.
    pub data_size: u64,
}

/// One stripe of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeRecord {
    /// Its id: SHA-256 over K, M and the ids of its shards.
    pub stripe_id: String,
    /// Bytes of the object in it.
    pub data_len: u64,
    /// Its shards, data first.
    pub shards: Vec<ChunkRecord>,
}

/// One chunk of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRecord {
    /// SHA-256 of its bytes.
    pub chunk_id: String,
    /// Bytes.
    pub size: u64,
    /// Addresses of the nodes whose copy can be relied on, then of those whose copy was found bad.
    pub replicas: Vec<String>,
}

/// The most chunks that a record shows: 40 GiB of fixed chunks.
pub const MAX_RECORD_CHUNKS: usize = 10_240;
