//! A request's body, compared on its way with the CRC-32C that the signature covers.
//!
//! The signature is checked before the body is there, so it covers the body by its length and its checksum. This is where the body is held
//! to that: handlers read a body whole before they use it, and here its last bytes do not come unless the checksum is right. The
//! cost is one pass over the bytes at some 10 GB/s, beside the network that brought them.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use domain::Crc32c;
use domain::id::CrcStream;
use http_body::{Frame, SizeHint};

/// A body whose last frame is an error if its bytes are not those that were signed.
pub struct CheckedBody {
    inner: Body,
    expected: Crc32c,
    found: CrcStream,
    /// How many bytes were announced and have not come yet; `None` if none were.
    left: Option<u64>,
    ended: bool,
}

/// The bytes that came are not those that were signed.
#[derive(Debug, thiserror::Error)]
#[error("the body is not the one that was signed: its CRC-32C is {found}, and X-KVFS-Crc32c says {expected}")]
pub struct OtherBody {
    expected: Crc32c,
    found: Crc32c,
}

impl CheckedBody {
    /// `inner`, which must have the checksum `expected`, and `length` bytes if that was announced.
    pub fn body(inner: Body, length: Option<u64>, expected: Crc32c) -> Body {
        Body::new(Self { inner, expected, found: CrcStream::new(), left: length, ended: false })
    }

    fn compare(&mut self) -> Result<(), OtherBody> {
        self.ended = true;
        let (expected, found) = (self.expected, self.found.finish());
        if expected == found { Ok(()) } else { Err(OtherBody { expected, found }) }
    }
}

impl http_body::Body for CheckedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match std::task::ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.found.update(data);
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                }
                // Compared before the last bytes are given away: who knows the length does not ask for more.
                let whole = if self.left == Some(0) { self.compare() } else { Ok(()) };
                Poll::Ready(Some(whole.map(|()| frame).map_err(Into::into)))
            }
            Some(Err(error)) => {
                self.ended = true;
                Poll::Ready(Some(Err(error.into())))
            }
            None => Poll::Ready(self.compare().err().map(|error| Err(error.into()))),
        }
    }

    /// Never before the checksum was compared.
    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::BodyExt;

    /// What of `pieces` comes through a body that announced `length` and was signed as `signed`.
    async fn through(pieces: &'static [&str], length: Option<u64>, signed: &str) -> Option<String> {
        let pieces = stream::iter(pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(*piece))));
        let mut body = CheckedBody::body(Body::from_stream(pieces), length, Crc32c::of(signed.as_bytes()));
        let mut all = String::new();
        while let Some(frame) = body.frame().await {
            all += &String::from_utf8_lossy(frame.ok()?.data_ref()?);
            // As a reader does that knows the length.
            if length == Some(all.len() as u64) {
                break;
            }
        }
        Some(all)
    }

    #[tokio::test]
    async fn only_what_was_signed_comes_to_its_end() {
        for length in [None, Some(6)] {
            assert_eq!(through(&["abc", "def"], length, "abcdef").await.as_deref(), Some("abcdef"));
            assert_eq!(through(&["abcdef"], length, "abcdef").await.as_deref(), Some("abcdef"));
            assert_eq!(through(&["abc", "dex"], length, "abcdef").await, None);
            assert_eq!(through(&["abcdex"], length, "abcdef").await, None);
        }
        assert_eq!(through(&[], None, "abcdef").await, None);
        assert_eq!(through(&[], None, "").await.as_deref(), Some(""));
    }
}
