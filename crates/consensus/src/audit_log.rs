//! The audit log: what was applied, as lines that people and programs read, beside the log that the group lives by.
//!
//! One JSON object a line and entry: `seq` (the log index), `term`, `ts` (the leader's clock, for people), and what the entry was:
//!
//! ```json
//! {"seq":7,"term":2,"ts":"2026-01-02T03:04:05.006Z","commands":{"now_ms":…,"ticks_ms":…,"reign":null,"commands":["Barrier"]}}
//! ```
//!
//! It is written when an entry is applied, in the same order, and **synced before a checkpoint makes those entries durable in the tables**.
//! So after a crash it has every line up to where the tables are, and perhaps more: those entries are applied again, so at the start the
//! file is cut back to the tables' index, a torn line included, and each entry stands there exactly once.
//!
//! Nothing reads it while the group runs. Fed into empty tables from its first entry on, or into a backup from the entry after, it gives
//! the same state, as the state's hash shows ([`replay`]): an auditor need not believe the tables. Secrets
//! stand in it as they do in the tables, sealed.
//!
//! A member that was sent a snapshot has not applied what the snapshot covers: its file has a gap there, which a replay names. A line
//! that cannot be written ends the group, like any write: an audit log that may lack lines is worth nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::disk::{Disk, DiskFile};
use domain::timestamp;
use meta::Batch;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::record::{Kind, Members, Position, Stored, damaged, decode};
use crate::snapshot::{Installer, state_hash};
use crate::tables::{FILE, Store};

/// Bytes looked at, from the end, for the place to cut at; doubled until a whole line is among them.
const TAIL_BYTES: u64 = 64 << 10;

/// Bytes beyond which no such line is looked for: many times what is applied between two checkpoints.
const MAX_TAIL_BYTES: u64 = 512 << 20;

/// Bytes read at a time by a replay.
const PIECE_BYTES: usize = 1 << 20;

/// The longest line: an entry of 4 MiB, every byte of which may take four characters.
const MAX_LINE_BYTES: usize = 5 * crate::MAX_ENTRY_BYTES;

/// Entries that a replay applies together.
const REPLAY_ENTRIES: usize = 256;

/// A line. Without commands and members it is a new leader's first entry.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    seq: u64,
    term: u64,
    ts: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commands: Option<Batch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    members: Option<Members>,
}

impl Line {
    fn of(stored: &Stored) -> io::Result<Self> {
        let Position { term, index: seq } = stored.at;
        let mut line = Self { seq, term, ts: String::new(), commands: None, members: None };
        match stored.kind {
            Kind::Blank => {}
            Kind::Members => line.members = Some(decode(&stored.body)?),
            Kind::Commands => {
                let batch = Batch::decode(&stored.body).map_err(|error| damaged(error.to_string()))?;
                line.ts = timestamp::rfc3339(batch.now_ms);
                line.commands = Some(batch);
            }
        }
        Ok(line)
    }

    fn into_stored(self) -> Stored {
        let (kind, body) = match (self.commands, self.members) {
            (Some(batch), _) => (Kind::Commands, batch.encode()),
            (None, Some(members)) => (Kind::Members, domain::codec::encode(&members)),
            (None, None) => (Kind::Blank, Vec::new()),
        };
        Stored { at: Position { term: self.term, index: self.seq }, kind, body: body.into() }
    }
}

/// The file, open for more.
pub(crate) struct AuditLog {
    file: Box<dyn DiskFile>,
    state: Mutex<State>,
    path: PathBuf,
    failure: Failure,
}

struct State {
    end: u64,
    last: u64,
}

impl AuditLog {
    /// Opens or makes the file at `path`, and cuts it back to what the tables hold durably: entries up to `applied`, or none. Blocks.
    pub(crate) fn open(path: &Path, applied: Option<u64>, disk: &dyn Disk, failure: Failure) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        api::disk::make_dir(disk, parent)?;
        let file = match disk.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(path)?,
            opened => opened?,
        };
        file.sync_data()?;
        disk.sync_dir(parent)?;
        disk.drop_cache(path)?;
        let file = disk.open(path)?;
        let (end, last) = place_to_cut(file.as_ref(), applied)?;
        if end < file.len()? {
            tracing::info!(path = %path.display(), cut = file.len()? - end, last, "cutting the audit log back to the tables");
            file.set_len(end)?;
            file.sync_data()?;
        }
        if last < applied.unwrap_or(0) {
            tracing::warn!(last, applied, "the audit log begins anew here: the entries in between are not in it");
        }
        Ok(Self { file, state: Mutex::new(State { end, last }), path: path.to_owned(), failure })
    }

    /// Adds lines for `entries`, which were applied.
    pub(crate) fn append(&self, entries: &[Stored]) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, &Line::of(entry)?)?;
            lines.push(b'\n');
        }
        let mut state = self.state.lock();
        let written = self.file.write_at(&lines, state.end);
        self.failure.noting_write(&format!("writing {}", self.path.display()), written)?;
        state.end += lines.len() as u64;
        state.last = entries.last().map_or(state.last, |entry| entry.at.index);
        Ok(())
    }

    /// Makes all lines durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.failure.noting_sync(&format!("syncing {}", self.path.display()), self.file.sync_data())
    }

    /// The last entry in it; 0 if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.state.lock().last
    }
}

