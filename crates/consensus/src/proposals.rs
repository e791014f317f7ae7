//! Group commit: proposals that wait together become one log entry, and share its syncs.
//!
//! One entry is on its way at a time. What arrives meanwhile goes into the next: with *n* writers an entry carries about *n* commands, so the
//! syncs and round trips of each are shared by *n*. A writer alone waits for nobody: its proposal leaves at once.
//!
//! # Waiting for those who come back
//!
//! When an entry of *n* proposals is answered, their writers are about to send the next ones, and not all at the same instant. Whoever is
//! first would travel alone, and the *n* − 1 others behind it. So after an entry of *n*, when *m* more wait already, the next one leaves when
//! *n* + *m* have gathered. Without the *m* two groups of writers would take turns for ever, each waiting for its own only. After an entry of
//! one, with nobody else there, nothing is waited for.
//!
//! All of them are waited for during a quarter of the time that an entry takes: where a sync is slow, they are back long before. Where it is
//! fast, what takes its time is serving them: then three quarters of them are enough, and the others are served while the disk works. Fewer
//! are waited for as long as they keep coming, at most as long as an entry takes; after a quarter of that time without anybody the entry
//! leaves (a timer may be late by a millisecond).
//!
//! Writers who think between two commits do not come back at once. After a wait in which nobody came the next entry is not waited for, after
//! a second such wait the next three, then seven, up to [`MAX_UNAWAITED`].
//!
//! Source: the idea is as old as IMS Fast Path; P. Helland et al., "Group Commit Timers and High Volume Transaction Systems", HPTS 1987.

use std::sync::Arc;
use std::time::Duration;

use meta::{Command, Reply};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::MAX_ENTRY_BYTES;
use crate::error::ProposeError;
use crate::group::Proposed;

/// Proposals that may wait; further ones are refused, and nothing was done.
pub(crate) const QUEUE: usize = 4_096;

/// The most commands of an entry.
const MAX_COMMANDS: usize = 4_096;

/// Bytes of an entry besides its commands, at most.
pub(crate) const OVERHEAD: usize = 64;

/// The most entries that leave without a wait because waits were in vain.
const MAX_UNAWAITED: u32 = 63;

/// Commands that belong together, and who waits for their replies.
pub(crate) struct Proposal {
    /// The term in which they were planned, if they hold in no other.
    pub(crate) reign: Option<u64>,
    pub(crate) commands: Vec<Command>,
    /// How long they are, encoded.
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Result<Proposed, ProposeError>>,
}

/// Sends commands as one entry.
pub(crate) trait Write: Send + Sync + 'static {
    /// The entry's place and a reply for each command.
    fn write(
        &self,
        reign: Option<u64>,
        commands: Vec<Command>,
    ) -> impl Future<Output = Result<Proposed, ProposeError>> + Send;
}

/// Gathers proposals and sends them, until all senders are gone.
pub(crate) async fn run<W: Write>(mut queue: mpsc::Receiver<Proposal>, writer: Arc<W>) {
    let mut gathered = Gathered::default();
    while gathered.fill(&mut queue).await {
        let (reign, proposals) = gathered.take();
        let begun = Instant::now();
        let counts: Vec<usize> = proposals.iter().map(|proposal| proposal.commands.len()).collect();
        let (commands, waiting): (Vec<_>, Vec<_>) =
            proposals.into_iter().map(|proposal| (proposal.commands, proposal.answer)).unzip();
        let written = writer.write(reign, commands.into_iter().flatten().collect()).await;
        gathered.expect(waiting.len() + queue.len(), begun.elapsed());
        answer(written, &counts, waiting);
    }
}

/// Gives each proposal its part of the replies.
fn answer(
    written: Result<Proposed, ProposeError>,
    counts: &[usize],
    waiting: Vec<oneshot::Sender<Result<Proposed, ProposeError>>>,
) {
    let (index, term, mut replies) = match written {
        Ok(Proposed { index, term, replies }) => (index, term, replies.into_iter()),
        Err(error) => {
            waiting.into_iter().for_each(|waiting| drop(waiting.send(Err(error.clone()))));
            return;
        }
    };
    for (waiting, count) in waiting.into_iter().zip(counts) {
        let replies: Vec<Reply> = replies.by_ref().take(*count).collect();
        // Whoever asked may have gone; the entry stands.
        waiting.send(Ok(Proposed { index, term, replies })).ok();
    }
}

/// Proposals that have arrived, and what is known of those to come.
#[derive(Default)]
struct Gathered {
    proposals: Vec<Proposal>,
    expected: Option<Expected>,
    /// Waits in a row in which nobody came.
    vain: u32,
    /// Entries that leave without a wait before there is one again.
    unawaited: u32,
}

/// Writers who are likely to come soon.
struct Expected {
    count: usize,
    since: Instant,
    /// How long all of them are waited for, and anybody of them while nobody comes.
    patience: Duration,
}

