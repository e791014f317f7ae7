//! Getting an object: one lookup, then verified chunks, one read ahead.
//!
//! The first chunk is read before the reader is handed out, so that what cannot be read fails with an answer and not with a cut
//! connection. Later extents of the reference list are fetched as the reader reaches them; the floor stays at the lookup
//! until the reader is dropped, so nothing it names can be deleted under it. A reader that takes more than an hour looks up again,
//! so that it does not hold up deletes for ever: if the object is still the same version, it goes on under a younger floor.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use api::metadata::{Found, Located};
use api::request_id;
use bytes::Bytes;
use datapath::{Part, ReadError, Reservation};
use domain::record::{ObjectName, ObjectRow};
use domain::{ClassId, LogPosition, chunking};
use futures_util::Stream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::error::ObjectError;
use crate::follow::BadReport;
use crate::lease::Work;
use crate::service::Objects;

/// Which bytes of an object are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPart {
    /// All.
    Whole,
    /// From this offset to the end, or to this last byte.
    From(u64, Option<u64>),
    /// The last so many.
    Last(u64),
}

impl ReadPart {
    /// The bytes of an object of `size` that this means; `None` if there are none.
    pub fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            ReadPart::Whole => return Some(0..size),
            ReadPart::From(first, last) => first..last.map_or(size, |last| last.saturating_add(1)).min(size),
            ReadPart::Last(bytes) => size - bytes.min(size)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// What to get.
#[derive(Clone, Debug)]
pub struct GetRequest {
    /// Bucket and key.
    pub name: ObjectName,
    /// How many copies of each chunk must be read and agree.
    pub read_quorum: u8,
}

/// An object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// The version's place in the log.
    pub version: LogPosition,
    /// The version.
    pub row: ObjectRow,
    /// How many chunks its first extent has; of most objects, all.
    pub chunks: usize,
    /// How many extents it has.
    pub extents: u32,
    /// The fewest copies that any chunk of the first extent has.
    pub fewest_copies: usize,
}

/// An object that was looked up and can be read.
pub struct ObjectReader {
    objects: Objects,
    found: Found,
    work: Work,
    request: GetRequest,
}

impl Objects {
    /// Looks an object up. Its bytes can be had until the reader is dropped.
    pub async fn open(&self, request: GetRequest) -> Result<ObjectReader, ObjectError> {
        let work = self.begin()?;
        let found = self.look_up(&request.name).await?;
        Ok(ObjectReader { objects: self.clone(), found, work, request })
    }

    /// An object without its bytes.
    pub async fn head(&self, name: &ObjectName) -> Result<ObjectHead, ObjectError> {
        Ok(head_of(&self.look_up(name).await?))
    }

    /// What the coordinators say, or what they said lately if that is allowed.
    async fn look_up(&self, name: &ObjectName) -> Result<Found, ObjectError> {
        if let Some(found) = self.inner.lookups.get(name) {
            return Ok(found);
        }
        let begun = self.inner.lookups.begin();
        let found = self.retrying(|| self.inner.meta.lookup(name)).await?;
        self.inner.keeper.learn(found.index);
        self.inner.lookups.put(name, &found, begun);
        Ok(found)
    }
}

fn head_of(found: &Found) -> ObjectHead {
    ObjectHead {
        version: found.version,
        row: found.row.clone(),
        chunks: found.first.len(),
        extents: found.extents,
        fewest_copies: found.first.iter().map(|chunk| chunk.nodes.len()).min().unwrap_or(usize::MAX),
    }
}

impl ObjectReader {
    /// The object without its bytes.
    pub fn head(&self) -> ObjectHead {
        head_of(&self.found)
    }

    /// The bytes in `range`, as a stream. Reads the first chunk before it returns.
    pub async fn read(self, range: Range<u64>) -> Result<ObjectBody, ObjectError> {
        let source = Source {
            objects: self.objects,
            name: self.request.name,
            version: self.found.version,
            body: self.found.row.body,
            class: self.found.class,
            read_quorum: self.request.read_quorum,
            floor: tokio::sync::Mutex::new((self.work, Instant::now())),
            request_id: request_id::current(),
        };
        let parts = parts_of(&self.found.first, 0, 0, &range);
        let end_of_first: u64 = self.found.first.iter().map(|chunk| u64::from(chunk.chunk.length)).sum();
        let next_extent = (range.end > end_of_first).then_some((1, end_of_first));
        let mut state = Streaming { source: Arc::new(source), range, parts, next_extent, ahead: None };
        state.ahead = match state.next_part().await? {
            Some(part) => Some(Ahead::Ready(state.source.clone().fetch(part, None).await?)),
            None => None,
        };
        Ok(ObjectBody { inner: Box::pin(futures_util::stream::try_unfold(state, Streaming::step)) })
    }
}

