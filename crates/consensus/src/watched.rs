//! The group's disk, watched: whatever asks it for a write or a sync, a failure is noted, and ends the group.
//!
//! It stands at the seam so that nobody has to remember: opening, checkpoints, the simulator's log and redb's file all pass
//! here. (`raft-log` writes its files by itself; its failures are noted where its completions arrive. The ballast goes past it, since
//! it may find the disk full without harm.) A failed *sync* always leaves the marker of [`api::poison`]; a failed *write* does
//! unless the disk was only full.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::disk::{Disk, DiskFile, Space};

use crate::failure::Failure;

/// A disk whose failures are noted.
pub(crate) struct Watched {
    disk: Arc<dyn Disk>,
    failure: Failure,
}

impl Watched {
    pub(crate) fn over(disk: Arc<dyn Disk>, failure: Failure) -> Arc<dyn Disk> {
        Arc::new(Self { disk, failure })
    }

    fn file(&self, path: &Path, file: io::Result<Box<dyn DiskFile>>) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(WatchedFile { file: file?, path: path.to_owned(), failure: self.failure.clone() }))
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.file(path, self.disk.open(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.file(path, self.disk.create(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.disk.len(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.failure.noting_sync(&format!("syncing {}", path.display()), self.disk.sync_dir(path))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }

    fn drop_cache(&self, path: &Path) -> io::Result<()> {
        self.disk.drop_cache(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }

    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        self.disk.spawn(job);
    }
}

struct WatchedFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    failure: Failure,
}

impl WatchedFile {
    fn doing(&self, what: &str) -> String {
        format!("{what} {}", self.path.display())
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.failure.noting_write(&self.doing("writing"), self.file.write_at(bytes, offset))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.failure.noting_write(&self.doing("resizing"), self.file.set_len(bytes))
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.failure.noting_sync(&self.doing("syncing"), self.file.sync_data())
    }
}
