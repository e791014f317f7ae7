//! What each role shows at `/metrics` besides its requests: read from the parts when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::{Admin, ChunkStore};
use bootstrap::metrics::{Gauge, Metrics};
use consensus::Group;
use domain::view::Health;
use objects::Objects;

/// A gateway: its body budget, and the nodes it knows.
pub fn gateway(metrics: &Metrics, objects: &Objects) {
    let taken = metrics.gauge("kvfs_chunker_pool_bytes", "Bytes of the body budget that requests hold");
    let waiting = metrics.gauge("kvfs_body_budget_waiting", "Requests that wait for room in the body budget");
    let nodes = metrics.gauge("kvfs_dns_runtime", "Registered data nodes");
    let healthy = metrics.gauge("kvfs_dns_healthy", "Data nodes whose probes go well");
    let silent =
        metrics.gauge("kvfs_dns_silent", "Data nodes that were silent here for too long, and have not answered since");
    let ready = metrics.gauge("kvfs_ready", "1 if the gateway takes writes");
    let degraded =
        metrics.counters("kvfs_ec_degraded_read", "Reads of stripes that had to compute missing shards", &[]);
    let (objects, counted) = (objects.clone(), AtomicU64::new(0));
    metrics.before_each_scrape(move || {
        let reads = objects.degraded_reads();
        degraded.add(&[], reads - counted.fetch_max(reads, Ordering::Relaxed).min(reads));
        let (bytes, requests) = objects.budget_use();
        let view = objects.view();
        taken.set(bytes as u64);
        waiting.set(requests as u64);
        nodes.set(view.nodes.len() as u64);
        healthy.set(view.nodes.iter().filter(|node| node.health == Health::Up).count() as u64);
        silent.set(objects.silent_nodes() as u64);
        ready.set(u64::from(objects.not_ready().is_none()));
        std::future::ready(())
    });
}

/// A coordinator: its tables, its queues, its log.
pub fn coordinator(metrics: &Metrics, admin: Arc<dyn Admin>) {
    let gauge = |name: &str, help: &str| metrics.gauge(name, help);
    let rows = [
        gauge("kvfs_objects", "Objects"),
        gauge("kvfs_coord_objects", "Objects"),
        gauge("kvfs_coord_buckets", "Buckets"),
        gauge("kvfs_coord_chunks", "Chunk records"),
        gauge("kvfs_coord_leases", "Leases of gateways"),
        gauge("kvfs_coord_log_bytes", "Size of the log's files"),
    ];
    let bytes = [
        gauge("kvfs_logical_bytes", "Bytes of all objects"),
        gauge("kvfs_unique_bytes", "Bytes of all chunks, each once however many objects share it"),
        gauge("kvfs_stored_bytes", "Bytes of all copies on nodes"),
    ];
    let state = [
        gauge("kvfs_degraded_chunks", "Chunks with fewer good copies than wanted"),
        gauge("kvfs_misplaced_chunks", "Chunks with copies where placement does not want them"),
        gauge("kvfs_garbage_chunks", "Chunks that nothing refers to, waiting to be deleted"),
        gauge("kvfs_trash_bodies", "Bodies without an object, waiting to be emptied"),
        gauge("kvfs_gc_deleted_copies", "Copies that garbage collection deleted since the start"),
        gauge("kvfs_gc_spared_copies", "Copies that somebody touched in time"),
        gauge("kvfs_coord_term", "Raft term"),
        gauge("kvfs_coord_applied_index", "Last log entry that was applied"),
        gauge("kvfs_coord_checkpointed_index", "Last log entry that the tables hold durably"),
    ];
    metrics.before_each_scrape(move || {
        let (admin, rows, bytes, state) = (admin.clone(), rows.clone(), bytes.clone(), state.clone());
        async move {
            let info = admin.meta_info().await.ok();
            set(&bytes, info.as_ref().map(|info| [info.logical_bytes, info.unique_bytes, info.stored_bytes]));
            set(
                &rows,
                info.map(|info| [info.objects, info.objects, info.buckets, info.chunks, info.leases, info.file_bytes]),
            );
            let status = admin.status().await.ok();
            let numbers = status.map(|status| {
                let (gc, log) = (status.gc, status.consensus);
                let queues = [status.degraded, status.misplaced, status.garbage, status.trash];
                let [degraded, misplaced, garbage, trash] = queues;
                [degraded, misplaced, garbage, trash, gc.copies, gc.spared, log.term, log.applied, log.checkpointed]
            });
            set(&state, numbers);
        }
    });
}

/// A coordinator's log: how far it is, and how commits share its syncs.
pub fn log(metrics: &Metrics, group: Group) {
    let last = metrics.gauge("kvfs_wal_last_seq", "Last entry of the metadata's log");
    let batch = metrics.gauge("kvfs_wal_batch_size", "Writes to the log that its last sync covered");
    let lag = metrics.gauge("kvfs_wal_durable_lag_seconds", "How long the oldest write waits that is not synced yet");
    let audited = metrics.gauge("kvfs_audit_log_last_seq", "Last entry of the audit log, where one is written");
    metrics.before_each_scrape(move || {
        let commits = group.commits();
        last.set(group.status().last_log);
        batch.set(commits.last_batch);
        lag.set(commits.oldest_waiting.as_secs());
        match group.audited() {
            Some(seq) => audited.set(seq),
            None => audited.unknown(),
        }
        std::future::ready(())
    });
}

/// A data node: what it holds, and its room.
pub fn node(metrics: &Metrics, node: &dn::Node) {
    let gauges = [
        metrics.gauge("kvfs_dn_chunks", "Chunks on the node"),
        metrics.gauge("kvfs_dn_free_bytes", "Free bytes of its disk"),
        metrics.gauge("kvfs_dn_total_bytes", "All bytes of its disk"),
        metrics.gauge("kvfs_dn_reserve_bytes", "Free bytes below which it takes no more puts"),
        metrics.gauge("kvfs_dn_poisoned", "1 after a failed sync: it serves verified reads only"),
    ];
    let node = node.clone();
    metrics.before_each_scrape(move || {
        let (node, gauges) = (node.clone(), gauges.clone());
        async move {
            let status = node.status().await.ok();
            let numbers = status.map(|status| {
                let poisoned = u64::from(status.poisoned.is_some());
                [status.chunks, status.free_bytes, status.total_bytes, status.reserve_bytes, poisoned]
            });
            set(&gauges, numbers);
        }
    });
}

fn set<const N: usize>(gauges: &[Gauge; N], values: Option<[u64; N]>) {
    match values {
        Some(values) => gauges.iter().zip(values).for_each(|(gauge, value)| gauge.set(value)),
        None => gauges.iter().for_each(Gauge::unknown),
    }
}
