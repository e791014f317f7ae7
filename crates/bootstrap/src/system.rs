//! The machine's clock and its randomness, behind the seams that a simulation fills otherwise.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::{Clock, Entropy};

/// The system's clocks: real time for data, and time since this value was made for time-outs.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        // Before 1970 the clock is wrong beyond repair; 0 is as good a wrong time as any.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Lets this process open as many files as the system allows it at most; gives that number.
///
/// A server with thousands of connections needs more than the usual 1,024. Where it may not be raised, the old limit stays.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let in_force = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    in_force.unwrap_or(u64::MAX)
}

/// Memory that this process has resident, in bytes; `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Files and sockets that this process has open; `None` where the system does not say.
pub fn open_files() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

/// The kernel's random bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the kernel has no random bytes to give. Nothing may go on with guessable secrets and ids.
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).unwrap_or_else(|error| panic!("the kernel gave no random bytes: {error}"));
    }
}
