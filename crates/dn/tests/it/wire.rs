//! What goes over the wire: the reference's replies, bounds on bodies, and a client that bears what networks do.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{ChunkError, ChunkStore, Clock};
use async_trait::async_trait;
use axum::body::Body;
use bootstrap::server::{Server, ServerOptions};
use bootstrap::{RealDisk, SystemClock, SystemEntropy};
use bytes::Bytes;
use client::{Ask, Connector, Http, HttpChunkStore, HttpError, Stream, TcpConnector};
use dn::{Node, Options};
use domain::{ChunkId, NodeId};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::chunk_suite::chunk;
use testkit::clock::SimClock;
use testkit::sim_disk::SimDisk;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::{Direct, NOW_MS, behind_http, counted_body, no_reserve, node_on, secret};

/// A node's router that lets everybody in.
async fn open_router() -> axum::Router {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    dn::http::router(node, None, Arc::new(SimClock::new(NOW_MS)))
}

async fn ask(
    router: &axum::Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-length", body.len());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.clone().oneshot(request.body(Body::from(body)).expect("a request")).await.expect("answers")
}

async fn text(reply: Response<Body>) -> String {
    String::from_utf8(reply.into_body().collect().await.expect("a body").to_bytes().to_vec()).expect("text")
}

fn header<'a>(reply: &'a Response<Body>, name: &str) -> &'a str {
    reply.headers()[name].to_str().expect("text")
}

async fn json(reply: Response<Body>) -> Value {
    assert_eq!(reply.headers()["content-type"], "application/json");
    serde_json::from_str(&text(reply).await).expect("JSON")
}

#[tokio::test]
async fn replies_are_the_references() {
    let router = open_router().await;
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let path = format!("/chunk/{hello}");

    let stored = ask(&router, "PUT", &path, &[], "hello").await;
    assert_eq!((stored.status().as_u16(), header(&stored, "x-kvfs-token")), (201, "1.1"));
    assert_eq!(json(stored).await, json!({"dn": "n3", "size": 5, "status": "stored"}));
    let again = ask(&router, "PUT", &path, &[("x-kvfs-crc32c", "9a71bb4c")], "hello").await;
    assert_eq!(again.status(), 200);
    assert_eq!(json(again).await, json!({"dn": "n3", "size": 5, "status": "already-stored"}));

    let got = ask(&router, "GET", &path, &[], "").await;
    let headers = (header(&got, "content-type"), header(&got, "x-kvfs-crc32c"));
    assert_eq!(headers, ("application/octet-stream", "9a71bb4c"));
    assert_eq!(text(got).await, "hello");
    let part = ask(&router, "GET", &path, &[("range", "bytes=1-2"), ("x-kvfs-crc32c", "9a71bb4c")], "").await;
    assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, "bytes 1-2/5"));
    assert_eq!(text(part).await, "el");
    let head = ask(&router, "HEAD", &path, &[], "").await;
    assert_eq!((header(&head, "content-length"), header(&head, "x-kvfs-token")), ("5", "1.2"));

    assert_eq!(
        json(ask(&router, "GET", "/chunks?limit=1", &[], "").await).await,
        json!({"dn": "n3", "count": 1, "chunks": [{"id": hello}], "next": hello})
    );
    assert_eq!(
        json(ask(&router, "GET", &format!("/chunks?after={hello}"), &[], "").await).await,
        json!({"dn": "n3", "count": 0, "chunks": [], "next": null})
    );
    let merkle = json(ask(&router, "GET", "/chunks/merkle", &[], "").await).await;
    assert_eq!(merkle["root"], "58769bb16f07440e0de644aaaff5ef53880d86fb6a9fb1f3e50f792cc57184d6");
    assert_eq!((&merkle["total"], merkle["buckets"].as_array().map(Vec::len)), (&json!(1), Some(256)));
    assert_eq!(
        merkle["buckets"][44],
        json!({"idx": 44, "count": 1,
        "hash": "e62965c744c6b6df887dbcdc8349aa67ad79c762f2310b40dc444893719163fd"})
    );
    assert_eq!(
        json(ask(&router, "GET", "/chunks/merkle/bucket?idx=44", &[], "").await).await,
        json!({"dn": "n3", "idx": 44, "count": 1, "chunks": [hello]})
    );
    let list = r#"["2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"]"#;
    assert_eq!(
        json(ask(&router, "POST", "/chunks/stat", &[], list).await).await,
        json!([{"id": hello, "size": 5, "token": "1.2"}])
    );
    let health = json(ask(&router, "GET", "/healthz", &[], "").await).await;
    assert_eq!((&health["dn"], &health["status"], &health["chunk_count"]), (&json!("n3"), &json!("ok"), &json!(1)));

    assert_eq!(ask(&router, "DELETE", &format!("{path}?token=1.2"), &[], "").await.status(), 204);
    assert_eq!(ask(&router, "GET", &path, &[], "").await.status(), 404);
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let router = open_router().await;
    let id = ChunkId::of(b"hello").to_hex();
    let path = format!("/chunk/{id}");
    ask(&router, "PUT", &path, &[], "hello").await;
    let (no_token, upper) = (path.clone(), format!("/chunk/{}", id.to_uppercase()));
    // (method, path, headers, body, status, part of the message)
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'static str, u16, &'a str);
    let table: [Row; 15] = [
        ("PUT", &path, &[], "jello", 400, "do not match its id"),
        ("PUT", &path, &[("x-kvfs-crc32c", "00000000")], "hello", 400, "do not match its checksum"),
        ("PUT", &path, &[("x-kvfs-crc32c", "what")], "hello", 400, "8 lowercase hex digits"),
        ("PUT", &upper, &[], "hello", 400, "bad chunk id"),
        ("GET", "/chunk/..%2f..%2fstamp", &[], "", 400, "bad chunk id"),
        ("DELETE", &no_token, &[], "", 400, "token must be the chunk's present token"),
        ("DELETE", &format!("{path}?token=1.9"), &[], "", 409, "put or touched since"),
        ("GET", &path, &[("range", "bytes=0-1")], "", 400, "needs the whole chunk's X-KVFS-Crc32c"),
        ("GET", &path, &[("range", "bytes=-1"), ("x-kvfs-crc32c", "9a71bb4c")], "", 400, "one range with both ends"),
        ("GET", &path, &[("x-kvfs-crc32c", "00000000")], "", 500, "damaged"),
        ("GET", "/chunks/merkle/bucket?idx=256", &[], "", 400, "idx must be 0..255"),
        ("POST", "/chunks/stat", &[], "[1]", 400, "JSON list of chunk ids"),
        ("POST", "/node/format", &[], "", 400, "record"),
        ("GET", "/nothing", &[], "", 404, "nothing at this path"),
        ("POST", "/chunk/00/touch", &[], "", 400, "bad chunk id"),
    ];
    for (method, path, headers, body, status, part) in table {
        let reply = ask(&router, method, path, headers, body).await;
        assert_eq!(reply.status(), status, "{method} {path}");
        let line = text(reply).await;
        assert!(line.contains(part) && line.ends_with('\n') && line.lines().count() == 1, "{method} {path}: {line}");
    }
    let wrong = ask(&router, "PATCH", &path, &[], "").await;
    let allowed = wrong.headers()["allow"].to_str().expect("text");
    assert!(
        wrong.status() == 405 && ["GET", "PUT", "HEAD", "DELETE"].iter().all(|method| allowed.contains(method)),
        "{allowed}"
    );
}

