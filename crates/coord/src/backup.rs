//! The seam to backups, answered: metadata streamed from a running cluster.
//!
//! A backup reads the tables as of one moment, after a linearizable read: everything that was acknowledged before it was asked for is
//! in it. Commands go on meanwhile. The pages of that moment cannot be used again until it is done, so few run at a time, and one that
//! nobody takes pieces from is dropped with its connection.

use std::sync::Arc;

use api::AdminError;
use api::meta_admin::{BackupHistory, BackupStream, HoldAudit, MetaAdmin, StateHash};
use async_trait::async_trait;
use bytes::Bytes;
use consensus::snapshot::{self, state_hash};
use domain::id::hex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::hold;
use crate::schedule::{self, Runs};
use crate::service::Coordinator;

/// Reads of all tables at a time. A guess: an operator's, and one by hand beside it.
const AT_A_TIME: usize = 2;

/// What a coordinator remembers of its backups.
pub(crate) struct Backups {
    /// One for each that may still begin.
    pub(crate) room: Arc<Semaphore>,
    /// How the scheduled ones went.
    pub(crate) runs: parking_lot::Mutex<Runs>,
    /// The audit before the end of a hold on deletes.
    pub(crate) audit: parking_lot::Mutex<HoldAudit>,
}

impl Default for Backups {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(AT_A_TIME)), runs: Default::default(), audit: Default::default() }
    }
}

struct Running {
    stream: snapshot::Stream,
    _room: OwnedSemaphorePermit,
}

#[async_trait]
impl BackupStream for Running {
    async fn next(&mut self) -> Result<Option<Bytes>, AdminError> {
        let read = |error| AdminError::Unavailable(format!("the tables could not be read: {error}"));
        self.stream.next_block().await.map_err(read)
    }
}

#[async_trait]
impl MetaAdmin for Coordinator {
    async fn backup(&self) -> Result<Box<dyn BackupStream>, AdminError> {
        let room = self.room()?;
        let stream = self.core.group.backup(self.core.clock.wall_ms()).await;
        let stream = stream.map_err(|error| AdminError::Unavailable(error.to_string()))?;
        tracing::info!(index = stream.header().index(), "a backup of the metadata begins");
        Ok(Box::new(Running { stream, _room: room }))
    }

    async fn backup_history(&self) -> Result<BackupHistory, AdminError> {
        schedule::history(&self.core).await
    }

    async fn hold(&self) -> Result<HoldAudit, AdminError> {
        hold::report(&self.core).await
    }

    async fn audit_hold(&self) -> Result<HoldAudit, AdminError> {
        hold::begin(&self.core).await
    }

    async fn release_hold(&self, force: bool) -> Result<HoldAudit, AdminError> {
        hold::release(&self.core, force).await
    }

    async fn state_hash(&self) -> Result<StateHash, AdminError> {
        let _room = self.room()?;
        let rows = self.core.group.read().await.map_err(|error| AdminError::Unavailable(error.to_string()))?;
        let hash = schedule::job(self.core.group.disk(), move || Ok((rows.index(), state_hash(&rows)?))).await;
        let (index, hash) = hash.map_err(|error| AdminError::Unavailable(error.to_string()))?;
        Ok(StateHash { index, hash: hex(&hash) })
    }
}

impl Coordinator {
    fn room(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        let room = self.core.backups.room.clone().try_acquire_owned();
        room.map_err(|_| {
            AdminError::Conflict(format!(
                "{AT_A_TIME} reads of all metadata are under way already; wait for one to end"
            ))
        })
    }
}
