//! The tables on disk: one redb file, written often and made durable seldom.
//!
//! The log is what makes a commit durable; the tables may lag behind it. Applying entries is a redb transaction of
//! `Durability::None`: visible to readers at once, on disk some day. A **checkpoint** is a transaction of
//! `Durability::Immediate`, which makes all of them durable together. Every transaction also writes the row that says which
//! entry it reached, so that after a crash redb rolls back to the last checkpoint *and says so*, and the log replays the rest.
//!
//! A checkpoint writes all dirty pages and syncs twice (`set_quick_repair`, so that a start need not read the whole file to
//! find the free pages). redb has one writer, so applies wait meanwhile; readers do not. Checkpoints are made seldom enough
//! (32 MiB of log or 2 s) to cost little, and often enough that a replay is short.

mod backend;
mod file;
mod rows;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use api::disk::Disk;
use domain::codec;
use parking_lot::{Mutex, RwLock};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};
use tokio::sync::watch;

use crate::audit_log::AuditLog;
use crate::failure::Failure;
use crate::record::{Applied, Kind, Members, Stored, damaged, decode};
use crate::snapshot::Ready;
use file::create;
pub(crate) use file::{FILE, NEW_FILE, empty, make_durable, open, read_applied, seal};
pub use rows::Snapshot;
pub(crate) use rows::Writer;
use rows::{Definition, Retired};

/// What the tables reflect: one row, at [`APPLIED_KEY`].
const RAFT: Definition<'static> = Definition::new("raft");
const APPLIED_KEY: &[u8] = b"applied";

/// The tables and what they reflect.
pub(crate) struct Store {
    /// `None` once closed.
    file: RwLock<Option<File>>,
    /// Held while a transaction is made or the file is exchanged, so that `state` speaks of the file that is there.
    writing: Mutex<()>,
    state: Mutex<State>,
    /// Log payload applied since the last checkpoint, in bytes.
    dirty_bytes: AtomicU64,
    /// Whether anything was.
    dirty: AtomicBool,
    applied: watch::Sender<u64>,
    repaired: bool,
    /// Told of every entry that was applied.
    audit_log: Option<AuditLog>,
    failure: Failure,
}

/// An open file.
#[derive(Clone)]
struct File {
    database: Arc<Database>,
    /// Held by its snapshots.
    retired: Arc<Retired>,
}

impl File {
    fn new(database: Database) -> Self {
        Self { database: Arc::new(database), retired: Arc::default() }
    }
}

/// What the rows reflect, in memory and durably.
struct State {
    applied: Applied,
    checkpointed: Applied,
}

impl Store {
    /// Opens the tables in `dir`, or makes them. Blocks.
    pub(crate) fn open(
        dir: &Path,
        audit_log: Option<&Path>,
        cache_bytes: usize,
        disk: &dyn Disk,
        failure: Failure,
    ) -> io::Result<Self> {
        let path = dir.join(FILE);
        let names = disk.list(dir)?;
        if names.iter().any(|name| name == NEW_FILE) {
            disk.remove(&dir.join(NEW_FILE))?;
        }
        if names.iter().all(|name| name != FILE) {
            create(dir, &path, disk, &failure)?;
        }
        disk.sync_dir(dir)?;
        let (database, repaired) = open(&path, cache_bytes, disk, &failure)?;
        let applied = read_applied(&database)?;
        let open_audit = |path| AuditLog::open(path, applied.last.map(|last| last.index), disk, failure.clone());
        Ok(Self {
            audit_log: audit_log.map(open_audit).transpose()?,
            dirty_bytes: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
            applied: watch::Sender::new(applied.index()),
            state: Mutex::new(State { checkpointed: applied.clone(), applied }),
            file: RwLock::new(Some(File::new(database))),
            writing: Mutex::new(()),
            repaired,
            failure,
        })
    }

    /// Applies `entries` in one transaction; the replies of each, once readers can see them.
    pub(crate) fn apply(&self, entries: &[Stored]) -> io::Result<Vec<Vec<meta::Reply>>> {
        self.failure.check()?;
        let _writing = self.writing.lock();
        let result = self.apply_in_transaction(entries);
        let (applied, replies) = self.failure.noting("applying entries", result)?;
        if let Some(audit_log) = &self.audit_log {
            self.failure.noting("writing the audit log", audit_log.append(entries))?;
        }
        self.dirty_bytes.fetch_add(entries.iter().map(|entry| entry.body.len() as u64).sum(), Ordering::Relaxed);
        self.dirty.store(true, Ordering::Release);
        let index = applied.index();
        self.state.lock().applied = applied;
        self.applied.send_replace(index);
        Ok(replies)
    }

