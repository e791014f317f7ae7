//! The ballast: a file that is worth nothing but its room.
//!
//! On a full disk even a delete needs room, for the log entry that says so. So some is set aside while there is plenty: real
//! zeros, synced, not a hole. When free space falls below the reserve the file goes, deletes can be logged, and what they free
//! brings the room back; then the file is made again.

use std::io;
use std::path::{Path, PathBuf};

use api::disk::{Disk, Space};

/// Bytes written at a time.
const STEP: usize = 1 << 20;

/// Where the ballast is and how large it should be.
#[derive(Clone, Debug)]
pub(crate) struct Ballast {
    dir: PathBuf,
    bytes: u64,
    reserve: u64,
}

impl Ballast {
    pub(crate) fn new(dir: &Path, bytes: u64, reserve: u64) -> Self {
        Self { dir: dir.to_path_buf(), bytes, reserve }
    }

    /// Takes on or gives up the ballast, as free space asks; the space there is afterwards. Blocks.
    pub(crate) fn tick(&self, disk: &dyn Disk) -> io::Result<Space> {
        let space = disk.space(&self.dir)?;
        if self.bytes == 0 {
            return Ok(space);
        }
        let there = disk.list(&self.dir)?.iter().any(|name| name == "ballast");
        let whole = there && disk.len(&self.path())? == self.bytes;
        if there && (!whole || space.free < self.reserve) {
            disk.remove(&self.path())?;
            disk.sync_dir(&self.dir)?;
        }
        // Not at the very edge, or it would come and go with every tick.
        if !whole && space.free >= self.reserve + 2 * self.bytes {
            self.fill(disk).or_else(|error| self.give_up(disk, error))?;
        }
        disk.space(&self.dir)
    }

    fn fill(&self, disk: &dyn Disk) -> io::Result<()> {
        let (file, zeros) = (disk.create(&self.path())?, vec![0; STEP]);
        for offset in (0..self.bytes).step_by(STEP) {
            let part = usize::try_from(self.bytes - offset).map_or(STEP, |rest| rest.min(STEP));
            file.write_at(&zeros[..part], offset)?;
        }
        file.sync_data()?;
        disk.sync_dir(&self.dir)
    }

    /// No room after all: that is no failure of the store, but half a ballast is in the way.
    fn give_up(&self, disk: &dyn Disk, error: io::Error) -> io::Result<()> {
        tracing::warn!(%error, "no room for the ballast");
        disk.remove(&self.path())?;
        disk.sync_dir(&self.dir)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}
