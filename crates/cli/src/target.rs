//! `BUCKET/KEY`, as a person types it.

use anyhow::{Context, Result, bail};
use domain::BucketName;

/// A bucket, and what follows the first slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The bucket.
    pub bucket: String,
    /// The key or prefix, as bytes; empty if nothing follows.
    pub key: Vec<u8>,
}

impl Target {
    /// `BUCKET/KEY`: both are needed.
    pub fn object(text: &str) -> Result<Self> {
        let target = Self::prefix(text)?;
        if target.key.is_empty() {
            bail!("{text:?} names a bucket and no key; expected BUCKET/KEY, like photos/cat.jpg");
        }
        Ok(target)
    }

    /// `BUCKET` or `BUCKET/PREFIX`.
    pub fn prefix(text: &str) -> Result<Self> {
        let (bucket, key) = text.split_once('/').unwrap_or((text, ""));
        BucketName::parse(bucket).with_context(|| format!("in {text:?}"))?;
        Ok(Self { bucket: bucket.to_string(), key: key.as_bytes().to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let target = Target::object("b/a//b/").unwrap();
        assert_eq!((target.bucket.as_str(), target.key.as_slice()), ("b", &b"a//b/"[..]));
        assert_eq!(Target::prefix("b").unwrap().key, b"");
        for bad in ["b", "b/", "", "/k", "a b/k"] {
            assert!(Target::object(bad).is_err(), "{bad:?}");
        }
    }
}