/// Where the last whole line of an entry up to `applied` ends, and which entry that is.
fn place_to_cut(file: &dyn DiskFile, applied: Option<u64>) -> io::Result<(u64, u64)> {
    let length = file.len()?;
    let mut window = TAIL_BYTES;
    loop {
        let from = length.saturating_sub(window);
        let mut tail = vec![0; (length - from) as usize];
        file.read_at(&mut tail, from)?;
        // A line's beginning is known only behind another one's end, or at the beginning of the file.
        let mut begin = match (from, tail.iter().position(|byte| *byte == b'\n')) {
            (0, _) => 0,
            (_, Some(end)) => end + 1,
            (_, None) => tail.len(),
        };
        let mut found = (from == 0).then_some((0, 0));
        while let Some(size) = tail[begin..].iter().position(|byte| *byte == b'\n') {
            let line = serde_json::from_slice::<Head>(&tail[begin..begin + size]);
            match line {
                Ok(Head { seq }) if Some(seq) <= applied => found = Some((from + (begin + size + 1) as u64, seq)),
                _ => break,
            }
            begin += size + 1;
        }
        if let Some(found) = found {
            return Ok(found);
        }
        if window > MAX_TAIL_BYTES {
            return Err(damaged(format!(
                "the last {window} bytes of the audit log hold no entry that the tables have: it belongs to other tables; move it away"
            )));
        }
        window = window.saturating_mul(2);
    }
}

/// As much of a line as is needed to cut.
#[derive(Deserialize)]
struct Head {
    seq: u64,
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The entry that the state reflects.
    pub index: u64,
    /// How many entries of the audit log were applied.
    pub entries: u64,
    /// The state's hash.
    pub hash: [u8; 32],
}

/// Applies the audit log `log` to empty tables, or to those of the backup `from`, in the empty directory `scratch`. Blocks.
///
/// Errs at the first line that is none, or does not follow the one before it.
pub fn replay(log: &Path, from: Option<&Path>, scratch: &Path, disk: &Arc<dyn Disk>) -> io::Result<Replayed> {
    let failure = Failure::new(scratch, disk.clone());
    if let Some(backup) = from {
        let mut installer = Installer::begin(scratch, disk.clone(), failure.clone())?;
        pieces(disk.as_ref(), backup, &mut |piece| installer.push(piece).map_err(io::Error::from))?;
        let (ready, _) = installer.finish()?;
        disk.rename(&ready.path, &scratch.join(FILE))?;
    }
    let store = Store::open(scratch, None, 64 << 20, disk.as_ref(), failure)?;
    let mut entries = 0;
    let mut batch = Vec::new();
    let mut next = match store.applied().index() {
        0 => None,
        index => Some(index + 1),
    };
    lines(disk.as_ref(), log, &mut |number, text| {
        let line: Line = serde_json::from_slice(text).map_err(|error| damaged(format!("line {number}: {error}")))?;
        let expected = next.unwrap_or(if entries == 0 && batch.is_empty() { first_of(line.seq) } else { line.seq });
        if line.seq < expected {
            return Ok(());
        }
        if line.seq > expected {
            return Err(damaged(format!(
                "line {number} is entry {}, and entry {expected} comes next: entries are missing; begin with a backup of entry {} (--from)",
                line.seq,
                line.seq - 1
            )));
        }
        next = Some(line.seq + 1);
        batch.push(line.into_stored());
        if batch.len() >= REPLAY_ENTRIES {
            entries += batch.len() as u64;
            store.apply(&std::mem::take(&mut batch))?;
        }
        Ok(())
    })?;
    entries += batch.len() as u64;
    if !batch.is_empty() {
        store.apply(&batch)?;
    }
    Ok(Replayed { index: store.applied().index(), entries, hash: state_hash(&store.snapshot()?)? })
}

