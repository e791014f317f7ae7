//! A restore: from a snapshot stream to a coordinator's directory in which a new life begins.
//!
//! ```text
//! tables.new   filled from the stream, verified to its end, changed for the new life      nothing else was touched so far
//! restoring    a marker: from here on the directory does not open until the restore is done
//! old files    moved into `before-restore-TIME`, if there were any
//! log/         a new one: it begins after the restore's own log id, and knows its vote
//! identity     who this is, if others are to join: the only voter
//! tables.redb  the new tables get their name; the marker goes
//! ```
//!
//! # Log ids never repeat
//!
//! The lost coordinators wrote entries after the backup was taken, and gave their indexes away: as names of leases, versions, bodies, and
//! as floors. A gateway that lived through it all still holds some. If the new life counted on from the backup, it would hand out the
//! same numbers again: a gateway's old lease would become somebody else's, and an old floor would pass for one beyond a barrier that
//! it never heard of. So a restore skips to the next multiple of 2³⁶: no cluster writes that many entries in between, and
//! 4,096 restores fit into what is left of an index's 48 bits.
//!
//! The restore is itself an entry, in a term of its own, whose leader was the one voter: it changed rows and membership.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use api::disk::Disk;
use domain::timestamp;
use meta::TablesMut;

use crate::error::ConsensusError;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::log;
use crate::record::{Applied, Ballot, Members, Position, damaged};
use crate::settings::Settings;
use crate::snapshot::{Installer, SnapshotError, Summary};
use crate::tables::{FILE, NEW_FILE};
use crate::wire::ClusterKey;

/// Stands in the directory while a restore is under way.
const MARKER: &str = "restoring";

/// What the old files are moved into, with the time behind it.
const KEPT: &str = "before-restore-";

/// The log indexes that a restore leaves out: up to the next multiple of this.
const SKIP: u64 = 1 << 36;

/// The largest log index that fits into a `LogPosition`.
const MAX_INDEX: u64 = u64::MAX >> 16;

/// The number of the only voter. Others had it before, in generations that nobody answers any more.
const VOTER: u64 = 1;

/// Bytes read from the backup at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// What to restore, and how.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The backup.
    pub from: PathBuf,
    /// Moves aside what the directory holds; without this, a directory that holds anything is refused.
    pub force: bool,
    /// Wall clock, in milliseconds: names what is moved aside.
    pub now_ms: u64,
    /// The address of the only voter, if others are to join it; a group of one has none.
    pub own: Option<String>,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup.
    pub summary: Summary,
    /// What was changed for the new life.
    pub tables: meta::Restored,
    /// The log index at which that begins.
    pub index: u64,
    /// Where the files are that were there before.
    pub kept: Option<PathBuf>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup was refused. The directory is as it was.
    #[error("{}: {source}", file.display())]
    Backup {
        /// The backup.
        file: PathBuf,
        /// What is wrong with it.
        source: SnapshotError,
    },
    /// Somebody's files are in the directory. It is as it was.
    #[error(
        "{} holds metadata already: choose another directory, or have them moved aside (--force)", dir.display()
    )]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory cannot be used, or a write failed. After a marker was left, it opens again only once a restore has succeeded.
    #[error(transparent)]
    Directory(#[from] ConsensusError),
}

/// Restores a backup into the directory of `settings`; `reason` makes the words for the hold on deletes out of the backup. Blocks.
///
/// Must be called where a tokio runtime is. Repeating it after an error is safe.
pub fn restore(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    how: &Restore,
    reason: impl FnOnce(&Summary) -> String,
) -> Result<Restored, RestoreError> {
    let dir = &settings.dir;
    let failure = Failure::new(dir, disk.clone());
    failure.check_marker()?;
    let storage = |doing: &str| ConsensusError::storage(format!("{doing} {}", dir.display()));
    let _lock = prepare(dir, disk.as_ref()).map_err(storage("preparing"))?;
    let names = occupants(dir, disk.as_ref()).map_err(storage("looking into"))?;
    let unfinished = is_unfinished(dir, disk.as_ref()).map_err(storage("looking into"))?;
    if !names.is_empty() && !how.force && !unfinished {
        return Err(RestoreError::Occupied { dir: dir.clone() });
    }
    let backup = |source| RestoreError::Backup { file: how.from.clone(), source };
    let (summary, tables, applied) = fill(dir, disk, failure, how, reason).map_err(backup)?;
    let key = ClusterKey { cluster: tables.cluster.cluster_id, generation: tables.cluster.generation };
    let kept = exchange(settings, disk, how, &names, (&applied, key)).map_err(storage("restoring into"))?;
    Ok(Restored { summary, tables, index: applied.index(), kept })
}

/// Errs if a restore into `dir` was begun and not finished.
pub(crate) fn refuse_unfinished(dir: &Path, disk: &dyn Disk) -> io::Result<()> {
    match is_unfinished(dir, disk)? {
        false => Ok(()),
        true => Err(damaged("a restore into this directory was not finished: run `kvfs meta restore` again".into())),
    }
}

