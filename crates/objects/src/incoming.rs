//! A body as it arrives: cut, gathered and hashed, at a pace that is looked after.

use std::time::Duration;

use api::pace::{self, Pace};
use bytes::{Bytes, BytesMut};
use datapath::ByteBudget;
use domain::ChunkId;
use domain::cdc::{Cutter, Profile};
use domain::id::CrcStream;
use domain::record::ChunkRef;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};

use crate::error::{BodyError, ObjectError};
use crate::service::SLOWEST_WHEN_SHORT;

/// A body's bytes, handed out in chunks.
pub(crate) struct Incoming<S> {
    body: S,
    spare: Bytes,
    /// Where to cut before a chunk has the length that was asked for.
    pub cutter: Option<Cutter>,
    pace: Pace,
    budget: ByteBudget,
}

impl<S: Stream<Item = Result<Bytes, E>> + Unpin, E: Into<BodyError>> Incoming<S> {
    pub fn new(body: S, patience: Duration, budget: ByteBudget) -> Self {
        Self { body, spare: Bytes::new(), cutter: None, pace: Pace::over(patience), budget }
    }

    /// The next chunk: `bytes` long unless the body ends or its content says so before; `None` at its end.
    pub async fn next_chunk(&mut self, bytes: usize) -> Result<Option<(ChunkRef, Bytes)>, ObjectError> {
        // Content seldom lets a chunk grow to the longest it may be: memory follows as it does.
        let at_first = self.cutter.as_ref().map_or(bytes, |_| bytes.min(Profile::DEFAULT.min() as usize));
        let mut gathered = Gathered::new(bytes, at_first);
        while gathered.missing() > 0 {
            if self.spare.is_empty() {
                match self.next_frame().await? {
                    Some(frame) => self.spare = frame,
                    None => break,
                }
            }
            let offered = self.spare.len().min(gathered.missing());
            let cut = self.cutter.as_mut().and_then(|cutter| cutter.feed(&self.spare[..offered]));
            gathered.add(self.spare.split_to(cut.unwrap_or(offered)));
            if cut.is_some() {
                break;
            }
        }
        Ok(gathered.finish())
    }

    /// The next `bytes` in one piece, in a buffer with room for `capacity`; fewer if the body ends or its content says so before, `None` at its
    /// end.
    pub async fn next_run(&mut self, bytes: usize, capacity: usize) -> Result<Option<Vec<u8>>, ObjectError> {
        let mut run = Vec::new();
        while run.len() < bytes {
            if self.spare.is_empty() {
                match self.next_frame().await? {
                    Some(frame) => self.spare = frame,
                    None => break,
                }
            }
            if run.capacity() == 0 {
                run.reserve_exact(capacity);
            }
            let offered = self.spare.len().min(bytes - run.len());
            let cut = self.cutter.as_mut().and_then(|cutter| cutter.feed(&self.spare[..offered]));
            run.extend_from_slice(&self.spare.split_to(cut.unwrap_or(offered)));
            if cut.is_some() {
                break;
            }
        }
        Ok((!run.is_empty()).then_some(run))
    }

