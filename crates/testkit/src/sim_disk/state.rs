//! What a disk shows, what it has made durable, and what a crash makes of the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::Counters;
use crate::entropy::split_mix;

/// The unit in which a write reaches the disk or does not.
const SECTOR_BYTES: usize = 512;

pub(super) struct State {
    pub(super) dirs: Vec<Dir>,
    pub(super) files: Vec<Contents>,
    pub(super) locks: BTreeSet<PathBuf>,
    /// How often the machine crashed: handles of an earlier life are dead.
    pub(super) life: u64,
    pub(super) down: bool,
    pub(super) capacity: u64,
    pub(super) random: u64,
    pub(super) counters: Counters,
    pub(super) crash_at: Option<u64>,
    pub(super) fail_sync_at: Option<u64>,
    pub(super) sync_failed: bool,
    pub(super) lies: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Entry {
    Dir(usize),
    File(usize),
}

#[derive(Default)]
pub(super) struct Dir {
    pub(super) seen: BTreeMap<String, Entry>,
    pub(super) durable: BTreeMap<String, Entry>,
    pub(super) pending: Vec<Renaming>,
}

pub(super) enum Renaming {
    Set(String, Entry),
    Unset(String),
    Move(String, String, Entry),
}

#[derive(Default)]
pub(super) struct Contents {
    pub(super) seen: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Change>,
}

pub(super) enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// What became of a sync.
pub(super) enum Synced {
    Done,
    Fail,
    Lie,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dirs: vec![Dir::default()],
            files: Vec::new(),
            locks: BTreeSet::new(),
            life: 0,
            down: false,
            capacity: 1 << 40,
            random: seed,
            counters: Counters::default(),
            crash_at: None,
            fail_sync_at: None,
            sync_failed: false,
            lies: false,
        }
    }

    pub(super) fn sync(&mut self) -> Synced {
        self.counters.syncs += 1;
        match (self.fail_sync_at == Some(self.counters.syncs), self.lies) {
            (true, _) => {
                self.sync_failed = true;
                Synced::Fail
            }
            (false, true) => Synced::Lie,
            (false, false) => Synced::Done,
        }
    }

    pub(super) fn crash(&mut self) {
        (self.down, self.life) = (true, self.life + 1);
        self.sync_failed = false;
        self.locks.clear();
        let mut random = self.random;
        self.dirs.iter_mut().for_each(|dir| dir.crash(&mut random));
        self.files.iter_mut().for_each(|file| file.crash(&mut random));
        self.random = random;
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Entry> {
        let mut at = Entry::Dir(0);
        for name in names(path)? {
            let Entry::Dir(dir) = at else {
                return Err(ErrorKind::NotADirectory.into());
            };
            at = *self.dirs[dir].seen.get(&name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    pub(super) fn find_dir(&self, path: &Path) -> io::Result<usize> {
        match self.find(path)? {
            Entry::Dir(dir) => Ok(dir),
            Entry::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory that holds `path`, and the last name in it.
    pub(super) fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = names(path)?.pop().ok_or(ErrorKind::InvalidInput)?;
        Ok((self.find_dir(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// Bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let entries = self.dirs.iter().flat_map(|dir| dir.seen.values());
        let files: BTreeSet<_> =
            entries.filter_map(|entry| if let Entry::File(file) = entry { Some(*file) } else { None }).collect();
        files.iter().map(|file| self.files[*file].seen.len() as u64).sum()
    }
}

impl Dir {
    pub(super) fn apply(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.seen);
        self.pending.push(renaming);
    }

    pub(super) fn crash(&mut self, random: &mut u64) {
        for renaming in std::mem::take(&mut self.pending) {
            if split_mix(random) & 1 == 0 {
                renaming.apply(&mut self.durable);
            }
        }
        self.seen = self.durable.clone();
    }
}

impl Renaming {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, Entry>) {
        match self {
            Self::Set(name, entry) => drop(names.insert(name.clone(), *entry)),
            Self::Unset(name) => drop(names.remove(name)),
            Self::Move(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), *entry);
            }
        }
    }
}

impl Contents {
    pub(super) fn apply(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    pub(super) fn crash(&mut self, random: &mut u64) {
        for change in std::mem::take(&mut self.pending) {
            match split_mix(random) % 3 {
                0 => {}
                1 => change.apply(&mut self.durable),
                _ => change.tear(&mut self.durable, random),
            }
        }
        self.seen = self.durable.clone();
    }
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(length) => bytes.resize(*length, 0),
            Self::Write(offset, written) => {
                bytes.resize(bytes.len().max(offset + written.len()), 0);
                bytes[*offset..offset + written.len()].copy_from_slice(written);
            }
        }
    }

    /// Applies some sectors of a write and not others.
    pub(super) fn tear(self, bytes: &mut Vec<u8>, random: &mut u64) {
        let Self::Write(offset, written) = self else {
            return;
        };
        let mut at = 0;
        while at < written.len() {
            let next = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
            let end = next.min(written.len());
            if split_mix(random) & 1 == 0 {
                Self::Write(offset + at, written[at..end].to_vec()).apply(bytes);
            }
            at = end;
        }
    }
}

/// The names on the way to `path`; relative paths start at the root too.
pub(super) fn names(path: &Path) -> io::Result<Vec<String>> {
    let normal = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Ok(name.to_string_lossy().into_owned()),
        _ => Err(ErrorKind::InvalidInput.into()),
    };
    normal.map(name).collect()
}

pub(super) fn off() -> io::Error {
    io::Error::other("the simulated machine is off")
}

pub(super) fn broken() -> io::Error {
    io::Error::other("the simulated disk failed a sync")
}
