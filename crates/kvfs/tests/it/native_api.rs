//! The native API, by its exact answers.

use super::support::Store;

const KEY: &str = "/v1/o/b/key";

#[test]
fn an_object_from_put_to_delete() {
    let store = Store::start();
    let put = store.ask("PUT", KEY, &[("Content-Type", "text/x-test")], b"hello");
    assert_eq!(put.status, 201, "{put:?}");
    let chunk = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let json = put.json();
    assert_eq!((json["size"].as_u64(), json["version"].as_u64()), (Some(5), Some(1)));
    assert_eq!(json["chunks"][0]["chunk_id"], chunk);
    assert!(json["chunks"][0]["replicas"].as_array().unwrap().len() >= 2);

    let get = store.ask("GET", KEY, &[], b"");
    assert_eq!((get.status, get.body.as_slice()), (200, &b"hello"[..]));
    let expected = [
        ("content-type", "text/x-test"),
        ("content-length", "5"),
        ("x-kvfs-version", "1"),
        ("x-kvfs-chunks", "1"),
        ("accept-ranges", "bytes"),
        ("etag", &format!("\"{chunk}\"")),
    ];
    for (name, value) in expected {
        assert_eq!(get.header(name), value, "{name}");
    }
    assert!(get.header("last-modified").ends_with(" GMT"));
    assert!(!get.header("x-request-id").is_empty());

    let head = store.ask("HEAD", KEY, &[], b"");
    assert_eq!((head.status, head.header("content-length").as_str(), head.body.len()), (200, "5", 0));
    assert_eq!(store.ask("PUT", KEY, &[], b"other").json()["version"], 2);
    assert_eq!(store.ask("GET", KEY, &[], b"").body, b"other");
    assert_eq!(store.ask("DELETE", KEY, &[], b"").status, 204);
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(store.ask(method, KEY, &[], b"").status, 404, "{method}");
    }
}

#[test]
fn every_wrong_request_has_its_answer() {
    let store = Store::start();
    store.ask("PUT", KEY, &[], b"hello");
    let long = format!("/v1/o/b/{}", "k".repeat(1025));
    // (method, path, headers, status, part of the message)
    type Headers = Vec<(&'static str, &'static str)>;
    let table: Vec<(&str, &str, Headers, u16, &str)> = vec![
        ("GET", "/v1/nothing", vec![], 404, "no such path"),
        ("GET", "/v1/o/b", vec![], 400, "bucket and key required"),
        ("GET", "/v1/o/b/", vec![], 400, "bucket and key required"),
        ("GET", "/v1/o//key", vec![], 400, "bucket name"),
        ("GET", "/v1/o/a%2Fb/key", vec![], 400, "bucket name"),
        ("GET", &long, vec![], 400, "1 to 1,024 bytes"),
        ("POST", KEY, vec![], 405, "DELETE, GET, HEAD, PUT"),
        ("PATCH", "/v1/b/bucket", vec![], 405, "DELETE, PUT"),
        ("PUT", "/v1/list/b", vec![], 405, "GET"),
        ("PUT", KEY, vec![("X-KVFS-W", "0")], 400, "X-KVFS-W=0: must be ≥ 1"),
        ("PUT", KEY, vec![("X-KVFS-W", "4")], 400, "X-KVFS-W=4: exceeds available replicas 3"),
        ("PUT", KEY, vec![("X-KVFS-W", "two")], 400, "not an integer"),
        ("PUT", KEY, vec![("X-KVFS-EC", "4+2")], 400, "EC 4+2 requires 6 DNs, cluster has 3: add data nodes"),
        ("PUT", KEY, vec![("X-KVFS-EC", "4-2")], 400, "X-KVFS-EC: \"4-2\" is not of the form K+M"),
        ("PUT", KEY, vec![("X-KVFS-EC", "4+0")], 400, "X-KVFS-EC: 4+0 is no code"),
        ("PUT", KEY, vec![("X-KVFS-EC", "200+56")], 400, "at most 255 together"),
        ("PUT", KEY, vec![("If-None-Match", "*")], 412, "precondition"),
        ("PUT", KEY, vec![("If-Match", "\"x\"")], 412, "precondition"),
        ("DELETE", KEY, vec![("If-Match", "\"x\"")], 412, "precondition"),
        ("GET", KEY, vec![("X-KVFS-R", "9")], 400, "exceeds available replicas"),
        ("GET", KEY, vec![("X-KVFS-R", "0")], 400, "must be ≥ 1"),
        ("GET", KEY, vec![("If-Match", "\"x\"")], 412, ""),
        ("GET", KEY, vec![("If-None-Match", "*")], 304, ""),
        ("GET", KEY, vec![("Range", "bytes=5-")], 416, "which has 5 bytes"),
        ("DELETE", "/v1/b/nothing", vec![], 404, "not found"),
        ("DELETE", "/v1/b/b", vec![], 409, "not empty"),
        ("PUT", "/v1/b/b", vec![], 409, "already exists"),
        ("PUT", "/v1/b/a%20b", vec![], 400, "bucket name"),
    ];
    for (method, path, headers, status, message) in table {
        let answer = store.ask(method, path, &headers, b"");
        assert_eq!(answer.status, status, "{method} {path} {headers:?}: {answer:?}");
        assert!(answer.error().contains(message), "{method} {path} {headers:?}: {}", answer.error());
    }
    assert_eq!(store.ask("GET", KEY, &[], b"").body, b"hello", "nothing of that changed anything");
}

