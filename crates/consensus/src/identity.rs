//! Who a coordinator is: one small file, written before it says its first word as a member.
//!
//! It lies beside the log and the tables and is lost with them, on purpose: a coordinator that lost its disk has also lost its
//! votes, so it must not go on under the number that cast them. It comes back as nobody and is taken in under a new number.

use std::io::{self, ErrorKind};
use std::path::Path;

use api::disk::{self, Disk};
use domain::codec;
use serde::{Deserialize, Serialize};

use crate::record::decode;
use crate::wire::ClusterKey;

/// The file's name in the group's directory.
const FILE: &str = "identity";

/// A member's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Which cluster.
    pub key: ClusterKey,
    /// Its number in the group; never given to anybody else.
    pub node: u64,
    /// The founder's list of members, until the group is founded: number and address.
    pub founding: Vec<(u64, String)>,
}

impl Identity {
    /// What the directory says; `None` if nobody ever was anybody here.
    pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Self>> {
        match disk::read(disk, &dir.join(FILE)) {
            Ok(bytes) => decode(&bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes it last. Blocks.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        disk::replace(disk, &dir.join(FILE), &codec::encode(self))
    }
}
