//! The command line, declared.

mod admin;
mod coord;
mod measures;
mod objects;
mod reach;

use std::path::{Path, PathBuf};

pub use self::admin::{BucketVerb, DnsVerb, NodeVerb, UrlkeyVerb};
pub use self::coord::{CoordVerb, MembersVerb};
pub use self::measures::{BenchVerb, SimFlags};
pub use self::objects::PutFlags;
pub use self::reach::Reach;
use crate::meta_args::MetaVerb;
use crate::settings::SettingsError;
use anyhow::Result;
use bootstrap::settings::{Problem, Sources};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A distributed object store: replicated, durable when it says so, one binary.
///
/// `kvfs up` runs a whole store in this directory; `kvfs put FILE BUCKET/KEY` and `kvfs get BUCKET/KEY FILE` use it.
#[derive(Parser)]
#[command(
    name = "kvfs",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  kvfs up                                run a store in ./kvfs-data, on 127.0.0.1:8000
  kvfs put cat.jpg photos/cat.jpg        store a file
  kvfs get photos/cat.jpg copy.jpg       fetch it
  kvfs ls photos                         list a bucket
  kvfs sign GET photos/cat.jpg --ttl 1h  make a URL for somebody without keys

Exit codes: 0 done; 1 failed; 2 wrong usage or settings; 3 not found; 4 refused (signature, precondition,
conflict); 5 not available, try again; 74 a disk failed, do not restart before it was looked at."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How to reach the store.
    #[command(flatten)]
    pub reach: Reach,
    /// Settings file (TOML).
    #[arg(long, global = true, env = "KVFS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What is logged to stderr: error, warn, info, debug, trace, or a filter like `coord=debug`.
    #[arg(long, global = true, env = "KVFS_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How it is logged: lines for people, or a JSON object a line.
    #[arg(long, global = true, env = "KVFS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// In which form log lines are written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line, for programs.
    Json,
}

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Run a whole store: data nodes, coordinator and gateway, in one process.
    #[command(after_help = "\
Examples:
  kvfs up                           a store on 127.0.0.1:8000, data under ./kvfs-data
  kvfs up --nodes 5 --replicas 3    five data nodes, three copies of each chunk
  kvfs up --processes               each part a process of its own, restarted if it dies")]
    Up {
        /// Settings.
        #[command(flatten)]
        flags: UpFlags,
        /// Run each part as a process of its own, shown with its pid; one that dies is started again.
        #[arg(long)]
        processes: bool,
    },
    /// Run a data node.
    Dn(DnFlags),
    /// Run a coordinator; or list and change the coordinators of a running group.
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
Examples:
  kvfs coord                                               the only coordinator, on 127.0.0.1:9000
  COORD_PEERS=a:9000,b:9000,c:9000 COORD_SELF_URL=a:9000 kvfs coord    one of three
  kvfs coord members list --coord a:9000,b:9000
  kvfs coord members replace 2 d:9000                      d in the place of coordinator 2, which is lost"
    )]
    Coord {
        /// Settings.
        #[command(flatten)]
        flags: CoordFlags,
        /// What to do instead of running one.
        #[command(subcommand)]
        verb: Option<CoordVerb>,
    },
    /// Run a gateway; without EDGE_COORD_URL it hosts the coordinator too.
    Edge(EdgeFlags),
    /// Store a file, or standard input, as an object.
    Put {
        /// The file; `-` is standard input.
        file: PathBuf,
        /// BUCKET/KEY.
        object: String,
        /// How it is stored.
        #[command(flatten)]
        flags: PutFlags,
    },
    /// Fetch an object into a file, or to standard output.
    Get {
        /// BUCKET/KEY.
        object: String,
        /// The file or directory; `-` or nothing is standard output.
        file: Option<PathBuf>,
        /// Only these bytes: FIRST-LAST, FIRST- or -COUNT.
        #[arg(long)]
        range: Option<String>,
        /// Whole copies that must be fetched and agree (X-KVFS-R).
        #[arg(short = 'R', long, value_name = "COPIES")]
        read_quorum: Option<String>,
    },
    /// Copy files and directories into the store, or out of it.
    #[command(after_help = "\
Examples:
  kvfs cp -r photos backup/photos      every file below photos, as backup/photos/...
  kvfs cp -r backup/photos restored    and back
  kvfs cp notes.txt b/notes.txt        one file
  kvfs cp kvfs:b/notes.txt copy.txt    `kvfs:` where a file of the object's name exists here

