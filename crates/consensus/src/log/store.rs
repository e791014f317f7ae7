//! The log as openraft sees it: translation, and waiting where openraft wants to wait.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::alias::LogIdOf;
use tokio::sync::oneshot;

use super::{Done, LogHome, closed};
use crate::failure::Failure;
use crate::record::{Ballot, Position, Stored};
use crate::types::{Entry, TypeConfig, Vote};

/// Entries read at a time when a whole range is streamed, by payload: what a replay holds in memory.
const READ_BYTES: usize = 8 << 20;

/// The handle that openraft writes and reads through.
#[derive(Clone)]
pub(crate) struct LogStore {
    home: Arc<dyn LogHome>,
    failure: Failure,
}

impl LogStore {
    pub(crate) fn new(home: Arc<dyn LogHome>, failure: Failure) -> Self {
        Self { home, failure }
    }

    /// Starts a write and waits until it is durable.
    async fn durable(&self, doing: &str, start: impl FnOnce(&dyn LogHome, Done)) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        let done: Done = Box::new(move |result| drop(tell.send(result)));
        let result = match self.failure.check() {
            Ok(()) => {
                start(self.home.as_ref(), done);
                told.await.unwrap_or_else(|_| Err(closed()))
            }
            Err(error) => Err(error),
        };
        self.failure.noting_write(doing, result)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = span(&range);
        let read =
            self.home.read(from, to, usize::MAX).and_then(|found| found.into_iter().map(Stored::into_raft).collect());
        self.failure.noting("reading the log", read)
    }

    /// What goes to a follower at a time: bounded by bytes, since an entry may be large.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let read = self.home.read(start, end, READ_BYTES);
        let read = read.and_then(|found| found.into_iter().map(Stored::into_raft).collect());
        self.failure.noting("reading the log", read)
    }

    /// Reads as it goes: a restart may have far more to apply than fits in memory at once.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = span(&range);
        let state = (self.clone(), from, to, Vec::new().into_iter());
        stream::unfold(
            state,
            |(log, from, to, mut ready): (LogStore, u64, u64, std::vec::IntoIter<Stored>)| async move {
                if ready.len() == 0 && from < to {
                    match log.failure.noting("reading the log", log.home.read(from, to, READ_BYTES)) {
                        Ok(found) => ready = found.into_iter(),
                        Err(error) => return Some((Err(error), (log, to, to, ready))),
                    }
                }
                let entry = ready.next()?;
                Some((entry.into_raft(), (log, from + 1, to, ready)))
            },
        )
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.home.vote().map(Ballot::to_raft))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let bounds = self.home.bounds();
        Ok(LogState {
            last_purged_log_id: bounds.purged.map(Position::to_raft),
            last_log_id: bounds.last.map(Position::to_raft),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = Ballot::of(vote);
        self.durable("saving the vote", |home, done| home.save_vote(vote, done)).await
    }

    // The committed index is not saved. A restarted process learns it anew by committing an entry of its own term, which
    // commits all before it; `Group::open` waits for that. Saving it would cost a write per commit and could only say less.

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        self.failure.check()?;
        let failure = self.failure.clone();
        let done = move |result| callback.io_completed(failure.noting_write("appending to the log", result));
        self.home.append(entries.into_iter().map(Stored::of).collect(), Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<TypeConfig>>) -> io::Result<()> {
        let last = last.as_ref().map(Position::of);
        self.durable("truncating the log", |home, done| home.truncate_after(last, done)).await
    }

    async fn purge(&mut self, upto: LogIdOf<TypeConfig>) -> io::Result<()> {
        let upto = Position::of(&upto);
        self.durable("purging the log", |home, done| home.purge(upto, done)).await
    }
}

/// `range` as "from, up to but without".
fn span(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(&from) => from,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&to) => to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}
