//! The log in the `raft-log` crate: chunk files of 16 MiB, one flush thread, one `fdatasync` for whatever waits.
//!
//! **Group commit.** `raft-log` could wait a moment for company before each sync; its default is 1 ms, paid by a lone writer too.
//! With that wait at 0 it syncs once per request. So requests are formed here: at most one flush is under way, and all that is
//! appended meanwhile shares the next one. A lone append is synced at once, sixty-four concurrent ones in about two syncs, and
//! nobody waits for a timer.
//!
//! The flush thread calls back into this module and therefore never takes the log's lock, which a writer may hold while it
//! waits for that very thread. Torn and zeroed tails are cut by `raft-log` when it opens; a damaged record before the tail is
//! an error. Chunk files go only after the record of their purge is durable.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use domain::Crc32c;
use parking_lot::Mutex;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::codeq::{Decode, Encode};
use raft_log::{Callback, RaftLog};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Bounds, Commits, Done, LogHome, closed};
use crate::record::{Ballot, Kind, Position, Stored, damaged};
use crate::settings::Settings;

/// The log and what waits for its next flush.
pub(crate) struct ChunkedLog {
    /// `None` once closed.
    log: Mutex<Option<RaftLog<Types>>>,
    flushes: Arc<Flushes>,
}

/// Who waits for a flush. Locked after `log`, never before it.
#[derive(Default)]
struct Flushes {
    state: Mutex<Waiting>,
    /// Wakes the task that starts the next flush.
    next: Notify,
}

#[derive(Default)]
struct Waiting {
    under_way: bool,
    closed: bool,
    done: Vec<Done>,
    /// When the oldest write of the flush under way began to wait, and the oldest of those behind it.
    since: (Option<Instant>, Option<Instant>),
    last_batch: u64,
}

impl Waiting {
    /// What the next flush covers.
    fn next(&mut self) -> Vec<Done> {
        self.since = (self.since.1, None);
        std::mem::take(&mut self.done)
    }
}

impl ChunkedLog {
    /// Opens the log in `dir`, whose files the caller has synced. Must be called where a tokio runtime is.
    pub(crate) fn open(dir: &Path, settings: &Settings) -> io::Result<Arc<Self>> {
        let mut config = raft_log::Config::new(dir.display());
        config.log_cache_capacity = Some(settings.log_cache_bytes);
        config.wal.chunk_max_size = Some(settings.log_file_bytes);
        config.wal.read_buffer_size = Some(1 << 20);
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        let log = RaftLog::open(Arc::new(config))?;
        let flushes = Arc::new(Flushes::default());
        let this = Arc::new(Self { log: Mutex::new(Some(log)), flushes });
        let task = follow_up(Arc::downgrade(&this), this.flushes.clone());
        tokio::runtime::Handle::try_current().map_err(io::Error::other)?.spawn(task);
        Ok(this)
    }

    /// Writes into the log's buffer with `write`, and has `done` called after the flush that covers it.
    fn write(&self, done: Done, write: impl FnOnce(&mut RaftLog<Types>) -> io::Result<()>) {
        let mut log = self.log.lock();
        let written = log.as_mut().ok_or_else(closed).and_then(write);
        if let Err(error) = written {
            drop(log);
            return done(Err(error));
        }
        let batch = {
            let mut waiting = self.flushes.state.lock();
            waiting.done.push(done);
            waiting.since.1.get_or_insert_with(Instant::now);
            if waiting.under_way {
                return;
            }
            waiting.under_way = true;
            waiting.next()
        };
        self.flush(log.as_mut(), batch);
    }

    /// Starts the flush of all that was written so far.
    fn flush(&self, log: Option<&mut RaftLog<Types>>, done: Vec<Done>) {
        let flushed = Flushed { done, flushes: self.flushes.clone() };
        // When `flush` errs, the flush thread is gone. `flushed` was dropped then, which tells those who wait.
        if let Some(log) = log
            && let Err(error) = log.flush(true, Some(flushed))
        {
            tracing::error!(%error, "the log's flush thread takes no more");
        }
    }
}

/// Starts the next flush whenever one ended and more is waiting. Ends when the log is closed.
async fn follow_up(log: Weak<ChunkedLog>, flushes: Arc<Flushes>) {
    loop {
        flushes.next.notified().await;
        let Some(this) = log.upgrade() else { return };
        let mut log = this.log.lock();
        let batch = {
            let mut waiting = this.flushes.state.lock();
            if waiting.closed {
                return;
            }
            waiting.next()
        };
        this.flush(log.as_mut(), batch);
    }
}

