//! Lists of a bucket's objects, in pages.

use api::metadata::{ListQuery, MAX_LIST};
use axum::Json;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use domain::BucketName;
use domain::id::hex;
use domain::record::{ObjectName, ObjectRow};
use domain::timestamp::rfc3339;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::put::bad_argument;
use crate::reply::Failure;
use crate::router::Edge;

/// One entry of a list.
#[derive(Serialize)]
struct Entry {
    key: String,
    /// The key's bytes in hex, only where they are not text: then `key` cannot say them.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    size: u64,
    version: u64,
    content_type: String,
    etag: String,
    created_at: String,
}

/// `GET /v1/list/{bucket}?prefix=&after=&limit=`: a page in byte order. `next`, if present, is the next page's `after`.
pub(crate) async fn list(edge: &Edge, bucket: BucketName, parts: &Parts) -> Result<Response, Failure> {
    let query = parse(bucket, parts.uri.query().unwrap_or_default())?;
    let page = edge.objects.list(&query).await?;
    let next = page.objects.last().filter(|_| page.more).map(|(name, _)| encode(name.key.as_bytes()));
    let objects: Vec<_> = page.objects.into_iter().map(|(name, row)| entry(&name, row)).collect();
    let body = serde_json::json!({
        "bucket": query.bucket.as_str(),
        "prefix": String::from_utf8_lossy(&query.prefix),
        "count": objects.len(),
        "objects": objects,
        "next": next,
    });
    Ok(Json(body).into_response())
}

fn parse(bucket: BucketName, query: &str) -> Result<ListQuery, Failure> {
    let mut wanted = ListQuery { bucket, prefix: Vec::new(), after: None, limit: MAX_LIST };
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bytes: Vec<u8> = percent_decode_str(&value.replace('+', " ")).collect();
        match name {
            "prefix" => wanted.prefix = bytes,
            "after" if !bytes.is_empty() => wanted.after = Some(bytes),
            "limit" if !value.is_empty() => {
                let limit: usize = value.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| {
                    bad_argument(format!("limit={value}: expected a whole number from 1 to {MAX_LIST}"))
                })?;
                wanted.limit = limit.min(MAX_LIST);
            }
            _ => {}
        }
    }
    Ok(wanted)
}

fn entry(name: &ObjectName, row: ObjectRow) -> Entry {
    let text = std::str::from_utf8(name.key.as_bytes()).is_ok();
    Entry {
        key: name.key.to_string(),
        key_hex: (!text).then(|| hex(name.key.as_bytes())),
        size: row.size,
        version: row.revision,
        content_type: row.content_type,
        etag: row.etag,
        created_at: rfc3339(row.created_ms),
    }
}

/// Percent-encodes all but unreserved characters, so that any key survives in a query.
fn encode(bytes: &[u8]) -> String {
    percent_encoding::percent_encode(bytes, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let bucket = BucketName::parse("b").unwrap();
        let query = parse(bucket.clone(), "prefix=a%2Fb&after=%00x&limit=7&sig=1").unwrap();
        assert_eq!((query.prefix, query.after, query.limit), (b"a/b".to_vec(), Some(b"\0x".to_vec()), 7));
        assert_eq!(parse(bucket.clone(), "limit=5000").unwrap().limit, 1000);
        for bad in ["limit=0", "limit=-1", "limit=x"] {
            assert!(parse(bucket.clone(), bad).is_err(), "{bad}");
        }
    }
}
