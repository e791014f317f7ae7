//! What operators may look into: the heartbeat, and one object's record.

use api::MetaError;
use api::admin::AdminError;
use api::insight::{
    ChunkRecord, Heartbeat, MAX_RECORD_CHUNKS, NEVER, NodeHeartbeat, ObjectRecord, SchemeRecord, StripeRecord,
};
use api::metadata::Seen;
use domain::record::ObjectName;
use domain::timestamp::rfc3339;
use domain::view::Health;
use domain::{ChunkId, NodeId};
use meta::{StorageError, query};

use crate::admin::unavailable;
use crate::service::{Core, storage};

impl Core {
    /// How the probes of all nodes go, by address.
    pub async fn show_heartbeat(&self) -> Result<Heartbeat, AdminError> {
        let (_, nodes) = self.registered().await?;
        let (now, probes) = (self.clock.monotonic(), self.probes.lock().clone());
        let show = |(id, row): (NodeId, domain::record::NodeRow)| {
            let probe = probes.get(&id).cloned().unwrap_or_default();
            let health = probe.health.unwrap_or(Health::Suspect);
            NodeHeartbeat {
                addr: row.addr,
                healthy: health == Health::Up,
                last_seen: probe.seen_ms.map_or_else(|| NEVER.to_string(), rfc3339),
                last_error: probe.problem,
                latency_ms: probe.latency.as_millis() as u64,
                consec_fails: probe.misses,
                total_probes: probe.probes,
                health,
                gateways_reaching: self.experience.count(id, now, Seen::Answers),
                gateways_missing: self.experience.count(id, now, Seen::Silent),
            }
        };
        let mut statuses: Vec<_> = nodes.into_iter().map(show).collect();
        statuses.sort_by(|a, b| a.addr.cmp(&b.addr));
        Ok(Heartbeat { enabled: true, statuses })
    }

    /// One object's record, with where its chunks are.
    pub async fn show_object(&self, name: &ObjectName) -> Result<ObjectRecord, AdminError> {
        let (cluster, nodes) = self.registered().await?;
        let tables = self.read().await.map_err(unavailable)?;
        let failed = |error: StorageError| unavailable(storage(error));
        let found = query::object(&tables, name).map_err(failed)?;
        let (_, row) = found.ok_or_else(|| AdminError::NotFound(format!("there is no object {name}")))?;
        let body = query::body(&tables, row.body).map_err(failed)?;
        let body = body.ok_or_else(|| {
            unavailable(MetaError::Failed { reason: format!("{name} points at a body that is not there") })
        })?;
        let address = |id: NodeId| {
            let node = nodes.iter().find(|(node, _)| *node == id);
            node.map_or_else(|| id.to_string(), |(_, row)| row.addr.clone())
        };
        let record = |id: ChunkId, size: u32, nodes: Vec<NodeId>| ChunkRecord {
            chunk_id: id.to_hex(),
            size: u64::from(size),
            replicas: nodes.into_iter().map(address).collect(),
        };
        let (mut chunks, mut stripes, mut ec, mut more) = (Vec::new(), Vec::new(), None, false);
        for index in 0..body.extents {
            let shown: usize = chunks.len() + stripes.iter().map(|s: &StripeRecord| s.shards.len()).sum::<usize>();
            let room = MAX_RECORD_CHUNKS - shown;
            match query::extent(&tables, row.body, index).map_err(failed)? {
                None => {}
                Some(query::LocatedExtent::Chunks(extent)) => {
                    more = extent.len() > room || (extent.len() == room && index + 1 < body.extents);
                    let shown = extent.into_iter().take(room);
                    chunks.extend(shown.map(|(chunk, nodes)| record(chunk.id, chunk.length, nodes)));
                }
                Some(query::LocatedExtent::Stripes(extent)) => {
                    let Some(first) = extent.first() else { continue };
                    let (scheme, shard_size) = (first.scheme, u64::from(first.shard_bytes));
                    let (k, m) = (scheme.data(), scheme.parity());
                    ec.get_or_insert(SchemeRecord { k, m, shard_size, data_size: row.size });
                    let fit = room / scheme.shards();
                    more = extent.len() > fit || (extent.len() == fit && index + 1 < body.extents);
                    stripes.extend(extent.into_iter().take(fit).map(|stripe| {
                        StripeRecord {
                            stripe_id: stripe.stripe.id.to_hex(),
                            data_len: u64::from(stripe.stripe.length),
                            shards: stripe
                                .shards
                                .into_iter()
                                .map(|shard| record(shard.id, stripe.shard_bytes, shard.nodes))
                                .collect(),
                        }
                    }));
                }
            }
            if more {
                break;
            }
        }
        Ok(ObjectRecord {
            bucket: name.bucket.as_str().to_string(),
            key: name.key.to_string(),
            size: row.size,
            content_type: row.content_type,
            etag: row.etag,
            version: row.revision,
            created_at: rfc3339(row.created_ms),
            class: cluster.classes.get(usize::from(body.class.0)).cloned().unwrap_or_default(),
            chunks,
            ec,
            stripes,
            more,
        })
    }
}
