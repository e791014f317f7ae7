//! Everybody who is slow or silent, at the same time, beside good requests.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::idle::Holder;
use super::wire::{answer, request, signed};
use crate::cluster::Up;
use crate::content::Content;
use crate::report::number;

/// Seconds after which a connection that says nothing must be gone: 10, and what a busy machine adds.
const CLOSED: std::ops::Range<u64> = 9..30;

/// Seconds after which a body that does not come must be given up: 30, likewise.
const CUT: std::ops::Range<u64> = 29..60;

const LARGE: Content = Content { seed: 3, size: 64 << 20 };

/// Runs them all at once.
pub async fn run(quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let up = Up::start(home.path(), &[]).await?;
    let (address, native) = (up.daemon.address.as_str(), &up.native);
    native.put("b", b"large", Some(LARGE.size), HeaderMap::new(), LARGE.body()).await?;
    let put = signed(native, "PUT", "/v1/o/b/slow");
    let get = request(&signed(native, "GET", "/v1/o/b/large"), &[], b"");
    let nothing = native.sign("GET", "/v1/o/b/nothing", 600);
    let head = request(&put, &[("Content-Length", "1000000")], b"");
    let (half, whole) = (&head[..head.len() - 2], &head[..]);
    let headers = async {
        tokio::try_join!(
            drip("a connection that says nothing", address, b"", None, 0, CLOSED),
            drip("a header that stops", address, half, None, 0, CLOSED),
            drip("a header that drips", address, half, Some(b"X"), 0, CLOSED),
            after_a_request(address, &nothing),
        )
    };
    let bodies = async {
        match quick {
            true => Ok(()),
            false => tokio::try_join!(
                drip("a body that stops", address, whole, None, 408, CUT),
                drip("a body that drips", address, whole, Some(b"X"), 408, CUT),
                stopped_reader(address, &get),
            )
            .map(drop),
        }
    };
    let count = if quick { 1_000 } else { 10_000 };
    let (headers, bodies, crowd) = tokio::join!(headers, bodies, crowd(&up, count));
    headers?;
    bodies?;
    crowd?;
    ensure!(native.head("b", b"slow").await.is_err(), "a body that never came became an object");
    ensure!(LARGE.same(native.get("b", b"large", HeaderMap::new()).await?).await?, "the object has changed");
    up.daemon.stop().await
}

/// Sends `begin`, then `drop` once a second, until the other side ends it: with `status`, after so many seconds.
async fn drip(
    what: &str,
    address: &str,
    begin: &[u8],
    drop: Option<&[u8]>,
    status: u16,
    within: std::ops::Range<u64>,
) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(begin).await?;
    let begun = Instant::now();
    let mut first = [0; 1];
    while begun.elapsed() < Duration::from_secs(90) {
        let second = Duration::from_secs(1);
        match tokio::time::timeout(second, stream.peek(&mut first)).await {
            Ok(_) => break,
            Err(_) => {
                if let Some(drop) = drop
                    && stream.write_all(drop).await.is_err()
                {
                    break;
                }
            }
        }
    }
    let took = begun.elapsed();
    let found = answer(&mut stream).await;
    number(
        what,
        format!(
            "{} after {:.1} s",
            if found.status == 0 { "closed".into() } else { found.status.to_string() },
            took.as_secs_f64()
        ),
    );
    ensure!(within.contains(&took.as_secs()), "{what}: ended after {took:?}, expected {within:?} s");
    // hyper says 408 or nothing to a header that does not end.
    ensure!(found.status == status || (status == 0 && found.status == 408), "{what}: {}", found.text);
    Ok(())
}

/// A connection that was used once and then idles.
async fn after_a_request(address: &str, target: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: kvfs\r\n\r\n").as_bytes()).await?;
    let begun = Instant::now();
    let found = answer(&mut stream).await;
    ensure!(found.status == 404, "{}", found.text);
    number("an idle connection after a request", format!("closed after {:.1} s", begun.elapsed().as_secs_f64()));
    ensure!(CLOSED.contains(&begun.elapsed().as_secs()), "closed after {:?}", begun.elapsed());
    Ok(())
}

/// A reader that takes a little of a large object and stops: the connection must go, or it would hold a chunk for ever.
async fn stopped_reader(address: &str, get: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(get).await?;
    let mut some = vec![0; 1000];
    stream.read_exact(&mut some).await?;
    let begun = Instant::now();
    // waits: for the store's patience with a reader to end, which the reader cannot see without reading.
    tokio::time::sleep(Duration::from_secs(65)).await;
    let mut rest = 0_u64;
    while let Ok(count @ 1..) = stream.read(&mut some).await {
        rest += count as u64;
    }
    number("a reader that stops: what it still got after 65 s", format!("{} of {} KiB", rest >> 10, LARGE.size >> 10));
    ensure!(rest < LARGE.size / 2, "the connection was not cut: {rest} bytes came after {:?}", begun.elapsed());
    Ok(())
}

/// A crowd of connections that do nothing, and good requests beside it.
async fn crowd(up: &Up, count: usize) -> Result<()> {
    let before = up.daemon.memory_kib("VmRSS")?;
    let holder = Holder::start(&up.daemon.address, count).await?;
    let with = up.daemon.memory_kib("VmRSS")?;
    let begun = Instant::now();
    for nth in 0..100 {
        let small = Content { seed: nth, size: 1000 };
        let key = format!("small-{nth}");
        up.native.put("b", key.as_bytes(), Some(small.size), HeaderMap::new(), small.body()).await?;
        let found = up.native.get("b", key.as_bytes(), HeaderMap::new()).await?;
        ensure!(small.same(found).await?, "another object came back");
    }
    let took = begun.elapsed();
    let closed = holder.closed().await.context("the holder of idle connections")?;
    number(&format!("{count} idle connections"), &closed);
    number("100 puts and gets beside them", format!("{} ms", took.as_millis()));
    number(
        "resident memory for each idle connection",
        format!("{:.1} KiB", with.saturating_sub(before) as f64 / count as f64),
    );
    ensure!(closed.starts_with(&format!("closed {count} ")), "{closed}");
    Ok(())
}
