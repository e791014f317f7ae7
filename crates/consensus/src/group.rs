//! The handle: a group of coordinators that agree on a log of commands, seen from one of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::clock::Clock;
use api::disk::{Disk, Space};
use domain::codec;
use meta::{Command, Reply};
use openraft::ReadPolicy;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::errors::{Fatal, RaftError};
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::ballast::Ballast;
use crate::checkpoints::{Checkpoints, checkpoint};
use crate::entries::Entries;
use crate::error::{ConsensusError, ProposeError, ReadError};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::leadership::{Leadership, Ticks, follow};
use crate::log::store::LogStore;
use crate::log::{Commits, LogHome};
use crate::machine::Machine;
use crate::network::{Alone, Network, Transport};
use crate::opening::{self, open_files};
use crate::proposals::{self, Proposal};
use crate::running::{stop, stop_on_failure, unbroken};
use crate::settings::Settings;
use crate::tables::{Snapshot, Store};
use crate::transfer::{Receiver, Sender};
use crate::types::{Raft, TypeConfig};
use crate::watched::Watched;
use crate::wire::{Answer, Ask, ClusterKey};
use crate::{MAX_ENTRY_BYTES, blocking, snapshot};

/// The number of the only member of a group of one.
const ALONE: u64 = 1;

/// How long a member that does not lead waits for the leader's word on a read, and for its own tables to get there.
const FOLLOWER_READ: Duration = Duration::from_secs(2);

