//! `kvfs bench`: how fast the parts are by themselves, on one core of this machine; like `openssl speed`.
//!
//! Nothing is started and nothing stored. Each number is a median of short runs, and the runs of all rows that belong together take turns: who else
//! uses the machine then disturbs all of them a little rather than one of them much. Time is the thread's own time on a core, so that
//! being put aside does not count; what neighbours do to caches and clock rate does.

pub mod chunking;
pub mod erasure;
pub mod hash;
pub mod placement;
pub mod urlkey;

use std::io::{self, Write};

use rustix::time::{ClockId, clock_gettime};

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs of each row, whose median counts.
    pub runs: usize,
    /// Length of a run, in seconds on a core.
    pub run_seconds: f64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { runs: 5, run_seconds: 0.1 }
    }
}

/// Something that is done over and over.
trait Task {
    /// Does it once; returns how much that was, in the unit of its row: bytes, keys, signatures.
    fn step(&mut self) -> u64;
}

/// How much each task does in a second: the median of its runs.
fn per_second(tasks: &mut [impl Task], effort: Effort) -> Vec<f64> {
    let mut speeds = vec![Vec::new(); tasks.len()];
    for _ in 0..effort.runs.max(1) {
        for (task, speeds) in tasks.iter_mut().zip(&mut speeds) {
            speeds.push(one_run(task, effort.run_seconds));
        }
    }
    speeds.iter_mut().map(|speeds| median(speeds)).collect()
}

fn one_run(task: &mut impl Task, run_seconds: f64) -> f64 {
    let (start, mut done) = (thread_seconds(), 0);
    loop {
        done += task.step();
        let seconds = thread_seconds() - start;
        if seconds >= run_seconds {
            return done as f64 / seconds;
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long this thread has been on a core so far, in seconds.
pub fn thread_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

fn mib(bytes_per_second: f64) -> f64 {
    (bytes_per_second / f64::from(1 << 20) * 10.0).round() / 10.0
}

/// Bytes without pattern, the same on every machine: xorshift64*, which the golden vectors of cutting are made of too.
fn body(bytes: usize) -> Vec<u8> {
    let mut x: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut body = vec![0; bytes];
    for eight in body.chunks_mut(8) {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        let next = x.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        eight.copy_from_slice(&next[..eight.len()]);
    }
    body
}

/// Lines of a table, the first column to the left and all others to the right.
fn table(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => line += &format!("{cell:<width$}"),
                _ => line += &format!("  {cell:>width$}"),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No longer than it takes to see that it works.
    pub(super) const QUICK: Effort = Effort { runs: 1, run_seconds: 0.0 };

    struct Counting(u64);

    impl Task for Counting {
        fn step(&mut self) -> u64 {
            self.0 += 1;
            1_000
        }
    }

    #[test]
    fn tasks_take_turns_and_medians_count() {
        let mut tasks = [Counting(0), Counting(0)];
        let speeds = per_second(&mut tasks, Effort { runs: 3, run_seconds: 0.0 });
        assert_eq!(tasks.map(|task| task.0), [3, 3]);
        assert!(speeds.iter().all(|speed| *speed > 0.0));
        assert_eq!(median(&mut [3.0, 1.0, 100.0]), 3.0);
    }

    #[test]
    fn tables_line_up() {
        let mut out = Vec::new();
        let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
        table(&mut out, &[row(["op", "MiB/s"]), row(["encode", "1"])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "op      MiB/s\nencode      1\n");
    }
}