impl Expected {
    /// Whether an entry of so many may leave.
    fn is_met(&self, gathered: usize) -> bool {
        let most = self.count - self.count / 4;
        gathered >= self.count || (gathered >= most && self.since.elapsed() >= self.patience)
    }

    /// Until when the next one is waited for.
    fn until(&self) -> Instant {
        (Instant::now() + self.patience).min(self.since + 4 * self.patience)
    }
}

impl Gathered {
    /// Waits until an entry is worth sending. False if nothing will ever come.
    async fn fill(&mut self, queue: &mut mpsc::Receiver<Proposal>) -> bool {
        if let Some(expected) = self.expected.take() {
            let known = self.proposals.len() + queue.len();
            let mut in_vain = false;
            while !expected.is_met(self.proposals.len()) {
                match timeout_at(expected.until(), queue.recv()).await {
                    Ok(Some(proposal)) => self.proposals.push(proposal),
                    Ok(None) => break,
                    Err(_) => {
                        in_vain = self.proposals.len() <= known;
                        break;
                    }
                }
            }
            self.vain = if in_vain { self.vain.saturating_add(1) } else { 0 };
            self.unawaited = ((1 << self.vain.min(31)) - 1u32).min(MAX_UNAWAITED);
        }
        if self.proposals.is_empty() {
            match queue.recv().await {
                Some(proposal) => self.proposals.push(proposal),
                None => return false,
            }
        }
        while self.proposals.len() < MAX_COMMANDS
            && let Ok(proposal) = queue.try_recv()
        {
            self.proposals.push(proposal);
        }
        true
    }

    /// What fits into one entry, in order of arrival: all of one reign, or of none.
    fn take(&mut self) -> (Option<u64>, Vec<Proposal>) {
        let reign = self.proposals[0].reign;
        let (mut bytes, mut commands) = (OVERHEAD, 0);
        let fits = |proposal: &Proposal| {
            bytes += proposal.bytes;
            commands += proposal.commands.len();
            proposal.reign == reign && bytes <= MAX_ENTRY_BYTES && commands <= MAX_COMMANDS
        };
        // The first one fits by itself: whoever proposes more than an entry holds is refused before.
        let count = 1.max(
            self.proposals
                .iter()
                .position({
                    let mut fits = fits;
                    move |proposal| !fits(proposal)
                })
                .unwrap_or(self.proposals.len()),
        );
        (reign, self.proposals.drain(..count).collect())
    }

