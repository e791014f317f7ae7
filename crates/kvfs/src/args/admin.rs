//! The verbs that administer, declared.

use std::path::PathBuf;

use clap::Subcommand;

/// Verbs about data nodes.
#[derive(Subcommand)]
pub enum NodeVerb {
    /// Register a data node. One that is registered already keeps its labels.
    Add {
        /// host:port.
        addr: String,
    },
    /// Remove a data node that holds nothing, if enough others remain.
    Remove {
        /// host:port.
        addr: String,
    },
    /// Take in a data node whose directory is not the one that was stamped for it.
    #[command(after_help = "\
A node whose directory was emptied, swapped or rolled back is shown as Lost, and everything that it held counts as missing. Start it
on the directory that it is to have, empty or with what was saved, and replace it: from then on that directory counts.")]
    Replace {
        /// host:port.
        addr: String,
    },
    /// Change a data node's storage class, failure domain or weight.
    #[command(after_help = "\
Examples:
  kvfs node relabel dn1:8080 --domain rack-1
  kvfs node relabel dn1:8080 --class ssd --weight 2
  kvfs node relabel dn1:8080 --class ''            back to the default class")]
    Relabel {
        /// host:port.
        addr: String,
        /// Storage class; '' is the default class.
        #[arg(long)]
        class: Option<String>,
        /// Failure domain: what fails as one, such as a rack; '' makes the node one of its own.
        #[arg(long)]
        domain: Option<String>,
        /// Share of the load, relative to other nodes' weights.
        #[arg(long)]
        weight: Option<u32>,
    },
    /// Note that a data node is reached at another address. It keeps its name, and so its chunks.
    Move {
        /// Where it was, host:port.
        addr: String,
        /// Where it is now, host:port.
        to: String,
    },
    /// List data nodes.
    List,
}

/// Verbs about buckets.
#[derive(Subcommand)]
pub enum BucketVerb {
    /// Show a bucket's policy; with flags, set it.
    #[command(after_help = "\
A policy says what requests mean that do not say it themselves. What it does not name is as each gateway is configured.
Examples:
  kvfs bucket policy photos                     show it
  kvfs bucket policy photos --ec 4+2            new objects in stripes of 4 + 2 shards
  kvfs bucket policy photos --copies 2 -W 1     or in two copies, acknowledged at one
  kvfs bucket policy photos --reset             as configured again")]
    Policy {
        /// Its name.
        bucket: String,
        /// In stripes of K data shards and M that may be lost, as in `4+2`.
        #[arg(long, value_name = "K+M", conflicts_with = "copies")]
        ec: Option<String>,
        /// This many whole copies of each chunk.
        #[arg(long)]
        copies: Option<u8>,
        /// Durable copies before a write is answered.
        #[arg(short = 'W', long, value_name = "COPIES")]
        write_quorum: Option<u8>,
        /// Copies that must agree before a read is answered.
        #[arg(short = 'R', long, value_name = "COPIES")]
        read_quorum: Option<u8>,
        /// Say nothing any more.
        #[arg(long, conflicts_with_all = ["ec", "copies", "write_quorum", "read_quorum"])]
        reset: bool,
    },
}

/// Verbs about data nodes, in the reference's words.
#[derive(Subcommand)]
pub enum DnsVerb {
    /// List the addresses of data nodes.
    List,
    /// Register a data node.
    Add {
        /// host:port.
        addr: String,
    },
    /// Remove a data node that holds nothing.
    Remove {
        /// host:port.
        addr: String,
    },
    /// Set a data node's storage class.
    Class {
        /// host:port.
        addr: String,
        /// The class; '' is the default class.
        class: String,
    },
    /// Set a data node's failure domain.
    Domain {
        /// host:port.
        addr: String,
        /// The domain; '' makes the node one of its own.
        domain: String,
    },
}

/// Verbs about URL keys.
#[derive(Subcommand)]
pub enum UrlkeyVerb {
    /// List the keys, the primary one marked; never a secret.
    List,
    /// Add a key and sign with it from now on. What other keys signed stays good.
    #[command(after_help = "\
Examples:
  kvfs urlkey rotate                        draws a secret and keeps it in the client file in use
  kvfs urlkey rotate --kid v2 --secret-file v2.key
                                            reads the secret there, or draws one and writes it there

The secret is shown nowhere. Remove the old key once the URLs that it signed have expired.")]
    Rotate {
        /// Its name; by default `v` and the time.
        #[arg(long)]
        kid: Option<String>,
        /// The file that holds its secret; drawn and written with mode 0600 if it is not there.
        #[arg(long, value_name = "FILE", conflicts_with = "secret_hex")]
        secret_file: Option<PathBuf>,
        /// Its secret in hex, as the reference has it; others on this machine can see it while the command runs.
        #[arg(long, value_name = "HEX")]
        secret_hex: Option<String>,
        /// Whether new URLs are signed with it.
        #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
        primary: bool,
    },
    /// Remove a key that is neither the primary nor the last. What it signed is refused from then on.
    Remove {
        /// Its name.
        #[arg(required_unless_present = "kid_flag")]
        kid: Option<String>,
        /// Its name, as the reference has it.
        #[arg(long = "kid", value_name = "KID", conflicts_with = "kid")]
        kid_flag: Option<String>,
    },
}
