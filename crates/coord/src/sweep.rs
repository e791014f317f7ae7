//! The sweep: bytes on nodes that no record knows.
//!
//! Uploads that broke off, puts that came after their commit failed, deletes cut short: they leave copies without a record. They go
//! by the same protocol, with "still no record" as its fourth step. A chunk of an upload in progress looks just like them; what
//! saves it is that its edge's floor holds the third step back, and that its next put or touch changes the token.

use std::collections::BTreeMap;

use api::MetaError;
use api::chunk_store::ChunkStore;
use domain::{ChunkId, NodeId, Token};
use meta::{Tables, query};

use crate::gc::{commit_barrier, delete, wait_for_floors};
use crate::service::{Core, storage};

/// Ids asked from a node at once.
const PAGE: usize = 1000;

/// The most that one sweep takes in hand; the next one goes on.
const SWEEP_CHUNKS: usize = 16_384;

impl Core {
    /// The way to a registered node whose directory is believed to be its own: behind another one are chunks that are not ours to delete.
    pub(crate) fn store(&self, id: NodeId) -> Option<std::sync::Arc<dyn ChunkStore>> {
        let view = self.view.borrow();
        let node = view.node(id).filter(|node| node.incarnation.is_some())?;
        Some(self.connect.connect(node))
    }
}

/// Looks through every node's inventory and deletes what no record knows and nothing relies on.
pub(crate) async fn sweep(core: &Core) -> Result<(), MetaError> {
    if query::cluster(&core.read().await?).map_err(storage)?.is_some_and(|row| row.hold_deletes.is_some()) {
        return Ok(());
    }
    let nodes: Vec<_> = core.view.borrow().nodes.iter().map(|node| node.id).collect();
    let mut unknown: BTreeMap<(NodeId, ChunkId), Token> = BTreeMap::new();
    for node in nodes {
        find_unknown(core, node, &mut unknown).await?;
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let barrier = commit_barrier(core).await?;
    wait_for_floors(core, barrier).await?;
    let tables = core.read().await?;
    let Some(cluster) = query::cluster(&tables).map_err(storage)?.filter(|row| row.hold_deletes.is_none()) else {
        return Ok(());
    };
    let mut doomed = Vec::new();
    for ((node, id), token) in unknown {
        if !is_known(&tables, cluster.classes.len(), &id)? {
            doomed.push((node, id, token));
        }
    }
    drop(tables);
    tracing::debug!(copies = doomed.len(), "sweeping copies that no record knows");
    delete(core, doomed).await;
    Ok(())
}

/// Whether a record is of this chunk in one of the first `classes` storage classes, or of a stripe that has it as a shard: on whatever node, for
/// a copy that no record places here may be the one that closes a gap.
pub(crate) fn is_known(tables: &dyn Tables, classes: usize, id: &ChunkId) -> Result<bool, MetaError> {
    let chunks = query::chunk_in_classes(tables, classes, id).map_err(storage)?;
    Ok(!chunks.is_empty() || query::is_shard(tables, id).map_err(storage)?)
}

async fn find_unknown(
    core: &Core,
    node: NodeId,
    unknown: &mut BTreeMap<(NodeId, ChunkId), Token>,
) -> Result<(), MetaError> {
    let Some(store) = core.store(node) else { return Ok(()) };
    let mut after = None;
    while unknown.len() < SWEEP_CHUNKS {
        let Ok(page) = store.inventory(after, PAGE).await else { return Ok(()) };
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(*last);
        let tables = core.read().await?;
        let classes = query::cluster(&tables).map_err(storage)?.map_or(0, |row| row.classes.len());
        let mut strangers = Vec::new();
        for id in page {
            if !is_known(&tables, classes, &id)? {
                strangers.push(id);
            }
        }
        if let Ok(held) = store.stat(&strangers).await {
            unknown.extend(held.into_iter().map(|held| ((node, held.id), held.token)));
        }
    }
    Ok(())
}
