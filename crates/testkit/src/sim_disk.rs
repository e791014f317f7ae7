//! A disk in memory that forgets what a disk may forget.
//!
//! It keeps two states: what programs see, and what is durable. A write changes the first; [`DiskFile::sync_data`] carries contents over,
//! [`Disk::sync_dir`] names. At a [`crash`](SimDisk::crash) what was not carried over is decided by the seed: each write
//! vanishes, survives, or is torn between sectors of 512 bytes; each change of a name survives or not, in order within its
//! directory. So a rename between two directories may end with both names or none, which is harsher than the file systems at
//! hand; code that passes needs none of their kindness.
//!
//! Example: create `a`, write, rename to `b`, crash. Afterwards there may be `a`, `b`, both or neither, each empty, whole or
//! with holes. With `sync_data` before the rename, whatever is there is whole; with `sync_dir` after it, `b` is there.
//!
//! Faults: the n-th sync fails (and what it should have made durable never will be, though reads show it), a full disk, flipped
//! bits, a crash before the n-th change, and syncs that lie.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::disk::{Disk, DiskFile, Space};
use parking_lot::{Mutex, MutexGuard};

use state::{Change, Contents, Dir, Entry, Renaming, State, Synced, broken, names, off};

mod state;

/// A simulated disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

/// What a disk was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that change something or make it durable.
    pub changes: u64,
    /// Of these, syncs of files and directories.
    pub syncs: u64,
    /// Of these, writes.
    pub writes: u64,
}

