//! Paths: from the bytes on the wire to what they name.

use api::routes;
use domain::record::ObjectName;
use domain::{BucketName, ObjectKey};
use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/healthz`.
    Health,
    /// `/readyz`.
    Ready,
    /// `/v1/o/{bucket}/{key}`.
    Object(ObjectName),
    /// `/v1/list/{bucket}`.
    List(BucketName),
    /// `/v1/b/{bucket}`.
    Bucket(BucketName),
    /// `/v1/b`.
    Buckets,
}

/// Why a path names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathError {
    /// No such route.
    Unknown,
    /// The bucket segment is not a bucket's name.
    Bucket(String),
    /// The key is empty or too long.
    Key(String),
}

/// The path's bytes after exactly one percent-decoding: what a signature covers.
pub(crate) fn decode(raw: &str) -> Vec<u8> {
    percent_decode_str(raw).collect()
}

/// What the raw path (as on the wire, without query) names.
pub(crate) fn parse(raw: &str) -> Result<Target, PathError> {
    match raw {
        "/healthz" => return Ok(Target::Health),
        "/readyz" => return Ok(Target::Ready),
        routes::BUCKETS | routes::BUCKET_PREFIX => return Ok(Target::Buckets),
        _ => {}
    }
    if let Some(rest) = raw.strip_prefix(routes::OBJECT_PREFIX) {
        // The bucket is one segment on the wire, so an encoded slash cannot move the border.
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = parse_bucket(bucket)?;
        let key = ObjectKey::parse(&decode(key)).map_err(|error| PathError::Key(error.to_string()))?;
        return Ok(Target::Object(ObjectName { bucket, key }));
    }
    if let Some(bucket) = raw.strip_prefix(routes::LIST_PREFIX) {
        return parse_bucket(bucket).map(Target::List);
    }
    match raw.strip_prefix(routes::BUCKET_PREFIX) {
        Some(bucket) => parse_bucket(bucket).map(Target::Bucket),
        None => Err(PathError::Unknown),
    }
}

fn parse_bucket(segment: &str) -> Result<BucketName, PathError> {
    let bytes = decode(segment);
    let text = String::from_utf8_lossy(&bytes);
    BucketName::parse(&text).map_err(|error| PathError::Bucket(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_bytes_after_one_decoding() {
        let table: &[(&str, &[u8])] = &[
            ("/v1/o/b/k", b"k"),
            ("/v1/o/b/a/b", b"a/b"),
            ("/v1/o/b//a//", b"/a//"),
            ("/v1/o/b/../c", b"../c"),
            ("/v1/o/b/a%2Fb", b"a/b"),
            ("/v1/o/b/%252F", b"%2F"),
            ("/v1/o/b/%00%ff", b"\0\xff"),
            ("/v1/o/b/a+b", b"a+b"),
            ("/v1/o/b/100%", b"100%"),
        ];
        for (raw, key) in table {
            match parse(raw) {
                Ok(Target::Object(name)) => assert_eq!(name.key.as_bytes(), *key, "{raw}"),
                other => panic!("{raw}: {other:?}"),
            }
        }
    }

    #[test]
    fn borders_cannot_be_moved() {
        assert!(matches!(parse("/v1/o/a%2Fb/c"), Err(PathError::Bucket(_))), "an encoded slash in the bucket");
        assert!(matches!(parse("/v1/o//k"), Err(PathError::Bucket(_))));
        assert!(matches!(parse("/v1/o/.."), Err(PathError::Bucket(_))));
        assert!(matches!(parse("/v1/o/b"), Err(PathError::Key(_))));
        assert!(matches!(parse("/v1/o/b/"), Err(PathError::Key(_))));
        assert!(matches!(parse(&format!("/v1/o/b/{}", "k".repeat(1025))), Err(PathError::Key(_))));
        assert_eq!(parse("/v1/x"), Err(PathError::Unknown));
        assert_eq!(parse("/healthz/"), Err(PathError::Unknown));
        assert_eq!(parse("/v1/b"), Ok(Target::Buckets));
    }
}
