//! Snapshot streams: all tables at one moment, as bytes that prove themselves.
//!
//! The same stream is a backup in a file and the copy that a member gets which is too far behind for the log. It is written from
//! a read transaction while commands go on, a block at a time, and read by somebody who trusts none of it:
//!
//! ```text
//! "kvfsmeta" | version u32 | frame: header | frame: rows | frame: rows | … | frame: trailer | SHA-256
//!
//! frame    kind u8 | length u32 | crc32c u32 | payload (`length` bytes)                    numbers little-endian
//! header   cluster id, generation, wall clock, and what the tables reflect: log position and membership
//! rows     the table's name, then (key length u32, value length u32, key, value)… in key order
//! trailer  rows per table, and once more what they reflect
//! ```
//!
//! # What finds which damage
//!
//! | Damage | Found by |
//! |---|---|
//! | a flipped bit in a frame | the frame's CRC-32C, when the frame is whole: at most 4 MiB later |
//! | a frame left out, doubled or moved | its ordinal, which the CRC covers; then the order of keys, then the counts |
//! | a stream that ends early | no trailer, or no digest behind it |
//! | several changes that suit each other's CRC | the SHA-256 over every byte before it |
//! | a stream of another cluster inside a right one | the cluster's own row must say what the header says |
//!
//! None of these is a signature: whoever can write the file can write the digest. A backup is as trustworthy as the place that it is
//! kept in.
//!
//! # Bounds
//!
//! A frame's payload is at most 256 KiB unless one row is larger, and a row is no larger than a log entry. A reader holds one
//! frame, and its buffer grows with what arrives and not with what a length field promises.
//!
//! # Left out
//!
//! Compression: the rows are ids and hashes for the most part. Incremental snapshots: one that follows another is the log's business.

mod format;
mod hash;
mod install;
mod read;
mod stream;
#[cfg(test)]
mod tests;
mod write;

#[cfg(test)]
pub(crate) use tests::sample;

pub use format::{Header, SnapshotError, Summary};
pub use hash::{StateHash, state_hash};
pub(crate) use install::{Installer, Ready};
pub use read::{Block, Reader};
pub use stream::Stream;
pub use write::Writer;
