//! `kvfs bench hash`: the hashes that every byte goes through.

use std::hint::black_box;
use std::io::Write;

use anyhow::{Result, ensure};
use domain::{ChunkId, Crc32c};
use serde::Serialize;

use super::{Effort, Task, body, mib, per_second, table};
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Row {
    op: &'static str,
    bytes: usize,
    mib_per_s: f64,
}

/// Measures names of chunks (SHA-256) and their checksums (CRC-32C) at these lengths.
pub fn run(lengths: &[usize], effort: Effort, output: Output, out: &mut dyn Write) -> Result<()> {
    let mut rows = Vec::new();
    for &bytes in lengths {
        ensure!((1..=1 << 30).contains(&bytes), "{bytes} bytes: expected 1 to 1073741824");
        let body = body(bytes);
        let sha: fn(&[u8]) = |bytes| {
            black_box(ChunkId::of(bytes));
        };
        let crc: fn(&[u8]) = |bytes| {
            black_box(Crc32c::of(bytes));
        };
        let mut tasks = [Hashing(&body, sha), Hashing(&body, crc)];
        let speeds = per_second(&mut tasks, effort);
        rows.extend(["sha256", "crc32c"].into_iter().zip(speeds).map(|(op, speed)| Row {
            op,
            bytes,
            mib_per_s: mib(speed),
        }));
    }
    output.write(out, &rows, |out, rows| {
        let head = ["op", "bytes", "MiB/s"].map(String::from).to_vec();
        let line = |row: &Row| vec![row.op.to_string(), row.bytes.to_string(), format!("{:.0}", row.mib_per_s)];
        table(out, &std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>())
    })?;
    Ok(())
}

struct Hashing<'a>(&'a [u8], fn(&[u8]));

impl Task for Hashing<'_> {
    fn step(&mut self) -> u64 {
        self.1(black_box(self.0));
        self.0.len() as u64
    }
}
