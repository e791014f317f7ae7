//! Nobody gets through the door without the cluster secret: asked at every endpoint there is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use bootstrap::Secret;
use bootstrap::peer_layer::signed_headers;
use dn::http::{ENDPOINTS, router};
use domain::peer_auth::Signed;
use domain::{ChunkId, Crc32c};
use http::{Request, StatusCode};
use testkit::clock::SimClock;
use testkit::sim_disk::SimDisk;
use tower::ServiceExt;

use crate::support::{NOW_MS, counted_body, no_reserve, node_on, secret};

async fn status(router: axum::Router, method: &str, path: &str, signed: Option<(&Secret, u64)>) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path);
    if let Some((secret, time_ms)) = signed {
        for (name, value) in signed_headers(secret, &Signed { method, target: path, time_ms, length: "", crc: "" }) {
            request = request.header(name, value);
        }
    }
    router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("answers").status()
}

#[tokio::test]
async fn every_endpoint_asks_for_the_secret() {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    let router = router(node, Some(secret()), Arc::new(SimClock::new(NOW_MS)));
    let (ours, other) = (secret(), Secret::new("quite another secret").expect("long enough"));
    let id = ChunkId::of(b"x").to_hex();
    let endpoints = ENDPOINTS.iter().map(|endpoint| (endpoint.method, endpoint.path));
    for (method, path) in endpoints.chain([("GET", "/nothing/here"), ("PATCH", "/chunk/{id}"), ("TRACE", "/")]) {
        let path = path.replace("{id}", &id);
        let wrong = [None, Some((&other, NOW_MS)), Some((&ours, NOW_MS - 600_000)), Some((&ours, NOW_MS + 600_000))];
        for (case, signed) in wrong.into_iter().enumerate() {
            let status = status(router.clone(), method, &path, signed).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}, case {case}");
        }
        assert_ne!(status(router.clone(), method, &path, Some((&ours, NOW_MS))).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(status(router, "GET", "/healthz", None).await, StatusCode::OK);
}

#[tokio::test]
async fn a_signature_covers_length_and_checksum() {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    let router = router(node, Some(secret()), Arc::new(SimClock::new(NOW_MS)));
    let (id, crc, _) = testkit::chunk_suite::chunk("hello");
    let path = format!("/chunk/{id}");
    let crc = crc.to_string();
    for (length, signed_crc, status) in [("5", &*crc, 201), ("6", &crc, 401), ("5", "00000000", 401), ("5", "", 401)] {
        let what = Signed { method: "PUT", target: &path, time_ms: NOW_MS, length, crc: signed_crc };
        let mut request = Request::put(&path).header("content-length", "5").header("x-kvfs-crc32c", &crc);
        for (name, value) in signed_headers(&secret(), &what) {
            request = request.header(name, value);
        }
        let reply =
            router.clone().oneshot(request.body(Body::from("hello")).expect("a request")).await.expect("answers");
        assert_eq!(reply.status(), status, "signed {length} {signed_crc:?}");
    }
}

#[tokio::test]
async fn a_body_is_the_one_that_was_signed_before_it_is_used() {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    let router = router(node, Some(secret()), Arc::new(SimClock::new(NOW_MS)));
    let crc = Crc32c::of(b"[]").to_string();
    for (case, crc, body, status) in
        [("as signed", &*crc, "[]", 200), ("another of that length", &crc, "{}", 401), ("no checksum", "", "[]", 401)]
    {
        let what = Signed { method: "POST", target: "/chunks/stat", time_ms: NOW_MS, length: "2", crc };
        let mut request = Request::post("/chunks/stat").header("content-length", "2");
        if !crc.is_empty() {
            request = request.header("x-kvfs-crc32c", crc);
        }
        for (name, value) in signed_headers(&secret(), &what) {
            request = request.header(name, value);
        }
        let reply = router.clone().oneshot(request.body(Body::from(body)).expect("a request")).await.expect("answers");
        assert_eq!(reply.status(), status, "{case}");
    }
}

/// A caller of ours that is still sending might miss an answer that comes too early, and what it says about our time.
#[tokio::test]
async fn only_one_of_us_has_its_body_read_before_a_refusal() {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    let router = router(node, Some(secret()), Arc::new(SimClock::new(NOW_MS)));
    let other = Secret::new("quite another secret").expect("long enough");
    let path = format!("/chunk/{}", ChunkId::of(b"x"));
    for (secret, pieces_read) in [(secret(), 100), (other, 0)] {
        let what = Signed { method: "PUT", target: &path, time_ms: 5, length: "102400", crc: "" };
        let (body, read) = counted_body(100);
        let mut request = Request::put(&path).header("content-length", "102400");
        for (name, value) in signed_headers(&secret, &what) {
            request = request.header(name, value);
        }
        let reply = router.clone().oneshot(request.body(body).expect("a request")).await.expect("answers");
        assert_eq!((reply.status().as_u16(), read.load(Ordering::Relaxed)), (401, pieces_read));
    }
}
