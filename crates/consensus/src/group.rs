//! The handle: a group of coordinators that agree on a log of commands, seen from one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Clock;
use api::disk::{Disk, Space};
use domain::codec;
use domain::record::ClusterRow;
use meta::{Batch, Command, Reply, Table, Tables};
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::{Config, ReadPolicy, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinHandle};

use crate::ballast::Ballast;
use crate::checkpoints::{Checkpoints, checkpoint};
use crate::error::{ConsensusError, ProposeError, ReadError};
use crate::failure::Failure;
use crate::log::store::LogStore;
use crate::log::{self, LogHome};
use crate::machine::Machine;
use crate::network::{Alone, Network};
use crate::record::damaged;
use crate::settings::Settings;
use crate::tables::{Snapshot, Store};
use crate::types::{Commands, Node, Raft, TypeConfig};
use crate::watched::Watched;
use crate::{MAX_ENTRY_BYTES, blocking};

/// The number of the only member.
const ME: u64 = 1;

/// How long a start may take to apply what the log holds. Far above what a checkpoint interval's worth of log needs.
const RECOVERY: Duration = Duration::from_secs(600);

/// A running group. Clones are handles to the same one; [`Group::shutdown`] ends it, for all of them.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    store: Arc<Store>,
    home: Arc<dyn LogHome>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    failure: Failure,
    ballast: Ballast,
    settings: Settings,
    /// Ticks found applied when this process began to lead, and its monotonic clock then.
    began: (u64, Duration),
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps other processes out of the directory until the group is shut down.
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// What a proposal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The index of its log entry.
    pub index: u64,
    /// The term of the leader that wrote it. Term and index together are never used for another entry.
    pub term: u64,
    /// A reply for each command, in order.
    pub replies: Vec<Reply>,
}

/// How a group is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The current leader's term.
    pub term: u64,
    /// Index of the last entry in the log.
    pub last_log: u64,
    /// Index of the last entry that was applied.
    pub applied: u64,
    /// Index of the last entry that the tables hold durably.
    pub checkpointed: u64,
    /// Index of the last entry that was purged from the log; 0 if none was.
    pub purged: u64,
    /// Size of the log's files in bytes.
    pub file_bytes: u64,
}

