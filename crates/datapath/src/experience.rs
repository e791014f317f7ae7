//! What this process has learned of a node by using it.
//!
//! Recent latencies give the median that a write is patient by and the p95 that a read is hedged at. A node that was silent
//! for too long is *slow*: it is asked last, and written to only if nobody else will do, until a probe answers.

use std::time::Duration;

use api::metadata::Seen;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many latencies are remembered: enough for a p95, few enough to forget a bad minute.
const WINDOW: usize = 64;

/// One node's recent past.
#[derive(Debug, Default)]
pub(crate) struct Experience(Mutex<Past>);

#[derive(Debug, Default)]
struct Past {
    puts: Window,
    gets: Window,
    slow: bool,
    answered: Option<Instant>,
    /// Gets under way.
    asked: usize,
    /// Since when it has owed an answer to some of them and given none to any.
    owes_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Window {
    recent: Vec<Duration>,
    next: usize,
}

impl Window {
    fn add(&mut self, took: Duration) {
        match self.recent.len() < WINDOW {
            true => self.recent.push(took),
            false => self.recent[self.next] = took,
        }
        self.next = (self.next + 1) % WINDOW;
    }

    fn quantile(&self, of_100: usize) -> Option<Duration> {
        let mut sorted = self.recent.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * of_100 / 100).min(sorted.len().saturating_sub(1))).copied()
    }
}

impl Experience {
    /// A put was answered after `took`.
    pub fn put_took(&self, took: Duration) {
        let mut past = self.0.lock();
        past.puts.add(took);
        past.answered = Some(Instant::now());
    }

    /// A get begins; it is over when this is dropped.
    pub fn begin_get(&self) -> Asked<'_> {
        let mut past = self.0.lock();
        past.asked += 1;
        past.owes_since.get_or_insert_with(Instant::now);
        Asked(self)
    }

    /// A get was answered after `took`.
    pub fn get_took(&self, took: Duration) {
        self.0.lock().gets.add(took);
        self.get_answered();
    }

    /// A get was answered, if only with an error: it is not silent.
    pub fn get_answered(&self) {
        let (mut past, now) = (self.0.lock(), Some(Instant::now()));
        (past.answered, past.owes_since) = (now, now);
    }

    /// When it has been silent for `time`, as seen by somebody who has waited since `asked`: earlier if others have waited for longer.
    pub fn silent_at(&self, asked: Instant, time: Duration) -> Instant {
        self.0.lock().owes_since.map_or(asked, |since| since.min(asked)) + time
    }

    /// The usual time of a put.
    pub fn put_median(&self) -> Option<Duration> {
        self.0.lock().puts.quantile(50)
    }

    /// The time that 95 of 100 gets stay below.
    pub fn get_p95(&self) -> Option<Duration> {
        self.0.lock().gets.quantile(95)
    }

    /// Whether it was silent for too long and no probe has answered since.
    pub fn is_slow(&self) -> bool {
        self.0.lock().slow
    }

    /// How it looks from here: silent, or it answered within `lately`; `None` if it was not asked.
    pub fn seen(&self, lately: Duration) -> Option<Seen> {
        let past = self.0.lock();
        match (past.slow, past.answered) {
            (true, _) => Some(Seen::Silent),
            (false, Some(answered)) if answered.elapsed() <= lately => Some(Seen::Answers),
            (false, _) => None,
        }
    }

    /// Notes that it was silent for too long; true if that is news, and somebody should begin to probe.
    pub fn mark_slow(&self) -> bool {
        !std::mem::replace(&mut self.0.lock().slow, true)
    }

    /// Notes that a probe was answered.
    pub fn mark_well(&self) {
        self.0.lock().slow = false;
    }
}

/// A get that is under way.
pub(crate) struct Asked<'a>(&'a Experience);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut past = self.0.0.lock();
        past.asked -= 1;
        if past.asked == 0 {
            past.owes_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_recent_past() {
        let experience = Experience::default();
        assert_eq!(experience.put_median(), None);
        (0..1000).for_each(|_| experience.get_took(Duration::from_secs(9)));
        (0..64).for_each(|ms| experience.get_took(Duration::from_millis(ms)));
        assert_eq!(experience.get_p95(), Some(Duration::from_millis(60)), "the nine seconds are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_asked_lately_has_no_opinion() {
        let (experience, lately) = (Experience::default(), Duration::from_secs(3));
        assert_eq!(experience.seen(lately), None);
        experience.put_took(Duration::from_millis(1));
        assert_eq!(experience.seen(lately), Some(Seen::Answers));
        // waits: the clock is paused.
        tokio::time::sleep(lately * 2).await;
        assert_eq!(experience.seen(lately), None);
        experience.get_took(Duration::from_millis(1));
        assert_eq!(experience.seen(lately), Some(Seen::Answers));
        experience.mark_slow();
        assert_eq!(experience.seen(lately), Some(Seen::Silent));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_first_question_without_an_answer() {
        let (experience, time) = (Experience::default(), Duration::from_millis(50));
        let first = Instant::now();
        let asked = experience.begin_get();
        // waits: the clock is paused.
        tokio::time::sleep(Duration::from_millis(40)).await;
        let second = Instant::now();
        let other = experience.begin_get();
        assert_eq!(experience.silent_at(second, time), first + time);
        drop(asked);
        assert_eq!(experience.silent_at(second, time), first + time, "given up is not answered");
        experience.get_answered();
        assert_eq!(experience.silent_at(second, time), second + time);
        drop(other);
        // waits: the clock is paused.
        tokio::time::sleep(Duration::from_millis(40)).await;
        assert_eq!(experience.silent_at(Instant::now(), time), Instant::now() + time, "it owes nobody anything");
    }

    #[test]
    fn slow_is_news_once() {
        let experience = Experience::default();
        assert!(experience.mark_slow() && !experience.mark_slow());
        experience.mark_well();
        assert!(!experience.is_slow() && experience.mark_slow());
    }
}
