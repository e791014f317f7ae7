//! Reigns: what a coordinator does while it leads, and only then.
//!
//! The loops (heartbeat, lease expiry, garbage collection) run on the leader. Each term of leadership is a reign: it begins with a
//! cluster that is founded and a first round of probes, and ends with the loops being dropped, wherever they are. What they had planned is
//! proposed under the term that it was planned in, and `meta::apply` refuses it in a later one.

use std::sync::Arc;
use std::time::Duration;

use api::MetaError;
use tokio::task::JoinSet;

use crate::service::Core;
use crate::{gc, heartbeat, leases};

/// How soon a reign that could not begin is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Begins and ends reigns as the group's leadership comes and goes, for ever.
pub(crate) async fn run(core: Arc<Core>) {
    let mut leadership = core.group.watch_leadership();
    loop {
        let term = match leadership.wait_for(|now| now.mine).await {
            Ok(now) => now.term,
            Err(_) => return,
        };
        let mut over = leadership.clone();
        let ended = over.wait_for(|now| !now.mine || now.term != term);
        let shut_down = tokio::select! {
            ended = ended => ended.is_err(),
            () = reign(&core, term) => false,
        };
        core.reign.send_replace(None);
        tracing::info!(term, "this coordinator leads no more");
        if shut_down {
            return;
        }
    }
}

/// Rules until dropped.
async fn reign(core: &Arc<Core>, term: u64) {
    while let Err(error) = begin(core, term).await {
        tracing::warn!(%error, term, "this coordinator leads, and cannot begin");
        tokio::time::sleep(RETRY).await;
    }
    let mut loops = JoinSet::new();
    loops.spawn(heartbeat::run(core.clone()));
    loops.spawn(leases::run(core.clone()));
    loops.spawn(gc::run(core.clone()));
    // They run for ever; dropping the set ends them.
    std::future::pending().await
}

/// Founds the cluster if it is new, registers what the settings name, and looks at the nodes once.
pub(crate) async fn begin(core: &Arc<Core>, term: u64) -> Result<(), MetaError> {
    core.found().await?;
    core.reseal_url_keys().await?;
    // What an earlier reign knew of the nodes is no silence of theirs.
    core.probes.lock().clear();
    heartbeat::round(core).await?;
    core.reign.send_replace(Some(term));
    tracing::info!(term, "this coordinator leads");
    Ok(())
}
