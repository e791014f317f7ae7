//! Verbs about coordinators and their group.

use std::path::PathBuf;

use clap::Subcommand;

/// Verbs about coordinators.
#[derive(Subcommand)]
pub enum CoordVerb {
    /// Prepare an empty directory so that the coordinator started on it founds a group by itself, without waiting for others.
    #[command(after_help = "Example: kvfs coord init --data-dir coord-data --self-url a:9000")]
    Init {
        /// The directory (COORD_DATA_DIR).
        #[arg(long)]
        data_dir: PathBuf,
        /// How other coordinators will reach it (COORD_SELF_URL).
        #[arg(long)]
        self_url: String,
    },
    /// The coordinators of a group: list, add, promote, remove, replace.
    Members {
        /// What to do.
        #[command(subcommand)]
        verb: MembersVerb,
    },
}

/// Verbs about the members of a group of coordinators.
#[derive(Subcommand)]
pub enum MembersVerb {
    /// List them, with what each lacks of the log.
    List,
    /// Take a new coordinator in, as a learner: it gets the metadata, and has no vote yet.
    Add {
        /// host:port of a coordinator that runs on an empty directory.
        addr: String,
        /// Wait until it has caught up, and give it a vote.
        #[arg(long)]
        promote: bool,
    },
    /// Give a learner that has caught up its vote.
    Promote {
        /// Its number, or its host:port.
        member: String,
    },
    /// Remove a coordinator.
    Remove {
        /// Its number, or its host:port.
        member: String,
    },
    /// When more than half of the coordinators are lost for good: make one survivor a group of its own, offline.
    #[command(after_help = "\
The price: what was acknowledged and did not reach this survivor is gone. If any of the lost ones may come back, wait for it instead; if several
survive, take the one with the highest last log entry. Stop all coordinators, run this on the survivor's directory, start it, empty the others' directories,
and take them in with `members add --promote`. Deletes stay on hold until `kvfs meta release-hold` has looked for every copy.

Example: kvfs coord members recover --data-dir coord-data --self-url a:9000 --accept-loss")]
    Recover {
        /// The survivor's directory (COORD_DATA_DIR).
        #[arg(long)]
        data_dir: PathBuf,
        /// How other coordinators reach it (COORD_SELF_URL).
        #[arg(long)]
        self_url: String,
        /// Says that you know the price.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Take a new coordinator in for one that is lost: it catches up, gets the lost one's vote, and the lost one is removed.
    Replace {
        /// The lost one: its number, or its host:port.
        old: String,
        /// host:port of a coordinator that runs on an empty directory; may be the lost one's address.
        new: String,
    },
}
