//! Three coordinators on one thread: each with a disk of its own, and lines between them that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::disk::Disk;
use async_trait::async_trait;
use bytes::Bytes;
use consensus::{ConsensusError, Group, Place, ProposeError, Seat, Transport, Unreachable};
use futures_util::FutureExt;
use parking_lot::Mutex;
use testkit::clock::SimClock;
use testkit::entropy::SeededEntropy;
use testkit::sim_disk::SimDisk;

use crate::common::*;

/// Coordinators by address, and what stands between them.
#[derive(Clone, Default)]
pub struct Town {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    seats: BTreeMap<String, Seat>,
    /// From, to.
    cut: BTreeSet<(String, String)>,
    /// Whoever calls these hangs up at once, unless the answer is there already.
    hasty: BTreeSet<String>,
}

/// The lines of one coordinator.
struct Lines {
    town: Town,
    own: String,
}

#[async_trait]
impl Transport for Lines {
    async fn call(&self, address: &str, request: Bytes, patience: Duration) -> Result<Bytes, Unreachable> {
        let lost = |why: &str| Unreachable { to: address.into(), why: why.into() };
        let (there, back) = ((self.own.clone(), address.to_string()), (address.to_string(), self.own.clone()));
        let (seat, hasty) = {
            let inner = self.town.inner.lock();
            if inner.cut.contains(&there) {
                return Err(lost("cut"));
            }
            (inner.seats.get(address).cloned().ok_or_else(|| lost("nobody is there"))?, inner.hasty.contains(address))
        };
        if hasty {
            return seat.handle(request).now_or_never().ok_or_else(|| lost("hung up on"));
        }
        let answer = tokio::time::timeout(patience, seat.handle(request)).await.map_err(|_| lost("silent"))?;
        match self.town.inner.lock().cut.contains(&back) {
            true => Err(lost("cut on the way back")),
            false => Ok(answer),
        }
    }
}

pub fn address(nth: u32) -> String {
    format!("coord{nth}:9000")
}

impl Town {
    /// Starts coordinator `nth` on `disk`, told of the peers with these numbers.
    pub async fn start(&self, nth: u32, disk: &SimDisk, peers: &[u32]) -> Result<Seat, ConsensusError> {
        disk.create_dir_all("/kvfs".as_ref()).and_then(|()| disk.sync_dir("/".as_ref())).expect("a sound disk");
        let place = Place {
            settings: sim_settings(),
            own: address(nth),
            peers: peers.iter().map(|nth| address(*nth)).collect(),
            transport: Arc::new(Lines { town: self.clone(), own: address(nth) }),
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(1_700_000_000_000)),
            entropy: Arc::new(SeededEntropy::new(u64::from(nth))),
        };
        let seat = Seat::take(place).await?;
        self.inner.lock().seats.insert(address(nth), seat.clone());
        Ok(seat)
    }

    /// Three coordinators that have founded their group, and their disks.
    pub async fn founded(&self) -> Vec<(SimDisk, Seat)> {
        let mut town = Vec::new();
        for nth in 1..=3 {
            let disk = SimDisk::new(u64::from(nth));
            let seat = self.start(nth, &disk, &[1, 2, 3]).await.unwrap();
            town.push((disk, seat));
        }
        for (_, seat) in &town {
            seat.seated().await.unwrap();
        }
        town
    }

    /// Coordinator `nth` is gone from one moment to the next, with what its disk had not yet. Its disk is ready to be used again.
    pub async fn kill(&self, nth: u32, disk: &SimDisk) {
        let seat = self.inner.lock().seats.remove(&address(nth));
        disk.crash();
        if let Some(seat) = seat {
            // Its disk answers nothing any more: this only ends its tasks.
            seat.leave().await.ok();
        }
        disk.restart();
    }

    /// Nothing passes between `nth` and the others.
    pub fn cut_off(&self, nth: u32) {
        let mut inner = self.inner.lock();
        for other in (1..=9).filter(|other| *other != nth) {
            inner.cut.insert((address(nth), address(other)));
            inner.cut.insert((address(other), address(nth)));
        }
    }

    /// Whoever calls `nth` hangs up before it has answered.
    pub fn hang_up_on(&self, nth: u32) {
        self.inner.lock().hasty.insert(address(nth));
    }

    /// Everything passes again.
    pub fn mend(&self) {
        self.inner.lock().cut.clear();
        self.inner.lock().hasty.clear();
    }
}

/// Waits until one of these leads, with a reign of its own begun; which.
pub async fn leader(groups: &[&Group]) -> usize {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        for (nth, group) in groups.iter().enumerate() {
            if group.leadership().mine && group.read().await.is_ok() {
                return nth;
            }
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody leads");
        // waits: between two looks, with a deadline.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Proposes at whoever leads, until it is answered. A mark may be left twice if an answer was lost; so the name says which try it was.
pub async fn insist(groups: &[&Group], name: &str) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    for attempt in 0.. {
        let leader = leader(groups).await;
        let marked = format!("{name}.{attempt}");
        match propose(groups[leader], &marked).await {
            Ok(_) => return marked,
            Err(ProposeError::Unavailable(_) | ProposeError::OutcomeUnknown(_)) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "no proposal is answered");
    }
    unreachable!("the loop has no end")
}