#[tokio::test(start_paused = true)]
async fn bodies_are_bounded_before_they_are_read() {
    let router = open_router().await;
    let path = format!("/chunk/{}", ChunkId::of(b"hello"));
    let begun = tokio::time::Instant::now();
    let never = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, io::Error>>());
    for (length, body, status) in [
        (None, Body::from("hello"), 411),
        (Some((16 << 20) + 1), never(), 413),
        (Some(u64::MAX), never(), 413),
        (Some(5), never(), 408),
    ] {
        let mut request = Request::put(&path);
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let reply = router.clone().oneshot(request.body(body).expect("a request")).await.expect("answers");
        assert_eq!(reply.status(), status, "{length:?}");
    }
    assert_eq!(begun.elapsed().as_secs(), 2, "what only the one that stopped took");
}

#[tokio::test]
async fn a_busy_node_reads_what_it_refuses() {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    let _share = node.reserve(64 << 20).expect("all of it");
    let router = dn::http::router(node, None, Arc::new(SimClock::new(NOW_MS)));
    let (body, read) = counted_body(100);
    let request = Request::put(format!("/chunk/{}", ChunkId::of(b"hello"))).header("content-length", "102400");
    let reply = router.oneshot(request.body(body).expect("a request")).await.expect("answers");
    assert_eq!((reply.status().as_u16(), header(&reply, "retry-after")), (503, "1"));
    assert_eq!(read.load(Ordering::Relaxed), 100, "or a caller that is still sending would miss the answer");
}

