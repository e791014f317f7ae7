//! The table of wrong requests: what is wrong, who gets it, and exactly what must come back.

use anyhow::Result;
use client::Native;

use super::wire::{Then, request, signed, to_node};
use crate::cluster::CLUSTER_SECRET;

/// Whom a case is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The gateway.
    Gateway,
    /// A data node.
    Node,
}

/// A wrong request.
pub struct Case {
    /// What is wrong.
    pub what: String,
    /// Who gets it.
    pub to: To,
    /// The request.
    pub bytes: Vec<u8>,
    /// What the sender does then.
    pub then: Then,
    /// The status that must come back; 0 if nothing may.
    pub status: u16,
    /// What the answer must say.
    pub says: &'static str,
}

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// A chunk's path, and the CRC of its five bytes.
const HELLO: &str = "/chunk/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const HELLO_CRC: &str = "9a71bb4c";

/// All cases. `native` signs for the gateway, where `b/key` holds `hello` and the bucket `full` an object.
pub fn all(native: &Native) -> Result<Vec<Case>> {
    let mut cases = names(native);
    cases.extend(headers(native));
    cases.extend(signatures(native));
    cases.extend(bodies(native));
    cases.extend(not_http(native));
    cases.extend(administration());
    cases.extend(nodes()?);
    Ok(cases)
}

fn gateway(what: impl Into<String>, bytes: Vec<u8>, status: u16, says: &'static str) -> Case {
    Case { what: what.into(), to: To::Gateway, bytes, then: Then::Waits, status, says }
}

/// Names and paths.
fn names(native: &Native) -> Vec<Case> {
    let long = format!("/v1/o/b/{}", "k".repeat(1025));
    let encoded = format!("/v1/o/b/{}", "%6B".repeat(1025));
    let long_bucket = format!("/v1/o/{}/k", "b".repeat(64));
    let table: [(&str, &str, &str, u16, &str); 30] = [
        ("an unknown path", "GET", "/v1/nothing", 404, "no such path"),
        ("the root", "GET", "/", 404, "no such path"),
        ("a version that is not there", "GET", "/v2/o/b/k", 404, "no such path"),
        ("a bucket without a key", "GET", "/v1/o/b", 400, "bucket and key required"),
        ("an empty key", "GET", "/v1/o/b/", 400, "bucket and key required"),
        ("an empty bucket", "GET", "/v1/o//k", 400, "bucket name"),
        ("an encoded slash in the bucket", "GET", "/v1/o/a%2Fb/k", 400, "bucket name"),
        ("an encoded slash in the bucket, lowercase", "GET", "/v1/o/a%2fb/k", 400, "bucket name"),
        ("a zero byte in the bucket", "GET", "/v1/o/a%00/k", 400, "bucket name"),
        ("a bucket named ..", "GET", "/v1/o/../k", 400, "bucket name"),
        ("a bucket named .", "PUT", "/v1/b/.", 400, "bucket name"),
        ("a bucket with a space", "PUT", "/v1/b/a%20b", 400, "bucket name"),
        ("a bucket of 64 bytes", "GET", &long_bucket, 400, "bucket name"),
        ("a bucket in UTF-8", "PUT", "/v1/b/%E2%82%AC", 400, "bucket name"),
        ("a bucket with a line end", "PUT", "/v1/b/a%0D%0Ab", 400, "bucket name"),
        ("a key of 1,025 bytes", "PUT", &long, 400, "1 to 1,024 bytes"),
        ("a key of 1,025 bytes, encoded", "PUT", &encoded, 400, "1 to 1,024 bytes"),
        // Keys are bytes: these are other objects, and they are not there.
        ("a key with //", "GET", "/v1/o/b//key", 404, "not found"),
        ("a key with ..", "GET", "/v1/o/b/../b/key", 404, "not found"),
        ("a key with an encoded ..", "GET", "/v1/o/b/%2E%2E/b/key", 404, "not found"),
        ("a key with an encoded slash", "GET", "/v1/o/b/%2Fkey", 404, "not found"),
        ("a key with a zero byte", "GET", "/v1/o/b/key%00", 404, "not found"),
        ("a key with an incomplete escape", "GET", "/v1/o/b/key%2", 404, "not found"),
        ("a key that is encoded twice", "GET", "/v1/o/b/%256Bey", 404, "not found"),
        ("a slash after the key", "GET", "/v1/o/b/key/", 404, "not found"),
        ("a bucket that is not there", "DELETE", "/v1/b/nothing", 404, "not found"),
        ("a bucket that is not empty", "DELETE", "/v1/b/full", 409, "not empty"),
        ("a bucket that is there", "PUT", "/v1/b/full", 409, "already exists"),
        ("a list of a bad bucket", "GET", "/v1/list/a%2Fb", 400, "bucket name"),
        ("a delete of nothing", "DELETE", "/v1/o/b/nothing", 404, "not found"),
    ];
    let case = |(what, method, path, status, says): (&str, &str, &str, u16, &'static str)| {
        gateway(what, request(&signed(native, method, path), &[("Content-Length", "0")], b""), status, says)
    };
    table.map(case).into()
}

