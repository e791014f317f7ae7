//! Connections that may be slow, but not too slow ([`api::pace`] says what that is).
//!
//! [`PacedBody`] waits for a request's sender: hyper asks the socket only while a handler asks for the body, so time in which the
//! handler is busy does not count. [`PacedStream`] waits for a reply's reader: a write that the socket does not take, because
//! the other side does not read. Both end the connection, and what the request held (a place in the byte budget, a floor) is
//! free again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use api::pace::{Pace, SLOWEST, TooSlow};
use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How slow somebody may be at present, in bytes a second.
#[derive(Clone)]
pub struct Slowest(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Slowest {
    /// What `ask` says whenever a window of waiting ends.
    pub fn new(ask: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }
}

impl Default for Slowest {
    fn default() -> Self {
        Self::new(|| SLOWEST)
    }
}

impl std::fmt::Debug for Slowest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes a second", (self.0)())
    }
}

/// A clock that runs while somebody is waited for.
struct Watch {
    pace: Pace,
    slowest: Slowest,
    /// When the present wait began, and the alarm at the end of the window.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Watch {
    fn over(window: Duration, slowest: Slowest) -> Self {
        Self { pace: Pace::over(window), slowest, waiting: None }
    }

    /// Called when `bytes` went through.
    fn moved(&mut self, bytes: usize) -> Result<(), TooSlow> {
        let waited = self.waiting.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
        self.pace.step(waited, bytes as u64, (self.slowest.0)())
    }

    /// Called when nothing can go through now; ready once that has lasted too long.
    fn stuck(&mut self, context: &mut Context<'_>) -> Poll<TooSlow> {
        loop {
            let left = self.pace.left();
            let (since, alarm) =
                self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
            ready!(alarm.as_mut().poll(context));
            let waited = since.elapsed();
            self.waiting = None;
            if let Err(slow) = self.pace.step(waited, 0, (self.slowest.0)()) {
                return Poll::Ready(slow);
            }
        }
    }
}

/// A request's body whose sender must keep the pace.
pub(crate) struct PacedBody {
    inner: hyper::body::Incoming,
    watch: Watch,
}

impl PacedBody {
    /// `inner`, of which at least `slowest` bytes a second must come over each `window` of waiting.
    pub(crate) fn body(inner: hyper::body::Incoming, window: Duration, slowest: Slowest) -> Body {
        Body::new(Self { inner, watch: Watch::over(window, slowest) })
    }
}

