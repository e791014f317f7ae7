//! Is the directory behind an address the one that was stamped for its node? Asked at every probe, by the leader alone.
//!
//! `domain::registry` says what a directory is to its row; here that gets consequences. A blank one is stamped once. The right one gets
//! a fresh witness every ten seconds, and whenever it was started anew: first the node makes it durable, then the row
//! remembers it, so the row never claims more than the directory holds. A wrong one is lost: its answers stop counting in the same
//! command, its copies are counted as missing (see [`crate::losses`]), and only an operator takes it in anew.

use std::time::Duration;

use api::chunk_store::{NodeIdentity, Restamp};
use api::{ChunkStore, MetaError, NodeStatus};
use domain::record::{ClusterRow, NodeRow};
use domain::registry::{self, LossCause, Recognition};
use domain::{Incarnation, NodeId};
use meta::{Command, Reply};

use crate::service::Core;

/// A node as the registry has it, and the cluster it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub cluster: &'a ClusterRow,
    pub id: NodeId,
    pub row: &'a NodeRow,
}

/// Why an answer is not a good one.
pub(crate) enum Trouble {
    /// It is in another's name.
    NotThisNode(String),
    /// It is the node, and it is not well.
    Unwell(String),
}

/// Whether `status` is of the node it should be.
pub(crate) async fn recognise(
    core: &Core,
    known: Known<'_>,
    store: &dyn ChunkStore,
    status: &NodeStatus,
) -> Result<(), Trouble> {
    let Known { cluster, id, row } = known;
    if let Some(loss) = &row.lost {
        return Err(Trouble::NotThisNode(lost(&loss.cause, &row.addr)));
    }
    let found = registry::compare(cluster.cluster_id, id, row, status.identity.map(|identity| identity.stamp()));
    if let (Recognition::Itself | Recognition::Stamped(_), Some(identity)) = (found, status.identity) {
        obey(cluster, id, store, status, identity.generation).await.map_err(Trouble::Unwell)?;
    }
    match (found, status.identity) {
        (Recognition::Lost(cause), _) => return Err(Trouble::NotThisNode(lose(core, known, cause).await)),
        (Recognition::Stranger(cause), _) => return Err(Trouble::NotThisNode(stranger(&cause))),
        (Recognition::Blank, _) => {
            let stamped = store.format(cluster.cluster_id, cluster.generation, id).await;
            let unwell = |error| Trouble::Unwell(format!("its directory could not be stamped: {error}"));
            join(core, id, stamped.map_err(unwell)?.incarnation).await.map_err(Trouble::Unwell)?;
        }
        (Recognition::Stamped(incarnation), _) => join(core, id, incarnation).await.map_err(Trouble::Unwell)?,
        (Recognition::Itself, Some(identity)) if status.poisoned.is_none() => {
            witness(core, id, row, store, identity).await;
        }
        (Recognition::Itself, _) => {}
    }
    match &status.poisoned {
        None => Ok(()),
        Some(reason) => Err(Trouble::Unwell(format!("it serves reads only: {reason}"))),
    }
}

/// Sees to it that the node obeys the metadata's generation, and that these are not older than what it obeys.
async fn obey(
    cluster: &ClusterRow,
    id: NodeId,
    store: &dyn ChunkStore,
    status: &NodeStatus,
    obeyed: u64,
) -> Result<(), String> {
    let generation = cluster.generation;
    if obeyed > generation {
        return Err(format!(
            "it obeys generation {obeyed} of the metadata and this coordinator has generation {generation}: the metadata were \
             restored elsewhere, stop this coordinator"
        ));
    }
    if obeyed < generation && status.poisoned.is_none() {
        let raised = store.format(cluster.cluster_id, generation, id).await;
        raised.map_err(|error| format!("it does not take generation {generation}: {error}"))?;
        tracing::info!(node = %id, generation, "data node obeys the restored metadata");
    }
    Ok(())
}

/// What is said of a node whose directory is lost.
pub(crate) fn lost(cause: &LossCause, addr: &str) -> String {
    format!("not this node: {cause}; `kvfs node replace {addr}` takes it in anew, its copies count as missing")
}

fn stranger(cause: &LossCause) -> String {
    format!("not this node: {cause}; start it on an empty directory")
}

