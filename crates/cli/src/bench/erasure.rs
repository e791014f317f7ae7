//! `kvfs bench erasure`: encoding and rebuilding with every kernel that this CPU has, in MiB of *data* (K × shard) a second.
//!
//! Rebuilds data shards 0 to lost - 1, for 1 and M lost. All shards are written before the clock starts; afterwards what each kernel made is
//! compared with what `scalar` made, and a difference is an error.

use std::hint::black_box;
use std::io::Write;

use anyhow::{Context, Result, anyhow, ensure};
use erasure::{Codec, Kernel, ShardSet};
use serde::Serialize;

use super::{Effort, Task, mib, per_second, table};
use crate::output::Output;

/// What is measured.
#[derive(Clone, Debug)]
pub struct ErasureBench {
    /// Pairs of K and M.
    pub shapes: Vec<(usize, usize)>,
    /// Lengths of a shard, in bytes.
    pub shard_bytes: Vec<usize>,
    /// How long.
    pub effort: Effort,
}

/// The longest shard that is measured: K+M of them must fit into memory.
const MAX_SHARD_BYTES: usize = 64 << 20;

#[derive(Debug, Serialize)]
struct Row {
    op: &'static str,
    kernel: &'static str,
    k: usize,
    m: usize,
    lost: usize,
    shard_bytes: usize,
    mib_per_s: f64,
}

/// A shape as people write it: `K+M`.
pub fn shape(text: &str) -> Result<(usize, usize)> {
    let parsed = text.split_once('+').and_then(|(k, m)| Some((k.trim().parse().ok()?, m.trim().parse().ok()?)));
    let (k, m) = parsed.ok_or_else(|| anyhow!("{text:?} is no shape; expected K+M, such as 4+2"))?;
    Codec::with_kernel(k, m, Kernel::scalar()).with_context(|| format!("the shape {text}"))?;
    Ok((k, m))
}

/// Runs it and shows a row for each shape, length, operation and kernel.
pub fn run(bench: &ErasureBench, output: Output, out: &mut dyn Write) -> Result<()> {
    let mut rows = Vec::new();
    for &(k, m) in &bench.shapes {
        for &bytes in &bench.shard_bytes {
            ensure!(
                (1..=MAX_SHARD_BYTES).contains(&bytes),
                "a shard of {bytes} bytes: expected 1 to {MAX_SHARD_BYTES}"
            );
            let mut lost = vec![0, 1, m];
            lost.dedup();
            for lost in lost {
                rows.extend(compare(k, m, bytes, lost, bench.effort)?);
            }
        }
    }
    output.write(out, &rows, |out, rows| {
        let head = ["op", "shape", "shard", "lost", "kernel", "MiB/s"].map(String::from).to_vec();
        let line = |row: &Row| {
            let Row { op, kernel, k, m, lost, shard_bytes, mib_per_s } = row;
            let numbers = [shard_bytes.to_string(), lost.to_string(), kernel.to_string(), format!("{mib_per_s:.0}")];
            [op.to_string(), format!("{k}+{m}")].into_iter().chain(numbers).collect()
        };
        table(out, &std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>())
    })?;
    Ok(())
}

/// Measures all kernels at one task. `lost` = 0 means encoding.
fn compare(k: usize, m: usize, bytes: usize, lost: usize, effort: Effort) -> Result<Vec<Row>> {
    let kernels = Kernel::available();
    let mut tasks = kernels.iter().map(|&kernel| Coding::new(k, m, bytes, lost, kernel)).collect::<Result<Vec<_>>>()?;
    let mut reference = Coding::new(k, m, bytes, lost, Kernel::scalar())?;
    reference.step();
    let speeds = per_second(&mut tasks, effort);
    let op = if lost == 0 { "encode" } else { "reconstruct" };
    tasks
        .iter()
        .zip(speeds)
        .map(|(task, speed)| {
            let kernel = task.codec.kernel().name();
            ensure!(
                task.outputs == reference.outputs,
                "{kernel} made other bytes than scalar: {op} of {k}+{m}, {lost} lost"
            );
            Ok(Row { op, kernel, k, m, lost, shard_bytes: bytes, mib_per_s: mib(speed) })
        })
        .collect()
}

/// A codec with its shards.
struct Coding {
    codec: Codec,
    lost: usize,
    sources: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

impl Coding {
    fn new(k: usize, m: usize, bytes: usize, lost: usize, kernel: Kernel) -> Result<Self> {
        let codec = Codec::with_kernel(k, m, kernel)?;
        let content = |index: usize, i: usize| (i * 131 + i / 251 + index * 17 + 1) as u8;
        let shard = |index: usize| (0..bytes).map(|i| content(index, i)).collect::<Vec<u8>>();
        let (data, mut parity): (Vec<_>, Vec<_>) = ((0..k).map(shard).collect(), (k..k + m).map(shard).collect());
        if lost == 0 {
            return Ok(Self { codec, lost, sources: data, outputs: parity });
        }
        codec.encode(&data, &mut parity)?;
        let sources = data.into_iter().chain(parity).skip(lost).take(k).collect();
        // Not what is expected of them, and not fresh pages either.
        Ok(Self { codec, lost, sources, outputs: vec![vec![0xA5; bytes]; lost] })
    }
}

impl Task for Coding {
    fn step(&mut self) -> u64 {
        let (sources, outputs) = (black_box(&self.sources), black_box(&mut self.outputs));
        let done = match self.lost {
            0 => self.codec.encode(sources, outputs),
            lost => {
                // Asked for each time, as for a stripe: the pattern is looked up among those that were prepared.
                let wanted = ShardSet::all(lost);
                let all = ShardSet::all(self.codec.data_shards() + self.codec.parity_shards());
                self.codec.rebuild(all.without(wanted), wanted).and_then(|rebuild| rebuild.run(sources, outputs))
            }
        };
        // What was not done is seen when the outputs are compared; it is also no speed.
        done.map_or(0, |()| self.sources.iter().map(|shard| shard.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::QUICK;
    use super::*;

    #[test]
    fn rows_are_what_was_asked_for() {
        let bench = ErasureBench { shapes: vec![(4, 2), (3, 1)], shard_bytes: vec![100, 4096], effort: QUICK };
        let mut out = Vec::new();
        run(&bench, Output::Json, &mut out).unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&out).unwrap();
        // 4+2 has 0, 1 and 2 lost; of 3+1, one lost is all.
        assert_eq!(rows.len(), Kernel::available().len() * (3 + 2) * 2);
        let keys: Vec<_> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 7);
        for key in ["op", "kernel", "k", "m", "lost", "shard_bytes", "mib_per_s"] {
            assert!(keys.contains(&key), "{key}");
        }
        assert!(rows.iter().all(|row| (row["op"] == "encode") == (row["lost"] == 0)));
        assert!(rows.iter().all(|row| row["mib_per_s"].as_f64().unwrap() > 0.0));
    }

    #[test]
    fn shapes() {
        assert_eq!(shape("4+2").unwrap(), (4, 2));
        for wrong in ["4", "a+b", "0+1", "200+100"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
    }
}
