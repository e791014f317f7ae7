//! Where chunks lie, and the order in which the disk is told about them.
//!
//! ```text
//! <directory>/stamp                    who this directory is
//!            /poisoned                 only after a failed sync
//!            /tmp/<draw>-<n>           chunks being written; emptied at every start
//!            /chunks/2c/f24dba5f…9824  the chunk 2cf24dba5f…9824, its bytes and nothing else
//! ```
//!
//! To write: temporary file, its bytes, `fdatasync`, rename, `fsync` of the directory. A crash anywhere leaves the old state or the new
//! one, and perhaps a temporary file. The converse is what makes a start cheap: **a name exists only after its data was
//! synced**, so syncing the 256 directories is enough to believe in every chunk that they list. Only a directory that somebody
//! else wrote (a reference node never syncs) has each of its files synced once, when it is adopted.
//!
//! Two barriers a put. What is left out: sharing them between puts, which the `segments` engine does.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::Disk;
use domain::ChunkId;
use domain::chunking::MAX_CHUNK_BYTES;

/// An error of the disk, and whether it leaves anything to believe in.
#[derive(Debug)]
pub enum Trouble {
    /// An operation failed, and that was all.
    Io(io::Error),
    /// A sync failed: the store is over (see [`crate::poison`]).
    Sync(io::Error),
}

/// What reading a chunk's file found.
#[derive(Debug)]
pub enum Found {
    /// No such file.
    Nothing,
    /// A file that no chunk can be: longer than the largest.
    TooLong(u64),
    /// Its bytes, unverified.
    Bytes(Vec<u8>),
}

/// The files of one node.
pub struct Layout {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    draw: u64,
    temporaries: AtomicU64,
}

impl Layout {
    /// The layout under `root`. `draw` is random, so that temporary names differ between starts.
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, draw: u64) -> Self {
        Self { disk, root, draw, temporaries: AtomicU64::new(0) }
    }

    /// The node's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that says who this directory is.
    pub fn stamp(&self) -> PathBuf {
        self.root.join("stamp")
    }

    /// Makes all directories, and their names durable up to the root of the file system.
    pub fn prepare(&self) -> Result<(), Trouble> {
        for bucket in 0..=255 {
            self.disk.create_dir_all(&self.bucket(bucket)).map_err(Trouble::Io)?;
        }
        self.disk.create_dir_all(&self.temporary_dir()).map_err(Trouble::Io)?;
        self.settle()?;
        for parent in self.root.ancestors().skip(1) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match self.disk.sync_dir(parent) {
                // Not ours to open, so it was not us who made the name below it.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
                synced => synced.map_err(Trouble::Sync)?,
            }
        }
        Ok(())
    }

    /// Makes every name in the chunk directories durable: after this, a listed chunk is a durable one.
    pub fn settle(&self) -> Result<(), Trouble> {
        for bucket in 0..=255 {
            self.disk.sync_dir(&self.bucket(bucket)).map_err(Trouble::Sync)?;
        }
        self.disk.sync_dir(&self.chunks()).map_err(Trouble::Sync)?;
        self.disk.sync_dir(&self.root).map_err(Trouble::Sync)
    }

    /// Removes what unfinished puts left.
    pub fn clean(&self) -> Result<(), Trouble> {
        for name in self.list(&self.temporary_dir())? {
            self.disk.remove(&self.temporary_dir().join(name)).map_err(Trouble::Io)?;
        }
        Ok(())
    }

    /// The ids of one bucket as the disk names them, in no particular order. Other files are none of ours.
    pub fn scan(&self, bucket: u8) -> Result<Vec<ChunkId>, Trouble> {
        let names = self.list(&self.bucket(bucket))?;
        Ok(names.iter().filter_map(|name| format!("{bucket:02x}{name}").parse().ok()).collect())
    }

    /// Syncs the data of a chunk that somebody else wrote.
    pub fn adopt(&self, id: ChunkId) -> Result<(), Trouble> {
        self.disk.open(&self.path(id)).map_err(Trouble::Io)?.sync_data().map_err(Trouble::Sync)
    }

    /// Makes `bytes` durable under `id`, in place of whatever is there. On an error other than `Sync`, nothing is left behind.
    pub fn write(&self, id: ChunkId, bytes: &[u8]) -> Result<(), Trouble> {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let temporary = self.temporary_dir().join(format!("{:016x}-{number}", self.draw));
        let placed = self
            .write_temporary(&temporary, bytes)
            .and_then(|()| self.disk.rename(&temporary, &self.path(id)).map_err(Trouble::Io));
        if placed.is_err() {
            let _ = self.disk.remove(&temporary); // The next start removes it otherwise.
            return placed;
        }
        self.disk.sync_dir(&self.bucket(id.as_bytes()[0])).map_err(Trouble::Sync)
    }

    /// The chunk's file, read with one call into a buffer of its size.
    pub fn read(&self, id: ChunkId) -> io::Result<Found> {
        let file = match self.disk.open(&self.path(id)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            opened => opened?,
        };
        let length = file.len()?;
        if length > u64::from(MAX_CHUNK_BYTES) {
            return Ok(Found::TooLong(length));
        }
        // Zeroed pages straight from the system where the buffer is large: the read is the first to touch them.
        let mut bytes = vec![0; length as usize];
        file.read_at(&mut bytes, 0)?;
        Ok(Found::Bytes(bytes))
    }

    /// The length of the chunk's file, if there is one.
    pub fn length(&self, id: ChunkId) -> io::Result<Option<u64>> {
        match self.disk.len(&self.path(id)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            length => length.map(Some),
        }
    }

    /// Removes the chunk's file; fine if it is gone. Durable on Ok.
    pub fn remove(&self, id: ChunkId) -> Result<(), Trouble> {
        match self.disk.remove(&self.path(id)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Trouble::Io(error)),
            _ => self.disk.sync_dir(&self.bucket(id.as_bytes()[0])).map_err(Trouble::Sync),
        }
    }

    fn write_temporary(&self, path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
        let file = self.disk.create(path).map_err(Trouble::Io)?;
        file.write_at(bytes, 0).map_err(Trouble::Io)?;
        file.sync_data().map_err(Trouble::Sync)
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, Trouble> {
        match self.disk.list(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(Trouble::Io),
        }
    }

    fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    fn temporary_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn bucket(&self, bucket: u8) -> PathBuf {
        self.chunks().join(format!("{bucket:02x}"))
    }

    fn path(&self, id: ChunkId) -> PathBuf {
        self.bucket(id.as_bytes()[0]).join(&id.to_hex()[2..])
    }
}
