//! How far a long work has come: a bar on a terminal, a line now and then elsewhere, nothing for programs.
//!
//! It goes to stderr, because stdout belongs to the answer.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::output::human;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Bytes and files done of those to do. Clones count together.
#[derive(Clone)]
pub struct Progress(Option<Arc<Shared>>);

struct Shared {
    bar: ProgressBar,
    terminal: bool,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    files: u64,
    all_files: u64,
    bytes: u64,
    all_bytes: u64,
    told: Instant,
}

impl Progress {
    /// One that nobody sees.
    pub fn quiet() -> Self {
        Self(None)
    }

    /// Of one object of `bytes`, if that is known: a bar on a terminal, and nothing elsewhere.
    pub fn of_one(bytes: Option<u64>) -> Self {
        match std::io::stderr().is_terminal() {
            true => Self::new(1, bytes.unwrap_or(0), true),
            false => Self::quiet(),
        }
    }

    /// Of `files` with `bytes` in all: a bar on a terminal, lines elsewhere.
    pub fn of_many(files: u64, bytes: u64) -> Self {
        Self::new(files, bytes, std::io::stderr().is_terminal())
    }

    fn new(all_files: u64, all_bytes: u64, terminal: bool) -> Self {
        let bar = match terminal {
            true => ProgressBar::new(all_bytes),
            false => ProgressBar::with_draw_target(Some(all_bytes), ProgressDrawTarget::hidden()),
        };
        let form = match all_bytes {
            0 => "{binary_bytes} {binary_bytes_per_sec} {msg}",
            _ => "{wide_bar} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}",
        };
        // The form is constant and right; a plain bar would do as well.
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        let now = Instant::now();
        let state = Mutex::new(State { files: 0, all_files, bytes: 0, all_bytes, told: now });
        Self(Some(Arc::new(Shared { bar, terminal, begun: now, state })))
    }

    /// `bytes` more have moved.
    pub fn moved(&self, bytes: u64) {
        let Some(shared) = &self.0 else { return };
        shared.bar.inc(bytes);
        shared.state.lock().bytes += bytes;
        shared.tell();
    }

    /// `bytes` need not move after all: they are there already.
    pub fn spared(&self, bytes: u64) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.state.lock();
        state.all_bytes = state.all_bytes.saturating_sub(bytes);
        shared.bar.set_length(state.all_bytes);
    }

    /// One more file is done.
    pub fn file_done(&self) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.state.lock();
        state.files += 1;
        if state.all_files > 1 {
            shared.bar.set_message(format!("{} of {} files", state.files, state.all_files));
        }
        drop(state);
        shared.tell();
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(shared) = &self.0 {
            shared.bar.finish_and_clear();
        }
    }
}

impl Shared {
    fn tell(&self) {
        let mut state = self.state.lock();
        if self.terminal || state.told.elapsed() < LINE_EVERY {
            return;
        }
        state.told = Instant::now();
        eprintln!("{}", line(&state, self.begun.elapsed()));
    }
}

fn line(state: &State, elapsed: Duration) -> String {
    let rate = state.bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let left = state.all_bytes.saturating_sub(state.bytes) as f64 / rate.max(1.0);
    format!(
        "{} of {} files, {} of {}, {}/s, {:.0} s left",
        state.files,
        state.all_files,
        human(state.bytes),
        human(state.all_bytes),
        human(rate as u64),
        left
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let state = State { files: 3, all_files: 10, bytes: 10 << 20, all_bytes: 30 << 20, told: Instant::now() };
        let text = line(&state, Duration::from_secs(2));
        assert_eq!(text, "3 of 10 files, 10.0 MiB of 30.0 MiB, 5.00 MiB/s, 4 s left");
    }
}