#[test]
fn without_a_good_signature_nothing_is_told() {
    let store = Store::start();
    store.ask("PUT", KEY, &[], b"hello");
    let good = store.signed("GET", KEY);
    let (path, query) = good.split_once('?').unwrap();
    let other_kid = good.replace("kid=v1", "kid=v2");
    let no_kid = good.replace("kid=v1&", "");
    let expired = store.signed_until("GET", KEY, 1);
    let bad_exp = expired.replace("exp=1", "exp=soon");
    let forged = format!("{path}?{}", query.replace("sig=", "sig=0"));
    let table = [
        ("GET", KEY, 401, "missing sig"),
        ("GET", "/v1/nothing", 401, "missing sig"),
        ("PUT", "/v1/b/other", 401, "missing sig"),
        ("GET", "/v1/list/b", 401, "missing sig"),
        ("GET", "/v1/b", 401, "missing sig"),
        ("GET", &other_kid, 401, "unknown kid"),
        ("GET", &expired, 401, "expired"),
        ("GET", &bad_exp, 401, "not a valid unix timestamp"),
        ("GET", &forged, 401, "does not match"),
        ("PUT", &good, 401, "does not match"),
        ("GET", &no_kid, 200, ""),
        ("GET", "/healthz", 200, ""),
        ("GET", "/readyz", 200, ""),
    ];
    for (method, target, status, message) in table {
        let answer = store.raw(method, target, &[], b"");
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        assert!(answer.error().contains(message), "{method} {target}: {}", answer.error());
    }
    for path in ["/v1/admin/status", "/v1/admin/dns", "/v1/admin/meta/info", "/v1/admin/nothing"] {
        assert_eq!(store.raw("GET", path, &[], b"").status, 401, "{path}");
        assert_eq!(store.raw("GET", path, &[("Authorization", "Bearer x")], b"").status, 401, "{path}");
        let bearer = [("Origin", "http://elsewhere")];
        assert_eq!(store.raw("GET", path, &bearer, b"").status, 403, "{path}");
    }
    assert_eq!(store.raw("POST", "/v1/coord/rpc", &[], b"x").status, 401);
    assert_eq!(store.admin("GET", "/v1/admin/status", b"").status, 200);
}

#[test]
fn ranges_and_conditions() {
    let store = Store::start();
    let body: Vec<u8> = (0..9 << 20).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
    let put = store.ask("PUT", KEY, &[], &body);
    assert_eq!((put.status, put.json()["chunks"].as_array().unwrap().len()), (201, 3));
    let etag = put.header("etag");
    let all = body.len();
    // (range, first, end): across the borders of 4 MiB chunks.
    let table = [
        ("bytes=0-0".to_string(), 0, 1),
        ("bytes=4194303-4194304".to_string(), 4_194_303, 4_194_305),
        ("bytes=4194304-8388607".to_string(), 4_194_304, 8_388_608),
        ("bytes=100-8500000".to_string(), 100, 8_500_001),
        ("bytes=-10".to_string(), all - 10, all),
        (format!("bytes={}-", all - 1), all - 1, all),
        ("bytes=1-99999999999".to_string(), 1, all),
    ];
    for (range, first, end) in table {
        let answer = store.ask("GET", KEY, &[("Range", &range)], b"");
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{}/{all}", end - 1), "{range}");
        assert!(answer.body == body[first..end], "{range}: {} bytes", answer.body.len());
    }
    assert_eq!(store.ask("GET", KEY, &[("X-KVFS-R", "2"), ("Range", "bytes=5-9")], b"").body, body[5..10]);
    assert_eq!(store.ask("GET", KEY, &[("If-None-Match", &etag)], b"").status, 304);
    assert_eq!(store.ask("PUT", KEY, &[("If-Match", &etag)], b"next").status, 201);
    assert_eq!(store.ask("PUT", KEY, &[("If-Match", &etag)], b"late").status, 412);
    assert_eq!(store.ask("PUT", "/v1/o/b/new", &[("If-None-Match", "*")], b"first").status, 201);
}