fn is_unfinished(dir: &Path, disk: &dyn Disk) -> io::Result<bool> {
    Ok(disk.list(dir)?.iter().any(|name| name == MARKER))
}

/// Makes the directory, and takes its lock.
fn prepare(dir: &Path, disk: &dyn Disk) -> io::Result<Box<dyn Send + Sync>> {
    disk.create_dir_all(dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent)?;
    }
    disk.lock(dir)
}

/// What is in the directory and was not left by a restore.
fn occupants(dir: &Path, disk: &dyn Disk) -> io::Result<Vec<String>> {
    let ours = |name: &String| name == MARKER || name == NEW_FILE || name.starts_with(KEPT);
    Ok(disk.list(dir)?.into_iter().filter(|name| !ours(name)).collect())
}

/// Makes `tables.new` out of the backup.
fn fill(
    dir: &Path,
    disk: &Arc<dyn Disk>,
    failure: Failure,
    how: &Restore,
    reason: impl FnOnce(&Summary) -> String,
) -> Result<(Summary, meta::Restored, Applied), SnapshotError> {
    let mut installer = Installer::begin(dir, disk.clone(), failure)?;
    let file = disk.open(&how.from)?;
    let (length, mut offset, mut piece) = (file.len()?, 0, Vec::new());
    while offset < length {
        piece.resize(PIECE_BYTES.min(length - offset) as usize, 0);
        file.read_at(&mut piece, offset)?;
        installer.push(&piece)?;
        offset += piece.len() as u64;
    }
    let mut restored = None;
    let (ready, summary) = installer.finish_with(|summary, rows| {
        let applied = applied(summary, how.own.as_deref())?;
        restored = Some(begin_life(rows, &applied, reason(summary))?);
        Ok(applied)
    })?;
    let restored = restored.ok_or_else(|| io::Error::other("the tables were not changed"))?;
    Ok((summary, restored, ready.applied))
}

fn begin_life(rows: &mut dyn TablesMut, applied: &Applied, reason: String) -> io::Result<meta::Restored> {
    meta::restore(rows, applied.index(), reason).map_err(|error| damaged(error.to_string()))
}

/// What the restored tables reflect: an entry that nobody else ever wrote, by the only voter.
fn applied(summary: &Summary, own: Option<&str>) -> io::Result<Applied> {
    let index = (summary.header.index() / SKIP + 1) * SKIP;
    if index > MAX_INDEX - SKIP {
        return Err(damaged("this cluster was restored too often: its log indexes are used up".into()));
    }
    let at = Position { term: summary.header.term() + 1, index };
    Ok(Applied { last: Some(at), members_at: Some(at), members: Members::alone(VOTER, own.unwrap_or_default()) })
}

/// Puts the new files in the place of the old ones.
fn exchange(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    how: &Restore,
    names: &[String],
    (applied, key): (&Applied, ClusterKey),
) -> io::Result<Option<PathBuf>> {
    let (dir, files) = (&settings.dir, disk.as_ref());
    if !is_unfinished(dir, files)? {
        files.create(&dir.join(MARKER))?.sync_data()?;
    }
    files.sync_dir(dir)?;
    let kept = match names {
        [] => None,
        names => Some(move_aside(dir, files, how.now_ms, names)?),
    };
    begin_log(settings, disk, applied)?;
    if how.own.is_some() {
        Identity { key, node: VOTER, founding: Vec::new() }.write(files, dir)?;
    }
    files.rename(&dir.join(NEW_FILE), &dir.join(FILE))?;
    files.sync_dir(dir)?;
    files.remove(&dir.join(MARKER))?;
    files.sync_dir(dir)?;
    Ok(kept)
}

fn move_aside(dir: &Path, disk: &dyn Disk, now_ms: u64, names: &[String]) -> io::Result<PathBuf> {
    let taken = disk.list(dir)?;
    let stamp = timestamp::stamp(now_ms);
    let free = (0_u32..).map(|n| if n == 0 { format!("{KEPT}{stamp}") } else { format!("{KEPT}{stamp}-{n}") });
    let name = free.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
    let kept = dir.join(name);
    disk.create_dir_all(&kept)?;
    for name in names {
        disk.rename(&dir.join(name), &kept.join(name))?;
    }
    disk.sync_dir(&kept)?;
    disk.sync_dir(dir)?;
    Ok(kept)
}

/// A log in which nothing stands yet, and which goes on after `applied`.
fn begin_log(settings: &Settings, disk: &Arc<dyn Disk>, applied: &Applied) -> io::Result<()> {
    let Some(at) = applied.last else { return Ok(()) };
    let home = log::open(settings, disk)?;
    let begun = durably(|done| home.save_vote(Ballot { term: at.term, granted: true, node: VOTER }, done))
        .and_then(|()| durably(|done| home.purge(at, done)));
    home.close();
    begun
}

/// Makes a write and waits until it is durable.
fn durably(write: impl FnOnce(log::Done)) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    write(Box::new(move |result| drop(tell.send(result))));
    told.recv().unwrap_or_else(|_| Err(log::closed()))
}
