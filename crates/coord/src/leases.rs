//! Lease expiry: who has been silent for a minute of ticks may commit nothing any more.
//!
//! Only the command decides, by ticks that stand in the log; this loop merely proposes it.

use std::sync::Arc;
use std::time::Duration;

use api::MetaError;
use meta::{Command, query};

use crate::service::{Core, storage};

/// How often leases are looked at. Also what moves ticks on when nothing else is proposed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks for ever.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = expire(&core).await {
            tracing::warn!(%error, "leases could not be looked at");
        }
    }
}

async fn expire(core: &Core) -> Result<(), MetaError> {
    let after_ms = core.settings.lease_timeout.as_millis() as u64;
    let leases = query::leases(&core.read().await?).map_err(storage)?;
    let commands: Vec<_> = leases.iter().map(|&(lease, _)| Command::ExpireLease { lease, after_ms }).collect();
    // Each is proposed: whether it is due is decided where ticks are known, when the command is applied.
    if !commands.is_empty() {
        core.plan_all(commands).await?;
    }
    Ok(())
}
