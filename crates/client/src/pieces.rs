//! Bodies out and in, with an eye on the clock: whatever moves is progress.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memmap2::MmapMut;
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

/// Replies of at least so many bytes are gathered in pages of their own, which go back to the system with the last reader of the reply.
/// An allocator keeps such blocks for a while, many times what is in use when one thread asks for them and another gives them back.
const PAGES_FROM: usize = 256 << 10;

/// A reply that is being gathered.
enum Gathered {
    Heap(BytesMut),
    Pages { pages: MmapMut, filled: usize },
}

impl Gathered {
    fn of(announced: usize) -> Self {
        let pages = (announced >= PAGES_FROM).then(|| MmapMut::map_anon(announced).ok()).flatten();
        pages.map_or_else(|| Self::Heap(BytesMut::with_capacity(announced)), |pages| Self::Pages { pages, filled: 0 })
    }

    fn len(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.len(),
            Self::Pages { filled, .. } => *filled,
        }
    }

    /// Whatever was announced, all that comes is kept.
    fn push(&mut self, data: &[u8]) {
        match self {
            Self::Heap(bytes) => bytes.extend_from_slice(data),
            Self::Pages { pages, filled } => match pages.get_mut(*filled..*filled + data.len()) {
                Some(room) => {
                    room.copy_from_slice(data);
                    *filled += data.len();
                }
                None => {
                    let mut bytes = BytesMut::from(&pages[..*filled]);
                    bytes.extend_from_slice(data);
                    *self = Self::Heap(bytes);
                }
            },
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Heap(bytes) => bytes.freeze(),
            Self::Pages { pages, filled } => Bytes::from_owner(pages).slice(..filled),
        }
    }
}

/// The whole body, in one piece, if it is at most `limit` bytes and keeps coming.
pub(crate) async fn collect(mut body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, Lost> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Lost::TooLong);
    }
    let mut whole: Option<Gathered> = None;
    loop {
        let frame = match tokio::time::timeout(patience, body.frame()).await {
            Err(_) => return Err(Lost::Silent),
            Ok(None) => return Ok(whole.map(Gathered::finish).unwrap_or_default()),
            Ok(Some(frame)) => frame.map_err(Lost::Broken)?,
        };
        let Ok(data) = frame.into_data() else { continue };
        if whole.as_ref().map_or(0, Gathered::len) + data.len() > limit {
            return Err(Lost::TooLong);
        }
        if whole.is_none() && body.is_end_stream() {
            return Ok(data); // It came in one piece: nothing to copy.
        }
        whole.get_or_insert_with(|| Gathered::of(announced)).push(&data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long reply is what came, in pages or not, and also if it is shorter or longer than it was announced to be.
    #[test]
    fn all_that_comes_is_kept() {
        let bytes: Vec<u8> = (0..3 * PAGES_FROM).map(|at| (at * 7 % 251) as u8).collect();
        for announced in [0, 10, PAGES_FROM, bytes.len() - 1, bytes.len(), 2 * bytes.len()] {
            let mut gathered = Gathered::of(announced);
            assert_eq!(matches!(gathered, Gathered::Pages { .. }), announced >= PAGES_FROM);
            for piece in bytes.chunks(100_000) {
                gathered.push(piece);
            }
            assert_eq!(gathered.len(), bytes.len());
            assert!(gathered.finish() == bytes, "announced: {announced} bytes");
        }
    }
}
