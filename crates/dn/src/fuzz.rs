//! Fuzz targets of what a data node reads: headers of chunk requests, and its own stamp.

use bolero::check;
use domain::{ChunkId, Crc32c, Token, codec};
use http::{HeaderMap, HeaderValue, header};
use testkit::fuzz::{EXECUTIONS, damage, spell};

use crate::http::asked_range;
use crate::wire;

/// What is accepted is written in one way only, and reads back as itself.
#[test]
fn chunk_headers() {
    let id = ChunkId::of(b"hello").to_hex();
    let words = [
        "bytes=",
        "-",
        "0",
        "4294967295",
        "4294967296",
        "9a71bb4c",
        "9A71BB4C",
        ".",
        "1",
        "3.17",
        &id,
        &id[..63],
        " ",
        "+",
        "F",
    ];
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let bytes = spell(input, &words);
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            headers.insert(api::routes::HEADER_CRC, value.clone());
            headers.insert(header::RANGE, value);
        }
        if let Ok(Some(crc)) = wire::crc(&headers) {
            assert_eq!(crc.to_string().as_bytes(), bytes);
        }
        if let Ok(Some(range)) = asked_range(&headers) {
            assert!(range.start < range.end, "{range:?}");
        }
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.parse::<ChunkId>().is_ok_and(|id| id.to_hex() == text) || text.parse::<ChunkId>().is_err());
        if let Ok(token) = text.parse::<Token>() {
            assert_eq!(token.to_string().parse::<Token>().ok(), Some(token), "{text}");
        }
        assert!(text.parse::<Crc32c>().is_ok_and(|crc| crc.to_string() == text) || text.parse::<Crc32c>().is_err());
    });
}

/// Requests that are records: a damaged one is refused, and what is accepted encodes to the same bytes.
#[test]
fn requests_that_are_records() {
    let ids: Vec<ChunkId> = (0..3_u8).map(|n| ChunkId::of(&[n])).collect();
    let sample = codec::encode(&ids);
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        for bytes in [input.to_vec(), damage(&sample, input)] {
            if let Ok(ids) = codec::decode::<Vec<ChunkId>>(&bytes) {
                assert!(ids.len() * 32 <= bytes.len(), "{} ids of {} bytes", ids.len(), bytes.len());
            }
            drop(codec::decode::<(u128, u64, domain::NodeId)>(&bytes));
            drop(codec::decode::<api::ChunkError>(&bytes));
        }
    });
}