    fn apply_in_transaction(&self, entries: &[Stored]) -> io::Result<(Applied, Vec<Vec<meta::Reply>>)> {
        let database = self.database()?;
        let mut applied = self.state.lock().applied.clone();
        let mut transaction = database.begin_write().map_err(io::Error::other)?;
        transaction.set_durability(Durability::None).map_err(io::Error::other)?;
        let replies = entries.iter().map(|entry| step(&transaction, entry, &mut applied)).collect::<io::Result<_>>()?;
        write_applied(&transaction, &applied)?;
        transaction.commit().map_err(io::Error::other)?;
        Ok((applied, replies))
    }

    /// Makes all that was applied durable; what the tables then reflect on disk.
    pub(crate) fn checkpoint(&self) -> io::Result<Applied> {
        self.failure.check()?;
        let _writing = self.writing.lock();
        if let Some(audit_log) = &self.audit_log {
            audit_log.sync()?;
        }
        let result = self.durable_commit();
        self.failure.noting("checkpointing the tables", result)
    }

    fn durable_commit(&self) -> io::Result<Applied> {
        let database = self.database()?;
        let mut transaction = database.begin_write().map_err(io::Error::other)?;
        // From here on no apply can commit before this does, so the row read now is the one made durable.
        self.dirty.store(false, Ordering::Release);
        self.dirty_bytes.store(0, Ordering::Relaxed);
        let applied = applied_row(&transaction)?;
        transaction.set_durability(Durability::Immediate).map_err(io::Error::other)?;
        transaction.set_quick_repair(true);
        transaction.commit().map_err(io::Error::other)?;
        self.state.lock().checkpointed = applied.clone();
        Ok(applied)
    }

    /// Puts tables that were received in the place of those that are there: after a crash it is one or the other.
    ///
    /// Errs without harm if they are older. Snapshots of the old tables stay readable; `dir` and `disk` are where this was opened.
    pub(crate) fn install(&self, ready: &Ready, dir: &Path, cache_bytes: usize, disk: &dyn Disk) -> io::Result<()> {
        self.failure.check()?;
        let _writing = self.writing.lock();
        let (found, reached) = (ready.applied.index(), self.state.lock().applied.index());
        if found < reached {
            return Err(damaged(format!("a snapshot of entry {found} for tables that have reached entry {reached}")));
        }
        let result = self.exchange(ready, dir, cache_bytes, disk);
        self.failure.noting("installing a snapshot", result)
    }

    /// From the renaming on there is no way back: an error ends the group.
    fn exchange(&self, ready: &Ready, dir: &Path, cache_bytes: usize, disk: &dyn Disk) -> io::Result<()> {
        let path = dir.join(FILE);
        disk.rename(&ready.path, &path)?;
        self.failure.noting_sync("syncing the directory of the tables", disk.sync_dir(dir))?;
        let (database, _) = open(&path, cache_bytes, disk, &self.failure)?;
        let old = self.file.write().replace(File::new(database));
        if let Some(old) = old {
            *old.retired.lock() = Some(old.database);
        }
        self.dirty.store(false, Ordering::Release);
        self.dirty_bytes.store(0, Ordering::Relaxed);
        let applied = ready.applied.clone();
        *self.state.lock() = State { checkpointed: applied.clone(), applied };
        self.applied.send_replace(ready.applied.index());
        Ok(())
    }

    /// The tables as they are now.
    pub(crate) fn snapshot(&self) -> io::Result<Snapshot> {
        let File { database, retired } = self.file()?;
        let transaction = database.begin_read().map_err(io::Error::other)?;
        let table = transaction.open_table(RAFT).map_err(io::Error::other)?;
        let row = table.get(APPLIED_KEY).map_err(io::Error::other)?;
        let applied = row.map_or_else(|| Ok(Applied::default()), |row| decode::<Applied>(row.value()))?;
        Ok(Snapshot::new(transaction, applied, retired))
    }

    /// Whether opening had to read the whole file to find its free pages. It never should.
    pub(crate) fn was_repaired(&self) -> bool {
        self.repaired
    }

    /// What the tables reflect.
    pub(crate) fn applied(&self) -> Applied {
        self.state.lock().applied.clone()
    }

