//! The operating system's files behind the `Disk` seam.
//!
//! | Promise of the seam | Call |
//! |---|---|
//! | contents and length durable | `fdatasync` |
//! | names in a directory durable | `fsync` of the directory |
//! | forget what is cached | `posix_fadvise(DONTNEED)` |
//! | free for us | `statvfs`, `f_bavail` (not what only root may use) |
//! | one process a directory | `flock` on the directory itself, which the system lets go when the process dies |
//!
//! Left out: `O_DIRECT`, which would write large chunks faster than freshly faulted page cache does, but wants aligned buffers
//! and takes the cache from readers.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use api::disk::{Disk, DiskFile, Space};
use rustix::fs::{Advice, FlockOperation};

/// The file systems of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    /// Opens for reading and writing, or for reading where the system allows no more: a disk that the kernel remounted
    /// read-only after an error must still give back what it has.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Box::new(RealFile(file))),
            Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => {
                Ok(Box::new(RealFile(File::open(path)?)))
            }
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    /// A failed sync is the end of a store, but having no file descriptor free for a moment is no failed sync: then it waits a little.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        patiently_open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        Ok(Space { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
    }

    fn drop_cache(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::fadvise(File::open(path)?, 0, None, Advice::DontNeed)?)
    }

    /// `path` is the directory, or a file in it that is made if need be.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = match path.is_dir() {
            true => File::open(path)?,
            false => OpenOptions::new().write(true).create(true).truncate(false).open(path)?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Box::new(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("{} is in use by another process; stop that one first", path.display());
                Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Runs the job on tokio's blocking threads, or on the spot where no runtime is (in a plain `main`).
    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(job)),
            Err(_) => job(),
        }
    }
}

/// Opens a directory; tries for up to two seconds where the process or the system has too many files open.
fn patiently_open(path: &Path) -> io::Result<File> {
    use rustix::io::Errno;
    for _ in 0..200 {
        match File::open(path) {
            Err(error) if [Some(Errno::MFILE), Some(Errno::NFILE)].contains(&Errno::from_io_error(&error)) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
    File::open(path)
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_lists_and_measures() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        let path = home.path().join("stamp");
        api::disk::replace(&RealDisk, &path, b"old")?;
        api::disk::replace(&RealDisk, &path, b"newer")?;
        RealDisk.drop_cache(&path)?;
        assert_eq!(api::disk::read(&RealDisk, &path)?, b"newer");
        assert_eq!(RealDisk.list(home.path())?, ["stamp"]);
        assert_eq!(RealDisk.len(&path)?, 5);
        let space = RealDisk.space(home.path())?;
        assert!(space.free > 0 && space.free <= space.total);
        Ok(())
    }

    #[test]
    fn a_directory_is_locked_until_the_guard_goes() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        for path in [home.path().to_path_buf(), home.path().join("lock")] {
            let guard = RealDisk.lock(&path)?;
            assert_eq!(RealDisk.lock(&path).map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::ResourceBusy));
            drop(guard);
            RealDisk.lock(&path)?;
        }
        Ok(())
    }
}
