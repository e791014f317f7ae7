//! The seam to a file system: few operations, each with its exact promise about power cuts.
//!
//! Nothing written is safe before [`DiskFile::sync_data`]; no name is safe before [`Disk::sync_dir`] of its
//! directory. The simulated disk takes that literally: at a crash it forgets everything else.

use std::io;
use std::path::{Path, PathBuf};

/// A file system, as much of it as kvfs uses. Paths are absolute or relative to the process, as given.
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a file that must not exist yet, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives `from` the name `to`, replacing what has it. Atomic for readers; durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name. Durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it; fine if it is there. Durable after `sync_dir` of each parent.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names of the files and directories in a directory, in no particular order.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// The length of a file in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Makes the names in a directory durable: creations, renames and removals before this call.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Free and total bytes of the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Tells the system to forget cached pages of `path`, so that the next read shows what the disk has.
    fn drop_cache(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock that lets one process at a time use a directory; held until the guard is dropped.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// Runs a job that calls the functions above, away from the threads that must never block.
    ///
    /// The real disk has threads for it; the simulated one, which has only one thread, runs it on the spot.
    fn spawn(&self, job: Box<dyn FnOnce() + Send>);
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Fills `out` from `offset`; an end of file before that is an error.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, growing the file as needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or grows (with zeros) the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Whether there are none.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|bytes| bytes == 0)
    }
    /// Makes contents and length durable. After an error nothing about the file is known; it must not be retried.
    fn sync_data(&self) -> io::Result<()>;
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// That we may still use.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// Writes `bytes` so that `path` holds, after any crash, either what it held before or all of them.
///
/// Temporary file, sync, rename, directory sync: four steps, none of which may be left out.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = PathBuf::from(format!("{}.new", path.display()));
    if let Err(error) = disk.remove(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let file = disk.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    disk.sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Makes the directory `path` and those above it, and their names durable up to the root of the file system.
pub fn make_dir(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.create_dir_all(path)?;
    for above in path.ancestors() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match disk.sync_dir(above) {
            // Not ours to open, so it was not us who made the name below it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            synced => synced?,
        }
    }
    Ok(())
}

/// All bytes of the file at `path`.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}
