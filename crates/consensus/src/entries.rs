//! From commands to an entry of the log, and from openraft's answer to ours.

use std::sync::Arc;

use api::clock::Clock;
use meta::{Batch, Command};
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use tokio::sync::watch;

use crate::error::ProposeError;
use crate::failure::Failure;
use crate::group::Proposed;
use crate::leadership::{Leadership, Ticks};
use crate::proposals::Write;
use crate::running::unbroken;
use crate::tables::Store;
use crate::types::{Commands, Raft, TypeConfig};

/// What an entry is made of, and who takes it.
pub(crate) struct Entries {
    pub(crate) raft: Raft,
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ticks: Arc<Ticks>,
    pub(crate) failure: Failure,
    pub(crate) leadership: watch::Receiver<Leadership>,
}

impl Write for Entries {
    async fn write(&self, reign: Option<u64>, commands: Vec<Command>) -> Result<Proposed, ProposeError> {
        let payload = Commands(self.batch(reign, commands)?.encode().into());
        let raft = self.raft.clone();
        let asked = unbroken(async move { raft.client_write(payload).await }).await;
        match asked.map_err(|lost| ProposeError::OutcomeUnknown(lost.to_string()))? {
            Ok(written) => Ok(Proposed {
                index: written.log_id.index(),
                term: written.log_id.committed_leader_id().term,
                replies: written.data.0,
            }),
            Err(error) => Err(self.not_proposed(error)),
        }
    }
}

impl Entries {
    /// The entry's payload: the commands, and the leader's two clocks.
    fn batch(&self, reign: Option<u64>, commands: Vec<Command>) -> Result<Batch, ProposeError> {
        let term = self.leadership.borrow().term;
        let ticks_ms = self.ticks.now(term, &self.store, self.clock.as_ref()).map_err(|error| {
            let shut = || ProposeError::Unavailable(error.to_string());
            self.failure.get().map_or_else(shut, ProposeError::Failed)
        })?;
        Ok(Batch { now_ms: self.clock.wall_ms(), ticks_ms, reign, commands })
    }

    fn not_proposed(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                ProposeError::OutcomeUnknown(error.to_string())
            }
            RaftError::APIError(refused) => ProposeError::Unavailable(refused.to_string()),
            RaftError::Fatal(Fatal::Stopped) if self.failure.get().is_none() => {
                ProposeError::OutcomeUnknown("the group is shutting down".into())
            }
            RaftError::Fatal(fatal) => ProposeError::Failed(self.failure.get().unwrap_or_else(|| fatal.to_string())),
        }
    }
}