/// The bytes of an object, verified, chunk by chunk.
pub struct ObjectBody {
    inner: std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, ObjectError>> + Send>>,
}

impl Stream for ObjectBody {
    type Item = Result<Bytes, ObjectError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(context)
    }
}

/// A chunk of the object, and the part of it that is wanted.
#[derive(Clone)]
struct WantedPart {
    chunk: Located,
    part: Part,
    /// Extent it is in, and index in that.
    fetched: (u32, usize),
}

impl WantedPart {
    fn bytes(&self) -> usize {
        match &self.part {
            Part::Whole => self.chunk.chunk.length as usize,
            Part::Range(range) => range.len(),
        }
    }
}

enum Ahead {
    Ready(Bytes),
    Coming(JoinHandle<Result<Bytes, ObjectError>>),
}

/// The state of a stream between two chunks.
struct Streaming {
    source: Arc<Source>,
    range: Range<u64>,
    parts: VecDeque<WantedPart>,
    /// The extent to fetch when the parts run out, and the offset of its first byte.
    next_extent: Option<(u32, u64)>,
    ahead: Option<Ahead>,
}

impl Streaming {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, ObjectError> {
        let bytes = match self.ahead.take() {
            Some(Ahead::Ready(bytes)) => bytes,
            Some(Ahead::Coming(coming)) => {
                coming.await.map_err(|error| ObjectError::NotReady(format!("a read was cut short: {error}")))??
            }
            None => match self.next_part().await? {
                Some(part) => self.source.clone().fetch(part, None).await?,
                None => return Ok(None),
            },
        };
        self.read_ahead().await?;
        Ok(Some((bytes, self)))
    }

    /// Starts to fetch the next part, if there is room for it beside this one.
    async fn read_ahead(&mut self) -> Result<(), ObjectError> {
        let Some(part) = self.next_part().await? else { return Ok(()) };
        match self.source.objects.inner.budget.more(part.bytes()) {
            Some(room) => {
                let fetch = self.source.clone().fetch(part, Some(room));
                self.ahead = Some(Ahead::Coming(tokio::spawn(fetch)));
            }
            None => self.parts.push_front(part),
        }
        Ok(())
    }

    async fn next_part(&mut self) -> Result<Option<WantedPart>, ObjectError> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(part));
            }
            let Some((extent, offset)) = self.next_extent.take() else { return Ok(None) };
            let chunks = self.source.extent(extent).await?;
            let end = offset + chunks.iter().map(|chunk| u64::from(chunk.chunk.length)).sum::<u64>();
            self.next_extent = (self.range.end > end).then_some((extent + 1, end));
            self.parts = parts_of(&chunks, extent, offset, &self.range);
        }
    }
}

fn parts_of(chunks: &[Located], extent: u32, offset: u64, range: &Range<u64>) -> VecDeque<WantedPart> {
    let lengths: Vec<_> = chunks.iter().map(|chunk| chunk.chunk.length).collect();
    let wanted = chunking::covering(&lengths, offset, range.clone());
    let part = |(index, within): (usize, Range<u32>)| {
        let part = if within.len() == lengths[index] as usize { Part::Whole } else { Part::Range(within) };
        WantedPart { chunk: chunks[index].clone(), part, fetched: (extent, index) }
    };
    wanted.into_iter().map(part).collect()
}

/// Where a reader's chunks come from.
struct Source {
    objects: Objects,
    name: ObjectName,
    version: LogPosition,
    body: LogPosition,
    class: ClassId,
    read_quorum: u8,
    /// What keeps the bytes from being deleted, and since when.
    floor: tokio::sync::Mutex<(Work, Instant)>,
    request_id: Option<Arc<str>>,
}

