//! Fuzz targets of what strangers send to a gateway: signatures, paths, ranges and conditions.

use axum::http::{HeaderMap, HeaderValue, header};
use bolero::check;
use domain::urlkey::{self, Presented, UrlKey, UrlKeyError};
use objects::ReadPart;
use testkit::fuzz::{EXECUTIONS, spell};

use crate::auth::query_pairs;
use crate::conditional::{self, ReadVerdict};
use crate::path::{self, Target};

const NOW: i64 = 1_700_000_000;

/// Whoever does not know the secret gets in with no query at all, and whoever does gets in with the right one.
#[test]
fn urlkey() {
    let keys = ["v1", "v2"].map(|kid| UrlKey {
        kid: kid.into(),
        secret: format!("the secret of the key {kid}").into_bytes(),
        primary: kid == "v1",
        created_ms: 0,
    });
    let good = urlkey::sign(&keys[0].secret, "GET", b"/v1/o/b/k", NOW);
    let words = [
        "sig=",
        "exp=",
        "kid=",
        "v1",
        "v2",
        "&",
        "&&",
        "=",
        "%",
        "%26",
        "+",
        "-",
        "1700000000",
        "1699999999",
        "9223372036854775808",
        "-1",
        "SIG=",
        good.as_str(),
        &good[1..],
    ];
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let query = String::from_utf8_lossy(&spell(input, &words)).into_owned();
        let pairs: Vec<(String, String)> = query_pairs(&query).collect();
        let first = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let presented = Presented { sig: first("sig"), exp: first("exp"), kid: first("kid") };
        let verdict = urlkey::verify(&keys, "GET", b"/v1/o/b/k", &presented, NOW);
        let right = first("sig") == Some(&good)
            && first("exp").and_then(|exp| exp.parse().ok()) == Some(NOW)
            && matches!(first("kid"), None | Some("" | "v1"));
        assert_eq!(verdict.is_ok(), right, "{query}: {verdict:?}");
        assert_ne!(urlkey::verify(&[], "GET", b"/v1/o/b/k", &presented, NOW), Ok(()), "{query}");
        if first("sig").is_none() {
            assert_eq!(verdict, Err(UrlKeyError::MissingSig), "{query}");
        }
    });
}

/// A path names at most one thing, and a bucket never has a slash in it.
#[test]
fn paths() {
    let words = [
        "/",
        "//",
        "/v1/o/",
        "/v1/list/",
        "/v1/b",
        "/v1/b/",
        "/healthz",
        "b",
        "..",
        ".",
        "%2F",
        "%2f",
        "%00",
        "%",
        "%25",
        "%zz",
    ];
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let raw = String::from_utf8_lossy(&spell(input, &words)).into_owned();
        for raw in [format!("/v1/o/b/{raw}"), format!("/v1/o/{raw}"), raw] {
            names_one_thing(&raw);
        }
    });
}

fn names_one_thing(raw: &str) {
    match path::parse(raw) {
        Ok(Target::Object(name)) => {
            let rest = raw.strip_prefix("/v1/o/").expect("objects are nowhere else");
            let (_, key) = rest.split_once('/').expect("a bucket and a key");
            assert_eq!(name.key.as_bytes(), path::decode(key), "{raw}");
            assert!((1..=1024).contains(&name.key.as_bytes().len()), "{raw}");
            assert!(!name.bucket.as_str().contains('/') && !name.bucket.as_str().is_empty(), "{raw}");
        }
        Ok(Target::List(bucket) | Target::Bucket(bucket)) => assert!(!bucket.as_str().contains('/'), "{raw}"),
        Ok(Target::Health | Target::Ready | Target::Buckets) => assert!(raw.len() <= 8, "{raw}"),
        Err(_) => {}
    }
}

/// A range lies within the object, whatever it says; conditions are evaluated or refused.
#[test]
fn ranges_and_conditions() {
    let words = [
        "bytes=",
        "bytes",
        "=",
        "-",
        "0",
        "1",
        "99",
        "4",
        "18446744073709551615",
        "18446744073709551616",
        ",",
        " ",
        "*",
        "\"",
        "\"tag\"",
        "W/",
        "Tue, 14 Nov 2023 22:13:20 GMT",
        "Mon, 01 Jan 0001 00:00:00 GMT",
    ];
    let names = [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ];
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let mut headers = HeaderMap::new();
        for (nth, piece) in input.split(|byte| *byte == 255).take(8).enumerate() {
            if let Ok(value) = HeaderValue::from_bytes(&spell(piece, &words)) {
                headers.append(names[nth % names.len()].clone(), value);
            }
        }
        let created = NOW as u64 * 1000;
        let part = conditional::part(&headers, "tag", created);
        for size in [0, 1, 5, 100, u64::MAX] {
            let range = part.of(size);
            assert!(range.is_none_or(|range| range.start <= range.end && range.end <= size), "{headers:?} of {size}");
        }
        if !headers.contains_key(header::RANGE) {
            assert_eq!(part, ReadPart::Whole, "{headers:?}");
        }
        let verdict = conditional::evaluate(&headers, "tag", created);
        let write = conditional::precondition(&headers);
        if headers.get(header::IF_MATCH).is_some_and(|tags| tags == "*")
            && headers.get_all(header::IF_MATCH).iter().count() == 1
        {
            assert_ne!(verdict, Ok(ReadVerdict::Failed), "{headers:?}");
        }
        if !headers.contains_key(header::IF_MATCH) && !headers.contains_key(header::IF_NONE_MATCH) {
            assert!(verdict.is_ok() && write.is_ok(), "{headers:?}");
        }
    });
}
