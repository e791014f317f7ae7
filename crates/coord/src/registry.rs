//! Operators' wishes about data nodes, as commands; after each the nodes are asked anew, so that the answer says how it went.

use std::sync::Arc;

use api::admin::{AdminError, NodeInfo};
use domain::NodeId;
use domain::record::{ClusterRow, NodeRow};
use domain::registry::{NodeLabels, Recognition, compare};
use domain::view::{Health, NodeView};
use meta::{Command, Reply, query};

use crate::admin::unavailable;
use crate::heartbeat::{self, PROBE_TIMEOUT};
use crate::service::{Core, storage};
use crate::stamps::{self, Known};

impl Core {
    /// Registers a node; one that is registered keeps its labels.
    pub async fn add_node(self: &Arc<Self>, addr: &str) -> Result<NodeInfo, AdminError> {
        check_address(addr)?;
        let node = self.about_a_node(Command::AddNode { addr: addr.to_string() }).await?;
        self.look_again(node).await
    }

    /// Removes a node that holds nothing.
    pub async fn remove_node(self: &Arc<Self>, addr: &str) -> Result<(), AdminError> {
        self.find(addr).await?;
        let command = Command::RemoveNode { addr: addr.to_string(), copies: self.settings.copies };
        self.decide(command).await?;
        self.refresh_view().await.map_err(unavailable)
    }

    /// Changes a node's labels.
    pub async fn label_node(self: &Arc<Self>, addr: &str, labels: &NodeLabels) -> Result<NodeInfo, AdminError> {
        if *labels == NodeLabels::default() {
            return Err(AdminError::Invalid("nothing to change: name a class, a domain or a weight".into()));
        }
        if let Some(problem) = labels.problem() {
            return Err(AdminError::Invalid(problem));
        }
        let command = Command::LabelNode { addr: addr.to_string(), labels: labels.clone() };
        let node = self.about_a_node(command).await?;
        self.look_again(node).await
    }

    /// Notes that a node is reached elsewhere.
    pub async fn move_node(self: &Arc<Self>, addr: &str, to: &str) -> Result<NodeInfo, AdminError> {
        check_address(to)?;
        let node = self.about_a_node(Command::MoveNode { addr: addr.to_string(), to: to.to_string() }).await?;
        self.look_again(node).await
    }

    /// Takes in a node's new directory.
    pub async fn replace_node(self: &Arc<Self>, addr: &str) -> Result<NodeInfo, AdminError> {
        let (cluster, nodes) = self.registered().await?;
        let (node, row) = nodes.iter().find(|(_, row)| row.addr == addr).ok_or_else(|| nobody(addr))?;
        let known = Known { cluster: &cluster, id: *node, row };
        let store = self.connect.connect(&NodeView::of(*node, row.clone(), Health::Suspect, cluster.generation));
        let status = tokio::time::timeout(PROBE_TIMEOUT, store.status()).await;
        let status = status.map_err(|_| AdminError::Unavailable(format!("{addr} does not answer; start it first")))?;
        let status = status.map_err(|error| AdminError::Unavailable(format!("{addr}: {error}")))?;
        let found = compare(cluster.cluster_id, *node, row, status.identity.map(|identity| identity.stamp()));
        if row.lost.is_none() && found == Recognition::Itself {
            return Err(AdminError::Conflict(format!(
                "{addr} is node {node} as it was stamped; there is nothing to replace"
            )));
        }
        let others = |id: NodeId| nodes.iter().any(|(other, _)| *other == id);
        let incarnation = stamps::take_in(known, &*store, &status, others).await;
        let incarnation = incarnation.map_err(|why| AdminError::Conflict(format!("{addr}: {why}")))?;
        self.decide(Command::ReplaceNode { node: *node, incarnation }).await?;
        tracing::warn!(%node, addr, %incarnation, "a data node was taken in anew");
        self.sweeps.notify_one();
        self.look_again(*node).await
    }

    /// A node, as an operator sees it.
    pub fn info(&self, cluster: &ClusterRow, id: NodeId, row: &NodeRow) -> NodeInfo {
        let probe = self.probes.lock().get(&id).cloned().unwrap_or_default();
        let lost = row.lost.map(|loss| stamps::lost(&loss.cause, &row.addr));
        NodeInfo {
            id,
            name: row.name.clone(),
            addr: row.addr.clone(),
            state: row.state,
            health: probe.health.unwrap_or(Health::Suspect),
            class: cluster.classes.get(usize::from(row.class.0)).cloned().unwrap_or_default(),
            domain: row.domain.clone(),
            weight: row.weight,
            incarnation: row.incarnation.map(|incarnation| incarnation.to_string()),
            lost: lost.is_some(),
            problem: lost.or(probe.problem),
            chunks: probe.status.as_ref().map(|status| status.chunks),
            free_bytes: probe.status.as_ref().map(|status| status.free_bytes),
            total_bytes: probe.status.as_ref().map(|status| status.total_bytes),
        }
    }

    /// Proposes a command about the registry; what it refuses is the operator's to hear.
    pub async fn decide(&self, command: Command) -> Result<Reply, AdminError> {
        match self.propose(command).await.map_err(unavailable)?.1 {
            Reply::Refused(reason) => Err(AdminError::Conflict(reason)),
            Reply::NoSuch(reason) => Err(AdminError::NotFound(reason)),
            reply => Ok(reply),
        }
    }

    async fn about_a_node(&self, command: Command) -> Result<NodeId, AdminError> {
        match self.decide(command).await? {
            Reply::Node(node) => Ok(node),
            other => Err(AdminError::Unavailable(format!("the registry answered {other:?}"))),
        }
    }

    /// A round of probes, and how the node looks after it.
    async fn look_again(self: &Arc<Self>, node: NodeId) -> Result<NodeInfo, AdminError> {
        heartbeat::round(self).await.map_err(unavailable)?;
        let (cluster, nodes) = self.registered().await?;
        let row = nodes.iter().find(|(id, _)| *id == node);
        let (id, row) = row.ok_or_else(|| AdminError::Conflict(format!("node {node} was removed meanwhile")))?;
        Ok(self.info(&cluster, *id, row))
    }

    async fn find(&self, addr: &str) -> Result<(NodeId, NodeRow), AdminError> {
        let (_, nodes) = self.registered().await?;
        nodes.into_iter().find(|(_, row)| row.addr == addr).ok_or_else(|| nobody(addr))
    }

    pub async fn registered(&self) -> Result<(ClusterRow, Vec<(NodeId, NodeRow)>), AdminError> {
        let tables = self.read().await.map_err(unavailable)?;
        let cluster = query::cluster(&tables).map_err(storage).map_err(unavailable)?;
        let cluster = cluster.ok_or_else(|| AdminError::Unavailable("the cluster is not founded yet".into()))?;
        Ok((cluster, query::nodes(&tables).map_err(storage).map_err(unavailable)?))
    }
}

fn nobody(addr: &str) -> AdminError {
    AdminError::NotFound(format!("no data node is registered as {addr}"))
}

pub(crate) fn check_address(addr: &str) -> Result<(), AdminError> {
    let port = addr.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(port)) if port > 0 && addr.len() <= 256 && !addr.contains(['/', ' ']) => Ok(()),
        _ => Err(AdminError::Invalid(format!("{addr:?} is not an address; expected host:port"))),
    }
}
