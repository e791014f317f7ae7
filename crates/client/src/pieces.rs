//! Bodies out and in, with an eye on the clock: whatever moves is progress.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;

/// The size of a piece in which a body is handed to the connection. Pieces share the body's memory.
const PIECE_BYTES: usize = 256 << 10;

/// A body that says when a piece of it was taken.
pub(crate) struct Pieces {
    rest: Bytes,
    progress: watch::Sender<()>,
}

impl Pieces {
    /// `body` in pieces, and where its progress can be watched.
    pub fn of(body: Bytes) -> (Self, watch::Receiver<()>) {
        let (progress, watching) = watch::channel(());
        (Self { rest: body, progress }, watching)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        self.progress.send_replace(());
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// What `future` gives, or `None` after `patience` without it and without progress.
pub(crate) async fn patiently<T>(
    patience: Duration,
    mut progress: watch::Receiver<()>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    loop {
        tokio::select! {
            biased;
            done = &mut future => return Some(done),
            moved = progress.changed() => {
                if moved.is_err() { // The body is sent; what is left is the answer.
                    return tokio::time::timeout(patience, future).await.ok();
                }
            }
            () = tokio::time::sleep(patience) => return None,
        }
    }
}

/// Why a reply's body is not there.
pub(crate) enum Lost {
    Silent,
    TooLong,
    Broken(hyper::Error),
}

/// The whole body, in one piece, if it is at most `limit` bytes and keeps coming.
pub(crate) async fn collect(mut body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, Lost> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Lost::TooLong);
    }
    let mut whole = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(patience, body.frame()).await {
            Err(_) => return Err(Lost::Silent),
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(frame)) => frame.map_err(Lost::Broken)?,
        };
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(Lost::TooLong);
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data); // It came in one piece: nothing to copy.
        }
        whole.reserve(announced.saturating_sub(whole.len()).max(data.len()));
        whole.extend_from_slice(&data);
    }
}
