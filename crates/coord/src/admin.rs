//! The admin seam, answered.

use api::MetaError;
use api::admin::{Admin, AdminError, ClusterStatus, ConsensusInfo, CoordChange, CoordInfo, MetaInfo, NodeInfo};
use api::insight::{Heartbeat, ObjectRecord, RoleInfo};
use api::keys::{Rotation, UrlKeyInfo};
use async_trait::async_trait;
use domain::BucketName;
use domain::policy::BucketPolicy;
use domain::record::ObjectName;
use domain::registry::NodeLabels;
use meta::{Table, Tables, query, totals};

use crate::members;
use crate::service::{Coordinator, storage};

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
            nodes: nodes.iter().map(|(id, row)| self.core.info(&cluster, *id, row)).collect(),
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
                purged: status.purged,
            },
        })
    }

    async fn meta_info(&self) -> Result<MetaInfo, AdminError> {
        let tables = self.core.read().await.map_err(unavailable)?;
        let count = |table| tables.count(table).map_err(storage).map_err(unavailable);
        let totals = totals::totals(&tables).map_err(storage).map_err(unavailable)?;
        Ok(MetaInfo {
            buckets: count(Table::Buckets)?,
            objects: count(Table::Objects)?,
            chunks: count(Table::Chunks)?,
            stripes: count(Table::Stripes)?,
            shards: count(Table::Shards)?,
            nodes: count(Table::Nodes)?,
            url_keys: count(Table::UrlKeys)?,
            leases: count(Table::Leases)?,
            file_bytes: self.core.group.status().file_bytes,
            logical_bytes: totals.logical_bytes,
            unique_bytes: totals.unique_bytes,
            stored_bytes: totals.stored_bytes,
        })
    }

    async fn add_node(&self, addr: &str) -> Result<NodeInfo, AdminError> {
        self.core.add_node(addr).await
    }

    async fn coordinators(&self) -> Result<Vec<CoordInfo>, AdminError> {
        Ok(members::list(&self.core.group))
    }

    async fn change_coordinators(&self, change: &CoordChange) -> Result<Vec<CoordInfo>, AdminError> {
        members::change(&self.core.group, change).await
    }

    async fn remove_node(&self, addr: &str) -> Result<(), AdminError> {
        self.core.remove_node(addr).await
    }

    async fn replace_node(&self, addr: &str) -> Result<NodeInfo, AdminError> {
        self.core.replace_node(addr).await
    }

    async fn label_node(&self, addr: &str, labels: &NodeLabels) -> Result<NodeInfo, AdminError> {
        self.core.label_node(addr, labels).await
    }

    async fn move_node(&self, addr: &str, to: &str) -> Result<NodeInfo, AdminError> {
        self.core.move_node(addr, to).await
    }

    async fn heartbeat(&self) -> Result<Heartbeat, AdminError> {
        self.core.show_heartbeat().await
    }

    async fn role(&self) -> Result<RoleInfo, AdminError> {
        Ok(match self.elsewhere() {
            None if self.core.group.leads_a_majority() => RoleInfo::primary(),
            // It leads as far as it knows, and nobody has followed for a while.
            None => RoleInfo::follower(None),
            Some(leader) => RoleInfo::follower(leader),
        })
    }

    async fn inspect(&self, name: &ObjectName) -> Result<ObjectRecord, AdminError> {
        self.core.show_object(name).await
    }

    async fn bucket_policy(&self, bucket: &BucketName) -> Result<BucketPolicy, AdminError> {
        self.core.bucket_policy(bucket).await
    }

    async fn set_bucket_policy(&self, bucket: &BucketName, policy: &BucketPolicy) -> Result<(), AdminError> {
        self.core.set_bucket_policy(bucket, policy).await
    }

    async fn list_url_keys(&self) -> Result<Vec<UrlKeyInfo>, AdminError> {
        self.core.list_url_keys().await
    }

    async fn rotate_url_key(&self, wish: &Rotation) -> Result<Vec<UrlKeyInfo>, AdminError> {
        self.core.rotate_url_key(wish).await
    }

    async fn remove_url_key(&self, kid: &str) -> Result<Vec<UrlKeyInfo>, AdminError> {
        self.core.remove_url_key(kid).await
    }
}

pub(crate) fn unavailable(error: MetaError) -> AdminError {
    AdminError::Unavailable(error.to_string())
}