impl http_body::Body for PacedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(this.watch.moved(bytes).map(|()| frame).map_err(Into::into)))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => this.watch.stuck(context).map(|slow| Some(Err(slow.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A connection whose reader must keep the pace.
pub(crate) struct PacedStream<S> {
    inner: S,
    watch: Watch,
    lingering: Option<Linger>,
}

impl<S> PacedStream<S> {
    pub(crate) fn new(inner: S, window: Duration, slowest: Slowest) -> Self {
        Self { inner, watch: Watch::over(window, slowest), lingering: None }
    }
}

impl<S: AsyncWrite + Unpin> PacedStream<S> {
    fn outcome(&mut self, wrote: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(Ok(bytes)) => Poll::Ready(self.watch.moved(bytes).map(|()| bytes).map_err(late)),
            Poll::Ready(failed) => Poll::Ready(failed),
            Poll::Pending => self.watch.stuck(context).map(|slow| Err(late(slow))),
        }
    }
}

fn late(slow: TooSlow) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the reader is too slow: {slow}"))
}

/// Most bytes that are read and forgotten when a connection closes, and how long for.
const UNREAD_BYTES: usize = 1 << 20;
const LINGER: Duration = Duration::from_secs(1);

/// A connection that is closing while the other side still sends.
struct Linger {
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.outcome(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.outcome(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// Closes the sending half; then, if bytes arrived that nobody read, reads and forgets them for a moment.
    ///
    /// Closing a socket with unread bytes resets it, and the other side would lose the answer that says what was wrong with them.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
            this.lingering = Some(Linger { until: Box::pin(tokio::time::sleep(LINGER)), bytes: 0 });
        }
        let Some(linger) = &mut this.lingering else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; 8 << 10];
        while linger.bytes < UNREAD_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.inner).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => linger.bytes += buffer.filled().len(),
                Poll::Ready(_) => break,
                // Nothing unread: the other side need not be waited for.
                Poll::Pending if linger.bytes == 0 => break,
                Poll::Pending => {
                    ready!(linger.until.as_mut().poll(context));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::extract::Request;
    use axum::routing::{get, put};
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::server::{ServerOptions, serve_stream};

    const S: Duration = Duration::from_secs(1);

    fn connect(router: Router) -> DuplexStream {
        connect_with(router, ServerOptions::default())
    }

    fn connect_with(router: Router, options: ServerOptions) -> DuplexStream {
        let (here, there) = tokio::io::duplex(1 << 10);
        tokio::spawn(serve_stream(there, router, options, CancellationToken::new()));
        here
    }

    async fn eat(request: Request) -> String {
        let mut body = request.into_body().into_data_stream();
        let mut bytes = 0;
        while let Some(frame) = body.next().await {
            match frame {
                Ok(frame) => bytes += frame.len(),
                Err(error) => return format!("after {bytes}: {error}"),
            }
        }
        format!("all {bytes}")
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_slow_but_not_too_slow() {
        // (bytes, every so many ms) → what the handler saw of 61,440 bytes
        for (piece, every, seen) in [
            (1024, 900, "all 61440"),
            (1024, 1100, "after 27648: 27648 bytes came in 30 s"),
            (1, 7000, "after 4: 4 bytes"),
        ] {
            let mut client = connect(Router::new().route("/", put(eat)));
            client
                .write_all(b"PUT / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 61440\r\n\r\n")
                .await
                .unwrap();
            let (mut reader, mut writer) = tokio::io::split(client);
            let writing = tokio::spawn(async move {
                for _ in 0..61_440 / piece {
                    sleep(Duration::from_millis(every)).await; // waits: slowness is what is tested, on a paused clock
                    if writer.write_all(&vec![0; piece]).await.is_err() {
                        break;
                    }
                }
            });
            let mut reply = String::new();
            reader.read_to_string(&mut reply).await.unwrap();
            assert!(reply.contains(seen), "{piece} bytes every {every} ms: {reply}");
            writing.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_handler_costs_the_sender_nothing() {
        async fn late(request: Request) -> String {
            sleep(100 * S).await; // waits: a handler that is busy, on a paused clock
            eat(request).await
        }
        let mut client = connect(Router::new().route("/", put(late)));
        client
            .write_all(b"PUT / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc")
            .await
            .unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.ends_with("all 3"), "{reply}");
    }

    /// Counts down when it is dropped: what a reply holds is free again.
    struct Held(Arc<AtomicUsize>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A reply without an end, and the number of those that are still held.
    fn endless() -> (Router, Arc<AtomicUsize>) {
        let held = Arc::new(AtomicUsize::new(0));
        let counting = held.clone();
        let reply = move || async move {
            counting.fetch_add(1, Ordering::SeqCst);
            let guard = Held(counting);
            Body::from_stream(futures_util::stream::repeat_with(move || {
                let _held = &guard;
                Ok::<_, io::Error>(Bytes::from_static(&[0; 4096]))
            }))
        };
        (Router::new().route("/", get(reply)), held)
    }

    async fn until_let_go(held: &AtomicUsize) -> Duration {
        let since = Instant::now();
        while held.load(Ordering::SeqCst) > 0 {
            assert!(since.elapsed() < 100 * S, "still held");
            sleep(S).await; // waits: for the server's patience to end, on a paused clock
        }
        since.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_lets_go_of_what_its_reply_holds() {
        let (router, held) = endless();
        let mut client = connect(router);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut some = [0; 4096];
        // A reader at 2 KiB/s is borne for as long as it likes.
        for _ in 0..100 {
            client.read_exact(&mut some).await.unwrap();
            sleep(2 * S).await; // waits: slowness is what is tested, on a paused clock
        }
        assert_eq!(held.load(Ordering::SeqCst), 1);
        let took = until_let_go(&held).await;
        assert!((29..=61).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_borne_while_others_wait() {
        let (router, held) = endless();
        let waiting = Arc::new(AtomicUsize::new(0));
        let others = waiting.clone();
        let slowest = Slowest::new(move || if others.load(Ordering::SeqCst) > 0 { 64 << 10 } else { SLOWEST });
        let mut client = connect_with(router, ServerOptions { slowest, ..ServerOptions::default() });
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let reading = tokio::spawn(async move {
            let mut some = [0; 4096];
            while client.read_exact(&mut some).await.is_ok() {
                sleep(2 * S).await; // waits: slowness is what is tested, on a paused clock
            }
        });
        sleep(200 * S).await; // waits: to see that it is borne as long as nobody waits, on a paused clock
        assert_eq!(held.load(Ordering::SeqCst), 1);
        waiting.store(1, Ordering::SeqCst);
        let took = until_let_go(&held).await;
        assert!(took < 61 * S, "{took:?}");
        reading.await.unwrap();
    }
}
