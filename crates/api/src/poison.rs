//! What a failed sync does to a store: it is over, and stays over.
//!
//! After a failed `fsync` the kernel may mark the pages clean and drop the error, so that a second `fsync` says "fine" about bytes
//! (or names) that are nowhere but in memory. A retry proves nothing, and neither does a new process: it would read the same
//! memory. So a store whose sync failed leaves a [`Marker`], and the process ends with [`EXIT_POISONED`], which its supervisor
//! must not answer with a restart. The verdict holds until a person has looked at the disk, made the machine forget what it
//! had in memory (a reboot, or unmounting), and removed the marker.
//!
//! Source: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::disk::{self, Disk};

/// Exit code of a process whose store is poisoned: `EX_IOERR` of sysexits.h. Under systemd, `RestartPreventExitStatus=74`.
pub const EXIT_POISONED: u8 = 74;

/// Exit code of a process that stopped because of its disk and may be started again, such as one whose disk was full: `EX_TEMPFAIL`.
pub const EXIT_TRY_AGAIN: u8 = 75;

/// The file `poisoned` in a store's directory, which holds the first error.
#[derive(Clone, Debug)]
pub struct Marker(PathBuf);

impl Marker {
    /// That of the store in `directory`.
    pub fn of(directory: &Path) -> Self {
        Self(directory.join("poisoned"))
    }

    /// Where it is, or would be.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What it says, if it is there. One that cannot be read counts as well.
    pub fn read(&self, disk: &dyn Disk) -> Option<String> {
        match disk::read(disk, &self.0) {
            Ok(text) => Some(String::from_utf8_lossy(&text).trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(format!("a marker that cannot be read: {error}")),
        }
    }

    /// Leaves it, durably. Errs if the disk cannot keep even that; then somebody must keep the process from starting again.
    pub fn leave(&self, disk: &dyn Disk, reason: &str) -> io::Result<()> {
        disk::replace(disk, &self.0, reason.as_bytes())
    }
}