/// Methods, headers and parameters.
fn headers(native: &Native) -> Vec<Case> {
    type Row = (&'static str, &'static str, &'static str, Headers<'static>, u16, &'static str);
    let table: [Row; 27] = [
        ("a method that objects do not take", "POST", "/v1/o/b/key", &[], 405, "DELETE, GET, HEAD, PUT"),
        ("a method that nobody knows", "BREW", "/v1/o/b/key", &[], 405, "DELETE, GET, HEAD, PUT"),
        ("PUT of a list", "PUT", "/v1/list/b", &[], 405, "GET"),
        ("PATCH of a bucket", "PATCH", "/v1/b/full", &[], 405, "DELETE, PUT"),
        ("DELETE of all buckets", "DELETE", "/v1/b", &[], 405, "GET"),
        ("W of 0", "PUT", "/v1/o/b/key", &[("X-KVFS-W", "0")], 400, "X-KVFS-W=0: must be ≥ 1"),
        ("W of more than there are", "PUT", "/v1/o/b/key", &[("X-KVFS-W", "4")], 400, "exceeds available replicas 3"),
        ("W as a word", "PUT", "/v1/o/b/key", &[("X-KVFS-W", "two")], 400, "not an integer"),
        ("W below zero", "PUT", "/v1/o/b/key", &[("X-KVFS-W", "-1")], 400, "X-KVFS-W=-1"),
        ("W beyond any integer", "PUT", "/v1/o/b/key", &[("X-KVFS-W", "99999999999999999999")], 400, "X-KVFS-W"),
        ("R of 0", "GET", "/v1/o/b/key", &[("X-KVFS-R", "0")], 400, "X-KVFS-R=0: must be ≥ 1"),
        ("R of more than there are", "GET", "/v1/o/b/key", &[("X-KVFS-R", "9")], 400, "exceeds available replicas"),
        ("an erasure code for more nodes", "PUT", "/v1/o/b/key", &[("X-KVFS-EC", "4+2")], 400, "EC 4+2 requires 6 DNs"),
        ("a create of what is there", "PUT", "/v1/o/b/key", &[("If-None-Match", "*")], 412, "precondition"),
        ("a change of another version", "PUT", "/v1/o/b/key", &[("If-Match", "\"x\"")], 412, "precondition"),
        ("a delete of another version", "DELETE", "/v1/o/b/key", &[("If-Match", "\"x\"")], 412, "precondition"),
        ("an empty If-Match", "PUT", "/v1/o/b/key", &[("If-Match", "")], 400, "if-match"),
        ("an If-Match that is no text", "GET", "/v1/o/b/key", &[("If-Match", "\u{fc}")], 400, "if-match"),
        ("a range behind the end", "GET", "/v1/o/b/key", &[("Range", "bytes=5-")], 416, "which has 5 bytes"),
        ("a range of the last none", "GET", "/v1/o/b/key", &[("Range", "bytes=-0")], 416, "which has 5 bytes"),
        ("a range beyond all numbers", "GET", "/v1/o/b/key", &[("Range", "bytes=99999999999999999999999-")], 416, "5"),
        // What RFC 9110 passes over is passed over.
        ("a range backwards", "GET", "/v1/o/b/key", &[("Range", "bytes=3-1")], 200, "hello"),
        ("a range in lines", "GET", "/v1/o/b/key", &[("Range", "lines=1-2")], 200, "hello"),
        ("several ranges", "GET", "/v1/o/b/key", &[("Range", "bytes=0-0,2-2")], 200, "hello"),
        ("a date that is none", "GET", "/v1/o/b/key", &[("If-Modified-Since", "yesterday")], 200, "hello"),
        (
            "a request id that would break a log",
            "GET",
            "/v1/o/b/key",
            &[("X-Request-Id", "a b")],
            200,
            "x-request-id: ",
        ),
        ("a content type that is no text", "PUT", "/v1/o/b/x", &[("Content-Type", "\u{fc}")], 400, "content-type"),
    ];
    let mut cases: Vec<Case> = table
        .into_iter()
        .map(|(what, method, path, headers, status, says)| {
            gateway(what, request(&signed(native, method, path), headers, b""), status, says)
        })
        .collect();
    let list = signed(native, "GET", "/v1/list/b");
    for (what, parameter, says) in [
        ("a list of no objects", "limit=0", "limit"),
        ("a list of some objects", "limit=some", "limit"),
        ("a list of more objects than there are numbers", "limit=99999999999999999999", "limit"),
    ] {
        cases.push(gateway(what, request(&format!("{list}&{parameter}"), &[], b""), 400, says));
    }
    cases
}

/// Signatures.
fn signatures(native: &Native) -> Vec<Case> {
    let path = "/v1/o/b/key";
    let good = native.sign("GET", path, 600);
    let query = good.split_once('?').map_or("", |(_, query)| query);
    let sig = query.split('&').find_map(|part| part.strip_prefix("sig=")).unwrap_or_default();
    let expired = native.sign("GET", path, -60);
    let table: Vec<(&str, String, &str)> = vec![
        ("no signature", format!("GET {path}"), "missing sig"),
        ("no signature for a path that is not there", "GET /v1/nothing".into(), "missing sig"),
        ("no signature for a method that is not taken", format!("BREW {path}"), "missing sig"),
        ("another method's signature", format!("DELETE {good}"), "does not match"),
        ("another path's signature", format!("GET /v1/o/b/other?{query}"), "does not match"),
        ("another expiry", format!("GET {}", good.replace("exp=", "exp=1")), "does not match"),
        ("an expired signature", format!("GET {expired}"), "expired"),
        ("no expiry", format!("GET {path}?sig={sig}&kid=v1"), "missing exp"),
        ("an expiry that is no number", format!("GET {path}?sig={sig}&exp=soon&kid=v1"), "not a valid unix timestamp"),
        ("an expiry below zero", format!("GET {path}?sig={sig}&exp=-1&kid=v1"), "expired"),
        ("an unknown key", format!("GET {}", good.replace("kid=v1", "kid=v9")), "unknown kid"),
        ("a signature in capitals", format!("GET {}", good.replace(sig, &sig.to_uppercase())), "does not match"),
        ("half a signature", format!("GET {}", good.replace(sig, &sig[..sig.len() / 2])), "does not match"),
        ("an empty signature", format!("GET {}", good.replace(sig, "")), "sig"),
    ];
    let mut cases: Vec<Case> =
        table.into_iter().map(|(what, line, says)| gateway(what, request(&line, &[], b""), 401, says)).collect();
    let twice = request(&format!("GET {path}?sig={}&{query}", "0".repeat(64)), &[], b"");
    cases.push(gateway("two signatures, of which the first counts", twice, 401, "does not match"));
    cases
}

/// Bodies that are not what was said.
fn bodies(native: &Native) -> Vec<Case> {
    let put = signed(native, "PUT", "/v1/o/b/body");
    let head =
        |headers: &str| format!("{put} HTTP/1.1\r\nHost: kvfs\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    let with = |headers: &str, body: &[u8]| [head(headers).as_slice(), body].concat();
    let four = vec![7; 4 << 20];
    let table: Vec<(&str, Vec<u8>, Then, u16, &str)> = vec![
        ("a body that ends early", with("Content-Length: 10\r\n", b"short"), Then::Closes, 400, ""),
        ("an end at the border of a chunk", with("Content-Length: 8388608\r\n", &four), Then::Closes, 400, ""),
        ("a stream that ends early", with("Transfer-Encoding: chunked\r\n", b"5\r\nhel"), Then::Closes, 400, ""),
        ("a stream without its end", with("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n"), Then::Closes, 400, ""),
        (
            "a piece whose length is none",
            with("Transfer-Encoding: chunked\r\n", b"zz\r\nhello\r\n0\r\n\r\n"),
            Then::Waits,
            400,
            "",
        ),
        (
            "a piece longer than all memory",
            with("Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n"),
            Then::Waits,
            400,
            "",
        ),
        (
            "a piece longer than it said",
            with("Transfer-Encoding: chunked\r\n", b"2\r\nhello\r\n0\r\n\r\n"),
            Then::Waits,
            400,
            "",
        ),
        ("two lengths", with("Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"), Then::Waits, 400, ""),
        ("two lengths in one header", with("Content-Length: 5, 6\r\n", b"hello"), Then::Waits, 400, ""),
        ("a length below zero", with("Content-Length: -5\r\n", b"hello"), Then::Waits, 400, ""),
        ("a length with a sign", with("Content-Length: +5\r\n", b"hello"), Then::Waits, 400, ""),
        (
            "a length beyond all numbers",
            with("Content-Length: 99999999999999999999\r\n", b"hello"),
            Then::Waits,
            400,
            "",
        ),
        (
            "an object larger than any",
            with("Content-Length: 5497558138881\r\n", b"hello"),
            Then::Waits,
            413,
            "the largest object",
        ),
        (
            // RFC 9112, section 6.3: the stream counts, and the length is forgotten.
            "a length and a stream",
            with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
            Then::Waits,
            201,
            "",
        ),
        ("an encoding that is not known", with("Transfer-Encoding: gzip\r\n", b"hello"), Then::Closes, 400, ""),
        ("a sender that leaves", with("Content-Length: 100\r\n", b"hello"), Then::Leaves, 0, ""),
    ];
    let case = |(what, bytes, then, status, says): (&str, Vec<u8>, Then, u16, &'static str)| Case {
        then,
        ..gateway(what, bytes, status, says)
    };
    table.into_iter().map(case).collect()
}

/// What is hardly HTTP.
fn not_http(native: &Native) -> Vec<Case> {
    let get = native.sign("GET", "/v1/o/b/key", 600);
    let many: String = (0..200).map(|nth| format!("X-{nth}: y\r\n")).collect();
    let table: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("noise", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400, ""),
        ("zeros", vec![0; 1000], 400, ""),
        ("an empty line and an end", b"\r\n\r\n".to_vec(), 0, ""),
        ("no method", format!(" {get} HTTP/1.1\r\n\r\n").into_bytes(), 400, ""),
        ("no version", format!("GET {get}\r\n\r\n").into_bytes(), 400, ""),
        ("HTTP/3.0 as text", format!("GET {get} HTTP/3.0\r\n\r\n").into_bytes(), 400, ""),
        ("HTTP/2 without having asked", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 0, ""),
        ("a space in the target", b"GET /v1/o/b/a key HTTP/1.1\r\n\r\n".to_vec(), 400, ""),
        ("a zero byte in the target", b"GET /v1/o/b/a\0key HTTP/1.1\r\n\r\n".to_vec(), 400, ""),
        ("a target of 70,000 bytes", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)).into_bytes(), 414, ""),
        (
            "a header of 300,000 bytes",
            request(&format!("GET {get}"), &[("X-Long", &"y".repeat(300_000))], b""),
            431,
            "",
        ),
        ("200 headers", format!("GET {get} HTTP/1.1\r\nHost: x\r\n{many}\r\n").into_bytes(), 431, ""),
        ("a header without a name", format!("GET {get} HTTP/1.1\r\n: x\r\n\r\n").into_bytes(), 400, ""),
        ("a header without a colon", format!("GET {get} HTTP/1.1\r\nHost\r\n\r\n").into_bytes(), 400, ""),
        ("a folded header", format!("GET {get} HTTP/1.1\r\nHost: x\r\n y\r\n\r\n").into_bytes(), 400, ""),
        ("a zero byte in a header", format!("GET {get} HTTP/1.1\r\nHost: x\0y\r\n\r\n").into_bytes(), 400, ""),
        (
            "another machine as target",
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
            401,
            "missing sig",
        ),
        (
            "OPTIONS of everything",
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
            401,
            "missing sig",
        ),
    ];
    let case = |(what, bytes, status, says): (&str, Vec<u8>, u16, &'static str)| Case {
        // A sender that closes is taken for one that has gone, so those who want an answer from a handler wait.
        then: if status == 401 { Then::Waits } else { Then::Closes },
        ..gateway(what, bytes, status, says)
    };
    table.into_iter().map(case).collect()
}

