//! A newtype for every id, checksum and position that could be swapped for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Content address of a chunk: the SHA-256 of its bytes (32 bytes, shown as 64 lowercase hex digits).
///
/// Equal ids mean equal bytes, so a chunk never changes and putting it twice is a no-op.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId([u8; 32]);

impl ChunkId {
    /// The address of `bytes`. Costs one pass over them.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Takes the digest of a hasher that was fed the chunk piece by piece.
    pub fn from_digest(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// An id read back from a record or a directory, where a digest stood.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `bytes` are what this id names: the check that ends every doubt.
    pub fn names(&self, bytes: &[u8]) -> bool {
        *self == Self::of(bytes)
    }

    /// The 64 lowercase hex digits: file names, URLs and placement keys.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

/// A text that is not what its type demands: what was found, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected}")]
pub struct ParseError {
    /// The text as it came, cut to a length fit for a message.
    pub found: String,
    /// What would have been right.
    pub expected: &'static str,
}

impl ParseError {
    pub(crate) fn new(found: &str, expected: &'static str) -> Self {
        Self { found: found.chars().take(80).collect(), expected }
    }
}

impl FromStr for ChunkId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut bytes = [0; 32];
        match unhex(text, &mut bytes) {
            true => Ok(Self(bytes)),
            false => Err(ParseError::new(text, "a chunk id (64 lowercase hex digits)")),
        }
    }
}

/// CRC-32C (Castagnoli) of a run of bytes: cheap enough (25 GB/s) to check on every hop and every read.
///
/// It finds damage, not malice; content is *named* by its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Crc32c(pub u32);

impl Crc32c {
    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32)
    }
}

impl fmt::Display for Crc32c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Crc32c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for Crc32c {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut bytes = [0; 4];
        match unhex(text, &mut bytes) {
            true => Ok(Self(u32::from_be_bytes(bytes))),
            false => Err(ParseError::new(text, "a CRC-32C (8 lowercase hex digits)")),
        }
    }
}

/// A CRC-32C computed piece by piece, as bytes arrive.
#[derive(Debug)]
pub struct CrcStream(crc_fast::Digest);

impl CrcStream {
    /// The checksum of nothing yet.
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn finish(&self) -> Crc32c {
        Crc32c(self.0.clone().finalize() as u32)
    }
}

impl Default for CrcStream {
    fn default() -> Self {
        Self::new()
    }
}

/// A place in the replicated log: entry index and position within that entry, in one ordered number.
///
/// Nothing else is handed out twice, so it also serves as the id of whatever a command creates: versions,
/// bodies, leases. The low 16 bits are the position in the entry (at most 65,536 commands each).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition(pub u64);

impl LogPosition {
    /// Position `slot` of the entry at `index`.
    pub fn new(index: u64, slot: u16) -> Self {
        Self(index << 16 | u64::from(slot))
    }

    /// The index of the log entry.
    pub fn index(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl fmt::Debug for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A data node's number in the registry, handed out by the state machine and never again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which formatting of a directory answers: random, drawn when the directory was stamped.
///
/// A wiped disk comes back with another one, and what the old one held counts as missing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Incarnation {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut bytes = [0; 8];
        match unhex(text, &mut bytes) {
            true => Ok(Self(u64::from_be_bytes(bytes))),
            false => Err(ParseError::new(text, "an incarnation (16 lowercase hex digits)")),
        }
    }
}

/// What a node draws at every put or touch of a chunk; a delete must name the latest one.
///
/// The boot counter changes them all at a restart, so a token is never issued twice and a delayed
/// delete is harmless for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// How often the node's directory had been opened when the token was drawn.
    pub boot: u64,
    /// Draws since then; 0 is the token of a chunk nobody touched since the start.
    pub draw: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot, self.draw)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Token {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "a token (two decimal numbers with a dot between)");
        let (boot, draw) = text.split_once('.').ok_or_else(wrong)?;
        match (boot.parse(), draw.parse()) {
            (Ok(boot), Ok(draw)) => Ok(Self { boot, draw }),
            _ => Err(wrong()),
        }
    }
}

/// A storage class; chunks are shared only inside one. 0 is the default class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClassId(pub u8);

/// Lowercase hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Fills `out` from exactly as many lowercase hex digits; false if `text` is anything else.
pub fn unhex(text: &str, out: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return false;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => return false,
        }
    }
    true
}

fn digit(ascii: u8) -> Option<u8> {
    match ascii {
        b'0'..=b'9' => Some(ascii - b'0'),
        b'a'..=b'f' => Some(ascii - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_id_names_its_bytes_and_only_those() {
        let id = ChunkId::of(b"hello");
        assert_eq!(id.to_hex(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(id.to_hex().parse(), Ok(id));
        assert!(id.names(b"hello") && !id.names(b"hellO"));
    }

    #[test]
    fn texts_that_are_no_ids_are_refused() {
        let hex = ChunkId::of(b"").to_hex();
        for wrong in ["", &hex[1..], &hex.to_uppercase(), &format!("{hex}0"), &hex.replace('e', "g"), "é"] {
            assert!(wrong.parse::<ChunkId>().is_err(), "{wrong}");
        }
        for wrong in ["", "1", "1.", ".1", "a.b", "1.2.3", "-1.0"] {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn crc_is_castagnoli_and_streams() {
        assert_eq!(Crc32c::of(b"123456789"), Crc32c(0xe306_9283));
        let mut stream = CrcStream::new();
        stream.update(b"1234");
        stream.update(b"56789");
        assert_eq!(stream.finish().to_string(), "e3069283");
    }

    #[test]
    fn log_positions_order_by_entry_then_slot() {
        assert!(LogPosition::new(1, u16::MAX) < LogPosition::new(2, 0));
        assert_eq!(LogPosition::new(7, 3).index(), 7);
        assert_eq!(LogPosition::new(7, 3).to_string(), "7.3");
    }
}
