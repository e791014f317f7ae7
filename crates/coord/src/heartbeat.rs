//! The heartbeat: does each node answer, and as the node it should be?
//!
//! Every second each node is asked who it is. One that has never been stamped is stamped, and its incarnation goes into the
//! registry; from then on only that incarnation counts. Two misses make a node suspect, five seconds down. An
//! answer in another's name (a swapped or wiped disk) is as good as none: the node is down, and the status says why.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::chunk_store::NodeIdentity;
use api::{ChunkStore, MetaError, NodeStatus};
use domain::NodeId;
use domain::record::{ClusterRow, NodeRow};
use domain::view::{Health, NodeView};
use futures_util::future::join_all;
use meta::{Command, Reply, query};

use crate::service::{Core, Probe, storage};

/// A probe without an answer after this long is a miss.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Misses in a row that make a node suspect.
const SUSPECT_MISSES: u32 = 2;

/// Silence that makes a node down.
const DOWN_AFTER: Duration = Duration::from_secs(5);

/// Probes for ever.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        tokio::time::sleep(core.settings.probe_every).await;
        if let Err(error) = round(&core).await {
            tracing::warn!(%error, "a round of probes failed");
        }
        watch_room(&core).await;
    }
}

/// One round: asks every node, and publishes what changed.
pub(crate) async fn round(core: &Arc<Core>) -> Result<(), MetaError> {
    let tables = core.read().await?;
    let Some(cluster) = query::cluster(&tables).map_err(storage)? else { return Ok(()) };
    let nodes = query::nodes(&tables).map_err(storage)?;
    drop(tables);
    join_all(nodes.iter().map(|(id, row)| probe(core, &cluster, *id, row))).await;
    core.probes.lock().retain(|id, _| nodes.iter().any(|(known, _)| known == id));
    core.refresh_view().await
}

async fn probe(core: &Arc<Core>, cluster: &ClusterRow, id: NodeId, row: &NodeRow) {
    let store = core.connect.connect(&NodeView {
        id,
        name: row.name.clone(),
        addr: row.addr.clone(),
        incarnation: row.incarnation,
        state: row.state,
        health: Health::Suspect,
        generation: cluster.generation,
    });
    let answer = match tokio::time::timeout(PROBE_TIMEOUT, store.status()).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    };
    let verdict = match answer {
        Ok(status) => recognise(core, cluster, (id, row), &*store, &status).await.map(|()| status),
        Err(problem) => Err(problem),
    };
    note(core, id, verdict);
}

/// Whether it is the node it should be; stamps it if it is nobody yet.
async fn recognise(
    core: &Arc<Core>,
    cluster: &ClusterRow,
    (id, row): (NodeId, &NodeRow),
    store: &dyn ChunkStore,
    status: &NodeStatus,
) -> Result<(), String> {
    let identity = match (status.identity, row.incarnation) {
        (Some(identity), _) => identity,
        (None, None) => {
            let stamped = store.format(cluster.cluster_id, cluster.generation, id).await;
            stamped.map_err(|error| format!("its directory could not be stamped: {error}"))?
        }
        (None, Some(_)) => return Err("its directory is empty, and was stamped before: its disk was lost".into()),
    };
    belongs(cluster, id, &identity)?;
    if identity.generation < cluster.generation && status.poisoned.is_none() {
        let raised = store.format(cluster.cluster_id, cluster.generation, id).await;
        raised.map_err(|error| format!("it does not take generation {}: {error}", cluster.generation))?;
        tracing::info!(node = %id, generation = cluster.generation, "data node obeys the restored metadata");
    }
    match row.incarnation {
        Some(known) if known == identity.incarnation => Ok(()),
        Some(known) => Err(format!("its directory is incarnation {}, {known} is registered", identity.incarnation)),
        None => stamp(core, id, identity).await,
    }?;
    match &status.poisoned {
        None => Ok(()),
        Some(reason) => Err(format!("it serves reads only: {reason}")),
    }
}

fn belongs(cluster: &ClusterRow, id: NodeId, identity: &NodeIdentity) -> Result<(), String> {
    if identity.cluster_id != cluster.cluster_id {
        return Err("its directory belongs to another cluster".into());
    }
    if identity.node != id {
        return Err(format!("its directory belongs to node {}, this address is {id}", identity.node));
    }
    if identity.generation > cluster.generation {
        return Err(format!(
            "it obeys generation {} of the metadata and this coordinator has generation {}: the metadata were restored elsewhere, \
             stop this coordinator",
            identity.generation, cluster.generation
        ));
    }
    Ok(())
}

async fn stamp(core: &Core, node: NodeId, identity: NodeIdentity) -> Result<(), String> {
    match core.propose(Command::StampNode { node, incarnation: identity.incarnation }).await {
        Ok((_, Reply::Done)) => {
            tracing::info!(%node, incarnation = %identity.incarnation, "data node joined");
            Ok(())
        }
        Ok((_, reply)) => Err(format!("the registry refused its incarnation: {reply:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn note(core: &Core, id: NodeId, verdict: Result<NodeStatus, String>) {
    let now = core.clock.monotonic();
    let mut probes = core.probes.lock();
    let probe = probes.entry(id).or_insert_with(|| Probe { last_good: Some(now), ..Probe::default() });
    match verdict {
        Ok(status) => {
            *probe = Probe { last_good: Some(now), status: Some(status), health: Some(Health::Up), ..Probe::default() }
        }
        Err(problem) => {
            probe.misses += 1;
            let silent = probe.last_good.map_or(Duration::MAX, |last| now.saturating_sub(last));
            let health = match probe.misses {
                _ if silent >= DOWN_AFTER => Health::Down,
                misses if misses >= SUSPECT_MISSES => Health::Suspect,
                _ => probe.health.unwrap_or(Health::Suspect),
            };
            if probe.health != Some(health) {
                tracing::warn!(node = %id, ?health, problem, "data node");
            }
            (probe.health, probe.problem) = (Some(health), Some(problem));
        }
    }
}

/// Refuses what adds rows while the coordinator's own disk is nearly full; what removes them has the ballast to go on.
async fn watch_room(core: &Core) {
    match core.group.ballast_tick().await {
        Ok(space) => {
            let full = space.free < core.settings.reserve_bytes;
            if core.full.swap(full, Ordering::Relaxed) != full {
                tracing::warn!(free_bytes = space.free, full, "the coordinator's disk");
            }
        }
        Err(error) => tracing::warn!(%error, "the coordinator's disk could not be asked for its room"),
    }
}
