//! The admin seam, answered.

use api::MetaError;
use api::admin::{Admin, AdminError, ClusterStatus, ConsensusInfo, CoordChange, CoordInfo, MetaInfo, NodeInfo};
use async_trait::async_trait;
use domain::NodeId;
use domain::record::NodeRow;
use domain::view::Health;
use meta::{Command, Reply, Table, Tables, query};

use crate::service::{Coordinator, Core, storage};
use crate::{heartbeat, members};

#[async_trait]
impl Admin for Coordinator {
    async fn status(&self) -> Result<ClusterStatus, AdminError> {
        let tables = self.core.read().await.map_err(unavailable)?;
        let cluster = query::cluster(&tables).map_err(storage).map_err(unavailable)?;
        let cluster = cluster.ok_or_else(|| AdminError::Unavailable("the cluster is not founded yet".into()))?;
        let count = |table| tables.count(table).map_err(storage).map_err(unavailable);
        let nodes = query::nodes(&tables).map_err(storage).map_err(unavailable)?;
        let status = self.core.group.status();
        Ok(ClusterStatus {
            cluster_id: format!("{:032x}", cluster.cluster_id),
            epoch: cluster.epoch,
            nodes: nodes.iter().map(|(id, row)| self.core.info(*id, row)).collect(),
            degraded: count(Table::Degraded)?,
            misplaced: count(Table::Misplaced)?,
            garbage: count(Table::Garbage)?,
            trash: count(Table::Trash)?,
            hold_deletes: cluster.hold_deletes,
            gc: self.core.gc.lock().clone(),
            consensus: ConsensusInfo {
                term: status.term,
                last_log: status.last_log,
                applied: status.applied,
                checkpointed: status.checkpointed,
            },
        })
    }

    async fn meta_info(&self) -> Result<MetaInfo, AdminError> {
        let tables = self.core.read().await.map_err(unavailable)?;
        let count = |table| tables.count(table).map_err(storage).map_err(unavailable);
        Ok(MetaInfo {
            buckets: count(Table::Buckets)?,
            objects: count(Table::Objects)?,
            chunks: count(Table::Chunks)?,
            nodes: count(Table::Nodes)?,
            url_keys: count(Table::UrlKeys)?,
            leases: count(Table::Leases)?,
            file_bytes: self.core.group.status().file_bytes,
        })
    }

    async fn add_node(&self, addr: &str) -> Result<NodeInfo, AdminError> {
        check_address(addr)?;
        let node = match self.core.propose(Command::AddNode { addr: addr.to_string() }).await.map_err(unavailable)? {
            (_, Reply::Node(node)) => node,
            (_, Reply::Refused(reason)) => return Err(AdminError::Conflict(reason)),
            (_, other) => return Err(AdminError::Unavailable(format!("the registry answered {other:?}"))),
        };
        heartbeat::round(&self.core).await.map_err(unavailable)?;
        let tables = self.core.read().await.map_err(unavailable)?;
        let nodes = query::nodes(&tables).map_err(storage).map_err(unavailable)?;
        let row = nodes.iter().find(|(id, _)| *id == node);
        let (id, row) = row.ok_or_else(|| AdminError::Conflict(format!("{addr} was removed meanwhile")))?;
        Ok(self.core.info(*id, row))
    }

    async fn coordinators(&self) -> Result<Vec<CoordInfo>, AdminError> {
        Ok(members::list(&self.core.group))
    }

    async fn change_coordinators(&self, change: &CoordChange) -> Result<Vec<CoordInfo>, AdminError> {
        members::change(&self.core.group, change).await
    }

    async fn remove_node(&self, addr: &str) -> Result<(), AdminError> {
        let known = self.core.view.borrow().nodes.iter().any(|node| node.addr == addr);
        if !known {
            return Err(AdminError::NotFound(format!("no data node is registered as {addr}")));
        }
        let reply = self.core.propose(Command::RemoveNode { addr: addr.to_string() }).await.map_err(unavailable)?;
        match reply {
            (_, Reply::Refused(reason)) => Err(AdminError::Conflict(reason)),
            _ => self.core.refresh_view().await.map_err(unavailable),
        }
    }
}

pub(crate) fn check_address(addr: &str) -> Result<(), AdminError> {
    let port = addr.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(port)) if port > 0 && addr.len() <= 256 && !addr.contains(['/', ' ']) => Ok(()),
        _ => Err(AdminError::Invalid(format!("{addr:?} is not an address; expected host:port"))),
    }
}

impl Core {
    fn info(&self, id: NodeId, row: &NodeRow) -> NodeInfo {
        let probe = self.probes.lock().get(&id).cloned().unwrap_or_default();
        NodeInfo {
            id,
            name: row.name.clone(),
            addr: row.addr.clone(),
            state: row.state,
            health: probe.health.unwrap_or(Health::Suspect),
            problem: probe.problem,
            chunks: probe.status.as_ref().map(|status| status.chunks),
            free_bytes: probe.status.as_ref().map(|status| status.free_bytes),
            total_bytes: probe.status.as_ref().map(|status| status.total_bytes),
        }
    }
}

fn unavailable(error: MetaError) -> AdminError {
    AdminError::Unavailable(error.to_string())
}