impl Group {
    /// Opens (recovers) a group of one.
    ///
    /// Returns once the log was synced and read, the tables are open, everything in the log is applied, and this process leads.
    /// Must be called inside a tokio runtime, whose tasks keep the group running.
    pub async fn open(settings: Settings, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Group, ConsensusError> {
        let failure = Failure::new(&settings.dir, disk.clone());
        failure.check_marker()?;
        let files = open_files(&settings, &Watched::over(disk.clone(), failure.clone()), &failure).await;
        let (lock, home, store) = match files {
            Ok(files) => files,
            Err(error) => {
                // A sync that failed on the way says more than what came of it.
                failure.check_poisoned()?;
                return Err(ConsensusError::storage(format!("opening {}", settings.dir.display()))(error));
            }
        };
        let applied = Arc::new(Notify::new());
        let machine = Machine::new(store.clone(), disk.clone(), failure.clone(), applied.clone());
        let log = LogStore::new(home.clone(), failure.clone());
        let raft = Raft::new(ME, Arc::new(config(&settings)?), Network(Arc::new(Alone)), log, machine).await;
        let raft = raft.map_err(ConsensusError::raft("starting"))?;
        if let Err(error) = lead(&raft).await {
            let _ = stop(&raft).await;
            home.close();
            store.close();
            failure.check_poisoned()?;
            return Err(failure.get().map_or(error, |why| ConsensusError::Raft { doing: "starting", why }));
        }
        let began = (applied_ticks(&store)?, clock.monotonic());
        let checkpoints = Checkpoints {
            store: store.clone(),
            home: home.clone(),
            disk: disk.clone(),
            raft: raft.clone(),
            settings: settings.clone(),
            applied,
        };
        let tasks = vec![tokio::spawn(checkpoints.run()), tokio::spawn(stop_on_failure(raft.clone(), failure.clone()))];
        let ballast = Ballast::new(&settings.dir, settings.ballast_bytes, settings.reserve_bytes);
        let (tasks, lock) = (Mutex::new(tasks), Mutex::new(Some(lock)));
        let inner = Inner { raft, store, home, disk, clock, failure, ballast, settings, began, tasks, lock };
        let group = Group { inner: Arc::new(inner) };
        group.ballast_tick().await?;
        Ok(group)
    }

    /// Proposes commands as one log entry; their replies, after it is durable, committed and applied.
    ///
    /// Concurrent proposals share syncs. Dropping the future does not take the proposal back.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Proposed, ProposeError> {
        if let Some(why) = self.inner.failure.get() {
            return Err(ProposeError::Failed(why));
        }
        let bytes = self.batch(commands).encode();
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(ProposeError::TooLarge { found: bytes.len(), limit: MAX_ENTRY_BYTES });
        }
        let raft = self.inner.raft.clone();
        let asked = unbroken(async move { raft.client_write(Commands(bytes.into())).await }).await;
        match asked.map_err(|lost| ProposeError::OutcomeUnknown(lost.to_string()))? {
            Ok(written) => Ok(Proposed {
                index: written.log_id.index(),
                term: written.log_id.committed_leader_id().term,
                replies: written.data.0,
            }),
            Err(error) => Err(self.not_proposed(error)),
        }
    }

    /// Tables that reflect every proposal that was answered before this was called, whoever answered it.
    ///
    /// Joins openraft's next round of asking a majority whether this process still leads, and waits until what was committed
    /// by then is applied.
    pub async fn read(&self) -> Result<Snapshot, ReadError> {
        if let Some(why) = self.inner.failure.get() {
            return Err(ReadError::Failed(why));
        }
        let raft = self.inner.raft.clone();
        let asked = unbroken(async move { raft.ensure_linearizable(ReadPolicy::ReadIndex).await }).await;
        match asked.map_err(|lost| ReadError::Unavailable(lost.to_string()))? {
            Ok(_) => {}
            Err(RaftError::APIError(error)) => return Err(ReadError::Unavailable(error.to_string())),
            Err(RaftError::Fatal(Fatal::Stopped)) => {
                return Err(ReadError::Unavailable("the group is shut down".into()));
            }
            Err(RaftError::Fatal(fatal)) => return Err(ReadError::Failed(self.reason(&fatal))),
        }
        self.inner.store.snapshot().map_err(|error| ReadError::Failed(error.to_string()))
    }

    /// The applied index, as it moves.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.store.watch()
    }

    /// How the group is doing.
    pub fn status(&self) -> Status {
        let bounds = self.inner.home.bounds();
        let term = self.inner.home.vote().map_or(0, |vote| vote.term);
        Status {
            term,
            last_log: bounds.last.map_or(0, |last| last.index),
            applied: self.inner.store.applied().index(),
            checkpointed: self.inner.store.checkpointed().index(),
            purged: bounds.purged.map_or(0, |purged| purged.index),
            file_bytes: self.inner.home.file_bytes(),
        }
    }

    /// Makes everything applied so far durable in the tables; the index reached.
    ///
    /// For backups and shutdown. Nothing else needs it: what was answered is durable in the log.
    pub async fn checkpoint(&self) -> Result<u64, ConsensusError> {
        let done = checkpoint(&self.inner.store, &self.inner.disk).await;
        done.map_err(ConsensusError::storage("checkpointing the tables"))
    }

    /// Room on the file system of the group's directory.
    pub async fn disk_space(&self) -> Result<Space, ConsensusError> {
        let (disk, dir) = (self.inner.disk.clone(), self.inner.settings.dir.clone());
        let space = blocking::run(&self.inner.disk, move || disk.space(&dir)).await;
        space.map_err(ConsensusError::storage("measuring free space"))
    }

    /// Gives the ballast up below the reserve, and takes it on again when there is room; to be called every few seconds.
    ///
    /// The room there is afterwards: while it is below [`Settings::reserve_bytes`], refuse commands that add rows. A disk that
    /// fills up all the same is a storage failure like any other: [`ProposeError::Failed`].
    pub async fn ballast_tick(&self) -> Result<Space, ConsensusError> {
        let (disk, ballast) = (self.inner.disk.clone(), self.inner.ballast.clone());
        let space = blocking::run(&self.inner.disk, move || ballast.tick(disk.as_ref())).await;
        space.map_err(ConsensusError::storage("tending the ballast"))
    }

    /// Stops the group: no proposals any more, a last durable checkpoint, then files and the directory's lock are let go.
    pub async fn shutdown(&self) -> Result<(), ConsensusError> {
        for task in self.inner.tasks.lock().drain(..) {
            task.abort();
        }
        stop(&self.inner.raft).await.map_err(ConsensusError::raft("shutting down"))?;
        let last = match self.inner.failure.get() {
            None => self.checkpoint().await.map(drop),
            Some(why) => Err(ConsensusError::Raft { doing: "shutting down", why }),
        };
        let (home, store) = (self.inner.home.clone(), self.inner.store.clone());
        let closed = blocking::run(&self.inner.disk, move || {
            home.close();
            store.close();
            Ok(())
        });
        closed.await.map_err(ConsensusError::storage("closing the log and the tables"))?;
        self.inner.lock.lock().take();
        last
    }

    /// Resolves when storage failed and the group stopped for good, with the reason: the process must exit.
    pub async fn failed(&self) -> String {
        self.inner.failure.wait().await
    }

    /// Whether the group stopped for a reason that outlasts this process: it will not open again before a person has looked.
    pub fn is_poisoned(&self) -> bool {
        self.inner.failure.is_poisoned()
    }

    /// The entry's payload: the commands, and the leader's two clocks.
    fn batch(&self, commands: Vec<Command>) -> Batch {
        let (ticks_ms, since) = self.inner.began;
        let elapsed = self.inner.clock.monotonic().saturating_sub(since);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Batch { now_ms: self.inner.clock.wall_ms(), ticks_ms: ticks_ms.saturating_add(elapsed_ms), commands }
    }

    fn not_proposed(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                ProposeError::OutcomeUnknown(error.to_string())
            }
            RaftError::APIError(refused) => ProposeError::Unavailable(refused.to_string()),
            RaftError::Fatal(Fatal::Stopped) if self.inner.failure.get().is_none() => {
                ProposeError::OutcomeUnknown("the group is shutting down".into())
            }
            RaftError::Fatal(fatal) => ProposeError::Failed(self.reason(&fatal)),
        }
    }

    /// Why the group stopped: what was noted first, or else what openraft says.
    fn reason(&self, fatal: &Fatal<TypeConfig>) -> String {
        self.inner.failure.get().unwrap_or_else(|| fatal.to_string())
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group in {}: {:?}", self.inner.settings.dir.display(), self.status())
    }
}

