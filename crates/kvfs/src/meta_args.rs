//! The command line of `kvfs meta`, declared.

use std::path::PathBuf;

use clap::Subcommand;

/// Verbs about metadata.
#[derive(Subcommand)]
pub enum MetaVerb {
    /// Count rows.
    Info,
    /// Write all metadata of the running cluster into a file, verified as it arrives.
    ///
    /// The file holds the secrets of the URL keys: keep it as you keep those.
    #[command(visible_alias = "snapshot")]
    Backup {
        /// The file; default: kvfs-meta-snapshot-TIME.kvfs, here.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a backup from its first byte to its last, and say what it holds. Needs no cluster.
    Verify {
        /// The backup.
        file: PathBuf,
    },
    /// Show the state's hash, of the running cluster or of a backup: equal hashes mean equal metadata.
    Hash {
        /// A backup.
        file: Option<PathBuf>,
    },
    /// Show how scheduled backups go, and which there are.
    History,
    /// Apply an audit log to empty tables, or to a backup's, and show the hash of the state that it comes to.
    Replay {
        /// The audit log.
        file: PathBuf,
        /// A backup to begin with: entries that it has are passed over.
        #[arg(long, value_name = "BACKUP")]
        from: Option<PathBuf>,
    },
    /// Compare every record with every node after a restore, show what is missing, and allow deletes again.
    ///
    /// Objects whose chunks are on no node are listed by name, and so are nodes that do not answer; then the hold stays. Once it is lifted,
    /// copies that no record names are deleted for good.
    ReleaseHold {
        /// Lift the hold in spite of what was found: listed objects stay unreadable.
        #[arg(long)]
        force: bool,
    },
    /// Begin a new life from a backup, in the directory of a coordinator that does not run.
    ///
    /// Buckets, objects and keys are as they were when the backup was taken. What was written since is lost, and nothing is deleted
    /// on any node until `kvfs meta release-hold` has looked for every copy. Data nodes stay as they are. Coordinators of before must not
    /// run any more: nodes refuse them.
    #[command(after_help = "\
Examples:
  kvfs meta restore --from backup.kvfs --data-dir coord-data
  kvfs meta restore --from backup.kvfs --data-dir kvfs-data/meta --force    for `kvfs up`; the old files are kept beside")]
    Restore {
        /// The backup.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The coordinator's directory; `kvfs up` keeps it in kvfs-data/meta.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// This coordinator's address, as its COORD_SELF_URL, if it is to run with others; they are then taken in anew
        /// (`kvfs coord members add`).
        #[arg(long, value_name = "HOST:PORT")]
        self_url: Option<String>,
        /// Move aside what is there.
        #[arg(long)]
        force: bool,
    },
}