/// Administration, and what only processes of the cluster may ask.
fn administration() -> Vec<Case> {
    let bearer = [("Authorization", "Bearer wrong token here")];
    let basic = [("Authorization", "Basic YWRtaW46YWRtaW4=")];
    let foreign = [("Origin", "http://elsewhere.example")];
    type Row<'a> = (&'static str, &'static str, Headers<'a>, u16, &'static str);
    let table: [Row<'_>; 8] = [
        ("the status without a token", "GET /v1/admin/status", &[], 401, "token"),
        ("the status with another token", "GET /v1/admin/status", &bearer, 401, "token"),
        ("the status with a password", "GET /v1/admin/status", &basic, 401, "token"),
        ("the status from another page", "GET /v1/admin/status", &foreign, 403, ""),
        ("a path of administration that is not there", "GET /v1/admin/nothing", &[], 401, "token"),
        ("a node added by a stranger", "POST /v1/admin/dns", &[("Content-Length", "0")], 401, "token"),
        ("the metadata asked by a stranger", "POST /v1/coord/rpc", &[("Content-Length", "1")], 401, "secret"),
        ("a lease asked by a stranger", "POST /v1/coord/lease", &[("Content-Length", "0")], 401, "secret"),
    ];
    table.map(|(what, line, headers, status, says)| gateway(what, request(line, headers, b"x"), status, says)).into()
}

