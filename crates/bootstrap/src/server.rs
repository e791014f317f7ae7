//! The accept loop: from sockets to a router, within bounds, and to an end.
//!
//! axum's own `serve` has no limit on connections and no deadline for headers, so this one stands on hyper. A connection beyond
//! the bound is closed at once; one that sends no complete header within 10 s too, and one whose sender or reader is too slow
//! (`paced`). A handler that panics costs its request a 500, not the process. At shutdown no connection is taken any more, idle ones end, busy ones get the drain
//! deadline to finish their request.
//!
//! The same [`serve_stream`] runs over anything that reads and writes: a socket, or half of a `tokio::io::duplex` in a test.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router};
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::paced::{PacedBody, PacedStream, Slowest};
use crate::tls::ServerTls;

/// The first byte of a TLS connection: a record of the handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a listener with TLS answers to plain HTTP.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this listener speaks TLS: use https://, and set KVFS_TLS_CA to the CA that signed its certificate\n";

/// Bounds of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Connections at the same time; further ones are closed at once.
    pub max_connections: usize,
    /// How long a connection may take to send a request's header, and may idle between requests.
    pub header_timeout: Duration,
    /// Over how much waiting a sender or reader must have kept the pace ([`api::pace`]).
    pub pace_window: Duration,
    /// What the pace is.
    pub slowest: Slowest,
    /// How long requests may still take after shutdown began.
    pub drain: Duration,
    /// Most bytes that are read ahead of a handler, and so about the longest header (431 beyond twice that). Bodies that a handler gives are written from where they lie.
    pub buffer_bytes: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            header_timeout: Duration::from_secs(10),
            pace_window: Duration::from_secs(30),
            slowest: Slowest::default(),
            drain: Duration::from_secs(10),
            // Large enough for few system calls a chunk, small enough that 16,384 headers that never end take 1 GiB, for 10 s.
            buffer_bytes: 64 << 10,
        }
    }
}

/// A listening socket that serves nothing yet: its address is known before the work begins.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
}

impl Server {
    /// Listens at `address`: `host:port`, or `:port` for all interfaces. Port 0 lets the system choose one.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "it names no address");
        for candidate in candidates(address).await? {
            match listen(candidate) {
                Ok(listener) => return Ok(Self { address: listener.local_addr()?, listener, tls: None }),
                Err(error) => last = error,
            }
        }
        Err(io::Error::new(last.kind(), format!("cannot listen at {address:?}: {last}")))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same, over TLS if there is some.
    pub fn with_tls(mut self, tls: Option<Arc<ServerTls>>) -> Self {
        self.tls = tls;
        self
    }

    /// Serves `router` until `shutdown` is cancelled and what was begun has ended, or the drain deadline passes.
    pub async fn run(self, router: Router, options: ServerOptions, shutdown: CancellationToken) {
        let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
        let places = Arc::new(Semaphore::new(options.max_connections));
        while let Some(stream) = accept(&self.listener, &shutdown).await {
            let Ok(place) = places.clone().try_acquire_owned() else {
                tracing::warn!(max = options.max_connections, "too many connections; closed a new one");
                continue;
            };
            let (router, options, shutdown) = (router.clone(), options.clone(), shutdown.clone());
            let serving = serve_socket(stream, self.tls.clone(), router, options, shutdown);
            let cut = cut.clone();
            connections.spawn(async move {
                let _place = place;
                tokio::select! {
                    () = serving => {}
                    () = cut.cancelled() => {}
                }
            });
        }
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(options.drain, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "requests still ran at the drain deadline; cut them off");
            cut.cancel();
            connections.wait().await;
        }
    }
}

/// Marks requests that came over TLS, so that addresses which a reply names can be written as the caller must use them.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// A connection's requests, after its handshake if this listener speaks TLS: as long as a header may take, so may the handshake.
async fn serve_socket(
    stream: TcpStream,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    options: ServerOptions,
    shutdown: CancellationToken,
) {
    let Some(tls) = tls else { return serve_stream(stream, router, options, shutdown).await };
    match tokio::time::timeout(options.header_timeout, shake_hands(stream, &tls)).await {
        Ok(Ok(stream)) => serve_stream(stream, router.layer(Extension(OverTls)), options, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended in its TLS handshake"),
        Err(_) => tracing::debug!("a connection did not finish its TLS handshake in time"),
    }
}

async fn shake_hands(mut stream: TcpStream, tls: &ServerTls) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
        stream.write_all(SPEAKS_TLS).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks plain HTTP, and this listener TLS"));
    }
    TlsAcceptor::from(tls.current()).accept(stream).await
}