    async fn next_frame(&mut self) -> Result<Option<Bytes>, ObjectError> {
        loop {
            let began = Instant::now();
            let frame = match timeout(self.pace.left(), self.body.next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(error.into().into()),
                Ok(Some(Ok(frame))) => Some(frame),
                Err(_) => None,
            };
            let slowest = if self.budget.waiting() > 0 { SLOWEST_WHEN_SHORT } else { pace::SLOWEST };
            let bytes = frame.as_ref().map_or(0, Bytes::len) as u64;
            self.pace.step(began.elapsed(), bytes, slowest).map_err(ObjectError::TooSlow)?;
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// A body that goes on after its announced end is refused.
    pub async fn must_be_over(&mut self) -> Result<(), ObjectError> {
        while self.spare.is_empty() {
            match self.next_frame().await? {
                Some(frame) => self.spare = frame,
                None => return Ok(()),
            }
        }
        Err(ObjectError::BodyBroken("more bytes came than were announced".into()))
    }
}

/// One chunk being received: hashed as it grows.
struct Gathered {
    wanted: usize,
    at_first: usize,
    one: Bytes,
    many: BytesMut,
    length: usize,
    sha: Sha256,
    crc: CrcStream,
}

impl Gathered {
    /// For at most `wanted` bytes, with memory for `at_first` of them.
    fn new(wanted: usize, at_first: usize) -> Self {
        let (sha, crc) = (Sha256::new(), CrcStream::new());
        Self { wanted, at_first, one: Bytes::new(), many: BytesMut::new(), length: 0, sha, crc }
    }

    fn missing(&self) -> usize {
        self.wanted - self.length
    }

    fn add(&mut self, frame: Bytes) {
        self.sha.update(&frame);
        self.crc.update(&frame);
        self.length += frame.len();
        if self.length == frame.len() {
            self.one = frame;
            return;
        }
        if self.many.capacity() == 0 {
            self.many.reserve(self.at_first);
            self.many.extend_from_slice(&std::mem::take(&mut self.one));
        }
        self.many.extend_from_slice(&frame);
    }

    fn finish(self) -> Option<(ChunkRef, Bytes)> {
        if self.length == 0 {
            return None;
        }
        let bytes = if self.many.is_empty() { self.one } else { fitting(self.many) };
        let chunk = ChunkRef { id: ChunkId::from_digest(self.sha), length: self.length as u32, crc: self.crc.finish() };
        Some((chunk, bytes))
    }
}

/// `bytes` without the memory that was kept for more: what is held must be what is counted.
fn fitting(bytes: BytesMut) -> Bytes {
    if bytes.len() == bytes.capacity() {
        return bytes.freeze();
    }
    let mut bytes = Vec::from(bytes);
    bytes.shrink_to_fit();
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a body of `pieces` pieces, one each second, while somebody waits for room or not.
    async fn arrives(pieces: usize, bytes: usize, somebody_waits: bool) -> Result<usize, ObjectError> {
        let budget = ByteBudget::new(1);
        let held = budget.more(1);
        let mut waiter = std::pin::pin!(budget.first(1));
        if somebody_waits {
            assert!(timeout(Duration::ZERO, waiter.as_mut()).await.is_err());
        }
        let body = futures_util::stream::iter(0..pieces).then(|_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await; // waits: a slow sender, on a paused clock
            Ok::<_, String>(Bytes::from(vec![0; bytes]))
        });
        let mut incoming = Incoming::new(Box::pin(body), Duration::from_secs(30), budget.clone());
        let mut found = 0;
        while let Some(frame) = incoming.next_frame().await? {
            found += frame.len();
        }
        drop(held);
        Ok(found)
    }

    #[tokio::test]
    async fn content_is_cut_the_same_however_it_arrives() {
        let mut x = 7_u64;
        let mut random = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 56) as u8
        };
        let body: Vec<u8> = (0..9 << 20).map(|_| random()).collect();
        let expected: Vec<_> = domain::cdc::cuts(&body, Profile::DEFAULT).map(|cut| ChunkId::of(&body[cut])).collect();
        assert!(expected.len() > 1, "the body has a cut");
        for frame in [1000, 65_536, body.len()] {
            let frames = body.chunks(frame).map(|frame| Ok::<_, String>(Bytes::copy_from_slice(frame)));
            let frames = futures_util::stream::iter(frames);
            let mut incoming = Incoming::new(frames, Duration::from_secs(30), ByteBudget::new(1));
            incoming.cutter = Some(Cutter::new(Profile::DEFAULT));
            let mut found = Vec::new();
            while let Some((chunk, bytes)) = incoming.next_chunk(Profile::DEFAULT.max() as usize).await.unwrap() {
                assert!(chunk.id.names(&bytes) && chunk.length as usize == bytes.len());
                found.push(chunk.id);
            }
            assert_eq!(found, expected, "frames of {frame} bytes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn how_slow_a_body_may_be() {
        // (bytes a second, whether somebody waits for room, whether it is borne)
        for (bytes, somebody_waits, borne) in
            [(1024, false, true), (1023, false, false), (65_536, true, true), (65_535, true, false)]
        {
            let outcome = arrives(100, bytes, somebody_waits).await;
            assert_eq!(outcome.is_ok(), borne, "{bytes} bytes a second, {somebody_waits}: {outcome:?}");
            assert!(borne || matches!(outcome, Err(ObjectError::TooSlow(_))), "{outcome:?}");
        }
    }
}