impl Drop for Inner {
    /// Without [`Group::shutdown`] this is a crash as far as the disk is concerned; the tasks must not outlive it all the same.
    fn drop(&mut self) {
        self.tasks.get_mut().drain(..).for_each(|task| task.abort());
    }
}

type Files = (Box<dyn Send + Sync>, Arc<dyn LogHome>, Arc<Store>);

/// Locks the directory, then opens the log and the tables.
async fn open_files(settings: &Settings, disk: &Arc<dyn Disk>, failure: &Failure) -> std::io::Result<Files> {
    let (settings, files, failure) = (settings.clone(), disk.clone(), failure.clone());
    let job = move || {
        files.create_dir_all(&settings.dir)?;
        if let Some(parent) = settings.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            files.sync_dir(parent)?;
        }
        let lock = files.lock(&settings.dir)?;
        let home = log::open(&settings, &files)?;
        let store = Store::open(&settings.dir, settings.table_cache_bytes, files.as_ref(), failure)?;
        if store.was_repaired() {
            tracing::warn!(
                "the tables carried no list of free pages, so all of them were read; the next start is quick again"
            );
        }
        whole(home.as_ref(), &store)?;
        Ok((lock, home, Arc::new(store)))
    };
    blocking::run(disk, job).await
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
fn config(settings: &Settings) -> Result<Config, ConsensusError> {
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

/// Founds the group if the store is pristine, takes the lead, and waits until all that the log held is applied.
///
/// What the log held at the start may or may not have been committed before; the first entry of the new term commits it.
async fn lead(raft: &Raft) -> Result<(), ConsensusError> {
    if !raft.is_initialized().await.map_err(ConsensusError::raft("looking for a membership"))? {
        let members = BTreeMap::from([(ME, Node::new(""))]);
        raft.initialize(members).await.map_err(ConsensusError::raft("founding the group"))?;
    }
    raft.trigger().elect(false).await.map_err(ConsensusError::raft("standing for election"))?;
    let led = raft.wait(Some(RECOVERY)).current_leader(ME, "this process leads").await;
    led.map_err(ConsensusError::raft("waiting for the lead"))?;
    raft.wait_for_recovery(Some(RECOVERY)).await.map_err(ConsensusError::raft("applying the log"))?;
    raft.ensure_linearizable(ReadPolicy::ReadIndex).await.map_err(ConsensusError::raft("confirming the lead"))?;
    Ok(())
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

/// Stops openraft when storage failed, and notes a failure that openraft found out about by itself.
async fn stop_on_failure(raft: Raft, failure: Failure) {
    let waiter = raft.wait(None);
    let stopped = waiter.metrics(|metrics| metrics.running_state.is_err(), "consensus stopped");
    tokio::select! {
        _ = failure.wait() => {}
        stopped = stopped => match stopped.map(|metrics| metrics.running_state) {
            Ok(Err(Fatal::Stopped)) | Ok(Ok(())) => return,
            Ok(Err(fatal)) => failure.note(fatal.to_string()),
            Err(error) => failure.note(error.to_string()),
        },
    }
    if let Err(error) = stop(&raft).await {
        tracing::warn!(%error, "consensus did not stop in order");
    }
}

/// Ends openraft's tasks and waits for them.
async fn stop(raft: &Raft) -> Result<(), JoinError> {
    let raft = raft.clone();
    unbroken(async move { raft.shutdown().await }).await?
}

/// Runs a question to openraft in a task of its own, so that it goes on to its end when whoever waits for it is dropped.
///
/// A question that finds openraft's core ended takes the core's handle out to await it. If that await is cancelled, everybody
/// else who asks how the core ended meets a panic.
async fn unbroken<T: Send + 'static>(question: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
    tokio::spawn(question).await
}
