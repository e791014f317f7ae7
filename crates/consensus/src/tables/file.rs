//! The tables' file: made whole or not at all, and opened only after it was synced.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::disk::Disk;
use redb::{Builder, Database, ReadableDatabase};

use super::backend::Backend;
use super::rows::Definition;
use super::{APPLIED_KEY, RAFT, write_applied};
use crate::failure::Failure;
use crate::record::{Applied, decode};

/// The tables.
pub(crate) const FILE: &str = "tables.redb";

/// Tables that are not whole yet.
pub(crate) const NEW_FILE: &str = "tables.new";

/// Makes the file with all its tables, under another name until it is whole.
pub(super) fn create(dir: &Path, path: &Path, disk: &dyn Disk, failure: &Failure) -> io::Result<()> {
    let new = dir.join(NEW_FILE);
    seal(empty(&new, 1 << 20, disk, failure)?, &Applied::default())?;
    disk.rename(&new, path)?;
    disk.sync_dir(dir)
}

/// A new database at `path` with all its tables and no rows. What is at `path` is removed first.
pub(crate) fn empty(path: &Path, cache_bytes: usize, disk: &dyn Disk, failure: &Failure) -> io::Result<Database> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (database, _) = build(Backend::new(disk.create(path)?, failure.clone()), cache_bytes)?;
    let mut transaction = database.begin_write().map_err(io::Error::other)?;
    for table in meta::Table::ALL {
        transaction.open_table(Definition::new(table.name())).map_err(io::Error::other)?;
    }
    transaction.open_table(RAFT).map_err(io::Error::other)?;
    transaction.set_quick_repair(true);
    transaction.commit().map_err(io::Error::other)?;
    Ok(database)
}

/// Says what the rows reflect, commits all of it durably, and closes the file.
pub(crate) fn seal(database: Database, applied: &Applied) -> io::Result<()> {
    let mut transaction = database.begin_write().map_err(io::Error::other)?;
    write_applied(&transaction, applied)?;
    transaction.set_quick_repair(true);
    transaction.commit().map_err(io::Error::other)
}

/// Syncs the file at `path`, and has what memory holds of it forgotten: what is read next is what the disk has.
pub(crate) fn make_durable(path: &Path, disk: &dyn Disk) -> io::Result<()> {
    disk.open(path)?.sync_data()?;
    disk.drop_cache(path)
}

/// Opens the database at `path`, synced; and whether it had to be repaired.
pub(crate) fn open(
    path: &Path,
    cache_bytes: usize,
    disk: &dyn Disk,
    failure: &Failure,
) -> io::Result<(Database, bool)> {
    make_durable(path, disk)?;
    build(Backend::new(disk.open(path)?, failure.clone()), cache_bytes)
}

/// What the rows of `database` reflect.
pub(crate) fn read_applied(database: &Database) -> io::Result<Applied> {
    let transaction = database.begin_read().map_err(io::Error::other)?;
    let table = transaction.open_table(RAFT).map_err(io::Error::other)?;
    let row = table.get(APPLIED_KEY).map_err(io::Error::other)?;
    row.map_or_else(|| Ok(Applied::default()), |row| decode(row.value()))
}

/// Opens or makes the database in `backend`; and whether it had to be repaired.
fn build(backend: Backend, cache_bytes: usize) -> io::Result<(Database, bool)> {
    let repaired = Arc::new(AtomicBool::new(false));
    let seen = repaired.clone();
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder.set_repair_callback(move |_| seen.store(true, Ordering::Relaxed));
    let database = builder.create_with_backend(backend).map_err(io::Error::other)?;
    Ok((database, repaired.load(Ordering::Relaxed)))
}