/// The end of one flush: tells those who waited for it, and lets the next begin.
struct Flushed {
    done: Vec<Done>,
    flushes: Arc<Flushes>,
}

impl Callback for Flushed {
    fn send(mut self, result: io::Result<()>) {
        self.tell(&result);
    }
}

impl Flushed {
    /// A flush writes and syncs, and its error does not say which of them failed: so a full disk is taken for a failed sync too.
    fn tell(&mut self, result: &io::Result<()>) {
        let batch = self.done.len() as u64;
        for done in std::mem::take(&mut self.done) {
            done(result.as_ref().map(|_| ()).map_err(|error| match error.kind() {
                io::ErrorKind::NotConnected => closed(),
                _ => io::Error::other(format!("flushing the log: {error}")),
            }));
        }
        let mut waiting = self.flushes.state.lock();
        (waiting.last_batch, waiting.since.0) = (batch, None);
        match waiting.done.is_empty() {
            true => waiting.under_way = false,
            false => self.flushes.next.notify_one(),
        }
    }
}

impl Drop for Flushed {
    /// Covers a callback that was dropped without being called: the flush thread is gone.
    fn drop(&mut self) {
        if !self.done.is_empty() {
            let closed = self.flushes.state.lock().closed;
            let why = if closed { self::closed() } else { io::Error::other("the log's flush thread is gone") };
            self.tell(&Err(why));
        }
    }
}

impl LogHome for ChunkedLog {
    fn bounds(&self) -> Bounds {
        let log = self.log.lock();
        log.as_ref().map_or_else(Bounds::default, |log| {
            let state = log.log_state();
            Bounds { purged: state.purged().copied(), last: state.last().copied() }
        })
    }

    fn vote(&self) -> Option<Ballot> {
        self.log.lock().as_ref()?.log_state().vote().copied()
    }

    fn save_vote(&self, vote: Ballot, done: Done) {
        self.write(done, |log| log.save_vote(vote).map(drop));
    }

    fn append(&self, entries: Vec<Stored>, done: Done) {
        let entries = entries.into_iter().map(|entry| (entry.at, Payload { kind: entry.kind, body: entry.body }));
        self.write(done, |log| log.append(entries).map(drop));
    }

    fn truncate_after(&self, last: Option<Position>, done: Done) {
        let from = last.map_or(0, |last| last.index + 1);
        self.write(done, |log| match log.log_state().last() {
            Some(end) if from <= end.index => log.truncate(from).map(drop),
            _ => Ok(()),
        });
    }

    fn purge(&self, upto: Position, done: Done) {
        self.write(done, |log| log.purge(upto).map(drop));
    }

