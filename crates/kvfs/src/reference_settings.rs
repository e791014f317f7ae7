//! Settings of the reference that Raft, or this system's shape, made pointless: told once, so that nobody believes they do something.
//!
//! Each does what its user wanted anyway, or asks for a thing that is not built; those that ask for less safety than is given
//! here are among the first.

use bootstrap::settings::Reader;

/// The variable, and what became of it.
const POINTLESS: &[(&str, &str)] = &[
    ("COORD_TRANSACTIONAL_RAFT", "every commit waits for the log of a majority"),
    ("EDGE_TRANSACTIONAL_RAFT", "every commit waits for the log of a majority"),
    ("EDGE_STRICT_REPL", "every commit waits for the log of a majority"),
    ("COORD_WAL_BATCH_INTERVAL", "commits that wait at the same time share a sync without waiting for a timer"),
    ("EDGE_WAL_BATCH_INTERVAL", "commits that wait at the same time share a sync without waiting for a timer"),
    ("EDGE_DNS_RESET", "nodes are added and removed with `kvfs node`"),
    ("EDGE_AUTO", "garbage collection always runs; rebalancing is not built"),
    ("EDGE_HEARTBEAT_INTERVAL", "nodes are probed every second"),
    ("EDGE_HEARTBEAT_FAIL_THRESHOLD", "two missed probes make a node suspect, five seconds of them down"),
    ("EDGE_CHUNKER_POOL_CAP_BYTES", "EDGE_BODY_BUDGET bounds the bytes of all bodies"),
    ("EDGE_COORD_URLKEY_POLL_INTERVAL", "gateways follow the registry's keys by themselves"),
    ("EDGE_FOLLOWER_PULL_INTERVAL", "gateways keep no metadata to pull"),
    ("EDGE_S3_ACCESS_KEY", "the S3 front is not built"),
];

/// Warns of those that are set.
pub fn warn(role: &str, reader: &mut Reader) {
    let prefix = format!("{role}_");
    for (name, instead) in POINTLESS.iter().filter(|(name, _)| name.starts_with(&prefix)) {
        if reader.optional_unlisted(name).is_some() {
            tracing::warn!(name, "this setting does nothing here: {instead}");
        }
    }
}
