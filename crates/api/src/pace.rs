//! How slow somebody on the other side of a connection may be before it ends.
//!
//! A slow sender holds memory that others wait for, a slow reader does too, and neither may do so for ever by sending a byte a
//! minute. What counts is time spent waiting for *them*: whoever is kept waiting by us owes nothing. So the time is measured
//! in windows of waiting, and a window in which too little came ends it. A silent one ends with its first window.
//!
//! Example, 1 KiB/s over 30 s: 30 KiB must come in every 30 s of waiting. One that sends 40 KiB at once and then nothing is
//! ended after 60 s: the first window was good.

use std::time::Duration;

/// The slowest that anybody may be, in bytes a second.
pub const SLOWEST: u64 = 1 << 10;

/// Waiting for somebody, in windows.
#[derive(Clone, Debug)]
pub struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Measured over `window` of waiting.
    pub fn over(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, bytes: 0 }
    }

    /// How much longer to wait before looking at it again.
    pub fn left(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Takes in that it took `waited` until `bytes` came (0 if nothing did). Errs if a window ended with fewer than `slowest` bytes a second.
    pub fn step(&mut self, waited: Duration, bytes: u64, slowest: u64) -> Result<(), TooSlow> {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return Ok(());
        }
        let owed = u64::try_from(u128::from(slowest) * self.waited.as_millis() / 1000).unwrap_or(u64::MAX);
        if self.bytes < owed {
            return Err(TooSlow { bytes: self.bytes, window: self.waited, slowest });
        }
        *self = Self::over(self.window);
        Ok(())
    }
}

/// Somebody was too slow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes came in {} s of waiting; at least {slowest} a second must", window.as_secs())]
pub struct TooSlow {
    /// What came.
    pub bytes: u64,
    /// In how long.
    pub window: Duration,
    /// What should have come each second.
    pub slowest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_waiting() {
        const S: Duration = Duration::from_secs(1);
        // (steps of (seconds waited, bytes), the step that ends it)
        type Steps = &'static [(u32, u64)];
        let table: [(&str, Steps, Option<usize>); 6] = [
            ("silence", &[(30, 0)], Some(0)),
            ("just fast enough", &[(10, 10_240), (20, 20_480), (30, 30_720)], None),
            ("a byte too few", &[(10, 10_239), (20, 20_480)], Some(1)),
            ("a good window and a silent one", &[(30, 1 << 20), (30, 0)], Some(1)),
            ("no waiting is no slowness", &[(0, 1), (0, 1), (0, 1)], None),
            ("a drop every second", &[(1, 1); 30], Some(29)),
        ];
        for (case, steps, ends) in table {
            let mut pace = Pace::over(30 * S);
            let ended = steps.iter().position(|(waited, bytes)| pace.step(*waited * S, *bytes, SLOWEST).is_err());
            assert_eq!(ended, ends, "{case}");
        }
    }
}