    fn read(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<Stored>> {
        let log = self.log.lock();
        let log = log.as_ref().ok_or_else(closed)?;
        let (mut found, mut size) = (Vec::new(), 0);
        for entry in log.read(from, to) {
            let (at, Payload { kind, body }) = entry?;
            size += body.len();
            found.push(Stored { at, kind, body });
            if size > bytes {
                break;
            }
        }
        Ok(found)
    }

    fn commits(&self) -> Commits {
        let waiting = self.flushes.state.lock();
        let oldest = waiting.since.0.or(waiting.since.1);
        Commits {
            last_batch: waiting.last_batch,
            oldest_waiting: oldest.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    fn file_bytes(&self) -> u64 {
        self.log.lock().as_ref().map_or(0, RaftLog::on_disk_size)
    }

    fn close(&self) {
        let log = self.log.lock().take();
        self.flushes.state.lock().closed = true;
        self.flushes.next.notify_one();
        drop(log);
    }
}

impl Drop for ChunkedLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// The types that `raft-log` is instantiated with; how they are written is below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Types;

impl raft_log::Types for Types {
    type LogId = Position;
    type LogPayload = Payload;
    type Vote = Ballot;
    type Callback = Flushed;
    type UserData = ();

    fn log_index(at: &Position) -> u64 {
        at.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.body.len() as u64
    }
}

/// An entry's kind and bytes: `kind u8 | length u32 | crc32c u32 of these five | bytes`.
///
/// `raft-log` checksums whole records, and takes one that runs past the end of the file for a torn tail, to be cut. A flipped
/// bit in a length would make that of a record in the middle, and drop all after it without a word. So the length is checked
/// before it is believed.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) kind: Kind,
    pub(crate) body: bytes::Bytes,
}

impl Encode for Payload {
    fn encode<W: io::Write>(&self, mut to: W) -> io::Result<usize> {
        let length = u32::try_from(self.body.len()).map_err(io::Error::other)?;
        let head = head(self.kind as u8, length);
        to.write_all(&head)?;
        to.write_all(&self.body)?;
        Ok(head.len() + self.body.len())
    }
}

impl Decode for Payload {
    fn decode<R: io::Read>(mut from: R) -> io::Result<Self> {
        let mut found = [0; 9];
        from.read_exact(&mut found)?;
        let length = u32::from_le_bytes([found[1], found[2], found[3], found[4]]);
        if found != head(found[0], length) {
            return Err(damaged("an entry's length is damaged".into()));
        }
        let mut body = vec![0; length as usize];
        from.read_exact(&mut body)?;
        Ok(Self { kind: Kind::from_byte(found[0])?, body: body.into() })
    }
}

fn head(kind: u8, length: u32) -> [u8; 9] {
    let mut head = [0; 9];
    head[0] = kind;
    head[1..5].copy_from_slice(&length.to_le_bytes());
    let Crc32c(crc) = Crc32c::of(&head[..5]);
    head[5..].copy_from_slice(&crc.to_le_bytes());
    head
}

impl Encode for Position {
    fn encode<W: io::Write>(&self, mut to: W) -> io::Result<usize> {
        to.write_all(&self.term.to_le_bytes())?;
        to.write_all(&self.index.to_le_bytes())?;
        Ok(16)
    }
}

impl Decode for Position {
    fn decode<R: io::Read>(mut from: R) -> io::Result<Self> {
        Ok(Self { term: number(&mut from)?, index: number(&mut from)? })
    }
}

impl Encode for Ballot {
    fn encode<W: io::Write>(&self, mut to: W) -> io::Result<usize> {
        to.write_all(&self.term.to_le_bytes())?;
        to.write_all(&self.node.to_le_bytes())?;
        to.write_all(&[u8::from(self.granted)])?;
        Ok(17)
    }
}

impl Decode for Ballot {
    fn decode<R: io::Read>(mut from: R) -> io::Result<Self> {
        let (term, node) = (number(&mut from)?, number(&mut from)?);
        let mut granted = [0; 1];
        from.read_exact(&mut granted)?;
        Ok(Self { term, node, granted: granted[0] != 0 })
    }
}

fn number(from: &mut impl io::Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn open(dir: &Path) -> io::Result<Arc<ChunkedLog>> {
        ChunkedLog::open(dir, &Settings::new(dir))
    }

    fn entry(index: u64) -> Stored {
        Stored { at: Position { term: 1, index }, kind: Kind::Commands, body: vec![7; 40].into() }
    }

    /// Appends entries `from..to` one call each, without waiting in between; then waits for all.
    async fn append(log: &Arc<ChunkedLog>, from: u64, to: u64) {
        let (tell, told) = mpsc::channel();
        for index in from..to {
            let tell = tell.clone();
            log.append(vec![entry(index)], Box::new(move |result| tell.send(result).unwrap()));
        }
        drop(tell);
        let all = tokio::task::spawn_blocking(move || told.iter().map(Result::unwrap).count());
        assert_eq!(all.await.unwrap() as u64, to - from);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn appends_that_wait_share_a_sync() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).unwrap();
        append(&log, 0, 1000).await;
        let syncs = log.log.lock().as_ref().unwrap().stat().flush_metrics.sync_batch_count;
        assert!(syncs <= 500, "{syncs} syncs for 1000 appends");
        log.close();
    }

    /// A flipped bit is an error wherever it is, and never a shorter log; a cut end is a shorter log.
    #[tokio::test(flavor = "multi_thread")]
    async fn damage_is_told_from_a_torn_tail() {
        let home = tempfile::tempdir().unwrap();
        let log = open(home.path()).unwrap();
        append(&log, 0, 3).await;
        log.close();
        let name = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let name = name.into_iter().find(|name| name.to_string_lossy().ends_with(".wal")).unwrap();
        let whole = std::fs::read(home.path().join(&name)).unwrap();
        let reopen = |bytes: &[u8]| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(&name), bytes).unwrap();
            let log = open(dir.path())?;
            let last = log.bounds().last.map(|last| last.index);
            log.close();
            io::Result::Ok(last)
        };
        assert_eq!(reopen(&whole).unwrap(), Some(2));
        assert_eq!(reopen(&whole[..whole.len() - 3]).unwrap(), Some(1), "cut");
        let mut zeros = whole.clone();
        zeros.resize(whole.len() + 5000, 0);
        assert_eq!(reopen(&zeros).unwrap(), Some(2), "a grown file whose bytes never came");
        for at in 0..whole.len() {
            let mut hurt = whole.clone();
            hurt[at] ^= 0x04;
            assert!(reopen(&hurt).is_err(), "bit flipped in byte {at} of {}", whole.len());
        }
    }
}
