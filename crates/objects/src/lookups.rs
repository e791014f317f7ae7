//! Lookups that may be stale, for those who ask for them (`EDGE_COORD_LOOKUP_CACHE_TTL`; off unless set).
//!
//! Each read normally asks the coordinators, which costs a round trip and is linearizable. A gateway that serves the same few objects to
//! many readers can be told to remember what it looked up for a while. What this gives up: a change through *another* gateway
//! is seen up to that while later, and deletes do not wait for a remembered lookup, so an object that was replaced can be unreadable
//! for one request; its bytes are never wrong, because chunks are found by what they contain. What it keeps: a change through *this* gateway is
//! seen at once, conditional writes are judged by the coordinators, and what failed to be read is looked up anew.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use api::metadata::Found;
use domain::record::ObjectName;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Chunk references that are remembered in all: some 10 MiB.
const MAX_REFERENCES: usize = 65_536;

/// What was looked up lately. Without a time to live it remembers nothing.
#[derive(Debug)]
pub(crate) struct Lookups {
    time_to_live: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    found: HashMap<ObjectName, (Found, Instant)>,
    /// Oldest first. A name that was forgotten since is passed over.
    ages: VecDeque<(ObjectName, Instant)>,
    references: usize,
    /// Grows with each change: a lookup that was under way across one is not remembered.
    changes: u64,
}

/// That a lookup begins, to be shown when its answer is to be remembered.
pub(crate) struct Begun(u64);

impl Lookups {
    pub fn new(time_to_live: Duration) -> Self {
        Self { time_to_live, kept: Mutex::default() }
    }

    /// What is remembered of `name`, if that is young enough.
    pub fn get(&self, name: &ObjectName) -> Option<Found> {
        let kept = self.kept.lock();
        let (found, since) = kept.found.get(name)?;
        (since.elapsed() < self.time_to_live).then(|| found.clone())
    }

    /// To be called before the coordinators are asked.
    pub fn begin(&self) -> Begun {
        Begun(self.kept.lock().changes)
    }

    /// Remembers an answer, unless something was changed since it was asked for.
    pub fn put(&self, name: &ObjectName, found: &Found, begun: Begun) {
        if self.time_to_live.is_zero() {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.changes != begun.0 {
            return;
        }
        let now = Instant::now();
        kept.remove(name);
        kept.references += cost(found);
        kept.found.insert(name.clone(), (found.clone(), now));
        kept.ages.push_back((name.clone(), now));
        kept.trim(now, self.time_to_live);
    }

    /// Forgets `name`: it is changed, or could not be read.
    pub fn forget(&self, name: &ObjectName) {
        if self.time_to_live.is_zero() {
            return;
        }
        let mut kept = self.kept.lock();
        kept.changes += 1;
        kept.remove(name);
    }

    /// Forgets `name` when dropped: what a change does must be seen afterwards, however its request ended.
    pub fn forget_after<'a>(&'a self, name: Option<&'a ObjectName>) -> impl Drop + 'a {
        ForgetAfter { lookups: self, name }
    }
}

struct ForgetAfter<'a> {
    lookups: &'a Lookups,
    name: Option<&'a ObjectName>,
}

impl Drop for ForgetAfter<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            self.lookups.forget(name);
        }
    }
}

fn cost(found: &Found) -> usize {
    found.first.references() + 1
}

impl Kept {
    fn remove(&mut self, name: &ObjectName) {
        if let Some((found, _)) = self.found.remove(name) {
            self.references -= cost(&found);
        }
    }

    /// Drops what is too old, and the oldest while there is too much.
    fn trim(&mut self, now: Instant, time_to_live: Duration) {
        while let Some((name, since)) = self.ages.front().cloned() {
            let crowded = self.references > MAX_REFERENCES || self.ages.len() > MAX_REFERENCES;
            if !crowded && now.duration_since(since) < time_to_live {
                break;
            }
            self.ages.pop_front();
            if self.found.get(&name).is_some_and(|(_, kept_since)| *kept_since == since) {
                self.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::record::ObjectRow;
    use domain::{BucketName, LogPosition, ObjectKey};

    fn name(key: &str) -> ObjectName {
        ObjectName { bucket: BucketName::parse("b").unwrap(), key: ObjectKey::parse(key.as_bytes()).unwrap() }
    }

    fn found(version: u64) -> Found {
        let at = LogPosition::new(version, 0);
        let row = ObjectRow {
            size: 0,
            etag: String::new(),
            content_type: String::new(),
            user_metadata: Vec::new(),
            body: at,
            revision: 1,
            created_ms: 0,
        };
        Found {
            index: version,
            version: at,
            row,
            first: Default::default(),
            extents: 1,
            class: domain::ClassId::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_grows_old_and_is_forgotten_with_a_change() {
        let lookups = Lookups::new(Duration::from_secs(10));
        lookups.put(&name("k"), &found(1), lookups.begin());
        assert_eq!(lookups.get(&name("k")).map(|found| found.index), Some(1));
        lookups.forget(&name("k"));
        assert!(lookups.get(&name("k")).is_none(), "what changed is looked up anew");
        lookups.put(&name("k"), &found(2), lookups.begin());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(lookups.get(&name("k")).is_none(), "what is old is looked up anew");
        lookups.put(&name("other"), &found(3), lookups.begin());
        assert_eq!(lookups.kept.lock().found.len(), 1, "what is old is dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_a_change_is_not_remembered() {
        let lookups = Lookups::new(Duration::from_secs(10));
        let begun = lookups.begin();
        lookups.forget(&name("k"));
        lookups.put(&name("k"), &found(1), begun);
        assert!(lookups.get(&name("k")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_and_off_by_default() {
        let lookups = Lookups::new(Duration::from_secs(3600));
        for nth in 0..MAX_REFERENCES as u64 + 10 {
            lookups.put(&name(&format!("{nth}")), &found(nth), lookups.begin());
        }
        assert_eq!(lookups.kept.lock().references, MAX_REFERENCES);
        assert!(lookups.get(&name("0")).is_none() && lookups.get(&name("11")).is_some());
        let off = Lookups::new(Duration::ZERO);
        off.put(&name("k"), &found(1), off.begin());
        assert!(off.get(&name("k")).is_none());
    }
}
