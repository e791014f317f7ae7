//! The fastest crates that do the same: one with our matrix, and one of another kind (an FFT code).

use anyhow::Result;
use cli::bench::thread_seconds;
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use rustfs_erasure_codec::galois_8::ReedSolomon;

use super::erasure::Task;

/// What they are called.
pub const NAMES: [&str; 2] = ["rustfs-erasure-codec", "reed-solomon-simd"];

/// One run of each, in MiB of data a second of the thread's own time.
pub fn speeds(task: Task, quick: bool) -> Result<[(&'static str, f64); 2]> {
    let seconds = if quick { 0.001 } else { 0.1 };
    Ok([(NAMES[0], matrix(task, seconds)?), (NAMES[1], fft(task, seconds)?)])
}

/// A code of the same matrix. What is lost is truly missing: shards that are rebuilt are allocated, as the crate does it.
fn matrix(task: Task, seconds: f64) -> Result<f64> {
    let codec = ReedSolomon::new(task.k, task.m)?;
    let (data, mut parity) = (shards(0..task.k, task), shards(task.k..task.k + task.m, task));
    if task.lost == 0 {
        return speed(task, seconds, || Ok(codec.encode_sep(&data, &mut parity)?));
    }
    codec.encode_sep(&data, &mut parity)?;
    let mut all: Vec<_> = data.into_iter().chain(parity).map(Some).collect();
    speed(task, seconds, || {
        all[..task.lost].fill(None);
        Ok(codec.reconstruct_data(&mut all)?)
    })
}

/// A code of another kind: more work for small shapes, less for very wide ones.
fn fft(task: Task, seconds: f64) -> Result<f64> {
    let data = shards(0..task.k, task);
    let mut encoder = ReedSolomonEncoder::new(task.k, task.m, task.shard_bytes)?;
    let mut encode = || -> Result<Vec<Vec<u8>>> {
        data.iter().try_for_each(|shard| encoder.add_original_shard(shard))?;
        let made = encoder.encode()?;
        Ok(made.recovery_iter().map(<[u8]>::to_vec).collect())
    };
    if task.lost == 0 {
        return speed(task, seconds, || encode().map(drop));
    }
    let parity = encode()?;
    let mut decoder = ReedSolomonDecoder::new(task.k, task.m, task.shard_bytes)?;
    speed(task, seconds, || {
        let left = data.iter().enumerate().skip(task.lost);
        left.into_iter().try_for_each(|(index, shard)| decoder.add_original_shard(index, shard))?;
        let parity = parity.iter().enumerate().take(task.lost);
        parity.into_iter().try_for_each(|(index, shard)| decoder.add_recovery_shard(index, shard))?;
        decoder.decode().map(drop)?;
        Ok(())
    })
}

fn shards(range: std::ops::Range<usize>, task: Task) -> Vec<Vec<u8>> {
    let content = |index: usize, i: usize| (i * 131 + i / 251 + index * 17 + 1) as u8;
    range.map(|index| (0..task.shard_bytes).map(|i| content(index, i)).collect()).collect()
}

fn speed(task: Task, length: f64, mut step: impl FnMut() -> Result<()>) -> Result<f64> {
    let (start, mut steps) = (thread_seconds(), 0.0);
    loop {
        step()?;
        steps += 1.0;
        let seconds = thread_seconds() - start;
        if seconds >= length {
            return Ok(steps * (task.k * task.shard_bytes) as f64 / seconds / f64::from(1 << 20));
        }
    }
}
