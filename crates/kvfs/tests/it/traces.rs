//! Spans reach a collector, and those of one request have one trace in all processes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::support::{Running, exchange};

/// A collector that takes everything: each request's body, as it comes.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, send) = (stream.unwrap(), send.clone());
            std::thread::spawn(move || {
                let mut got = Vec::new();
                let mut piece = [0; 4096];
                // One request after the other, each answered once it is whole.
                while let Ok(count @ 1..) = stream.read(&mut piece) {
                    got.extend_from_slice(&piece[..count]);
                    let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    let whole = end + 4 + length.unwrap_or(0_usize);
                    if got.len() < whole {
                        continue;
                    }
                    assert!(head.starts_with("post /v1/traces "), "{head}");
                    send.send(got[end + 4..whole].to_vec()).ok();
                    got.drain(..whole);
                    stream
                        .write_all(
                            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
                        )
                        .ok();
                }
            });
        }
    });
    (address, receive)
}

#[test]
fn a_request_is_one_trace_in_all_processes() {
    let (collector, spans) = collector();
    let home = tempfile::tempdir().unwrap();
    let common = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()), ("KVFS_LOG", "warn"), ("EDGE_SKIP_AUTH", "1")];
    let start = |name: &str, role: &str, more: &[(&str, &str)]| {
        Running::start(home.path(), name, &[role], &common.iter().chain(more).copied().collect::<Vec<_>>())
    };
    let node = |name: &&str| start(name, "dn", &[("DN_ID", name), ("DN_ADDR", "127.0.0.1:0"), ("DN_DATA_DIR", name)]);
    let nodes: Vec<_> = ["dn1", "dn2", "dn3"].iter().map(node).collect();
    let list = nodes.iter().map(|node| node.address.as_str()).collect::<Vec<_>>().join(",");
    let edge = start("edge", "edge", &[("EDGE_ADDR", "127.0.0.1:0"), ("EDGE_DNS", &list)]);
    let put = exchange(&edge.address, "PUT", "/v1/o/b/k", &[("X-Request-Id", "traced"), ("X-KVFS-W", "3")], b"hello");
    assert_eq!(put.status, 201, "{put:?}");
    edge.stop();
    nodes.into_iter().for_each(Running::stop);

    // sha256("traced") begins with the trace's id.
    let digest = domain::ChunkId::of(b"traced");
    let trace = &digest.as_bytes()[..16];
    let has = |batch: &[u8], what: &[u8]| batch.windows(what.len()).any(|part| part == what);
    let (mut gateways, mut puts) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while gateways < 1 || puts < 3 {
        let left = deadline.saturating_duration_since(Instant::now());
        let batch =
            spans.recv_timeout(left).unwrap_or_else(|_| panic!("{gateways} gateway's, {puts} nodes' spans came"));
        if has(&batch, trace) {
            gateways += usize::from(has(&batch, b"kvfs-edge") && has(&batch, b"object.put"));
            puts += usize::from(has(&batch, b"kvfs-dn") && has(&batch, b"chunk.put"));
        }
    }
}