/// Serves the requests of one connection, one after the other, until it ends or `shutdown` is cancelled between two.
pub async fn serve_stream<S>(stream: S, router: Router, options: ServerOptions, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (window, slowest) = (options.pace_window, options.slowest.clone());
    let reader = PacedStream::new(stream, window, slowest.clone());
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        answer(router.clone(), request.map(|body| PacedBody::body(body, window, slowest.clone())))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(options.buffer_bytes.max(8 << 10)) // hyper panics below 8 KiB.
        .writev(true)
        .serve_connection(TokioIo::new(reader), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in the middle");
    }
}

/// Whether only this machine can reach a listener at `address`; what decides if a missing secret is refused or warned of.
///
/// A name counts as loopback only if it is `localhost`.
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The router's answer, or 500 where a handler panicked.
async fn answer(router: Router, request: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    // The router is a clone that nobody uses after a panic, and what handlers share is behind locks without poison.
    match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(answered) => answered,
        Err(_) => {
            tracing::error!(path, "a handler panicked: this is a bug; the panic message stands above");
            let mut response =
                Response::new(Body::from("internal error: the handler panicked; see the server's log\n"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(response)
        }
    }
}

/// The next connection, or `None` once shutdown began.
async fn accept(listener: &TcpListener, shutdown: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return None,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true); // Only costs latency if refused.
                return Some(stream);
            }
            Err(error) => {
                // Mostly no file descriptors left: some must be closed before another try can help.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What to try to listen at, best first: IPv6 with IPv4 mapped into it, then IPv4 alone, for all interfaces.
async fn candidates(address: &str) -> io::Result<Vec<SocketAddr>> {
    let expected = |error: &dyn std::fmt::Display| {
        let message = format!("{address:?} is no address such as 127.0.0.1:8080, or :8080 for all interfaces: {error}");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    };
    if let Some(port) = address.strip_prefix(':') {
        let port: u16 = port.parse().map_err(|error: std::num::ParseIntError| expected(&error))?;
        return Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    Ok(tokio::net::lookup_host(address).await.map_err(|error| expected(&error))?.collect())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::AsyncReadExt;

    /// Everything that comes back for `request`, over a stream that is not a socket.
    async fn exchange(router: Router, request: &str) -> String {
        let (mut here, there) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn(serve_stream(there, router, ServerOptions::default(), CancellationToken::new()));
        here.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        here.read_to_string(&mut reply).await.unwrap();
        serving.await.unwrap();
        reply
    }

    #[tokio::test]
    async fn a_panicking_handler_answers_500() {
        async fn bug() -> String {
            panic!("on purpose")
        }
        let router = Router::new().route("/bug", get(bug)).route("/fine", get(|| async { "fine" }));
        let reply = exchange(router.clone(), "GET /bug HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 500 "), "{reply}");
        let reply = exchange(router, "GET /fine HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("fine"), "{reply}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_never_ends_is_cut_after_ten_seconds() {
        let begun = tokio::time::Instant::now();
        let reply = exchange(Router::new(), "GET / HTTP/1.1\r\nhost:").await;
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 408"), "{reply}");
        assert!((9..12).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_ten_seconds() {
        let begun = tokio::time::Instant::now();
        let router = Router::new().route("/", get(|| async { "hello" }));
        let reply = exchange(router, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        assert!((9..12).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn bounded_connections_and_a_clean_end() {
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (server.address(), CancellationToken::new());
        let options = ServerOptions { max_connections: 1, ..Default::default() };
        let router = Router::new().route("/", get(|| async { "hello" }));
        let running = tokio::spawn(server.run(router, options, shutdown.clone()));

        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut start = [0; 12];
        first.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        let mut second = TcpStream::connect(address).await.unwrap();
        let _ = second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await; // May fail already.
        assert_eq!(second.read(&mut start).await.unwrap_or(0), 0, "the second connection gets no answer");

        shutdown.cancel();
        running.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
    }

    #[test]
    fn who_can_reach_an_address() {
        for address in ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.9.9.9:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in [":8080", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1", "localhost.evil.org:1"] {
            assert!(!is_loopback(address), "{address}");
        }
    }
}
