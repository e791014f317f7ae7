//! Names that users choose: buckets and keys, with the rules of each.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::ParseError;

/// A bucket's name: 1 to 63 bytes of `[A-Za-z0-9._-]`, but not `.` or `..`.
///
/// The S3 front is stricter; a bucket made there is always valid here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BucketName(String);

impl BucketName {
    /// Checks `name` against the rule above.
    pub fn parse(name: &str) -> Result<Self, ParseError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let sound = (1..=63).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != "..";
        match sound {
            true => Ok(Self(name.to_string())),
            false => Err(ParseError::new(name, "a bucket name (1 to 63 of A-Z a-z 0-9 . _ -)")),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object's key: 1 to 1,024 bytes, any bytes, compared and listed as bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey(Vec<u8>);

impl ObjectKey {
    /// The longest key, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Checks the length of `key`; no byte is refused.
    pub fn parse(key: &[u8]) -> Result<Self, ParseError> {
        match (1..=Self::MAX_BYTES).contains(&key.len()) {
            true => Ok(Self(key.to_vec())),
            false => Err(ParseError::new(&String::from_utf8_lossy(key), "a key (1 to 1,024 bytes)")),
        }
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names() {
        for good in ["a", "photos", "My.Bucket_1-x", &"b".repeat(63)] {
            assert!(BucketName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ü", "a\0", &"b".repeat(64)] {
            assert!(BucketName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_are_any_bytes_of_a_sane_length() {
        for good in [&b"a"[..], b"//..//", b"\0\xff", &[b'k'; 1024]] {
            assert!(ObjectKey::parse(good).is_ok());
        }
        assert!(ObjectKey::parse(b"").is_err());
        assert!(ObjectKey::parse(&[b'k'; 1025]).is_err());
    }
}
