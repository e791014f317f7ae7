//! The lease of this process, and the floor under everything it relies on.
//!
//! Bytes on nodes are deleted by a protocol that waits for every lease's **floor** to pass a barrier. The floor is the log
//! index that this process knew when the oldest thing it still relies on began: a put whose commit is open, a late
//! answer not yet confirmed, a lookup whose body is still being read. Each of these holds a [`Work`] guard; every five seconds
//! the lease is renewed with the lowest index among them, or, if there are none, with the newest one known.
//!
//! A lease that is lost (the process was silent for a minute) is not mended: what was begun under it fails, and a
//! new one is opened for what comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{MetaError, Metadata};
use domain::LogPosition;
use domain::change::Session;
use parking_lot::Mutex;
use tokio::sync::watch;

/// How often a lease is renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How often an attempt to open one is repeated.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Keeps a lease. Cheap to clone.
#[derive(Clone)]
pub struct LeaseKeeper {
    state: Arc<Mutex<State>>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Which lease; each new one starts a new era.
    lease: Option<LogPosition>,
    /// The newest log index known.
    known: u64,
    /// How many hold each index.
    floors: BTreeMap<u64, usize>,
    /// The last request number handed out under this lease.
    request: u64,
    /// Numbers without an answer.
    open: BTreeMap<u64, LogPosition>,
}

/// Something begun: it holds the floor at the index known then, until it is dropped or moved on.
pub struct Work {
    keeper: LeaseKeeper,
    lease: LogPosition,
    floor: Mutex<u64>,
}

/// A request number without an answer yet; answered when dropped.
pub struct OpenRequest {
    keeper: LeaseKeeper,
    lease: LogPosition,
    request: u64,
}

impl LeaseKeeper {
    /// A keeper without a lease; [`Self::keep`] gets one.
    pub fn new() -> Self {
        Self { state: Arc::default(), ready: watch::Sender::new(false) }
    }

    /// Whether there is a lease at present, to watch.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Opens a lease and keeps it for ever, opening another whenever it is lost. Returns when dropped.
    pub async fn keep(&self, meta: Arc<dyn Metadata>, holder: String) {
        loop {
            self.open(&*meta, &holder).await;
            self.renew_while_it_lives(&*meta).await;
            tracing::warn!("the lease is gone: what was begun under it fails, a new one is opened");
        }
    }

    /// Gives the lease back, so that nothing waits for its floor.
    pub async fn close(&self, meta: &dyn Metadata) {
        let lease = self.state.lock().lease.take();
        self.ready.send_replace(false);
        if let Some(lease) = lease
            && let Err(error) = meta.close_lease(lease).await
        {
            tracing::debug!(%error, "the lease could not be given back and will run out");
        }
    }

    /// The lease, while there is one.
    pub fn lease(&self) -> Option<LogPosition> {
        self.state.lock().lease
    }

    /// Begins something that relies on what is known now; `None` without a lease.
    pub fn begin(&self) -> Option<Work> {
        let mut state = self.state.lock();
        let lease = state.lease?;
        let known = state.known;
        *state.floors.entry(known).or_default() += 1;
        Some(Work { keeper: self.clone(), lease, floor: Mutex::new(known) })
    }

    /// Notes a log index that an answer carried.
    pub fn learn(&self, index: u64) {
        let mut state = self.state.lock();
        state.known = state.known.max(index);
    }

    fn floor(&self) -> u64 {
        let state = self.state.lock();
        state.floors.keys().next().copied().unwrap_or(state.known)
    }

    async fn open(&self, meta: &dyn Metadata, holder: &str) {
        loop {
            match meta.open_lease(holder).await {
                Ok(grant) => {
                    let mut state = self.state.lock();
                    state.known = state.known.max(grant.index);
                    (state.lease, state.request) = (Some(grant.lease), 0);
                    drop(state);
                    self.ready.send_replace(true);
                    return;
                }
                Err(error) => tracing::debug!(%error, "no lease yet"),
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    async fn renew_while_it_lives(&self, meta: &dyn Metadata) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let Some(lease) = self.state.lock().lease else { return };
            match meta.renew_lease(lease, self.floor()).await {
                Ok(Some(index)) => self.learn(index),
                Ok(None) => {
                    self.ready.send_replace(false);
                    self.state.lock().lease = None;
                    return;
                }
                // It may still live: the next renewal tells.
                Err(MetaError::NotFound) => {}
                Err(error) => tracing::warn!(%error, "the lease was not renewed"),
            }
        }
    }
}

impl Default for LeaseKeeper {
    fn default() -> Self {
        Self::new()
    }
}

impl Work {
    /// The lease this was begun under.
    pub fn lease(&self) -> LogPosition {
        self.lease
    }

    /// Relies on nothing older than what is known now any more.
    pub fn move_on(&self) {
        let mut floor = self.floor.lock();
        let mut state = self.keeper.state.lock();
        let known = state.known;
        release(&mut state, *floor);
        *state.floors.entry(known).or_default() += 1;
        *floor = known;
    }

    /// Draws the next request number, to be answered when the guard is dropped.
    pub fn request(&self) -> OpenRequest {
        let mut state = self.keeper.state.lock();
        state.request += 1;
        let request = state.request;
        state.open.insert(request, self.lease);
        OpenRequest { keeper: self.keeper.clone(), lease: self.lease, request }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        release(&mut self.keeper.state.lock(), *self.floor.lock());
    }
}

fn release(state: &mut State, floor: u64) {
    if let Some(holders) = state.floors.get_mut(&floor) {
        *holders -= 1;
        if *holders == 0 {
            state.floors.remove(&floor);
        }
    }
}

impl OpenRequest {
    /// The session to send the request under, now.
    pub fn session(&self) -> Session {
        let state = self.keeper.state.lock();
        let own = state.open.iter().filter(|(_, lease)| **lease == self.lease);
        let lowest = own.map(|(request, _)| *request).next().unwrap_or(self.request);
        Session { lease: self.lease, request: self.request, lowest }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.keeper.state.lock();
        if state.open.get(&self.request) == Some(&self.lease) {
            state.open.remove(&self.request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(known: u64) -> LeaseKeeper {
        let keeper = LeaseKeeper::new();
        keeper.state.lock().lease = Some(LogPosition::new(1, 0));
        keeper.learn(known);
        keeper
    }

    #[test]
    fn the_floor_is_the_oldest_thing_still_relied_on() {
        let keeper = keeper(10);
        assert_eq!(keeper.floor(), 10, "nothing begun: the newest index known");
        let old = keeper.begin().unwrap();
        keeper.learn(20);
        let young = keeper.begin().unwrap();
        keeper.learn(30);
        assert_eq!(keeper.floor(), 10);
        old.move_on();
        assert_eq!(keeper.floor(), 20);
        drop(young);
        assert_eq!(keeper.floor(), 30);
        keeper.learn(40);
        assert_eq!(keeper.floor(), 30);
        drop(old);
        assert_eq!(keeper.floor(), 40);
    }

    #[test]
    fn the_lowest_open_number_is_told() {
        let keeper = keeper(1);
        let work = keeper.begin().unwrap();
        let (first, second) = (work.request(), work.request());
        assert_eq!((second.session().request, second.session().lowest), (2, 1));
        drop(first);
        assert_eq!(second.session().lowest, 2);
        assert!(LeaseKeeper::new().begin().is_none(), "nothing is begun without a lease");
    }
}