#[tokio::test]
async fn errors_come_back_exactly() {
    let disk = SimDisk::new(1);
    disk.set_capacity(100_000);
    let node = node_on(&disk, Options { reserve_bytes: Some(50_000), ..Options::default() }).await;
    let store = behind_http(&node);
    let (id, crc, bytes) = chunk(vec![1; 60_000]);
    let full = store.put(id, crc, bytes.clone()).await;
    assert!(matches!(full, Err(ChunkError::Full { .. })), "{full:?}");
    assert_eq!(full, node.put(id, crc, bytes).await);
    let share = node.reserve(60 << 20).expect("most of the budget");
    let (large, large_crc, more) = chunk(vec![1; 8 << 20]);
    assert_eq!(store.put(large, large_crc, more).await, Err(ChunkError::Busy), "also after its 8 MiB were sent");
    drop(share);
    disk.fail_sync(1);
    let (small, small_crc, bytes) = chunk("small");
    let poisoned = store.put(small, small_crc, bytes.clone()).await;
    assert!(matches!(poisoned, Err(ChunkError::Poisoned { .. })), "{poisoned:?}");
    assert_eq!(poisoned, node.put(small, small_crc, bytes).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_real_sockets() {
    let home = tempfile::tempdir().expect("a place for files");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let disk = Arc::new(RealDisk);
    let node = Node::open(disk, clock.clone(), Arc::new(SystemEntropy), home.path().into(), no_reserve())
        .await
        .expect("opens");
    let server = Server::bind("127.0.0.1:0").await.expect("a port");
    let (address, shutdown) = (server.address().to_string(), CancellationToken::new());
    let router = dn::http::router(node, Some(secret()), clock.clone());
    let serving = tokio::spawn(server.run(router, ServerOptions::default(), shutdown.clone()));
    let http = Http::new(Arc::new(TcpConnector), clock.clone(), Some(secret().share()));
    let store = HttpChunkStore::new(http, address.clone());
    store.format(7, 1, NodeId(3)).await.expect("formats");

    // A clock that is wrong, 16 MiB at once, and a socket that a hasty server would reset.
    let wrong = Arc::new(SimClock::new(NOW_MS));
    let skewed = HttpChunkStore::new(Http::new(Arc::new(TcpConnector), wrong, Some(secret().share())), address);
    let (id, crc, bytes) = chunk((0..16u32 << 20).map(|at| (at >> 8) as u8).collect::<Vec<_>>());
    assert!(!skewed.put(id, crc, bytes.clone()).await.expect("put").present);
    assert!(store.put(id, crc, bytes.clone()).await.expect("put").present);
    assert_eq!(store.get(id, Some(crc)).await, Ok(bytes));
    shutdown.cancel();
    serving.await.expect("ends");
    assert!(matches!(store.status().await, Err(ChunkError::Unreachable { .. })), "nobody is there any more");
}

#[tokio::test]
async fn connections_are_used_again() {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    let clock = Arc::new(SimClock::new(NOW_MS));
    let direct = Direct::to(dn::http::router(node, None, clock.clone()));
    let store = HttpChunkStore::new(Http::new(direct.clone(), clock, None), "dn1:8080");
    for n in 0..20u8 {
        let (id, crc, bytes) = chunk(vec![n; 300_000]);
        store.put(id, crc, bytes.clone()).await.expect("put");
        assert_eq!(store.get(id, Some(crc)).await, Ok(bytes));
        assert_eq!(
            store.get(ChunkId::of(&[n]), None).await.map(drop),
            Err(ChunkError::Missing { id: ChunkId::of(&[n]) })
        );
    }
    assert_eq!(direct.connections.load(Ordering::Relaxed), 1, "60 requests, one connection");
}

#[tokio::test]
async fn clocks_may_be_hours_apart() {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    let theirs = Arc::new(SimClock::new(NOW_MS + 3 * 3_600_000));
    let direct = Direct::to(dn::http::router(node, Some(secret()), theirs.clone()));
    let ours = Arc::new(SimClock::new(NOW_MS));
    let store = HttpChunkStore::new(Http::new(direct, ours, Some(secret().share())), "dn1:8080");
    let (id, crc, bytes) = chunk(vec![1; 4 << 20]);
    store.put(id, crc, bytes.clone()).await.expect("the offset is learned");
    theirs.set_skew_ms(-9 * 3_600_000);
    assert_eq!(store.get(id, Some(crc)).await, Ok(bytes), "and learned anew");

    let stranger = Http::new(Direct::to(open_router_with_secret().await), Arc::new(SimClock::new(NOW_MS)), None);
    let refused = HttpChunkStore::new(stranger, "dn1:8080").touch(id).await;
    assert!(matches!(refused, Err(ChunkError::Refused { .. })), "{refused:?}");
}

async fn open_router_with_secret() -> axum::Router {
    let node = node_on(&SimDisk::new(1), no_reserve()).await;
    dn::http::router(node, Some(secret()), Arc::new(SimClock::new(NOW_MS)))
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_request_and_slowness_does_not() {
    let (id, crc, bytes) = chunk(vec![1; 4 << 20]);
    let stopped: Peer = |stream| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
    };
    let deaf: Peer = |mut stream| {
        Box::pin(async move {
            let mut sink = vec![0; 1 << 20];
            while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        })
    };
    for (case, server) in [("stopped", stopped), ("reads, and never answers", deaf)] {
        let store = HttpChunkStore::new(plain(prepared([server])), "dn1:8080");
        let begun = tokio::time::Instant::now();
        let silent = store.put(id, crc, bytes.clone()).await;
        assert!(matches!(silent, Err(ChunkError::Unreachable { .. })), "{case}: {silent:?}");
        assert_eq!(begun.elapsed().as_secs(), 2, "{case}");
    }
    let slow: Peer = |mut stream| {
        Box::pin(async move {
            let mut piece = vec![0; 128 << 10];
            let mut left = (4 << 20) + 200;
            while left > 200 {
                // waits: in simulated time, because a slow line is what is tested.
                tokio::time::sleep(Duration::from_millis(250)).await;
                let mut filled = 0;
                while filled < piece.len() && left > 200 {
                    let read = stream.read(&mut piece[filled..]).await.expect("more comes");
                    (filled, left) = (filled + read, left - read.min(left));
                }
            }
            let reply = "HTTP/1.1 201 Created\r\nx-kvfs-token: 1.1\r\nx-kvfs-incarnation: 0000000000000001\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(reply.as_bytes()).await.expect("it listens");
            std::future::pending::<()>().await;
        })
    };
    let store = HttpChunkStore::new(plain(prepared([slow])), "dn1:8080");
    let begun = tokio::time::Instant::now();
    store.put(id, crc, bytes).await.expect("slow is not silent");
    assert!(begun.elapsed() > Duration::from_secs(4));
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced_where_that_is_safe() {
    for (ask, again) in [(Ask::new(Method::GET, "/x"), true), (Ask::new(Method::GET, "/x").once(), false)] {
        let http = plain(prepared([answer_then_hang_up as Peer, answer_then_hang_up]));
        assert_eq!(http.send("dn1:1", &ask).await.expect("a fresh connection").status, 200);
        match http.send("dn1:1", &ask).await {
            Ok(reply) => assert!(again && reply.status == 200),
            Err(error) => assert!(!again && matches!(error, HttpError::Broken { .. }), "{error}"),
        }
    }
    let nobody = HttpChunkStore::new(plain(prepared([])), "dn1:1").status().await;
    assert!(matches!(nobody, Err(ChunkError::Unreachable { .. })), "{nobody:?}");
}

#[tokio::test]
async fn damage_on_the_way_is_noticed() {
    let liar: Peer = |mut stream| {
        Box::pin(async move {
            loop {
                read_head(&mut stream).await;
                let reply = "HTTP/1.1 200 OK\r\nx-kvfs-crc32c: 9a71bb4c\r\ncontent-length: 5\r\n\r\nhellO";
                if stream.write_all(reply.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
    };
    let store = HttpChunkStore::new(plain(prepared([liar])), "dn1:1");
    let (id, crc, _) = chunk("hello");
    assert_eq!(store.get(id, Some(crc)).await, Err(ChunkError::Damaged { id }));
    assert_eq!(store.get(id, None).await, Err(ChunkError::Damaged { id }));
    assert_eq!(store.get_range(id, crc, 0..5).await, Err(ChunkError::Damaged { id }));
    let strange = store.status().await;
    assert!(matches!(strange, Err(ChunkError::Unreachable { .. })), "no record: {strange:?}");
}

/// The other end of a connection.
type Peer = fn(DuplexStream) -> BoxFuture<'static, ()>;

/// Answers one request, reads the next one and is gone.
fn answer_then_hang_up(mut stream: DuplexStream) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it listens");
        read_head(&mut stream).await;
    })
}

/// Reads up to the empty line that ends a request's head.
async fn read_head(stream: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}

/// Gives one prepared connection after the other.
struct Prepared(Mutex<VecDeque<DuplexStream>>);

#[async_trait]
impl Connector for Prepared {
    async fn connect(&self, _: &str) -> io::Result<Box<dyn Stream>> {
        let next = self.0.lock().pop_front();
        Ok(Box::new(next.ok_or(io::ErrorKind::ConnectionRefused)?))
    }
}

/// Connections whose other ends do as `servers` say.
fn prepared(servers: impl IntoIterator<Item = Peer>) -> Arc<Prepared> {
    let connect = |serve: Peer| {
        let (here, there) = tokio::io::duplex(16 << 10);
        tokio::spawn(serve(there));
        here
    };
    Arc::new(Prepared(Mutex::new(servers.into_iter().map(connect).collect())))
}

fn plain(connector: Arc<dyn Connector>) -> Http {
    Http::new(connector, Arc::new(SimClock::new(NOW_MS)), None)
}
