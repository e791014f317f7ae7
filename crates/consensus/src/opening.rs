//! Opening a group's directory, and openraft's settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::disk::Disk;
use openraft::errors::{InitializeError, RaftError};
use openraft::{Config, ReadPolicy, SnapshotPolicy};

use crate::error::ConsensusError;
use crate::failure::Failure;
use crate::log::{self, LogHome};
use crate::record::damaged;
use crate::settings::Settings;
use crate::tables::Store;
use crate::types::{Node, Raft};
use crate::{blocking, restore};

/// How long a start may take to apply what the log holds. Far above what a checkpoint interval's worth of log needs.
const RECOVERY: Duration = Duration::from_secs(600);

pub(crate) type Files = (Box<dyn Send + Sync>, Arc<dyn LogHome>, Arc<Store>);

/// Locks the directory, then opens the log and the tables.
pub(crate) async fn open_files(settings: &Settings, disk: &Arc<dyn Disk>, failure: &Failure) -> std::io::Result<Files> {
    let (settings, files, failure) = (settings.clone(), disk.clone(), failure.clone());
    blocking::run(disk, move || open(&settings, &files, &failure)).await
}

/// The same, here and now.
pub(crate) fn open(settings: &Settings, files: &Arc<dyn Disk>, failure: &Failure) -> std::io::Result<Files> {
    files.create_dir_all(&settings.dir)?;
    if let Some(parent) = settings.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        files.sync_dir(parent)?;
    }
    let lock = files.lock(&settings.dir)?;
    restore::refuse_unfinished(&settings.dir, files.as_ref())?;
    let home = log::open(settings, files)?;
    let (audit_log, cache) = (settings.audit_log.as_deref(), settings.table_cache_bytes);
    let store = Store::open(&settings.dir, audit_log, cache, files.as_ref(), failure.clone())?;
    if store.was_repaired() {
        tracing::warn!(
            "the tables carried no list of free pages, so all of them were read; the next start is quick again"
        );
    }
    whole(home.as_ref(), &store)?;
    Ok((lock, home, Arc::new(store)))
}

/// Errs if the tables and the log do not fit together.
///
/// Tables that end before the log begins would miss entries. Tables from later than the log: whoever applied an entry of a term had voted in it, durably.
///
/// Without the log's votes and entries this process could give the same log ids out again, for other commands.
fn whole(log: &dyn LogHome, tables: &Store) -> std::io::Result<()> {
    let (applied, voted) = (tables.applied().last.map_or(0, |last| last.term), log.vote().map_or(0, |vote| vote.term));
    let (reached, purged) = (tables.applied().index(), log.bounds().purged.map_or(0, |purged| purged.index));
    if reached < purged {
        return Err(damaged(format!(
            "the tables end at entry {reached}, and the log begins after entry {purged}: the tables' file was lost or is an old \
             one. Put it back, or restore a backup"
        )));
    }
    if applied <= voted {
        return Ok(());
    }
    Err(damaged(format!(
        "the tables hold an entry of term {applied}, and the log knows no vote after term {voted}: its files were lost or \
         replaced. Put them back, or restore a backup"
    )))
}

/// openraft's settings. Nothing happens by count: checkpoints and purges are ours to time.
pub(crate) fn config(settings: &Settings) -> Result<Config, ConsensusError> {
    let config = Config {
        cluster_name: "kvfs".into(),
        heartbeat_interval: 100,
        election_timeout_min: 300,
        election_timeout_max: 600,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(settings.leader_restore),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: 10 * 60 * 1000,
        ..Config::default()
    };
    config.validate().map_err(ConsensusError::raft("checking the settings"))
}

/// Takes the lead of a group of one, which is founded first if the store is pristine, and waits until all that the log held is applied.
///
/// What the log held at the start may or may not have been committed before; the first entry of the new term commits it.
pub(crate) async fn lead(raft: &Raft, me: u64) -> Result<(), ConsensusError> {
    if !raft.is_initialized().await.map_err(ConsensusError::raft("looking for a membership"))? {
        found(raft, &[(me, String::new())]).await?;
    }
    raft.trigger().elect(false).await.map_err(ConsensusError::raft("standing for election"))?;
    let led = raft.wait(Some(RECOVERY)).current_leader(me, "this process leads").await;
    led.map_err(ConsensusError::raft("waiting for the lead"))?;
    raft.wait_for_recovery(Some(RECOVERY)).await.map_err(ConsensusError::raft("applying the log"))?;
    raft.ensure_linearizable(ReadPolicy::ReadIndex).await.map_err(ConsensusError::raft("confirming the lead"))?;
    Ok(())
}

/// Gives a pristine group its first members.
pub(crate) async fn found(raft: &Raft, members: &[(u64, String)]) -> Result<(), ConsensusError> {
    let members: BTreeMap<_, _> = members.iter().map(|(id, address)| (*id, Node::new(address))).collect();
    match raft.initialize(members).await {
        // Founding is done again when it was interrupted.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(ConsensusError::raft("founding the group")(error)),
    }
}
