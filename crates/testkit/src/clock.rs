//! A clock that follows tokio's: paused when that is paused, and as wrong as a test wants it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use api::Clock;
use tokio::time::Instant;

/// Monotonic time is tokio's since this value was made; wall time is that plus a base, plus a skew.
#[derive(Debug)]
pub struct SimClock {
    begun: Instant,
    base_ms: u64,
    skew_ms: AtomicI64,
}

impl SimClock {
    /// A clock that shows `base_ms` now.
    pub fn new(base_ms: u64) -> Self {
        Self { begun: Instant::now(), base_ms, skew_ms: AtomicI64::new(0) }
    }

    /// Sets the wall clock `skew_ms` ahead of (or behind) what it would show. Monotonic time does not notice.
    pub fn set_skew_ms(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        let right = self.base_ms + self.begun.elapsed().as_millis() as u64;
        right.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }
}