/// A running group. Clones are handles to the same one; [`Group::shutdown`] ends it, for all of them.
#[derive(Clone)]
pub struct Group {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) raft: Raft,
    pub(crate) store: Arc<Store>,
    home: Arc<dyn LogHome>,
    disk: Arc<dyn Disk>,
    pub(crate) failure: Failure,
    ballast: Ballast,
    settings: Settings,
    pub(crate) member: Member,
    /// Whether the group has members yet; only its founder opens it before that.
    founded: AtomicBool,
    leadership: watch::Receiver<Leadership>,
    proposals: mpsc::Sender<Proposal>,
    /// Held while a member is taken in.
    pub(crate) taking_in: tokio::sync::Mutex<()>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) receiver: Receiver,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps other processes out of the directory until the group is shut down.
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// Which member this process is, and how it reaches the others.
pub(crate) struct Member {
    pub(crate) identity: Identity,
    pub(crate) transport: Arc<dyn Transport>,
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

/// How long a leader is believed that heard nothing from a majority: longer than any election takes to begin.
const LEAD_FADES: Duration = Duration::from_secs(1);

impl Group {
    /// Opens (recovers) a group of one.
    ///
    /// Returns once the log was synced and read, the tables are open, everything in the log is applied, and this process leads.
    /// Must be called inside a tokio runtime, whose tasks keep the group running.
    pub async fn open(settings: Settings, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Group, ConsensusError> {
        let identity = Identity { key: ClusterKey { cluster: 0, generation: 1 }, node: ALONE, founding: Vec::new() };
        let member = Member { identity, transport: Arc::new(Alone) };
        let group = Self::start(settings, member, disk, clock).await?;
        if let Err(error) = opening::lead(&group.inner.raft, ALONE).await {
            let why = group.inner.failure.get();
            let _ = group.shutdown().await;
            group.inner.failure.check_poisoned()?;
            return Err(why.map_or(error, |why| ConsensusError::Raft { doing: "starting", why }));
        }
        group.ballast_tick().await?;
        Ok(group)
    }

    /// Opens (recovers) this process's part of a group. Returns once the log was synced and read and the tables are open; who
    /// leads is found out afterwards.
    pub(crate) async fn open_member(
        settings: Settings,
        member: Member,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Group, ConsensusError> {
        let group = Self::start(settings, member, disk, clock).await?;
        let initialized = group.inner.raft.is_initialized().await.map_err(ConsensusError::raft("starting"))?;
        let founded = initialized || group.inner.member.identity.founding.is_empty();
        group.inner.founded.store(founded, Ordering::Release);
        group.ballast_tick().await?;
        Ok(group)
    }

    async fn start(
        settings: Settings,
        member: Member,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Group, ConsensusError> {
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
        let machine = Machine::new(store.clone(), disk.clone(), settings.clone(), failure.clone(), applied.clone());
        let log = LogStore::new(home.clone(), failure.clone());
        let Identity { key, node, .. } = member.identity;
        let sender = Arc::new(Sender::new(store.clone(), disk.clone()));
        let network = Network { transport: member.transport.clone(), sender: sender.clone(), key, me: node };
        let raft = Raft::new(node, Arc::new(opening::config(&settings)?), network, log, machine).await;
        let raft = raft.map_err(ConsensusError::raft("starting"))?;
        let (proposals, queue) = mpsc::channel(proposals::QUEUE);
        let (seen, leadership) = watch::channel(Leadership::default());
        let ticks = Arc::new(Ticks::default());
        let began = {
            let (ticks, store, clock) = (ticks.clone(), store.clone(), clock.clone());
            move |term| drop(ticks.now(term, &store, clock.as_ref()))
        };
        let checkpoints = Checkpoints {
            store: store.clone(),
            home: home.clone(),
            disk: disk.clone(),
            raft: raft.clone(),
            settings: settings.clone(),
            applied,
            past: VecDeque::new(),
        };
        let entries = Entries {
            raft: raft.clone(),
            store: store.clone(),
            clock: clock.clone(),
            ticks,
            failure: failure.clone(),
            leadership: leadership.clone(),
        };
        let tasks = vec![
            tokio::spawn(proposals::run(queue, Arc::new(entries))),
            tokio::spawn(checkpoints.run()),
            tokio::spawn(stop_on_failure(raft.clone(), failure.clone())),
            tokio::spawn(follow(raft.clone(), seen, began)),
        ];
        let inner = Inner {
            receiver: Receiver::new(&settings.dir, disk.clone(), failure.clone(), key),
            sender,
            ballast: Ballast::new(&settings.dir, settings.ballast_bytes, settings.reserve_bytes),
            tasks: Mutex::new(tasks),
            lock: Mutex::new(Some(lock)),
            founded: AtomicBool::new(true),
            proposals,
            taking_in: tokio::sync::Mutex::default(),
            raft,
            store,
            home,
            disk,
            failure,
            settings,
            member,
            leadership,
        };
        Ok(Group { inner: Arc::new(inner) })
    }

    /// Proposes commands as one log entry; their replies, after it is durable, committed and applied.
    ///
    /// Concurrent proposals share syncs. Dropping the future does not take the proposal back.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Proposed, ProposeError> {
        self.propose_in(None, commands).await
    }

    /// As [`Group::propose`], for what was planned while this process led in term `reign`: in a later one it is refused by whoever applies
    /// it, because the next leader has plans of its own.
    pub async fn propose_in(&self, reign: Option<u64>, commands: Vec<Command>) -> Result<Proposed, ProposeError> {
        if let Some(why) = self.inner.failure.get() {
            return Err(ProposeError::Failed(why));
        }
        let bytes = codec::encode(&commands).len();
        if bytes + proposals::OVERHEAD > MAX_ENTRY_BYTES {
            return Err(ProposeError::TooLarge { found: bytes + proposals::OVERHEAD, limit: MAX_ENTRY_BYTES });
        }
        let (answer, answered) = oneshot::channel();
        match self.inner.proposals.try_send(Proposal { reign, commands, bytes, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(ProposeError::Unavailable(format!("{} proposals wait already", proposals::QUEUE)));
            }
            Err(TrySendError::Closed(_)) => {
                return Err(self
                    .inner
                    .failure
                    .get()
                    .map_or_else(|| ProposeError::Unavailable("the group is shut down".into()), ProposeError::Failed));
            }
        }
        let lost = || ProposeError::OutcomeUnknown("the group is shutting down".into());
        answered.await.unwrap_or_else(|_| Err(self.inner.failure.get().map_or_else(lost, ProposeError::Failed)))
    }

    /// Tables that reflect every proposal that was answered before this was called, whoever answered it.
    ///
    /// The leader joins openraft's next round of asking a majority whether it still leads, and waits until what was committed by then is
    /// applied. A follower asks the leader how far that is, and waits for its own tables to get there.
    pub async fn read(&self) -> Result<Snapshot, ReadError> {
        let leadership = self.leadership();
        match leadership.leader {
            Some((leader, address)) if !leadership.mine && leader != self.inner.member.identity.node => {
                self.follow_to(leader, address).await?;
            }
            _ => drop(self.read_index().await?),
        }
        self.inner.store.snapshot().map_err(|error| ReadError::Failed(error.to_string()))
    }

    /// The tables as this member has them, however far behind they are.
    pub fn stale_read(&self) -> Result<Snapshot, ReadError> {
        self.inner.store.snapshot().map_err(|error| ReadError::Failed(error.to_string()))
    }

    /// As the leader: the index up to which tables must be applied for reads that began before this was called. Applied here, too.
    pub(crate) async fn read_index(&self) -> Result<u64, ReadError> {
        if let Some(why) = self.inner.failure.get() {
            return Err(ReadError::Failed(why));
        }
        let raft = self.inner.raft.clone();
        let asked = unbroken(async move { raft.ensure_linearizable(ReadPolicy::ReadIndex).await }).await;
        match asked.map_err(|lost| ReadError::Unavailable(lost.to_string()))? {
            Ok(at) => Ok(at.index()),
            Err(RaftError::APIError(error)) => Err(ReadError::Unavailable(error.to_string())),
            Err(RaftError::Fatal(Fatal::Stopped)) => Err(ReadError::Unavailable("the group is shut down".into())),
            Err(RaftError::Fatal(fatal)) => Err(ReadError::Failed(self.reason(&fatal))),
        }
    }

    /// Waits until the tables here reflect what the leader had committed by now.
    async fn follow_to(&self, leader: u64, address: String) -> Result<(), ReadError> {
        let unavailable = |why: String| ReadError::Unavailable(why);
        if let Some(why) = self.inner.failure.get() {
            return Err(ReadError::Failed(why));
        }
        let answer = self.peer(leader, address).ask(Ask::ReadIndex, FOLLOWER_READ).await;
        let index = match answer.map_err(|error| unavailable(error.to_string()))? {
            Answer::ReadIndex(index) => index,
            other => return Err(unavailable(format!("the leader answered another question: {other:?}"))),
        };
        let mut applied = self.applied();
        let caught_up = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout(FOLLOWER_READ, caught_up).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(unavailable("the group is shut down".into())),
            Err(_) => Err(unavailable(format!("this member has not applied entry {index} yet"))),
        }
    }

    /// All tables as a snapshot stream that reflects every proposal that was answered before this was called.
    ///
    /// It says that it was begun at `now_ms`, and keeps the tables' pages of this moment until it is dropped.
    pub async fn backup(&self, now_ms: u64) -> Result<snapshot::Stream, ReadError> {
        let writer = snapshot::Writer::new(self.read().await?, now_ms);
        let writer = writer.map_err(|error| ReadError::Failed(error.to_string()))?;
        Ok(snapshot::Stream::new(writer, self.inner.disk.clone()))
    }

    /// The tables as this process has them, whoever leads: for a backup of its own that waits for nobody.
    pub fn local_backup(&self, now_ms: u64) -> std::io::Result<snapshot::Writer> {
        snapshot::Writer::new(self.inner.store.snapshot()?, now_ms)
    }

    /// The last entry in the audit log; `None` if none is written.
    pub fn audited(&self) -> Option<u64> {
        self.inner.store.audited()
    }

    /// How commits share syncs of the log.
    pub fn commits(&self) -> Commits {
        self.inner.home.commits()
    }

    /// The disk that the group is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.disk
    }

