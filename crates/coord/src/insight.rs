//! What operators may look into: the heartbeat, and one object's record.

use api::MetaError;
use api::admin::AdminError;
use api::insight::{ChunkRecord, Heartbeat, MAX_RECORD_CHUNKS, NEVER, NodeHeartbeat, ObjectRecord};
use api::metadata::Seen;
use domain::NodeId;
use domain::record::ObjectName;
use domain::timestamp::rfc3339;
use domain::view::Health;
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
        let (mut chunks, mut more) = (Vec::new(), false);
        for index in 0..body.extents {
            let extent = query::extent(&tables, row.body, index).map_err(failed)?.unwrap_or_default();
            let room = MAX_RECORD_CHUNKS - chunks.len();
            more = extent.len() > room || (extent.len() == room && index + 1 < body.extents);
            chunks.extend(extent.into_iter().take(room).map(|(chunk, nodes)| ChunkRecord {
                chunk_id: chunk.id.to_hex(),
                size: u64::from(chunk.length),
                replicas: nodes.into_iter().map(address).collect(),
            }));
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
            more,
        })
    }
}