    /// What the tables will reflect after a crash, at least.
    pub(crate) fn checkpointed(&self) -> Applied {
        self.state.lock().checkpointed.clone()
    }

    /// The applied index, as it moves.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The last entry in the audit log, if there is one.
    pub(crate) fn audited(&self) -> Option<u64> {
        self.audit_log.as_ref().map(AuditLog::last)
    }

    /// Log payload applied since the last checkpoint, in bytes; `None` if nothing was applied.
    pub(crate) fn unsaved_bytes(&self) -> Option<u64> {
        self.dirty.load(Ordering::Acquire).then(|| self.dirty_bytes.load(Ordering::Relaxed))
    }

    /// Lets go of the file; every later call is an error, also of snapshots that exist.
    pub(crate) fn close(&self) {
        drop(self.file.write().take());
    }

    fn database(&self) -> io::Result<Arc<Database>> {
        Ok(self.file()?.database)
    }

    fn file(&self) -> io::Result<File> {
        self.file.read().clone().ok_or_else(|| io::Error::other("the tables are closed"))
    }
}

/// redb makes all that was applied durable when it is dropped. The audit log must not be behind it; if it cannot be synced, the failure keeps
/// redb from writing.
impl Drop for Store {
    fn drop(&mut self) {
        if let Some(audit_log) = &self.audit_log
            && self.failure.check().is_ok()
        {
            let _ = audit_log.sync();
        }
    }
}

/// Applies one entry.
fn step(transaction: &WriteTransaction, entry: &Stored, applied: &mut Applied) -> io::Result<Vec<meta::Reply>> {
    let mut replies = Vec::new();
    match entry.kind {
        Kind::Blank => {}
        Kind::Commands => {
            let batch = meta::Batch::decode(&entry.body).map_err(|error| crate::record::damaged(error.to_string()))?;
            let mut rows = Writer::new(transaction);
            replies = meta::apply(&mut rows, (entry.at.term, entry.at.index), &batch).map_err(io::Error::other)?;
        }
        Kind::Members => {
            applied.members = decode::<Members>(&entry.body)?;
            applied.members_at = Some(entry.at);
        }
    }
    applied.last = Some(entry.at);
    Ok(replies)
}

fn write_applied(transaction: &WriteTransaction, applied: &Applied) -> io::Result<()> {
    let mut table = transaction.open_table(RAFT).map_err(io::Error::other)?;
    table.insert(APPLIED_KEY, codec::encode(applied).as_slice()).map_err(io::Error::other)?;
    Ok(())
}

fn applied_row(transaction: &WriteTransaction) -> io::Result<Applied> {
    let table = transaction.open_table(RAFT).map_err(io::Error::other)?;
    let row = table.get(APPLIED_KEY).map_err(io::Error::other)?;
    row.map_or_else(|| Ok(Applied::default()), |row| decode(row.value()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meta::{Batch, Command, Table, Tables};
    use testkit::sim_disk::SimDisk;

    use super::*;
    use crate::record::Position;

    fn lease(index: u64) -> Stored {
        let command = Command::OpenLease { holder: "x".repeat(500), known: 1 };
        let body: Bytes = Batch { now_ms: 1, ticks_ms: 1, reign: None, commands: vec![command] }.encode().into();
        Stored { at: Position { term: 1, index }, kind: Kind::Commands, body }
    }

    fn open(disk: &SimDisk) -> Store {
        let failure = Failure::new(Path::new("/"), std::sync::Arc::new(disk.clone()));
        Store::open(Path::new("/"), None, 1 << 20, disk, failure).unwrap()
    }

    /// What a crash takes back is exactly what came after the checkpoint, rows and index alike, and no start reads all pages.
    #[test]
    fn a_crash_goes_back_to_the_last_checkpoint() {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            let store = open(&disk);
            for index in 1..=300 {
                store.apply(&[lease(index)]).unwrap();
                if index == 200 {
                    assert_eq!(store.checkpoint().unwrap().index(), 200);
                }
            }
            assert_eq!((store.applied().index(), store.checkpointed().index()), (300, 200));
            disk.crash();
            drop(store);
            disk.restart();
            let store = open(&disk);
            let rows = store.snapshot().unwrap();
            assert_eq!((rows.index(), rows.count(Table::Leases)), (200, Ok(200)), "seed {seed}");
            assert!(!store.was_repaired(), "seed {seed}");
        }
    }
}
