//! How objects are stored and read.

use clap::Args;

/// How an object is stored.
#[derive(Args)]
pub struct PutFlags {
    /// Media type.
    #[arg(long)]
    pub content_type: Option<String>,
    /// Durable copies before the answer (X-KVFS-W).
    #[arg(short = 'W', long, value_name = "COPIES")]
    pub write_quorum: Option<String>,
    /// Where it is cut: `fixed`, or `cdc` for where its content says (X-KVFS-Chunk-Mode).
    #[arg(long, value_name = "MODE")]
    pub chunk_mode: Option<String>,
    /// In stripes of K data shards and M that may be lost, as in `4+2` (X-KVFS-EC).
    #[arg(long, value_name = "K+M")]
    pub ec: Option<String>,
    /// Fail if the object is there already.
    #[arg(long)]
    pub create: bool,
}
