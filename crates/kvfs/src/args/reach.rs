//! How a client finds its store, and how it answers.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How a client finds its store.
#[derive(Args, Clone, Debug)]
pub struct Reach {
    /// The gateway, as host:port. Default: the `kvfs up` of this directory (kvfs-data/client.toml).
    #[arg(
        long,
        alias = "edge",
        global = true,
        env = "KVFS_ENDPOINT",
        value_name = "HOST:PORT",
        help_heading = "Client options"
    )]
    pub endpoint: Option<String>,
    /// A client file with endpoint and keys.
    #[arg(long, global = true, env = "KVFS_CLIENT", value_name = "FILE", help_heading = "Client options")]
    pub client: Option<PathBuf>,
    /// The coordinators' admin API, as host:port, if it is not at the gateway; several are separated by commas, and the leader answers.
    #[arg(long, global = true, env = "KVFS_COORD", value_name = "HOST:PORT,…", help_heading = "Client options")]
    pub coord: Option<String>,
    /// How to answer.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Client options")]
    pub output: Format,
    /// The same as `--output json`.
    #[arg(long, global = true, hide = true)]
    pub json: bool,
}

impl Reach {
    /// How the verb shall answer.
    pub fn output(&self) -> cli::Output {
        if self.json { cli::Output::Json } else { self.output.into() }
    }
}

/// How a verb answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people and pipes.
    Text,
    /// JSON alone on stdout.
    Json,
}

impl From<Format> for cli::Output {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => cli::Output::Text,
            Format::Json => cli::Output::Json,
        }
    }
}