What is equal already (same size, same entity tag) is not copied again: run an interrupted copy once more and it goes on.
Symbolic links and devices are left out and counted; empty directories are not kept. A key that is no file name (.., //)
is reported and not fetched.")]
    Cp {
        /// A file or directory here, or BUCKET/KEY.
        source: String,
        /// BUCKET/KEY, or a file or directory here.
        destination: String,
        /// Everything below a directory, or below a key.
        #[arg(short, long)]
        recursive: bool,
        /// Files at the same time.
        #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
        jobs: u16,
        /// Copy what is equal too.
        #[arg(long)]
        force: bool,
    },
    /// List buckets, or a bucket's objects.
    Ls {
        /// BUCKET or BUCKET/PREFIX; nothing lists buckets.
        target: Option<String>,
    },
    /// Show what is known of an object; without one, what all of them hold and what sharing saves.
    Stat {
        /// BUCKET/KEY.
        object: Option<String>,
    },
    /// Remove an object.
    Rm {
        /// BUCKET/KEY.
        object: String,
    },
    /// Make a bucket.
    Mb {
        /// Its name.
        bucket: String,
    },
    /// Remove an empty bucket.
    Rb {
        /// Its name.
        bucket: String,
    },
    /// Sign a URL: prints `path?query` that lets its holder do METHOD to PATH.
    Sign {
        /// GET, PUT, HEAD or DELETE.
        #[arg(required_unless_present = "method_flag")]
        method: Option<String>,
        /// The path as it stands in the URL, or BUCKET/KEY.
        #[arg(required_unless_present = "path_flag")]
        path: Option<String>,
        /// METHOD, as the reference has it.
        #[arg(long = "method", value_name = "METHOD", conflicts_with = "method", requires = "path_flag")]
        method_flag: Option<String>,
        /// PATH, as the reference has it; METHOD is then GET unless it is given.
        #[arg(long = "path", value_name = "PATH", conflicts_with = "path")]
        path_flag: Option<String>,
        /// What to put before the path, such as http://127.0.0.1:8000.
        #[arg(long, default_value = "")]
        base: String,
        /// How long it is good.
        #[arg(long, default_value = "15m")]
        ttl: String,
    },
    /// Data nodes: add, remove, replace, relabel, move, list.
    Node {
        /// What to do.
        #[command(subcommand)]
        verb: NodeVerb,
    },
    /// Data nodes, in the reference's words: list, add, remove, class, domain.
    Dns {
        /// What to do.
        #[command(subcommand)]
        verb: DnsVerb,
    },
    /// Buckets: what a bucket says of its objects where requests do not.
    Bucket {
        /// What to do.
        #[command(subcommand)]
        verb: BucketVerb,
    },
    /// URL keys: list, rotate, remove.
    Urlkey {
        /// What to do.
        #[command(subcommand)]
        verb: UrlkeyVerb,
    },
    /// Show how the probes of each data node go.
    Heartbeat,
    /// Show what the process that answers is to its cluster: where changes are made.
    Role,
    /// Show an object's record: its chunks, and on which nodes each of them is.
    #[command(after_help = "Example: kvfs inspect photos/cat.jpg")]
    Inspect {
        /// BUCKET/KEY.
        #[arg(required_unless_present = "object_flag")]
        object: Option<String>,
        /// BUCKET/KEY, as the reference has it.
        #[arg(long = "object", value_name = "OBJECT", conflicts_with = "object")]
        object_flag: Option<String>,
    },
    /// Show the cluster on one screen.
    Status,
    /// Certificates for TLS.
    Certs {
        /// What to do.
        #[command(subcommand)]
        verb: CertsVerb,
    },
    /// Show settings and where each came from.
    Config {
        /// What to do.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Show where chunks would lie, and how many would move if nodes joined, left or were labelled otherwise.
    #[command(after_help = "\
Examples:
  kvfs placement-sim --nodes 5 --add 1
  kvfs placement-sim --nodes 10 --remove 1 --svg > moves.svg
  kvfs placement-sim --nodes 6 --racks 3 --weights 1,1,2 --change dn2=out
  kvfs placement-sim --cluster --change node-2=weight:3,domain:rack1 --change node-4=domain:rack1")]
    PlacementSim(SimFlags),
    /// Print the completions of a shell, to be put where it looks for them.
    #[command(after_help = "Example: kvfs completions bash > ~/.local/share/bash-completion/completions/kvfs")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory.
    #[command(after_help = "Example: kvfs man ~/.local/share/man/man1")]
    Man {
        /// The directory, which is made if need be.
        directory: PathBuf,
    },
    /// Measure parts of the store by themselves.
    Bench {
        /// Which.
        #[command(subcommand)]
        verb: BenchVerb,
    },
    /// Watch a principle at work: runs a demo on a store of its own, and fails if the principle does not hold.
    #[command(after_help = "Exit codes: 0 all as the script says; 1 a deviation; 2 no such demo.")]
    Demo {
        /// `list`, `all`, or a demo's name or letter.
        name: String,
        /// Plant the sabotage that the demo names: it must then fail.
        #[arg(long = "break")]
        sabotage: bool,
    },
    /// Metadata: back up, verify, restore, count.
    Meta {
        /// What to do.
        #[command(subcommand)]
        verb: MetaVerb,
    },
}

/// Verbs about certificates.
#[derive(Subcommand)]
pub enum CertsVerb {
    /// Make a CA, and certificates for servers and clients, to try TLS with; prints the settings that use them. For development.
    #[command(after_help = "Example: kvfs certs dev certs --host storage.example.org --host 10.0.0.7")]
    Dev {
        /// The directory for them; files that are there already are not overwritten.
        directory: PathBuf,
        /// A name or IP address of a server, beside localhost, 127.0.0.1 and ::1; may come several times.
        #[arg(long = "host", value_name = "NAME_OR_IP", value_parser = crate::certs::host)]
        hosts: Vec<String>,
    },
}

/// Verbs about settings.
#[derive(Subcommand)]
pub enum ConfigVerb {
    /// Print each setting of a role, and whether it came from a flag, the environment, the file or the default.
    Show {
        /// The role.
        #[arg(value_enum, default_value_t = Role::Up)]
        role: Role,
    },
}

/// A process's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything in one process.
    Up,
    /// Data node.
    Dn,
    /// Coordinator.
    Coord,
    /// Gateway.
    Edge,
}

macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident = $flag:literal as $setting:literal,)* }) => {
        $(#[$doc])*
        #[derive(Args, Default)]
        pub struct $name {
            $($(#[$field_doc])* #[arg(long = $flag, value_name = "VALUE")] pub $field: Option<String>,)*
        }

        impl $name {
            /// The sources of this role's settings: these flags, the environment, and the settings file.
            pub fn sources(&self, config: Option<&Path>) -> Result<Sources> {
                let mut sources = sources(config)?;
                $(if let Some(value) = &self.$field {
                    sources.flags.insert($setting.to_string(), value.clone());
                })*
                Ok(sources)
            }
        }
    };
}

flags! {
    /// Settings of `up`; the names in brackets are their environment variables.
    UpFlags {
        /// Where to listen [UP_ADDR, default 127.0.0.1:8000].
        addr = "addr" as "UP_ADDR",
        /// Where everything is kept [UP_DATA_DIR, default ./kvfs-data].
        data_dir = "data-dir" as "UP_DATA_DIR",
        /// How many data nodes [UP_NODES, default 3].
        nodes = "nodes" as "UP_NODES",
        /// Copies of each chunk [UP_REPLICAS, default 3].
        replicas = "replicas" as "UP_REPLICAS",
        /// Written once the store has put and got something through its own listener [UP_READY_FILE].
        ready_file = "ready-file" as "UP_READY_FILE",
        /// Where backups of the metadata are written by themselves [UP_SNAPSHOT_DIR].
        snapshot_dir = "snapshot-dir" as "UP_SNAPSHOT_DIR",
        /// Where the audit log is written: JSON lines of all changes [UP_WAL_PATH].
        wal_path = "wal-path" as "UP_WAL_PATH",
    }
}

flags! {
    /// Settings of a data node; the names in brackets are their environment variables.
    DnFlags {
        /// A name for people [DN_ID].
        id = "id" as "DN_ID",
        /// Where to listen [DN_ADDR, default 127.0.0.1:8080].
        addr = "addr" as "DN_ADDR",
        /// Where chunks are kept [DN_DATA_DIR].
        data_dir = "data-dir" as "DN_DATA_DIR",
        /// Written with the address once it serves [DN_READY_FILE].
        ready_file = "ready-file" as "DN_READY_FILE",
    }
}

flags! {
    /// Settings of a coordinator; the names in brackets are their environment variables.
    CoordFlags {
        /// Where to listen [COORD_ADDR, default 127.0.0.1:9000].
        addr = "addr" as "COORD_ADDR",
        /// Where metadata is kept [COORD_DATA_DIR, default ./coord-data].
        data_dir = "data-dir" as "COORD_DATA_DIR",
        /// Data nodes to register, host:port, separated by commas [COORD_DNS].
        dns = "dns" as "COORD_DNS",
        /// All coordinators that the group is founded with, host:port, separated by commas [COORD_PEERS].
        peers = "peers" as "COORD_PEERS",
        /// How the other coordinators reach this one [COORD_SELF_URL].
        self_url = "self-url" as "COORD_SELF_URL",
        /// Written with the address once it serves [COORD_READY_FILE].
        ready_file = "ready-file" as "COORD_READY_FILE",
        /// Where backups of the metadata are written by themselves [COORD_SNAPSHOT_DIR].
        snapshot_dir = "snapshot-dir" as "COORD_SNAPSHOT_DIR",
        /// Where the audit log is written: JSON lines of all changes [COORD_WAL_PATH].
        wal_path = "wal-path" as "COORD_WAL_PATH",
    }
}

flags! {
    /// Settings of a gateway; the names in brackets are their environment variables.
    EdgeFlags {
        /// Where to listen [EDGE_ADDR, default 127.0.0.1:8000].
        addr = "addr" as "EDGE_ADDR",
        /// The coordinators, separated by commas; without, this process hosts one [EDGE_COORD_URL].
        coord_url = "coord-url" as "EDGE_COORD_URL",
        /// Where a hosted coordinator keeps metadata [EDGE_DATA_DIR, default ./edge-data].
        data_dir = "data-dir" as "EDGE_DATA_DIR",
        /// Data nodes a hosted coordinator registers [EDGE_DNS].
        dns = "dns" as "EDGE_DNS",
        /// The gateways whose hosted coordinators found the group, host:port, separated by commas [EDGE_PEERS].
        peers = "peers" as "EDGE_PEERS",
        /// How those gateways reach this one [EDGE_SELF_URL].
        self_url = "self-url" as "EDGE_SELF_URL",
        /// Copies of each chunk [EDGE_REPLICAS, default 3].
        replicas = "replicas" as "EDGE_REPLICAS",
        /// Durable copies before the answer; 0 is more than half [EDGE_QUORUM_WRITE].
        quorum = "quorum" as "EDGE_QUORUM_WRITE",
        /// Bytes of a chunk; 0 is 4 MiB [EDGE_CHUNK_SIZE].
        chunk_size = "chunk-size" as "EDGE_CHUNK_SIZE",
        /// primary takes writes, follower sends writers to the primary [EDGE_ROLE].
        role = "role" as "EDGE_ROLE",
        /// Where a follower sends writers [EDGE_PRIMARY_URL].
        primary_url = "primary-url" as "EDGE_PRIMARY_URL",
        /// Let reads be stale by that much, to spare the coordinators: 5s, say [EDGE_COORD_LOOKUP_CACHE_TTL, default 0].
        coord_lookup_cache_ttl = "coord-lookup-cache-ttl" as "EDGE_COORD_LOOKUP_CACHE_TTL",
        /// How bodies are cut: fixed, or cdc where the content says [EDGE_CHUNK_MODE, default fixed].
        chunk_mode = "chunk-mode" as "EDGE_CHUNK_MODE",
        /// The storage class whose nodes new objects prefer [EDGE_PLACEMENT_PREFER].
        placement_prefer_class = "placement-prefer-class" as "EDGE_PLACEMENT_PREFER",
        /// Let everybody in without a signature: 1 or 0 [EDGE_SKIP_AUTH].
        skip_auth = "skip-auth" as "EDGE_SKIP_AUTH",
        /// Written with the address once it serves [EDGE_READY_FILE].
        ready_file = "ready-file" as "EDGE_READY_FILE",
        /// Where backups of the metadata are written by themselves [EDGE_SNAPSHOT_DIR].
        snapshot_dir = "snapshot-dir" as "EDGE_SNAPSHOT_DIR",
        /// Where the audit log is written: JSON lines of all changes [EDGE_WAL_PATH].
        wal_path = "wal-path" as "EDGE_WAL_PATH",
    }
}

fn sources(config: Option<&Path>) -> Result<Sources> {
    let sources = Sources::from_process();
    match config {
        None => Ok(sources),
        Some(path) => {
            let problem =
                |expected: String| Problem { name: "--config".into(), value: path.display().to_string(), expected };
            let text = std::fs::read_to_string(path)
                .map_err(|error| SettingsError(vec![problem(format!("a settings file that can be read: {error}"))]))?;
            Ok(sources
                .with_file(&text)
                .map_err(|wrong| SettingsError(vec![Problem { name: path.display().to_string(), ..wrong }]))?)
        }
    }
}
