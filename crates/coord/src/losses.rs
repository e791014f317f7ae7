//! What a lost directory held is counted as missing: at once, in small commands, until its node's row says that it is done.
//!
//! Each command looks at a thousand chunks at most and says whether there are more (see `meta::MAX_SWEEP`). How far it is stands in
//! the tables, so a coordinator that takes over goes on where the last one stopped.

use std::sync::Arc;

use api::MetaError;
use domain::NodeId;
use meta::{Command, MAX_SWEEP, Reply, query};

use crate::service::{Core, storage};

/// Sweeps whenever the heartbeat says that there is something to sweep.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        core.sweeps.notified().await;
        if let Err(error) = sweep(&core).await {
            // The next round of probes finds the rows as they are, and says so again.
            tracing::warn!(%error, "lost copies could not be counted as missing yet");
        }
    }
}

async fn sweep(core: &Core) -> Result<(), MetaError> {
    let nodes = query::nodes(&core.read().await?).map_err(storage)?;
    for (node, row) in nodes {
        if row.sweep.is_some() {
            sweep_node(core, node).await?;
            tracing::warn!(%node, addr = row.addr, "every copy on the lost directory counts as missing now");
        }
    }
    Ok(())
}

async fn sweep_node(core: &Core, node: NodeId) -> Result<(), MetaError> {
    while let (_, Reply::More) = core.propose(Command::SweepNode { node, chunks: MAX_SWEEP }).await? {}
    Ok(())
}