/// Data nodes.
fn nodes() -> Result<Vec<Case>> {
    let node = |what: &str, bytes: Vec<u8>, status: u16, says: &'static str| Case {
        to: To::Node,
        ..gateway(format!("node: {what}"), bytes, status, says)
    };
    let ask = |method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]| {
        to_node(CLUSTER_SECRET, method, target, headers, body)
    };
    let five = ("Content-Length", "5");
    let crc = ("X-KVFS-Crc32c", HELLO_CRC);
    let huge = "20000000";
    Ok(vec![
        node("no signature", request(&format!("GET {HELLO}"), &[], b""), 401, "cluster secret"),
        node("a put without signature", request(&format!("PUT {HELLO}"), &[five], b"hello"), 401, "cluster secret"),
        node("another secret", to_node("another secret of 16 bytes", "GET", HELLO, &[], b"")?, 401, "cluster secret"),
        node("an unknown path", ask("GET", "/nothing", &[], b"")?, 404, "nothing at this path"),
        node("a chunk id in capitals", ask("GET", &HELLO.replace("cf", "CF"), &[], b"")?, 400, "64"),
        node("half a chunk id", ask("GET", &HELLO[..40], &[], b"")?, 400, "64"),
        node("a chunk id with a path", ask("GET", "/chunk/..%2F..%2Fstamp", &[], b"")?, 400, "64"),
        node("another chunk's bytes", ask("PUT", HELLO, &[five], b"world")?, 400, ""),
        node("a CRC that is none", ask("PUT", HELLO, &[five, ("X-KVFS-Crc32c", "xyz")], b"hello")?, 400, "rc32c"),
        node("another CRC", ask("PUT", HELLO, &[five, ("X-KVFS-Crc32c", "00000000")], b"hello")?, 400, ""),
        node("a chunk larger than any", ask("PUT", HELLO, &[("Content-Length", huge), crc], b"hello")?, 413, ""),
        node("a chunk without length", ask("PUT", HELLO, &[("Transfer-Encoding", "chunked")], b"0\r\n\r\n")?, 411, ""),
        node("a delete without token", ask("DELETE", HELLO, &[], b"")?, 400, "token"),
        node("a delete with a token of no time", ask("DELETE", &format!("{HELLO}?token=1"), &[], b"")?, 400, "token"),
        node("a list of ids that is none", ask("POST", "/chunks/stat", &[five], b"hello")?, 400, "list of"),
        node("a bucket beyond 255", ask("GET", "/chunks/merkle/bucket?idx=256", &[], b"")?, 400, "0..255"),
        node("a range without CRC", ask("GET", HELLO, &[("Range", "bytes=0-1")], b"")?, 400, "X-KVFS-Crc32c"),
        node("a format that is none", ask("POST", "/node/format", &[five], b"hello")?, 400, "record"),
    ])
}
