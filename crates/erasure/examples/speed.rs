//! How fast each kernel of this CPU is, in MiB of *data* (K × shard) a second on one core.
//!
//! ```text
//! cargo run --release -p erasure --example speed -- [SHAPES] [SHARD_BYTES] [OFFSET]
//! cargo run --release -p erasure --example speed -- 4+2,10+4 65536,1048576 0
//! ```
//!
//! Encodes, and rebuilds data shards 0 to lost - 1 for 1 and M lost. Each number is the median of 5 runs, each a quarter of a second of the
//! thread's own time, so that neighbours who take the core away do not count; those who use up caches and memory do, and so the
//! runs of all kernels take turns. All shards are written before the clock starts and lie OFFSET bytes behind a multiple of 64.
//! Afterwards what each kernel made is compared with what `scalar` made.

use std::hint::black_box;

use erasure::{Codec, Kernel, ShardSet};
use rustix::time::{ClockId, clock_gettime};

const RUNS: usize = 5;
const RUN_SECONDS: f64 = 0.25;

fn main() {
    let mut args = std::env::args().skip(1);
    let shapes = args.next().unwrap_or_else(|| "4+2,10+4".into());
    let lengths = args.next().unwrap_or_else(|| "65536,1048576".into());
    let offset = args.next().map_or(0, |offset| offset.parse().expect("OFFSET is a number of bytes"));
    println!("{:<12} {:>6} {:>9} {:>6} {:>14} {:>12}", "op", "shape", "shard", "lost", "kernel", "MiB/s");
    for shape in shapes.split(',') {
        let (k, m) = shape.split_once('+').expect("a shape is K+M");
        let (k, m): (usize, usize) = (k.parse().expect("K is a number"), m.parse().expect("M is a number"));
        for bytes in lengths.split(',').map(|bytes| bytes.parse().expect("SHARD_BYTES are numbers")) {
            for lost in [0, 1, m] {
                compare(k, m, bytes, lost, offset);
            }
        }
    }
}

/// Measures all kernels at one task and prints a line each. `lost` = 0 means encoding.
fn compare(k: usize, m: usize, bytes: usize, lost: usize, offset: usize) {
    let mut tasks: Vec<_> =
        Kernel::available().iter().map(|&kernel| Task::new(k, m, bytes, lost, offset, kernel)).collect();
    let mut speeds = vec![Vec::new(); tasks.len()];
    for _ in 0..RUNS {
        for (task, speeds) in tasks.iter_mut().zip(&mut speeds) {
            speeds.push(task.mib_per_s());
        }
    }
    for (task, speeds) in tasks.iter().zip(&mut speeds) {
        assert!(task.outputs_equal(&tasks[0]), "{:?} made other bytes than scalar", task.codec.kernel());
        speeds.sort_by(f64::total_cmp);
        let (op, kernel) = (if lost == 0 { "encode" } else { "reconstruct" }, task.codec.kernel().name());
        println!("{op:<12} {:>6} {bytes:>9} {lost:>6} {kernel:>14} {:>12.0}", format!("{k}+{m}"), speeds[RUNS / 2]);
    }
}

/// A codec with its shards.
struct Task {
    codec: Codec,
    lost: usize,
    sources: Vec<Shard>,
    outputs: Vec<Shard>,
}

impl Task {
    fn new(k: usize, m: usize, bytes: usize, lost: usize, offset: usize, kernel: Kernel) -> Self {
        let codec = Codec::with_kernel(k, m, kernel).expect("a possible shape");
        let shards = |range: std::ops::Range<usize>| range.map(|i| Shard::new(i, bytes, offset)).collect::<Vec<_>>();
        let (data, mut parity) = (shards(0..k), shards(k..k + m));
        if lost == 0 {
            return Self { codec, lost, sources: data, outputs: parity };
        }
        codec.encode(&data, &mut parity).expect("shards of one length");
        let sources = data.into_iter().chain(parity).skip(lost).take(k).collect();
        Self { codec, lost, sources, outputs: shards(0..lost) }
    }

    fn step(&mut self) {
        let (sources, outputs) = (black_box(&self.sources), black_box(&mut self.outputs));
        if self.lost == 0 {
            return self.codec.encode(sources, outputs).expect("shards of one length");
        }
        // Asked for each time, as for a stripe: the pattern is looked up among those that were prepared.
        let wanted = ShardSet::all(self.lost);
        let present = ShardSet::all(self.codec.data_shards() + self.codec.parity_shards()).without(wanted);
        let rebuild = self.codec.rebuild(present, wanted).expect("enough shards");
        rebuild.run(sources, outputs).expect("shards of one length");
    }

    fn mib_per_s(&mut self) -> f64 {
        let (start, mut steps) = (thread_seconds(), 0_u32);
        let seconds = loop {
            (0..4).for_each(|_| self.step());
            steps += 4;
            let seconds = thread_seconds() - start;
            if seconds > RUN_SECONDS {
                break seconds;
            }
        };
        let bytes = f64::from(steps) * self.sources.iter().map(|shard| shard.as_ref().len() as f64).sum::<f64>();
        bytes / seconds / f64::from(1 << 20)
    }

    fn outputs_equal(&self, other: &Self) -> bool {
        self.outputs.iter().zip(&other.outputs).all(|(a, b)| a.as_ref() == b.as_ref())
    }
}

/// How long this thread has been on a core so far.
fn thread_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// Bytes that begin a given number of bytes behind a multiple of 64.
struct Shard {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Shard {
    fn new(index: usize, bytes: usize, offset: usize) -> Self {
        let mut memory = vec![0; bytes + 64 + offset];
        let start = memory.as_ptr().align_offset(64) + offset;
        let content = |i| (i * 131 + i / 251 + index * 17 + 1) as u8;
        memory[start..].iter_mut().enumerate().for_each(|(i, byte)| *byte = content(i));
        Self { memory, start, bytes }
    }
}

impl AsRef<[u8]> for Shard {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }
}

impl AsMut<[u8]> for Shard {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}
