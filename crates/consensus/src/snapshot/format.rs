//! The layout of a snapshot stream, and what can be wrong with one.

use std::collections::BTreeMap;
use std::io;

use domain::id::{Crc32c, CrcStream};
use meta::Table;
use serde::{Deserialize, Serialize};

use crate::MAX_ENTRY_BYTES;
use crate::record::{Applied, damaged};

/// What every stream begins with.
pub(super) const MAGIC: &[u8; 8] = b"kvfsmeta";

/// The layout described in [`super`].
pub(super) const VERSION: u32 = 1;

/// Bytes of the magic and the version.
pub(super) const PREAMBLE_BYTES: usize = 12;

/// Bytes of a frame before its payload.
pub(super) const HEAD_BYTES: usize = 9;

/// Bytes of the digest at the end.
pub(super) const DIGEST_BYTES: usize = 32;

/// Payload at which a frame of rows is closed.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Key and value of a row: no command can write more than an entry holds.
pub(super) const MAX_ROW_BYTES: usize = MAX_ENTRY_BYTES;

/// Payload of any frame: a row of the largest size, and the table's name.
pub(super) const MAX_PAYLOAD_BYTES: usize = MAX_ROW_BYTES + 256;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameKind {
    Header = b'H',
    Rows = b'R',
    Trailer = b'T',
}

impl FrameKind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Header, Self::Rows, Self::Trailer].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The checksum of the frame numbered `ordinal`: where it stands, what it is, and its payload.
pub(super) fn checksum(ordinal: u64, kind: u8, payload: &[u8]) -> Crc32c {
    let mut crc = CrcStream::new();
    crc.update(&ordinal.to_le_bytes());
    crc.update(&[kind]);
    crc.update(&(payload.len() as u64).to_le_bytes());
    crc.update(payload);
    crc.finish()
}

/// What a stream says of itself before its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The cluster's id; 0 if it was not founded yet.
    pub cluster_id: u128,
    /// The cluster's generation; 0 if it was not founded yet.
    pub generation: u64,
    /// Wall clock of the writer when it began, in milliseconds.
    pub written_ms: u64,
    /// Log position and membership that the rows reflect.
    pub(crate) applied: Applied,
}

impl Header {
    /// Term of the last log entry that the rows reflect; 0 before the first.
    pub fn term(&self) -> u64 {
        self.applied.last.map_or(0, |last| last.term)
    }

    /// Index of that entry.
    pub fn index(&self) -> u64 {
        self.applied.index()
    }

    /// Everybody whom the membership names: number, address, and whether they vote.
    pub fn members(&self) -> Vec<(u64, String, bool)> {
        self.applied.members.list()
    }
}

/// What stands behind the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trailer {
    /// Rows per table, by name.
    pub(super) rows: Vec<(String, u64)>,
    /// As in the header.
    pub(super) applied: Applied,
}

/// A whole stream in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What it says of itself.
    pub header: Header,
    /// Rows per table; tables without any are there too.
    pub rows: BTreeMap<Table, u64>,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 over all of it but these last 32 bytes: the name of this very stream.
    pub digest: [u8; 32],
}

/// Why a stream was refused. Nothing of it may be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It begins like something else.
    #[error("this is not a metadata snapshot of kvfs: it does not begin with `kvfsmeta`")]
    Foreign,
    /// It was written by another version of kvfs.
    #[error(
        "the snapshot has format {found}; this build reads format {VERSION}: use the build that wrote it, or a newer one"
    )]
    Version {
        /// The version found.
        found: u32,
    },
    /// Bytes that nobody wrote there.
    #[error("the snapshot is damaged in block {block}, at byte {offset}: {what}; use another copy of it")]
    Damaged {
        /// Where the piece begins that is wrong.
        offset: u64,
        /// Which frame that is; the header is 0.
        block: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The stream ended before its end.
    #[error("the snapshot ends at byte {offset}, within block {block}: the rest is missing; use another copy of it")]
    Cut {
        /// Where it ends.
        offset: u64,
        /// Which frame is unfinished.
        block: u64,
    },
    /// Whoever was to take the rows could not.
    #[error(transparent)]
    Sink(#[from] io::Error),
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Sink(error) => error,
            other => damaged(other.to_string()),
        }
    }
}