    /// After an entry that took so long: its writers and those who queue meanwhile are `count`.
    fn expect(&mut self, count: usize, took: Duration) {
        let count = (count + self.proposals.len()).min(MAX_COMMANDS);
        if count > 1 && self.unawaited > 0 {
            self.unawaited -= 1;
            return;
        }
        self.expected = (count > 1).then(|| Expected { count, since: Instant::now(), patience: took / 4 });
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Takes so many milliseconds for an entry, and remembers how large each was.
    struct Slow(Mutex<Vec<usize>>, u64);

    impl Write for Slow {
        async fn write(&self, reign: Option<u64>, commands: Vec<Command>) -> Result<Proposed, ProposeError> {
            tokio::time::sleep(Duration::from_millis(self.1)).await; // waits: an entry takes time, on a paused clock
            self.0.lock().push(commands.len());
            match reign {
                Some(0) => Err(ProposeError::Unavailable("no reign".into())),
                _ => Ok(Proposed { index: 7, term: 1, replies: vec![Reply::Done; commands.len()] }),
            }
        }
    }

    async fn propose(
        queue: &mpsc::Sender<Proposal>,
        reign: Option<u64>,
        count: usize,
        bytes: usize,
    ) -> Result<usize, ProposeError> {
        let (answer, answered) = oneshot::channel();
        let proposal = Proposal { reign, commands: vec![Command::Barrier; count], bytes, answer };
        assert!(queue.try_send(proposal).is_ok());
        answered.await.unwrap().map(|proposed| proposed.replies.len())
    }

    fn start() -> (mpsc::Sender<Proposal>, Arc<Slow>) {
        start_slow(10)
    }

    fn start_slow(entry_ms: u64) -> (mpsc::Sender<Proposal>, Arc<Slow>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Arc::new(Slow(Mutex::default(), entry_ms));
        tokio::spawn(run(queue, writer.clone()));
        (sender, writer)
    }

    /// Writers that come back one after the other within a moment share an entry all the same.
    #[tokio::test(start_paused = true)]
    async fn entries_are_as_large_as_there_are_writers() {
        let (queue, writer) = start();
        let writers: Vec<_> = (0..16u64)
            .map(|nth| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    for _ in 0..50 {
                        tokio::time::sleep(Duration::from_micros(nth * 100)).await; // waits: they do not come at the same instant
                        assert_eq!(propose(&queue, None, 1, 100).await, Ok(1));
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let entries = writer.0.lock().clone();
        assert_eq!(entries.iter().sum::<usize>(), 800);
        assert!(entries.len() <= 56, "{} entries for 50 rounds: {entries:?}", entries.len());
    }

    /// Writers who begin while the others' entry is on its way do not stay a group of their own.
    #[tokio::test(start_paused = true)]
    async fn two_groups_of_writers_become_one() {
        let (queue, writer) = start_slow(100);
        let writers: Vec<_> = (0..16u64)
            .map(|nth| {
                let (queue, late) = (queue.clone(), nth >= 12);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(if late { 50 } else { 0 })).await; // waits: it comes later
                    for _ in 0..50 {
                        assert_eq!(propose(&queue, None, 1, 100).await, Ok(1));
                        tokio::time::sleep(Duration::from_millis(nth)).await; // waits: they come back one after the other
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let entries = writer.0.lock().clone();
        assert!(entries.len() <= 54, "{} entries for 50 rounds: {entries:?}", entries.len());
    }

    /// Sixteen writers are expected. All leave at once; twelve when the wait is over, though no timer has fired; fewer when one has.
    #[tokio::test(start_paused = true)]
    async fn most_of_the_writers_are_enough_when_serving_them_takes_longer_than_the_wait() {
        for (came, passed_us, entry, waits) in
            [(16, 0, 16, false), (12, 400, 12, false), (14, 400, 14, false), (12, 0, 12, true), (11, 400, 11, true)]
        {
            let (sender, mut queue) = mpsc::channel(QUEUE);
            for _ in 0..came {
                let proposal = Proposal { reign: None, commands: Vec::new(), bytes: 1, answer: oneshot::channel().0 };
                assert!(sender.try_send(proposal).is_ok());
            }
            let mut gathered = Gathered::default();
            gathered.expect(16, Duration::from_micros(4 * 300));
            tokio::time::advance(Duration::from_micros(passed_us)).await;
            let begun = Instant::now();
            assert!(gathered.fill(&mut queue).await);
            assert_eq!(gathered.take().1.len(), entry);
            assert_eq!(begun.elapsed() > Duration::ZERO, waits, "{came} of 16 came");
            // Once, whoever was there before the wait began made it count as in vain.
            assert_eq!(gathered.vain > 0, waits, "{came} of 16 came");
        }
    }

    /// Writers who take longer to come back than the disk: they are waited for while they come, as long as an entry takes.
    #[tokio::test(start_paused = true)]
    async fn writers_who_keep_coming_are_waited_for() {
        let (queue, writer) = start_slow(40);
        let writers: Vec<_> = (0..16u64)
            .map(|nth| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    for _ in 0..50 {
                        tokio::time::sleep(Duration::from_millis(nth * 2)).await; // waits: they come one after the other
                        assert_eq!(propose(&queue, None, 1, 100).await, Ok(1));
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        // Towards the end some writers have done their fifty.
        let carried: usize = writer.0.lock()[..50].iter().sum();
        assert!(carried >= 575, "{carried} commits in 50 entries: {:?}", writer.0.lock());
    }

    /// Two writers who think for a while between commits: what was waited for in vain is waited for ever more rarely.
    #[tokio::test(start_paused = true)]
    async fn who_never_comes_back_at_once_is_not_waited_for() {
        let (_sender, mut queue) = mpsc::channel(QUEUE);
        let mut gathered = Gathered::default();
        let begun = Instant::now();
        for _ in 0..200 {
            let proposal = Proposal { reign: None, commands: Vec::new(), bytes: 1, answer: oneshot::channel().0 };
            gathered.proposals.push(proposal);
            assert!(gathered.fill(&mut queue).await);
            gathered.take();
            gathered.expect(2, Duration::from_millis(10));
        }
        let waits = begun.elapsed().as_millis() / 3;
        assert!((5..=8).contains(&waits), "{waits} waits for 200 entries");
    }

    /// Alone nobody waits: each proposal takes as long as its entry.
    #[tokio::test(start_paused = true)]
    async fn a_writer_alone_waits_for_nobody() {
        let (queue, _) = start();
        let begun = Instant::now();
        for _ in 0..10 {
            assert_eq!(propose(&queue, None, 3, 100).await, Ok(3));
        }
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_go_together_goes_one_after_the_other() {
        let (queue, writer) = start();
        let half = MAX_ENTRY_BYTES / 2;
        let all = tokio::join!(
            propose(&queue, None, 1, 10),
            propose(&queue, None, 1, half),
            propose(&queue, None, 2, half),
            propose(&queue, Some(3), 4, 10),
            propose(&queue, Some(0), 8, 10),
        );
        assert!(matches!(all, (Ok(1), Ok(1), Ok(2), Ok(4), Err(ProposeError::Unavailable(_)))), "{all:?}");
        assert_eq!(*writer.0.lock(), [2, 2, 4, 8]);
    }
}
