//! Records on disk and in the log: one version byte, then postcard.
//!
//! The byte says which layout follows. A record of a version that this build does not know is an error
//! that names both, never a guess. Tuples of big-endian numbers make keys whose byte order is their order.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A stored record that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by another version of kvfs.
    #[error("record has layout {found}; this build reads layout {known}: use the build that wrote it, or a newer one")]
    Version {
        /// The version byte found.
        found: u8,
        /// The only version this build reads.
        known: u8,
    },
    /// Bytes that are not such a record: damage, or a bug.
    #[error("record is damaged: {0}")]
    Damaged(String),
}

/// The layout that records have unless they are said to have another.
const VERSION: u8 = 1;

/// `record` as bytes: the version, then its fields.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Postcard fails only on types without a known length, of which no record has any.
    postcard::to_extend(record, vec![VERSION]).unwrap_or_else(|error| panic!("records always encode: {error}"))
}

/// The record in `bytes`, which must hold nothing else.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_as(VERSION, bytes)
}

/// `record` in a later layout, number `layout`, for a record that has several.
pub fn encode_as<T: Serialize>(layout: u8, record: &T) -> Vec<u8> {
    let mut bytes = encode(record);
    bytes[0] = layout;
    bytes
}

/// The record in `bytes`, which must be of layout `layout` and hold nothing else.
pub fn decode_as<T: DeserializeOwned>(layout: u8, bytes: &[u8]) -> Result<T, CodecError> {
    let (&found, fields) = bytes.split_first().ok_or_else(|| CodecError::Damaged("it is empty".into()))?;
    if found != layout {
        return Err(CodecError::Version { found, known: layout });
    }
    let (record, rest) = postcard::take_from_bytes(fields).map_err(|error| CodecError::Damaged(error.to_string()))?;
    match rest.is_empty() {
        true => Ok(record),
        false => Err(CodecError::Damaged(format!("{} bytes follow it", rest.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_strangers_are_named() {
        let bytes = encode(&(7u32, "name".to_string()));
        assert_eq!(decode::<(u32, String)>(&bytes), Ok((7, "name".to_string())));
        assert_eq!(decode::<(u32, String)>(&[9, 1]), Err(CodecError::Version { found: 9, known: 1 }));
        assert!(decode::<(u32, String)>(&bytes[..3]).is_err(), "cut short");
        assert!(decode::<u32>(&bytes).is_err(), "longer than the record");
        assert!(decode::<u32>(&[]).is_err(), "empty");
    }
}