/// The first entry of any log: openraft's numbers begin at 0, with the membership that founds the group.
fn first_of(seq: u64) -> u64 {
    seq.min(1)
}

/// Hands the lines of a file on, with their numbers. A last one without its end is left out: it is torn.
fn lines(disk: &dyn Disk, path: &Path, take: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let (mut rest, mut number) = (Vec::new(), 0);
    pieces(disk, path, &mut |piece| {
        rest.extend_from_slice(piece);
        let mut begin = 0;
        while let Some(size) = rest[begin..].iter().position(|byte| *byte == b'\n') {
            number += 1;
            take(number, &rest[begin..begin + size])?;
            begin += size + 1;
        }
        rest.drain(..begin);
        match rest.len() > MAX_LINE_BYTES {
            true => Err(damaged(format!("line {} is longer than any entry", number + 1))),
            false => Ok(()),
        }
    })
}

/// Hands a file on, a piece at a time.
fn pieces(disk: &dyn Disk, path: &Path, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let file = disk.open(path)?;
    let (length, mut offset, mut piece) = (file.len()?, 0, Vec::new());
    while offset < length {
        piece.resize(PIECE_BYTES.min((length - offset) as usize), 0);
        file.read_at(&mut piece, offset)?;
        take(&piece)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// What a file of these bytes is cut back to for tables at `applied`: for the fuzz target.
#[cfg(test)]
pub(crate) fn cut(bytes: &[u8], applied: u64) -> (Vec<u8>, u64) {
    let disk = testkit::sim_disk::SimDisk::new(1);
    api::disk::replace(&disk, Path::new("/log"), bytes).expect("room");
    let file = disk.open(Path::new("/log")).expect("it is there");
    let (end, last) = place_to_cut(file.as_ref(), Some(applied)).expect("readable");
    (bytes[..end as usize].to_vec(), last)
}

#[cfg(test)]
mod tests {
    use testkit::sim_disk::SimDisk;

    use super::*;

    fn blank(index: u64) -> Stored {
        Stored { at: Position { term: 1, index }, kind: Kind::Blank, body: bytes::Bytes::new() }
    }

    fn open(disk: &SimDisk, applied: Option<u64>) -> AuditLog {
        let failure = Failure::new(Path::new("/"), Arc::new(disk.clone()));
        AuditLog::open(Path::new("/audit.jsonl"), applied, disk, failure).unwrap()
    }

    fn text(disk: &SimDisk) -> String {
        String::from_utf8(api::disk::read(disk, Path::new("/audit.jsonl")).unwrap()).unwrap()
    }

    #[test]
    fn the_file_is_cut_back_to_the_tables() {
        let torn = r#"{"seq":5,"te"#;
        let garbled = "not json\n";
        // (what follows entries 0 to 4, what the tables hold, the last line that stays)
        let table = [
            ("", Some(4), Some(4)),
            ("", Some(9), Some(4)),
            ("", Some(2), Some(2)),
            ("", Some(0), Some(0)),
            ("", None, None),
            (torn, Some(4), Some(4)),
            (torn, Some(3), Some(3)),
            (garbled, Some(9), Some(4)),
        ];
        for (tail, applied, kept) in table {
            let disk = SimDisk::new(1);
            let log = open(&disk, None);
            log.append(&(0..5).map(blank).collect::<Vec<_>>()).unwrap();
            drop(log);
            let file = disk.open(Path::new("/audit.jsonl")).unwrap();
            file.write_at(tail.as_bytes(), file.len().unwrap()).unwrap();
            let log = open(&disk, applied);
            let lines = kept.map_or(0, |kept| kept as usize + 1);
            assert_eq!(text(&disk).lines().count(), lines, "{tail:?} {applied:?}");
            assert_eq!(log.last(), kept.unwrap_or(0), "{tail:?} {applied:?}");
            log.append(&[blank(100)]).unwrap();
            assert_eq!(text(&disk).lines().last(), Some(r#"{"seq":100,"term":1,"ts":""}"#), "{tail:?} {applied:?}");
        }
    }

    /// The place is found from the end, in a file many times longer than what is looked at first.
    #[test]
    fn a_long_file_is_cut_from_its_end() {
        let disk = SimDisk::new(1);
        open(&disk, None).append(&(0..20_000).map(blank).collect::<Vec<_>>()).unwrap();
        assert!(text(&disk).len() as u64 > 4 * TAIL_BYTES);
        for applied in [19_999, 19_000, 15_000, 3] {
            assert_eq!(open(&disk, Some(applied)).last(), applied);
            assert_eq!(text(&disk).lines().count() as u64, applied + 1);
        }
    }
}
