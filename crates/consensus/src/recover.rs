//! When the majority is lost for good: one surviving member becomes a group of its own.
//!
//! A group that has lost more than half of its members decides nothing any more, and that is right: whatever the survivors have, the lost ones
//! may have acknowledged more. If they will never come back, somebody must say so, and pay the price: **what was acknowledged and did not reach
//! this survivor is gone.** Mostly that is nothing or the last fraction of a second; for a member that lagged it is as much as it lagged.
//!
//! Everything in this member's log counts, also what no majority was ever seen to have. The tables that come of it are restored as if from a
//! backup ([`crate::restore()`]): into a new generation, so that a lost member that does come back is nobody's any more; with deletes on hold, because
//! chunks whose records are lost lie on the nodes, and look like garbage.

use std::io;
use std::path::Path;
use std::sync::Arc;

use api::disk::{Disk, DiskFile};

use crate::error::ConsensusError;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::log::LogHome;
use crate::opening::open;
use crate::record::damaged;
use crate::restore::{Restore, RestoreError, Restored, refuse_unfinished, restore};
use crate::settings::Settings;
use crate::snapshot::{Summary, Writer};
use crate::tables::Store;

/// Log payload that is applied at a time.
const REPLAY_BYTES: usize = 8 << 20;

/// What the tables are written to on their way; beside the directory, and removed afterwards.
const STREAM: &str = "recovering.kvfs";

/// Makes the survivor in the directory of `settings`, reached at `own`, the only member of a new generation. Its old files are kept in the
/// directory, moved aside.
///
/// `reason` makes the words for the hold on deletes. Blocks; must be called where a tokio runtime is. Repeating it after an error is safe.
pub fn recover(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    own: &str,
    now_ms: u64,
    reason: impl FnOnce(&Summary) -> String,
) -> Result<Restored, RestoreError> {
    let dir = &settings.dir;
    let failure = Failure::new(dir, disk.clone());
    failure.check_marker()?;
    let storage = |doing: &str| ConsensusError::storage(format!("{doing} {}", dir.display()));
    let from = dir.with_extension(STREAM);
    // Begun before and not finished: then the survivor is in the stream, and its files are aside.
    if refuse_unfinished(dir, disk.as_ref()).is_ok() {
        survivor(settings, disk, &failure, &from, now_ms).map_err(storage("reading the survivor in"))?;
    }
    let how = Restore { from: from.clone(), force: true, now_ms, own: Some(own.into()) };
    let restored = restore(settings, disk, &how, reason)?;
    disk.remove(&from).map_err(storage("clearing up after recovering"))?;
    Ok(restored)
}

/// Applies all that the survivor's log holds, and writes the tables to a stream.
fn survivor(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    failure: &Failure,
    stream: &Path,
    now_ms: u64,
) -> io::Result<()> {
    if Identity::read(disk.as_ref(), &settings.dir)?.is_none() {
        return Err(damaged(
            "it is no member of a group: a coordinator alone needs no recovery, and a pristine one has nothing to recover".into(),
        ));
    }
    let (lock, home, store) = open(settings, disk, failure)?;
    let written = replay(home.as_ref(), &store).and_then(|()| write(&store, disk.as_ref(), stream, now_ms));
    home.close();
    store.close();
    drop(lock);
    written
}

/// Applies what the log holds beyond the tables.
fn replay(home: &dyn LogHome, store: &Store) -> io::Result<()> {
    let last = home.bounds().last.map_or(0, |last| last.index);
    while store.applied().index() < last {
        let next = store.applied().index() + 1;
        let entries = home.read(next, last + 1, REPLAY_BYTES)?;
        if entries.is_empty() {
            return Err(damaged(format!("entry {next} is missing from the log, which ends at {last}")));
        }
        store.apply(&entries)?;
    }
    store.checkpoint().map(drop)
}

fn write(store: &Store, disk: &dyn Disk, path: &Path, now_ms: u64) -> io::Result<()> {
    if let Err(error) = disk.remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let (file, mut offset): (Box<dyn DiskFile>, u64) = (disk.create(path)?, 0);
    let mut writer = Writer::new(store.snapshot()?, now_ms)?;
    while let Some(block) = writer.next_block()? {
        file.write_at(&block, offset)?;
        offset += block.len() as u64;
    }
    file.sync_data()
}