impl Source {
    /// Fetches a part into room that the caller has, or that is waited for. The bytes keep their room until they are sent.
    async fn fetch(self: Arc<Self>, part: WantedPart, room: Option<Reservation>) -> Result<Bytes, ObjectError> {
        // A body is read after its handler has returned, and so outside of the request's scope.
        let fetched = request_id::scope(self.request_id.clone(), self.fetch_now(part, room)).await;
        if fetched.is_err() {
            self.objects.inner.lookups.forget(&self.name);
        }
        fetched
    }

    async fn fetch_now(&self, part: WantedPart, room: Option<Reservation>) -> Result<Bytes, ObjectError> {
        self.renew_floor().await?;
        let settings = self.objects.settings();
        let room = match room {
            Some(room) => room,
            None => timeout(settings.patience, self.objects.inner.budget.first(part.bytes()))
                .await
                .map_err(|_| ObjectError::Busy { waited_s: settings.patience.as_secs() })?,
        };
        let bytes = match self.read(&part).await {
            // The copies may have moved since the lookup: look again, once.
            Err(ReadError::AllMissing { .. }) => {
                let (extent, index) = part.fetched;
                let mut again = self.extent(extent).await?;
                let chunk = if index < again.len() { again.swap_remove(index) } else { part.chunk.clone() };
                self.read(&WantedPart { chunk, ..part }).await?
            }
            other => other?,
        };
        Ok(Bytes::from_owner(InRoom { bytes, _room: room }))
    }

    /// Takes a younger floor if this one is old and the object is still the same version.
    async fn renew_floor(&self) -> Result<(), ObjectError> {
        let mut floor = self.floor.lock().await;
        if floor.1.elapsed() < self.objects.settings().hold_floor {
            return Ok(());
        }
        // The younger floor begins before the lookup, and the older one ends after it: the bytes are never without one.
        let work = self.objects.begin()?;
        let found = self.objects.retrying(|| self.objects.inner.meta.lookup(&self.name)).await?;
        if found.version != self.version {
            return Err(ObjectError::Replaced);
        }
        *floor = (work, Instant::now());
        Ok(())
    }

    async fn read(&self, part: &WantedPart) -> Result<Bytes, ReadError> {
        let mut bad = Vec::new();
        let (nodes, chunk) = (&self.objects.inner.nodes, &part.chunk);
        let outcome = match self.read_quorum {
            0 | 1 => nodes.read(&chunk.chunk, &chunk.nodes, &part.part, &mut bad).await,
            copies => {
                nodes.read_agreeing(&chunk.chunk, &chunk.nodes, copies, &mut bad).await.map(|bytes| match &part.part {
                    Part::Whole => bytes,
                    Part::Range(range) => bytes.slice(range.start as usize..range.end as usize),
                })
            }
        };
        for copy in bad {
            let report = BadReport { class: self.class, chunk: chunk.chunk.id, copy };
            // A full queue loses the report; the next reader or audit finds the copy again.
            self.objects.inner.bad.try_send(report).ok();
        }
        outcome
    }

    async fn extent(&self, extent: u32) -> Result<Vec<Located>, ObjectError> {
        let meta = &self.objects.inner.meta;
        let located = self.objects.retrying(|| meta.extent(self.body, extent)).await;
        located
            .inspect_err(|error| tracing::warn!(object = %self.name, extent, %error, "an extent could not be fetched"))
    }
}

/// Bytes that give their room in the budget back when they are dropped.
struct InRoom {
    bytes: Bytes,
    _room: Reservation,
}

impl AsRef<[u8]> for InRoom {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_object() {
        let table = [
            (ReadPart::Whole, 0, Some(0..0)),
            (ReadPart::Whole, 5, Some(0..5)),
            (ReadPart::From(0, Some(0)), 5, Some(0..1)),
            (ReadPart::From(2, None), 5, Some(2..5)),
            (ReadPart::From(2, Some(99)), 5, Some(2..5)),
            (ReadPart::From(2, Some(u64::MAX)), 5, Some(2..5)),
            (ReadPart::From(5, None), 5, None),
            (ReadPart::From(u64::MAX, None), 5, None),
            (ReadPart::From(3, Some(2)), 5, None),
            (ReadPart::Last(2), 5, Some(3..5)),
            (ReadPart::Last(9), 5, Some(0..5)),
            (ReadPart::Last(0), 5, None),
            (ReadPart::Last(1), 0, None),
        ];
        for (part, size, range) in table {
            assert_eq!(part.of(size), range, "{part:?} of {size}");
        }
    }
}
