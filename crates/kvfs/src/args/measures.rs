//! Arguments of verbs that measure, and of those that try things out.

use clap::{Args, Subcommand};

/// What `placement-sim` tries.
#[derive(Args, Clone, Debug)]
pub struct SimFlags {
    /// Nodes at first.
    #[arg(long, default_value_t = 5, conflicts_with = "cluster")]
    pub nodes: u32,
    /// Racks that they are dealt out to; 0 for none.
    #[arg(long, default_value_t = 0, conflicts_with = "cluster")]
    pub racks: u32,
    /// Their weights, separated by commas; repeated if there are fewer than nodes.
    #[arg(long, value_delimiter = ',', default_value = "1", conflicts_with = "cluster")]
    pub weights: Vec<u32>,
    /// The nodes of the running cluster at first, with their labels.
    #[arg(long)]
    pub cluster: bool,
    /// Chunks.
    #[arg(long, default_value_t = 1000)]
    pub chunks: u32,
    /// Copies of each; or shards of a stripe, which are spread alike.
    #[arg(long, default_value_t = 3)]
    pub replicas: u32,
    /// Nodes that join.
    #[arg(long, default_value_t = 0, conflicts_with = "cluster")]
    pub add: u32,
    /// Nodes that leave, the last ones.
    #[arg(long, default_value_t = 0, conflicts_with_all = ["cluster", "add"])]
    pub remove: u32,
    /// NAME=out, or NAME=weight:N,domain:NAME; a name that is not there joins. May come several times.
    #[arg(long, value_name = "CHANGE")]
    pub change: Vec<String>,
    /// Draw it.
    #[arg(long)]
    pub svg: bool,
}

/// What can be measured.
#[derive(Subcommand)]
pub enum BenchVerb {
    /// Commits: how many a second, and how long each waits, at several numbers of them at once.
    #[command(after_help = "\
It needs KVFS_CLUSTER_SECRET and the coordinators (--coord) besides a gateway, and leaves its objects in the bucket kvfs-bench.

Examples:
  kvfs bench meta --coord 127.0.0.1:9000 --concurrency 1,16,256
  kvfs bench meta --coord a:9000,b:9000,c:9000 --objects 1000000 --concurrency 256    fill a cluster")]
    Meta {
        /// Commits under way at once, separated by commas: a measurement each.
        #[arg(long, value_delimiter = ',', default_value = "1,16,256")]
        concurrency: Vec<usize>,
        /// How long each measurement takes.
        #[arg(long, default_value = "10s")]
        length: String,
        /// Commits of each measurement, instead of a length.
        #[arg(long)]
        objects: Option<u64>,
        /// Chunks that all objects share; they are put first.
        #[arg(long, default_value_t = 1_000)]
        chunks: u64,
    },
    /// Erasure coding: encoding and rebuilding, on one core, with every kernel that this CPU has.
    #[command(after_help = "\
Speeds are of data (K x shard), the median of short runs that take turns; what each kernel made is compared with what the scalar one made.

Example: kvfs bench erasure --shapes 4+2,10+4 --shard-bytes 65536,1048576 --output json")]
    Erasure {
        /// K+M, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "4+2,10+4")]
        shapes: Vec<String>,
        /// Lengths of a shard, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "65536,1048576")]
        shard_bytes: Vec<usize>,
        /// How long.
        #[command(flatten)]
        effort: EffortFlags,
    },
    /// Cutting bodies: where their content says, and every 4 MiB.
    Chunking {
        /// Length of the body.
        #[arg(long, default_value_t = 64 << 20)]
        body_bytes: usize,
        /// How long.
        #[command(flatten)]
        effort: EffortFlags,
    },
    /// Deciding where chunks go.
    Placement {
        /// Sizes of cluster, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "3,10,100")]
        nodes: Vec<usize>,
        /// How long.
        #[command(flatten)]
        effort: EffortFlags,
    },
    /// Signing URLs and checking them.
    Urlkey {
        /// How long.
        #[command(flatten)]
        effort: EffortFlags,
    },
    /// The hashes that every byte goes through.
    Hash {
        /// Lengths, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "1024,65536,4194304")]
        bytes: Vec<usize>,
        /// How long.
        #[command(flatten)]
        effort: EffortFlags,
    },
}

/// How long a bench measures.
#[derive(Args, Clone, Copy, Debug)]
pub struct EffortFlags {
    /// Runs of each row; their median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Milliseconds of a run, on a core.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    run_ms: u32,
}

impl From<EffortFlags> for cli::bench::Effort {
    fn from(flags: EffortFlags) -> Self {
        Self { runs: flags.runs.into(), run_seconds: f64::from(flags.run_ms) / 1e3 }
    }
}
