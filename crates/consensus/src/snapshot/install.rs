//! From a stream to the tables on disk: beside the old ones first, then in their place.
//!
//! ```text
//! tables.new: created, filled block by block      a crash here: the next start removes it
//!             verified to its last byte, one durable commit, synced
//! rename to tables.redb, directory synced         a crash here: the old file or the new one, both whole
//! the store goes over to the new file             readers of the old one keep it until they are done
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::disk::Disk;
use meta::TablesMut;
use redb::{Database, Durability};

use super::format::{SnapshotError, Summary};
use super::read::{Block, Reader};
use crate::failure::Failure;
use crate::record::{Applied, damaged};
use crate::tables::{self, NEW_FILE, Writer};

/// Memory for pages while a file is being filled. It is read little: rows come in order.
const FILL_CACHE_BYTES: usize = 8 << 20;

/// Fills `tables.new` from a stream. Dropped before the end, it leaves a file that the next one removes. Blocks.
pub(crate) struct Installer {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    failure: Failure,
    database: Database,
    reader: Reader,
}

/// Tables that are whole and durable under another name: [`tables::Store::install`] puts them in place.
#[must_use]
pub(crate) struct Ready {
    pub(crate) path: PathBuf,
    pub(crate) applied: Applied,
}

impl Installer {
    /// Makes an empty `tables.new` in `dir`, removing one that was left there.
    pub(crate) fn begin(dir: &Path, disk: Arc<dyn Disk>, failure: Failure) -> io::Result<Self> {
        let path = dir.join(NEW_FILE);
        let database = tables::empty(&path, FILL_CACHE_BYTES, disk.as_ref(), &failure)?;
        Ok(Self { dir: dir.to_owned(), disk, failure, database, reader: Reader::new() })
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let database = &self.database;
        self.reader.push(bytes, &mut |block| fill(database, &block))
    }

    /// Checks that the stream was whole, and makes the file durable under its temporary name.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn finish(self) -> Result<(Ready, Summary), SnapshotError> {
        self.finish_with(|summary, _| Ok(summary.header.applied.clone()))
    }

    /// The same with a change of the rows in between, which says what they reflect then.
    pub(crate) fn finish_with(
        self,
        change: impl FnOnce(&Summary, &mut dyn TablesMut) -> io::Result<Applied>,
    ) -> Result<(Ready, Summary), SnapshotError> {
        let summary = self.reader.finish()?;
        let mut transaction = self.database.begin_write().map_err(io::Error::other)?;
        transaction.set_durability(Durability::None).map_err(io::Error::other)?;
        let applied = change(&summary, &mut Writer::new(&transaction))?;
        transaction.commit().map_err(io::Error::other)?;
        tables::seal(self.database, &applied)?;
        let path = self.dir.join(NEW_FILE);
        tables::make_durable(&path, self.disk.as_ref())?;
        let (found, _) = tables::open(&path, FILL_CACHE_BYTES, self.disk.as_ref(), &self.failure)?;
        let reached = tables::read_applied(&found)?;
        drop(found);
        if reached != applied {
            return Err(damaged("the file that was just written reads differently: check the disk".into()).into());
        }
        // Opening and closing may have written again.
        tables::make_durable(&path, self.disk.as_ref())?;
        Ok((Ready { path, applied }, summary))
    }
}

/// Writes the rows of a block, in a transaction of its own: memory stays bounded, and durability comes at the end.
fn fill(database: &Database, block: &Block<'_>) -> io::Result<()> {
    let mut transaction = database.begin_write().map_err(io::Error::other)?;
    transaction.set_durability(Durability::None).map_err(io::Error::other)?;
    let mut rows = Writer::new(&transaction);
    for (key, value) in block.rows() {
        rows.put(block.table, key, value).map_err(io::Error::other)?;
    }
    drop(rows);
    transaction.commit().map_err(io::Error::other)
}
