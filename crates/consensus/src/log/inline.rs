//! The log over [`api::disk::Disk`], without threads: a call writes one frame, syncs it, and completes before it returns.
//!
//! It exists for the simulator, where one thread runs everything and a crash may come at any write. Simple on purpose: all
//! entries are held in memory, files are read only at the start. A file is named by the number of its first frame; once it is
//! full the next begins. A purge notes itself (and the vote) in a frame, and then removes files that hold nothing newer,
//! oldest first and each durably, so that what is left is always a run of files without gaps.
//!
//! The *entries* in it may have a gap, if the frame of an older, smaller purge is the first one left: it says "entries begin
//! after 332", the file with 333 to 356 is gone, and 357 follows. That is right if a later frame purges up to 356 or more, and
//! damage otherwise, so a replay notes what a gap would need and looks at the end.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::disk::{Disk, DiskFile, read};
use parking_lot::Mutex;

use super::frame::{Operation, scan};
use super::{Bounds, Commits, Done, LogHome, closed};
use crate::record::{Ballot, Position, Stored, damaged};
use crate::settings::Settings;

/// The log: what it holds, and the files it is in.
pub(crate) struct InlineLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Held,
    /// Files by the number of their first frame, with their size and the last entry that any of their frames speaks of.
    files: BTreeMap<u64, (u64, Option<Position>)>,
    /// The file being written, which is the last of `files`.
    open: Option<Box<dyn DiskFile>>,
    next_frame: u64,
    closed: bool,
}

/// What the log holds, as the operations so far make it.
#[derive(Default)]
struct Held {
    vote: Option<Ballot>,
    purged: Option<Position>,
    entries: BTreeMap<u64, Stored>,
    /// The last index that is missing in front of `entries`, so that a purge must cover it.
    missing: Option<u64>,
}

impl InlineLog {
    /// Opens the log in `dir`, whose files the caller has synced, and cuts a torn tail.
    pub(crate) fn open(dir: &Path, settings: &Settings, disk: Arc<dyn Disk>) -> io::Result<Self> {
        let file_bytes = settings.log_file_bytes as u64;
        let log = Self { disk, dir: dir.to_path_buf(), file_bytes, state: Mutex::default() };
        log.recover(&mut log.state.lock())?;
        Ok(log)
    }

    fn recover(&self, state: &mut State) -> io::Result<()> {
        let mut names: Vec<u64> = self.disk.list(&self.dir)?.iter().filter_map(|name| file_number(name)).collect();
        names.sort_unstable();
        state.next_frame = names.first().copied().unwrap_or(0);
        for (nth, &first) in names.iter().enumerate() {
            if first != state.next_frame {
                return Err(damaged(format!("log file {first} follows frame {}: one is missing", state.next_frame)));
            }
            let path = self.path(first);
            let bytes = read(self.disk.as_ref(), &path)?;
            let found = scan(&bytes, first).map_err(|error| damaged(format!("{}: {error}", path.display())))?;
            if found.good_bytes < bytes.len() {
                if nth + 1 < names.len() {
                    return Err(damaged(format!("{} ends in a torn frame, yet another file follows", path.display())));
                }
                tracing::warn!(path = %path.display(), cut = bytes.len() - found.good_bytes, "cutting the log's torn tail");
                let file = self.disk.open(&path)?;
                file.set_len(found.good_bytes as u64)?;
                file.sync_data()?;
            }
            let mut newest = None;
            state.next_frame = first + found.operations.len() as u64;
            for operation in found.operations {
                newest = newest.max(state.held.apply(operation)?);
            }
            state.files.insert(first, (found.good_bytes as u64, newest));
        }
        state.held.whole()?;
        if let Some(&last) = names.last() {
            state.open = Some(self.disk.open(&self.path(last))?);
        }
        Ok(())
    }

    /// Writes `operation` durably, then lets it take effect.
    fn commit(&self, operation: Operation, done: Done) {
        let result = self.write(&mut self.state.lock(), operation);
        done(result);
    }

    fn write(&self, state: &mut State, operation: Operation) -> io::Result<()> {
        if state.closed {
            return Err(closed());
        }
        let frame = operation.frame(state.next_frame);
        let full = state.files.last_key_value().is_none_or(|(_, (bytes, _))| *bytes >= self.file_bytes);
        if full {
            let path = self.path(state.next_frame);
            state.open = Some(self.disk.create(&path)?);
            self.disk.sync_dir(&self.dir)?;
            state.files.insert(state.next_frame, (0, None));
        }
        let (Some(file), Some(mut last)) = (&state.open, state.files.last_entry()) else {
            return Err(io::Error::other("the log has no file to write to"));
        };
        file.write_at(&frame, last.get().0)?;
        file.sync_data()?;
        let newest = state.held.apply(operation)?;
        state.held.whole()?;
        let (bytes, seen) = last.get_mut();
        *bytes += frame.len() as u64;
        *seen = newest.max(*seen);
        state.next_frame += 1;
        Ok(())
    }

    /// Removes files of which nothing is needed any more; never the one being written.
    fn remove_purged(&self, state: &mut State) -> io::Result<()> {
        while state.files.len() > 1
            && let Some(oldest) = state.files.first_entry()
            && oldest.get().1.is_none_or(|newest| Some(newest) <= state.held.purged)
        {
            self.disk.remove(&self.path(*oldest.key()))?;
            self.disk.sync_dir(&self.dir)?;
            oldest.remove();
        }
        Ok(())
    }

    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}.log"))
    }
}

fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

impl Held {
    /// Takes an operation in; the newest entry it speaks of.
    fn apply(&mut self, operation: Operation) -> io::Result<Option<Position>> {
        match operation {
            Operation::Vote(vote) => self.vote = Some(vote),
            Operation::Append(entries) => {
                for (at, kind, body) in entries {
                    let next = self.last().map_or(at.index, |last| last.index + 1);
                    if at.index < next {
                        return Err(damaged(format!("entry {} stands where entry {next} belongs", at.index)));
                    }
                    if at.index > next {
                        self.entries.clear();
                        self.missing = Some(at.index - 1);
                    }
                    self.entries.insert(at.index, Stored { at, kind, body });
                }
                return Ok(self.last());
            }
            Operation::TruncateAfter(last) => drop(self.entries.split_off(&last.map_or(0, |last| last.index + 1))),
            Operation::Purge(upto, vote) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = self.purged.max(Some(upto));
                self.vote = vote.or(self.vote);
            }
        }
        Ok(None)
    }

    /// Errs if entries are missing that no purge covers.
    fn whole(&self) -> io::Result<()> {
        match self.missing {
            Some(missing) if self.purged.is_none_or(|purged| purged.index < missing) => {
                Err(damaged(format!("entries up to {missing} are missing and were never purged")))
            }
            _ => Ok(()),
        }
    }

    fn last(&self) -> Option<Position> {
        self.entries.last_key_value().map(|(_, entry)| entry.at).or(self.purged)
    }
}

impl LogHome for InlineLog {
    fn bounds(&self) -> Bounds {
        let state = self.state.lock();
        Bounds { purged: state.held.purged, last: state.held.last() }
    }

    fn vote(&self) -> Option<Ballot> {
        self.state.lock().held.vote
    }

    fn save_vote(&self, vote: Ballot, done: Done) {
        self.commit(Operation::Vote(vote), done);
    }

    fn append(&self, entries: Vec<Stored>, done: Done) {
        self.commit(Operation::append(&entries), done);
    }

    fn truncate_after(&self, last: Option<Position>, done: Done) {
        self.commit(Operation::TruncateAfter(last), done);
    }

    fn purge(&self, upto: Position, done: Done) {
        let mut state = self.state.lock();
        let operation = Operation::Purge(upto, state.held.vote);
        let result = self.write(&mut state, operation).and_then(|()| self.remove_purged(&mut state));
        drop(state);
        done(result);
    }

    fn read(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<Stored>> {
        let (mut found, mut size) = (Vec::new(), 0);
        if from < to {
            for entry in self.state.lock().held.entries.range(from..to).map(|(_, entry)| entry) {
                size += entry.body.len();
                found.push(entry.clone());
                if size > bytes {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Each write is synced by itself, before it returns.
    fn commits(&self) -> Commits {
        Commits { last_batch: u64::from(self.state.lock().next_frame > 0), ..Commits::default() }
    }

    fn file_bytes(&self) -> u64 {
        self.state.lock().files.values().map(|(bytes, _)| bytes).sum()
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.open = None;
    }
}

#[cfg(test)]
mod tests {
    use testkit::sim_disk::SimDisk;

    use super::*;

    #[test]
    fn a_torn_tail_is_cut_and_not_written_around() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        let open = || InlineLog::open(Path::new("/"), &Settings::simulated("/"), disk.clone());
        let vote = Ballot { term: 1, granted: true, node: 1 };
        open().unwrap().save_vote(vote, Box::new(|result| result.unwrap()));
        let path = Path::new("/00000000000000000000.log");
        let whole = disk.len(path).unwrap();
        disk.open(path).unwrap().write_at(b"kvlf, and then the power went", whole).unwrap();
        assert_eq!(open().unwrap().vote(), Some(vote));
        assert_eq!(disk.len(path).unwrap(), whole);
    }

    fn entries(indexes: std::ops::RangeInclusive<u64>) -> Vec<Stored> {
        let entry = |index| Stored { at: at(index), kind: crate::record::Kind::Commands, body: vec![1; 100].into() };
        indexes.map(entry).collect()
    }

    fn at(index: u64) -> Position {
        Position { term: 1, index }
    }

    /// Found by crashing at random: the first file left begins with a purge up to 3, entries 4 to 6 went with a later purge, and
    /// the replay took the step from 3 to 7 for damage.
    #[test]
    fn an_older_purge_may_stand_before_a_gap() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        let settings = Settings { log_file_bytes: 200, ..Settings::simulated("/") };
        let open = || InlineLog::open(Path::new("/"), &settings, disk.clone());
        let log = open().unwrap();
        let done = || -> Done { Box::new(|result| result.unwrap()) };
        log.append(entries(1..=3), done());
        log.append(entries(4..=6), done());
        log.purge(at(3), done());
        log.append(entries(7..=7), done());
        log.purge(at(6), done());
        assert_eq!(disk.list(Path::new("/")).unwrap().len(), 1);
        let log = open().unwrap();
        assert_eq!(log.bounds(), Bounds { purged: Some(at(6)), last: Some(at(7)) });
        assert_eq!(log.read(0, 9, usize::MAX).unwrap(), entries(7..=7));
    }
}