    /// The applied index, as it moves.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.store.watch()
    }

    /// Who leads, as far as this member knows.
    pub fn leadership(&self) -> Leadership {
        self.inner.leadership.borrow().clone()
    }

    /// Whether this member leads, and a majority answered it within the last second. One that was cut off goes on believing that it leads, for
    /// nobody tells it otherwise; it can do nothing, and should not say it could. A sole voter is a majority, and waits for nobody's answer.
    pub fn leads_a_majority(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow_watched();
        let sole = now.membership_config.membership().voter_ids().eq([now.id]);
        let answered = || now.last_quorum_acked.is_some_and(|acked| acked.elapsed() < LEAD_FADES);
        self.leadership().mine && (sole || answered())
    }

    /// [`Group::leadership`], as it changes.
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Which cluster this is, and which of its lives; cluster 0 for a group of one, whose tables know.
    pub fn key(&self) -> ClusterKey {
        self.inner.member.identity.key
    }

    /// Whether this is a group of one, which nobody can join.
    pub fn is_alone(&self) -> bool {
        self.key().cluster == 0
    }

    /// This member's number.
    pub fn node(&self) -> u64 {
        self.inner.member.identity.node
    }

    /// Whether the group has members: false only at a founder, on its way.
    pub(crate) fn is_founded(&self) -> bool {
        self.inner.founded.load(Ordering::Acquire)
    }

    /// What the founder is to found.
    pub(crate) fn founding(&self) -> (ClusterKey, Vec<(u64, String)>) {
        (self.key(), self.inner.member.identity.founding.clone())
    }

    /// Gives the group its first members; fine if it has them.
    pub(crate) async fn found(&self, members: &[(u64, String)]) -> Result<(), ConsensusError> {
        opening::found(&self.inner.raft, members).await?;
        self.inner.founded.store(true, Ordering::Release);
        Ok(())
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
