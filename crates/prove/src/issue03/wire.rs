//! Requests as bytes, so that they may be as wrong as can be, and what comes back.

use std::time::Duration;

use anyhow::{Context, Result};
use api::Clock;
use bootstrap::{Secret, SystemClock, peer_layer};
use client::Native;
use domain::peer_auth::Signed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take before it counts as none: longer than any limit of the store's.
const PATIENCE: Duration = Duration::from_secs(100);

/// What came back: the status (0 if the connection ended without one) and all the text.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status, or 0.
    pub status: u16,
    /// Everything that was received.
    pub text: String,
}

/// How the sender behaves after its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Waits for the answer.
    Waits,
    /// Closes its sending half, and waits.
    Closes,
    /// Goes away.
    Leaves,
}

/// Sends `bytes` to `address` and collects what comes back until the connection ends.
pub async fn exchange(address: &str, bytes: &[u8], then: Then) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await.context("connecting")?;
    // The other side may have answered and gone before it has everything.
    let sent = stream.write_all(bytes).await;
    match then {
        Then::Leaves => return Ok(Answer { status: 0, text: String::new() }),
        Then::Closes if sent.is_ok() => drop(stream.shutdown().await),
        _ => {}
    }
    Ok(answer(&mut stream).await)
}

/// What comes until the connection ends.
pub async fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 << 10];
    // A reset after an answer is an end as well.
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await {
        bytes.extend_from_slice(&piece[..count]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
    Answer { status, text }
}

/// A request head and body as bytes. The connection ends with the answer, so that the answer has an end.
pub fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nHost: kvfs\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}

/// `METHOD target?signature` for the gateway.
pub fn signed(native: &Native, method: &str, path: &str) -> String {
    format!("{method} {}", native.sign(method, path, 600))
}

/// A request to a data node, signed with the cluster secret for exactly these headers.
pub fn to_node(secret: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<u8>> {
    let secret = Secret::new(secret).context("a secret")?;
    // A body must be covered by the signature; a put's by its chunk's id already.
    let crc = domain::Crc32c::of(body).to_string();
    let mut headers = headers.to_vec();
    if method != "PUT"
        && !body.is_empty()
        && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-kvfs-crc32c"))
    {
        headers.push(("X-KVFS-Crc32c", &crc));
    }
    let find = |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map_or("", |(_, v)| v);
    let what = Signed {
        method,
        target,
        time_ms: SystemClock::new().wall_ms(),
        length: find("content-length"),
        crc: find("x-kvfs-crc32c"),
    };
    let signature = peer_layer::signed_headers(&secret, &what);
    let mut all: Vec<(&str, &str)> = signature.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend(headers);
    Ok(request(&format!("{method} {target}"), &all, body))
}