async fn join(core: &Core, node: NodeId, incarnation: Incarnation) -> Result<(), String> {
    match core.propose(Command::StampNode { node, incarnation }).await {
        Ok((_, Reply::Done)) => {
            tracing::info!(%node, %incarnation, "data node joined");
            Ok(())
        }
        Ok((_, reply)) => Err(format!("the registry refused its incarnation: {reply:?}")),
        Err(error) => Err(error.to_string()),
    }
}

async fn lose(core: &Core, known: Known<'_>, cause: LossCause) -> String {
    let Known { id, row, .. } = known;
    let Some(incarnation) = row.incarnation else { return stranger(&cause) };
    tracing::error!(node = %id, addr = row.addr, %cause, "a data node's directory is lost; its copies count as missing");
    if let Err(error) = core.propose(Command::LoseNode { node: id, incarnation, cause }).await {
        tracing::warn!(node = %id, %error, "that could not be noted yet");
    }
    core.sweeps.notify_one();
    lost(&cause, &row.addr)
}

/// Hands out a witness if it is time. Best effort: a node that cannot store one now gets the next.
async fn witness(core: &Core, id: NodeId, row: &NodeRow, store: &dyn ChunkStore, identity: NodeIdentity) {
    let now = core.clock.monotonic();
    let last = core.probes.lock().get(&id).and_then(|probe| probe.witnessed);
    let due = last.is_none_or(|last| now.saturating_sub(last) >= core.settings.witness_every);
    if !due && identity.boot <= row.boot {
        return;
    }
    // Larger than every one before, and another one than any other leader hands out.
    let fresh = (*core.group.applied().borrow()).max(row.witness + 1).max(identity.witness + 1);
    if let Err(error) = store_witness(core, id, store, fresh).await {
        tracing::debug!(node = %id, error, "no witness this time");
    }
    core.probes.lock().entry(id).or_default().witnessed = Some(now);
}

async fn store_witness(core: &Core, node: NodeId, store: &dyn ChunkStore, fresh: u64) -> Result<(), String> {
    let stored = tokio::time::timeout(WITNESS_TIMEOUT, store.witness(fresh)).await;
    let identity = stored.map_err(|_| "no answer".to_string())?.map_err(|error| error.to_string())?;
    let NodeIdentity { incarnation, boot, witness, .. } = identity;
    let noted = core.propose(Command::WitnessNode { node, incarnation, boot, witness }).await;
    noted.map(drop).map_err(|error: MetaError| error.to_string())
}

/// Storing a witness takes two barriers; a disk that needs longer is busy.
const WITNESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Stamps the directory behind `store` as `known`'s, whatever it was before within this cluster; gives the new incarnation.
///
/// `registered` says which numbers are nodes of the cluster: a directory of one of those is not taken from it.
pub(crate) async fn take_in(
    known: Known<'_>,
    store: &dyn ChunkStore,
    status: &NodeStatus,
    registered: impl Fn(NodeId) -> bool,
) -> Result<Incarnation, String> {
    let Known { cluster, id, row } = known;
    if let Some(reason) = &status.poisoned {
        return Err(format!("it serves reads only, {reason}; start it on a good disk first"));
    }
    let Some(found) = status.identity else {
        let stamped = store.format(cluster.cluster_id, cluster.generation, id).await;
        return stamped.map(|identity| identity.incarnation).map_err(|error| error.to_string());
    };
    if found.cluster_id != cluster.cluster_id {
        let cause = LossCause::OtherCluster { cluster_id: found.cluster_id };
        return Err(format!("{cause}; start it on an empty directory first"));
    }
    if found.node != id && registered(found.node) {
        let cause = LossCause::OtherNode { node: found.node };
        return Err(format!(
            "{cause}; `kvfs node move` tells where that node is now, or start this one on an empty directory"
        ));
    }
    // Also where it shows an incarnation that was never registered: it may be an older disk, and a new stamp makes sure.
    let stamp = Restamp {
        cluster_id: cluster.cluster_id,
        generation: cluster.generation,
        node: id,
        was: found.incarnation,
        boot: row.boot,
    };
    store.restamp(stamp).await.map(|identity| identity.incarnation).map_err(|error| error.to_string())
}