impl SimDisk {
    /// An empty disk of 1 TiB whose crashes follow `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed))))
    }

    /// Cuts the power: what was not durable is lost or not, as the seed has it. Everything errs until [`restart`](Self::restart).
    pub fn crash(&self) {
        self.0.lock().crash();
    }

    /// Turns the power on again. Handles and locks of before are dead.
    pub fn restart(&self) {
        let mut state = self.0.lock();
        state.down = false;
        state.crash_at = None;
    }

    /// Crashes instead of the `n`-th change from now; 1 is the next.
    pub fn crash_at(&self, n: u64) {
        let mut state = self.0.lock();
        state.crash_at = Some(state.counters.changes + n);
    }

    /// Lets the `n`-th sync from now fail; 1 is the next. What it was to make durable will not become so by another sync either.
    pub fn fail_sync(&self, n: u64) {
        let mut state = self.0.lock();
        state.fail_sync_at = Some(state.counters.syncs + n);
    }

    /// Whether a sync has failed since the power was on: what programs see may not be what the disk has.
    pub fn sync_failed(&self) -> bool {
        self.0.lock().sync_failed
    }

    /// Whether syncs say "done" and do nothing: the fault that crash tests must find.
    pub fn lie_about_sync(&self, lies: bool) {
        self.0.lock().lies = lies;
    }

    /// Gives the disk room for `bytes` in all.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity = bytes;
    }

    /// Flips a bit of the byte at `offset`, in memory and on the disk; false if there is no such byte.
    pub fn corrupt(&self, path: &Path, offset: usize) -> bool {
        let mut state = self.0.lock();
        let Ok(Entry::File(file)) = state.find(path) else {
            return false;
        };
        let Contents { seen, durable, .. } = &mut state.files[file];
        if let Some(byte) = durable.get_mut(offset) {
            *byte ^= 1;
        }
        seen.get_mut(offset).map(|byte| *byte ^= 1).is_some()
    }

    /// What was asked of it so far.
    pub fn counters(&self) -> Counters {
        self.0.lock().counters
    }

    /// Whether the power is off.
    pub fn is_down(&self) -> bool {
        self.0.lock().down
    }

    fn up(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.0.lock();
        if state.down { Err(off()) } else { Ok(state) }
    }

    /// The state, for a change: counted, and perhaps the moment of the crash.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.up()?;
        state.counters.changes += 1;
        if state.crash_at == Some(state.counters.changes) {
            state.crash();
            return Err(off());
        }
        Ok(state)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.up()?;
        match state.find(path)? {
            Entry::File(file) => Ok(Box::new(SimFile { disk: self.clone(), file, life: state.life })),
            Entry::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.change()?;
        let (dir, name) = state.place(path)?;
        if state.dirs[dir].seen.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.files.push(Contents::default());
        let file = state.files.len() - 1;
        state.dirs[dir].apply(Renaming::Set(name, Entry::File(file)));
        Ok(Box::new(SimFile { disk: self.clone(), file, life: state.life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        let entry = state.find(from)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (state.place(from)?, state.place(to)?);
        if from_dir == to_dir {
            state.dirs[to_dir].apply(Renaming::Move(from_name, to_name, entry));
        } else {
            state.dirs[to_dir].apply(Renaming::Set(to_name, entry));
            state.dirs[from_dir].apply(Renaming::Unset(from_name));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        match state.find(path)? {
            Entry::Dir(_) => Err(ErrorKind::IsADirectory.into()),
            Entry::File(_) => {
                let (dir, name) = state.place(path)?;
                state.dirs[dir].apply(Renaming::Unset(name));
                Ok(())
            }
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match self.up()?.find(path) {
            Ok(Entry::Dir(_)) => return Ok(()),
            Ok(Entry::File(_)) => return Err(ErrorKind::NotADirectory.into()),
            Err(_) => {}
        }
        let mut state = self.change()?;
        let mut at = 0;
        for name in names(path)? {
            at = match state.dirs[at].seen.get(&name) {
                Some(Entry::Dir(dir)) => *dir,
                Some(Entry::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => {
                    state.dirs.push(Dir::default());
                    let made = state.dirs.len() - 1;
                    state.dirs[at].apply(Renaming::Set(name, Entry::Dir(made)));
                    made
                }
            };
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.up()?;
        Ok(state.dirs[state.find_dir(path)?].seen.keys().cloned().collect())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.up()?;
        match state.find(path)? {
            Entry::File(file) => Ok(state.files[file].seen.len() as u64),
            Entry::Dir(_) => Ok(0),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        let dir = state.find_dir(path)?;
        let synced = state.sync();
        let dir = &mut state.dirs[dir];
        match synced {
            Synced::Lie => {}
            Synced::Fail => {
                dir.pending.clear();
                return Err(broken());
            }
            Synced::Done => {
                for renaming in std::mem::take(&mut dir.pending) {
                    renaming.apply(&mut dir.durable);
                }
            }
        }
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.up()?;
        Ok(Space { free: state.capacity.saturating_sub(state.used()), total: state.capacity })
    }

    /// Memory that differs from the disk without a pending write (after a failed sync) shows what the disk has from now on.
    fn drop_cache(&self, path: &Path) -> io::Result<()> {
        let mut state = self.up()?;
        if let Entry::File(file) = state.find(path)? {
            let contents = &mut state.files[file];
            if contents.pending.is_empty() {
                contents.seen = contents.durable.clone();
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.up()?;
        match state.locks.insert(path.to_owned()) {
            true => Ok(Box::new(Locked { disk: self.clone(), path: path.to_owned(), life: state.life })),
            false => Err(io::Error::new(ErrorKind::ResourceBusy, format!("{} is locked", path.display()))),
        }
    }

    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

struct Locked {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
    life: u64,
}

impl SimFile {
    fn alive<'a>(&self, state: MutexGuard<'a, State>) -> io::Result<MutexGuard<'a, State>> {
        if state.life == self.life { Ok(state) } else { Err(off()) }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.alive(self.disk.up()?)?;
        let from = offset as usize;
        let found = state.files[self.file].seen.get(from..from + out.len());
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.alive(self.disk.change()?)?;
        state.counters.writes += 1;
        let end = offset as usize + bytes.len();
        let growth = end.saturating_sub(state.files[self.file].seen.len()) as u64;
        if state.used() + growth > state.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        state.files[self.file].apply(Change::Write(offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.alive(self.disk.change()?)?;
        state.files[self.file].apply(Change::SetLen(bytes as usize));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.alive(self.disk.up()?)?.files[self.file].seen.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive(self.disk.change()?)?;
        let synced = state.sync();
        let contents = &mut state.files[self.file];
        match synced {
            Synced::Lie => {}
            Synced::Fail => {
                contents.pending.clear();
                return Err(broken());
            }
            Synced::Done => {
                for change in std::mem::take(&mut contents.pending) {
                    change.apply(&mut contents.durable);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::from(text)
    }

    /// What is left of create, write, rename under each of 64 seeds, with or without the two syncs: none, whole, or other.
    fn outcomes(sync_file: bool, sync_names: bool) -> BTreeSet<&'static str> {
        let outcome = |seed| {
            let disk = SimDisk::new(seed);
            let file = disk.create(&path("/new")).unwrap();
            file.write_at(&[7; 1000], 0).unwrap();
            if sync_file {
                file.sync_data().unwrap();
            }
            disk.rename(&path("/new"), &path("/name")).unwrap();
            if sync_names {
                disk.sync_dir(&path("/")).unwrap();
            }
            disk.crash();
            assert!(disk.list(&path("/")).is_err() && disk.is_down());
            disk.restart();
            assert!(file.len().is_err(), "handles die with the machine");
            match api::disk::read(&disk, &path("/name")) {
                Err(_) => "none",
                Ok(bytes) if bytes == [7; 1000] => "whole",
                Ok(_) => "torn",
            }
        };
        (0..64).map(outcome).collect()
    }

    #[test]
    fn what_each_sync_is_for() {
        assert_eq!(outcomes(false, false), ["none", "torn", "whole"].into());
        assert_eq!(outcomes(true, false), ["none", "whole"].into());
        assert_eq!(outcomes(false, true), ["torn", "whole"].into());
        assert_eq!(outcomes(true, true), ["whole"].into());
    }

    #[test]
    fn a_failed_sync_is_not_mended_by_the_next() {
        let disk = SimDisk::new(1);
        let file = disk.create(&path("/f")).unwrap();
        disk.sync_dir(&path("/")).unwrap();
        file.write_at(b"bytes", 0).unwrap();
        disk.fail_sync(1);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(api::disk::read(&disk, &path("/f")).unwrap(), b"bytes");
        disk.drop_cache(&path("/f")).unwrap();
        assert_eq!(api::disk::read(&disk, &path("/f")).unwrap(), b"");
    }

    #[test]
    fn locks_capacity_and_counters() {
        let disk = SimDisk::new(1);
        let guard = disk.lock(&path("/d")).unwrap();
        assert!(disk.lock(&path("/d")).is_err());
        disk.crash_at(2);
        let file = disk.create(&path("/f")).unwrap();
        assert!(file.write_at(b"x", 0).is_err() && disk.is_down());
        disk.restart();
        let _second = disk.lock(&path("/d")).unwrap();
        drop(guard);
        assert!(disk.lock(&path("/d")).is_err(), "a dead guard lets go of nothing");
        disk.set_capacity(3);
        let file = disk.create(&path("/g")).unwrap();
        assert_eq!(file.write_at(b"four", 0).unwrap_err().kind(), ErrorKind::StorageFull);
        file.write_at(b"abc", 0).unwrap();
        assert_eq!(disk.space(&path("/")).unwrap(), Space { free: 0, total: 3 });
        assert!(disk.corrupt(&path("/g"), 0) && !disk.corrupt(&path("/g"), 3));
        assert_eq!(disk.counters(), Counters { changes: 5, syncs: 0, writes: 2 });
    }
}
