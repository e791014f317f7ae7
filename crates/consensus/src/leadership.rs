//! Who leads, and the leader's clock.

use std::time::Duration;

use api::clock::Clock;
use domain::codec;
use domain::record::ClusterRow;
use meta::{Table, Tables};
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::ConsensusError;
use crate::tables::Store;
use crate::types::Raft;

/// Who leads the group, as far as this member knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// The leader's number and address; `None` during an election.
    pub leader: Option<(u64, String)>,
    /// Whether it is this process. Whether it still is, only a majority can say: see [`Group::read`](crate::Group::read).
    pub mine: bool,
}

/// Keeps `seen` up to date until openraft ends, and tells `began` the term of each lead of this process.
pub(crate) async fn follow(raft: Raft, seen: watch::Sender<Leadership>, began: impl Fn(u64)) {
    let mut metrics = raft.server_metrics();
    loop {
        let next = {
            let now = metrics.borrow_watched();
            let address =
                |id: u64| now.membership_config.membership().get_node(&id).map(|node| (id, node.addr.clone()));
            Leadership {
                term: now.vote.leader_id.term,
                leader: now.current_leader.and_then(address),
                mine: now.state.is_leader(),
            }
        };
        if next.mine {
            began(next.term);
        }
        seen.send_if_modified(|known| {
            let changed = *known != next;
            *known = next;
            changed
        });
        if metrics.changed().await.is_err() {
            // Nobody is told any more, so nobody leads as far as this member knows.
            seen.send_replace(Leadership::default());
            return;
        }
    }
}

/// The leader's ticks: its monotonic time since it began to lead, added to the ticks that it found applied.
///
/// They drive time-outs of leases and nothing that must be right: a leader that had not applied everything when it began starts a little low, and
/// time-outs come a little late.
#[derive(Default)]
pub(crate) struct Ticks {
    /// The term, the ticks found applied when it began, and the monotonic clock then.
    began: Mutex<Option<(u64, u64, Duration)>>,
}

impl Ticks {
    /// The ticks now, for a leader in `term`.
    pub(crate) fn now(&self, term: u64, store: &Store, clock: &dyn Clock) -> Result<u64, ConsensusError> {
        let mut began = self.began.lock();
        let (ticks_ms, since) = match *began {
            Some((known, ticks_ms, since)) if known == term => (ticks_ms, since),
            _ => {
                let fresh = (applied_ticks(store)?, clock.monotonic());
                *began = Some((term, fresh.0, fresh.1));
                fresh
            }
        };
        let elapsed = clock.monotonic().saturating_sub(since);
        Ok(ticks_ms.saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The ticks in the cluster's row; 0 before it is founded.
fn applied_ticks(store: &Store) -> Result<u64, ConsensusError> {
    let reading = || "reading the cluster's row".to_string();
    let rows = store.snapshot().map_err(ConsensusError::storage(reading()))?;
    let row = rows
        .get(Table::Cluster, b"cluster")
        .map_err(|error| ConsensusError::storage(reading())(std::io::Error::other(error)))?;
    let Some(row) = row else { return Ok(0) };
    let row: ClusterRow =
        codec::decode(&row).map_err(|error| ConsensusError::storage(reading())(std::io::Error::other(error)))?;
    Ok(row.ticks_ms)
}