#[test]
fn keys_are_bytes_and_lists_have_pages() {
    let store = Store::start();
    let keys: [(&str, &[u8]); 8] = [
        ("a", b"a"),
        ("a//b", b"a//b"),
        ("../c", b"../c"),
        ("%2e%2e/d", b"../d"),
        ("%00%ff", b"\0\xff"),
        ("a%2Fe", b"a/e"),
        ("x%20y+z", b"x y+z"),
        ("%E2%82%AC", "€".as_bytes()),
    ];
    for (raw, bytes) in keys {
        let path = format!("/v1/o/b/{raw}");
        assert_eq!(store.ask("PUT", &path, &[], bytes).status, 201, "{raw}");
        assert_eq!(store.ask("GET", &path, &[], b"").body, bytes, "{raw}");
    }
    let mut listed: Vec<Vec<u8>> = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.raw("GET", &format!("{}&limit=3&after={after}", store.signed("GET", "/v1/list/b")), &[], b"");
        for object in page.json()["objects"].as_array().unwrap() {
            let key = object["key"].as_str().unwrap().as_bytes().to_vec();
            listed.push(match object["key_hex"].as_str() {
                None => key,
                Some(hex) => {
                    let mut bytes = vec![0; hex.len() / 2];
                    assert!(domain::id::unhex(hex, &mut bytes));
                    bytes
                }
            });
        }
        match page.json()["next"].as_str() {
            Some(next) => after = next.to_string(),
            None => break,
        }
    }
    let mut expected: Vec<_> = keys.iter().map(|(_, bytes)| bytes.to_vec()).collect();
    expected.sort();
    assert_eq!(listed, expected);
    let prefixed = store.raw("GET", &format!("{}&prefix=..%2F", store.signed("GET", "/v1/list/b")), &[], b"");
    assert_eq!(prefixed.json()["count"], 2);
    assert_eq!(store.raw("GET", &format!("{}&limit=0", store.signed("GET", "/v1/list/b")), &[], b"").status, 400);
    assert_eq!(store.ask("GET", "/v1/list/unknown", &[], b"").json()["count"], 0);
}

#[test]
fn bodies_cut_short_commit_nothing() {
    let store = Store::start();
    store.ask("PUT", KEY, &[], b"before");
    let target = store.signed("PUT", KEY);
    let head = format!("PUT {target} HTTP/1.1\r\nHost: kvfs\r\n");
    let four = vec![7_u8; 4 << 20];
    let cut: [Vec<u8>; 4] = [
        [format!("{head}Content-Length: 10\r\n\r\n").as_bytes(), b"short"].concat(),
        // Exactly at the border of a chunk, where a naive store takes it for the end.
        [format!("{head}Content-Length: {}\r\n\r\n", 8 << 20).as_bytes(), &four].concat(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhel").into_bytes(),
    ];
    for request in cut {
        let answer = half_closed(&store, &request);
        assert_ne!(answer, 201);
        assert_eq!(store.ask("GET", KEY, &[], b"").body, b"before");
    }
    let whole = format!("{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(store.bytes(whole.as_bytes()).status, 201);
    assert_eq!(store.ask("GET", KEY, &[], b"").body, b"hello");
}

/// Sends a request, closes the sending half, and gives the status of what comes back (0: nothing).
fn half_closed(store: &Store, request: &[u8]) -> u16 {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(&store.up.address).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn objects_that_share_bytes_do_not_share_their_fate() {
    let store = Store::start();
    for name in ["one", "two"] {
        assert_eq!(store.ask("PUT", &format!("/v1/o/b/{name}"), &[], b"the same bytes").status, 201);
    }
    assert_eq!(store.ask("DELETE", "/v1/o/b/one", &[], b"").status, 204);
    assert_eq!(store.ask("PUT", "/v1/o/b/two", &[], b"").status, 201, "an empty object is an object");
    assert_eq!(store.ask("PUT", "/v1/o/b/three", &[], b"the same bytes").status, 201);
    assert_eq!(store.ask("GET", "/v1/o/b/three", &[], b"").body, b"the same bytes");
    assert_eq!(store.ask("GET", "/v1/o/b/two", &[], b"").header("content-length"), "0");
    let store = store.restart(true);
    assert_eq!(store.ask("GET", "/v1/o/b/three", &[], b"").body, b"the same bytes");
    let store = store.restart(false);
    assert_eq!(store.ask("GET", "/v1/o/b/three", &[], b"").body, b"the same bytes");
    assert_eq!(store.ask("GET", "/v1/list/b", &[], b"").json()["count"], 2);
}
