//! Room on the disk: puts stop while there is still enough left to delete, log and repair.
//!
//! While there is plenty, free space is asked of the system at most once a second, and in between reckoned down by what was
//! admitted since, whether or not it has reached the disk; so a thousand small puts cost one `statvfs`. Near the limit every put
//! asks: somebody else may be filling the same disk, another node of the same machine for one.

use std::time::Duration;

use api::ChunkError;
use api::disk::Space;
use parking_lot::Mutex;

/// The smallest reserve that is taken by default.
const LEAST_RESERVE_BYTES: u64 = 1 << 30;

/// How long an answer of the system is believed.
const FRESH: Duration = Duration::from_secs(1);

/// With less than this above the reserve, no answer is believed for longer than it takes to use it. A guess: more than a machine
/// writes in [`FRESH`].
const NEAR_BYTES: u64 = 8 << 30;

/// A file system's allocation unit, as most have it, and as much again for the name and the inode.
const BLOCK_BYTES: u64 = 4096;

/// Decides whether a put still fits.
#[derive(Debug)]
pub struct Room {
    reserve: Option<u64>,
    gauge: Mutex<Gauge>,
}

#[derive(Debug, Default)]
struct Gauge {
    asked: Option<(Duration, Space)>,
    /// Bytes of puts that were unfinished when the system was asked, or admitted since.
    promised: u64,
    unfinished: u64,
}

impl Room {
    /// Keeps `reserve` bytes free; by default 1 GiB or 2 % of the file system, whichever is more.
    pub fn new(reserve: Option<u64>) -> Self {
        Self { reserve, gauge: Mutex::default() }
    }

    /// The bytes that stay free on a file system of that size.
    pub fn reserve(&self, space: Space) -> u64 {
        self.reserve.unwrap_or_else(|| LEAST_RESERVE_BYTES.max(space.total / 50))
    }

    /// Admits a put of `bytes` at monotonic time `now`, or [`ChunkError::Full`]. `ask` asks the system.
    pub fn admit(
        &self,
        bytes: u64,
        now: Duration,
        ask: impl Fn() -> std::io::Result<Space>,
    ) -> Result<Admission<'_>, ChunkError> {
        let cost = bytes.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES;
        let mut gauge = self.gauge.lock();
        let known = gauge.asked.filter(|(at, _)| now.saturating_sub(*at) < FRESH);
        let space = match known {
            Some((_, space)) if self.fits(space, gauge.promised + cost + NEAR_BYTES) => space,
            _ => gauge.ask(now, ask)?,
        };
        if !self.fits(space, gauge.promised + cost) {
            let free_bytes = space.free.saturating_sub(gauge.promised);
            return Err(ChunkError::Full { free_bytes, reserve_bytes: self.reserve(space) });
        }
        gauge.promised += cost;
        gauge.unfinished += cost;
        Ok(Admission { room: self, cost })
    }

    fn fits(&self, space: Space, bytes: u64) -> bool {
        space.free >= self.reserve(space).saturating_add(bytes)
    }
}

impl Gauge {
    fn ask(&mut self, now: Duration, ask: impl Fn() -> std::io::Result<Space>) -> Result<Space, ChunkError> {
        let space =
            ask().map_err(|error| ChunkError::Disk { reason: format!("cannot ask for free space: {error}") })?;
        self.asked = Some((now, space));
        self.promised = self.unfinished;
        Ok(space)
    }
}

/// A put that fitted; dropped when its bytes are on the disk, or not.
#[derive(Debug)]
pub struct Admission<'a> {
    room: &'a Room,
    cost: u64,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.room.gauge.lock().unfinished -= self.cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn with_plenty_one_answer_serves_many_for_a_second() {
        let room = Room::new(Some(10_000));
        let (free, questions) = (Cell::new(10_000 + NEAR_BYTES + 4 * 8192), Cell::new(0));
        let ask = || {
            questions.set(questions.get() + 1);
            Ok(Space { free: free.get(), total: 1 << 40 })
        };
        let admit = |now_ms| room.admit(1, Duration::from_millis(now_ms), ask);
        let _held: Vec<_> = (0..4).map(|_| admit(0).unwrap()).collect();
        assert_eq!(questions.get(), 1, "one question serves four puts");
        admit(1).unwrap();
        assert_eq!(questions.get(), 2, "near the limit it asks again");
        free.set(9_999);
        assert!(
            matches!(admit(2_000), Err(ChunkError::Full { reserve_bytes: 10_000, .. })),
            "an old answer is not believed"
        );
    }

    #[test]
    fn near_the_limit_no_two_puts_share_the_last_bytes_and_others_count_at_once() {
        let room = Room::new(Some(10_000));
        let free = Cell::new(10_000 + 4 * 8192);
        let admit =
            |now_ms| room.admit(1, Duration::from_millis(now_ms), || Ok(Space { free: free.get(), total: 1 << 30 }));
        let held: Vec<_> = (0..4).map(|_| admit(0).unwrap()).collect();
        assert!(admit(1).is_err(), "their bytes are promised, though the system does not know yet");
        drop(held);
        assert!(admit(2).is_ok(), "they failed, and gave back what they had");
        free.set(10_000);
        assert!(admit(3).is_err(), "somebody else took the room a moment ago");
    }

    #[test]
    fn default_reserve_is_a_gibibyte_or_two_percent() {
        let reserve = |total| Room::new(None).reserve(Space { free: 0, total });
        assert_eq!((reserve(1 << 30), reserve(100 << 40)), (1 << 30, (100u64 << 40) / 50));
    }
}
