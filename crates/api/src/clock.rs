//! The seam to time.
//!
//! Two clocks, never mixed: wall time is *data* (when was this written), monotonic time drives *time-outs*. Nothing that must
//! be right compares either. Waiting is done with tokio's timers, which a simulation pauses and steps.

use std::time::Duration;

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Unix time in milliseconds: shown to people, signed into URLs, never compared for safety.
    fn wall_ms(&self) -> u64;
    /// Time since some fixed moment of this process; never goes back.
    fn monotonic(&self) -> Duration;
}
