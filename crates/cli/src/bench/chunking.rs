//! `kvfs bench chunking`: cutting a body, in memory and as it arrives.
//!
//! `cdc scan` looks for content-defined cuts in a body that is there as a whole; `cdc stream` feeds it in frames of 64 KiB and names each chunk
//! (SHA-256), which is what a put does; `fixed stream` cuts every 4 MiB and names the chunks: what is left if cuts cost nothing.
//! The body has no pattern, so the cuts are spread as in data that was compressed or encrypted.

use std::hint::black_box;
use std::io::Write;

use anyhow::{Result, ensure};
use domain::ChunkId;
use domain::cdc::{Cutter, Profile, cuts};
use domain::chunking::DEFAULT_CHUNK_BYTES;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Effort, Task, body, mib, per_second, table};
use crate::output::Output;

/// Bytes that arrive at once.
const FRAME: usize = 64 << 10;

#[derive(Debug, Serialize)]
struct Row {
    op: &'static str,
    body_bytes: usize,
    chunks: u64,
    mib_per_s: f64,
}

/// Cuts a body of `bytes` in each way.
pub fn run(bytes: usize, effort: Effort, output: Output, out: &mut dyn Write) -> Result<()> {
    ensure!((1..=4 << 30).contains(&bytes), "a body of {bytes} bytes: expected 1 byte to 4 GiB");
    let body = body(bytes);
    let ways: [(&'static str, Way); 3] = [("cdc scan", scan), ("cdc stream", stream), ("fixed stream", fixed)];
    let mut tasks = ways.map(|(_, way)| Cutting { body: &body, way, chunks: 0 });
    let speeds = per_second(&mut tasks, effort);
    ensure!(tasks[0].chunks == tasks[1].chunks, "a stream was cut elsewhere than the whole body");
    let row = |((op, _), (task, speed)): ((&'static str, _), (&Cutting, f64))| Row {
        op,
        body_bytes: bytes,
        chunks: task.chunks,
        mib_per_s: mib(speed),
    };
    let rows: Vec<_> = ways.into_iter().zip(tasks.iter().zip(speeds)).map(row).collect();
    output.write(out, &rows, |out, rows| {
        let head = ["op", "bytes", "chunks", "MiB/s"].map(String::from).to_vec();
        let line = |row: &Row| {
            let numbers = [row.body_bytes.to_string(), row.chunks.to_string(), format!("{:.0}", row.mib_per_s)];
            std::iter::once(row.op.to_string()).chain(numbers).collect()
        };
        table(out, &std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>())
    })?;
    Ok(())
}

/// A way to cut a body; returns the number of its chunks.
type Way = fn(&[u8]) -> u64;

struct Cutting<'a> {
    body: &'a [u8],
    way: Way,
    chunks: u64,
}

impl Task for Cutting<'_> {
    fn step(&mut self) -> u64 {
        self.chunks = (self.way)(black_box(self.body));
        self.body.len() as u64
    }
}

fn scan(body: &[u8]) -> u64 {
    cuts(body, Profile::DEFAULT).map(black_box).count() as u64
}

fn stream(body: &[u8]) -> u64 {
    let (mut cutter, mut sha, mut chunks) = (Cutter::new(Profile::DEFAULT), Sha256::new(), 0);
    for mut frame in body.chunks(FRAME) {
        while !frame.is_empty() {
            let cut = cutter.feed(frame);
            let (own, rest) = frame.split_at(cut.unwrap_or(frame.len()));
            sha.update(own);
            if cut.is_some() {
                black_box(ChunkId::from_digest(std::mem::take(&mut sha)));
                chunks += 1;
            }
            frame = rest;
        }
    }
    if cutter.pending() > 0 {
        black_box(ChunkId::from_digest(sha));
        chunks += 1;
    }
    chunks
}

fn fixed(body: &[u8]) -> u64 {
    let mut chunks = 0;
    for chunk in body.chunks(DEFAULT_CHUNK_BYTES as usize) {
        black_box(ChunkId::of(chunk));
        chunks += 1;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::super::tests::QUICK;
    use super::*;

    #[test]
    fn streams_are_cut_as_bodies_are() {
        let mut out = Vec::new();
        run(9 << 20, QUICK, Output::Json, &mut out).unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&out).unwrap();
        let chunks: Vec<_> = rows.iter().map(|row| row["chunks"].as_u64().unwrap()).collect();
        // The golden vectors: 3909362 + 4382925 + the rest.
        assert_eq!(chunks, [4, 4, 3]);
    }
}
