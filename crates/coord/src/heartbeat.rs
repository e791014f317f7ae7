//! The heartbeat: does each node answer, and as the node it should be?
//!
//! Every second each node is asked who it is. Two misses make a node suspect. Five seconds of silence make it down, if no gateway
//! reaches it meanwhile: between the coordinator and a node may be a broken cable that nobody else needs. An answer in another's
//! name (a swapped, wiped or rolled-back disk) makes it down at once, and the status says why: see [`crate::stamps`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::MetaError;
use api::NodeStatus;
use domain::NodeId;
use domain::view::{Health, NodeView};
use futures_util::future::join_all;
use meta::query;

use crate::losses;
use crate::service::{Core, storage};
use crate::stamps::{self, Known, Trouble};

/// A probe without an answer after this long is a miss.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Probes for ever, and counts as missing what turns out to be lost.
pub(crate) async fn run(core: Arc<Core>) {
    tokio::join!(probe_for_ever(&core), losses::run(core.clone()));
}

async fn probe_for_ever(core: &Arc<Core>) {
    loop {
        tokio::time::sleep(core.settings.probe_every).await;
        if let Err(error) = round(core).await {
            tracing::warn!(%error, "a round of probes failed");
        }
        watch_room(core).await;
    }
}

/// One round: asks every node, and publishes what changed.
pub(crate) async fn round(core: &Arc<Core>) -> Result<(), MetaError> {
    let tables = core.read().await?;
    let Some(cluster) = query::cluster(&tables).map_err(storage)? else { return Ok(()) };
    let nodes = query::nodes(&tables).map_err(storage)?;
    drop(tables);
    join_all(nodes.iter().map(|(id, row)| probe(core, Known { cluster: &cluster, id: *id, row }))).await;
    // A node with a later number was added while this round ran, and another round may have asked it.
    let gone = |id: &NodeId| id.0 < cluster.next_node && !nodes.iter().any(|(known, _)| known == id);
    core.probes.lock().retain(|id, _| !gone(id));
    if nodes.iter().any(|(_, row)| row.sweep.is_some()) {
        core.sweeps.notify_one();
    }
    core.refresh_view().await
}

async fn probe(core: &Arc<Core>, known: Known<'_>) {
    let node = NodeView::of(known.id, known.row.clone(), Health::Suspect, known.cluster.generation);
    let store = core.connect.connect(&node);
    let begun = core.clock.monotonic();
    let unwell = |problem: String| Err(Trouble::Unwell(problem));
    let answer = match tokio::time::timeout(PROBE_TIMEOUT, store.status()).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(error)) => unwell(error.to_string()),
        Err(_) => unwell(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    };
    let latency = core.clock.monotonic().saturating_sub(begun);
    let verdict = match answer {
        Ok(status) => stamps::recognise(core, known, &*store, &status).await.map(|()| status),
        Err(trouble) => Err(trouble),
    };
    note(core, known.id, verdict, latency);
}

fn note(core: &Core, id: NodeId, verdict: Result<NodeStatus, Trouble>, latency: Duration) {
    let now = core.clock.monotonic();
    let mut probes = core.probes.lock();
    let probe = probes.entry(id).or_default();
    let news = match verdict {
        Ok(status) => return probe.answered(status, now, core.clock.wall_ms(), latency),
        Err(Trouble::Unwell(problem)) => probe.missed(problem, now, core.experience.reached(id, now)),
        Err(Trouble::NotThisNode(problem)) => probe.impersonated(problem),
    };
    if news {
        tracing::warn!(node = %id, health = ?probe.health, problem = probe.problem, "data node");
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
