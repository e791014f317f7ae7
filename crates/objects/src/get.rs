//! Getting an object: one lookup, then verified chunks, one read ahead.
//!
//! The first chunk is read before the reader is handed out, so that what cannot be read fails with an answer and not with a cut
//! connection. Later extents of the reference list are fetched as the reader reaches them; the floor stays at the lookup
//! until the reader is dropped, so nothing it names can be deleted under it. A reader that takes more than an hour looks up again,
//! so that it does not hold up deletes for ever: if the object is still the same version, it goes on under a younger floor.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::metadata::{Found, Located, LocatedExtent};
use api::request_id;
use bytes::Bytes;
use datapath::{BadCopy, BadShard, Copied, Part, ReadError, Reservation, StripePart};
use domain::change::ShardAt;
use domain::record::{ObjectName, ObjectRow};
use domain::stripe::LocatedStripe;
use domain::{ClassId, LogPosition, Scheme};
use futures_util::Stream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::error::ObjectError;
use crate::follow::BadReport;
use crate::lease::Work;
use crate::parts::{Wanted, WantedPart, parts_of};
use crate::service::Objects;

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
    /// How many chunks or stripes its first extent has; of most objects, all.
    pub pieces: usize,
    /// K + M, if it is kept in stripes.
    pub scheme: Option<Scheme>,
    /// How many extents it has.
    pub extents: u32,
    /// The fewest copies that any chunk of the first extent has; of stripes there are none to count.
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
        pieces: found.first.lengths().len(),
        scheme: match &found.first {
            LocatedExtent::Stripes(stripes) => stripes.first().map(|stripe| stripe.scheme),
            LocatedExtent::Chunks(_) => None,
        },
        extents: found.extents,
        fewest_copies: match &found.first {
            LocatedExtent::Chunks(chunks) => chunks.iter().map(|chunk| chunk.nodes.len()).min().unwrap_or(usize::MAX),
            LocatedExtent::Stripes(_) => usize::MAX,
        },
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
        let end_of_first: u64 = self.found.first.lengths().into_iter().map(u64::from).sum();
        let next_extent = (range.end > end_of_first).then_some((1, end_of_first));
        let (frames, source) = (VecDeque::new(), Arc::new(source));
        let mut state = Streaming { source, range, parts, next_extent, ahead: None, frames };
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

/// The bytes of a part, in frames.
type Frames = VecDeque<Bytes>;

enum Ahead {
    Ready(Frames),
    Coming(JoinHandle<Result<Frames, ObjectError>>),
}

/// The state of a stream between two chunks.
struct Streaming {
    source: Arc<Source>,
    range: Range<u64>,
    parts: VecDeque<WantedPart>,
    /// The extent to fetch when the parts run out, and the offset of its first byte.
    next_extent: Option<(u32, u64)>,
    ahead: Option<Ahead>,
    /// What was read and not handed out.
    frames: Frames,
}

impl Streaming {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, ObjectError> {
        if let Some(frame) = self.frames.pop_front() {
            return Ok(Some((frame, self)));
        }
        self.frames = match self.ahead.take() {
            Some(Ahead::Ready(frames)) => frames,
            Some(Ahead::Coming(coming)) => {
                coming.await.map_err(|error| ObjectError::NotReady(format!("a read was cut short: {error}")))??
            }
            None => match self.next_part().await? {
                Some(part) => self.source.clone().fetch(part, None).await?,
                None => return Ok(None),
            },
        };
        self.read_ahead().await?;
        Ok(self.frames.pop_front().map(|frame| (frame, self)))
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
            let located = self.source.extent(extent).await?;
            let end = offset + located.lengths().into_iter().map(u64::from).sum::<u64>();
            self.next_extent = (self.range.end > end).then_some((extent + 1, end));
            self.parts = parts_of(&located, extent, offset, &self.range);
        }
    }
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
    async fn fetch(self: Arc<Self>, part: WantedPart, room: Option<Reservation>) -> Result<Frames, ObjectError> {
        // A body is read after its handler has returned, and so outside of the request's scope.
        let fetched = request_id::scope(self.request_id.clone(), self.fetch_now(part, room)).await;
        if fetched.is_err() {
            self.objects.inner.lookups.forget(&self.name);
        }
        fetched
    }

    async fn fetch_now(&self, part: WantedPart, room: Option<Reservation>) -> Result<Frames, ObjectError> {
        self.renew_floor().await?;
        let settings = self.objects.settings();
        let room = match room {
            Some(room) => room,
            None => timeout(settings.patience, self.objects.inner.budget.first(part.bytes()))
                .await
                .map_err(|_| ObjectError::Busy { waited_s: settings.patience.as_secs() })?,
        };
        let frames = match self.read(&part).await {
            // The copies may have moved since the lookup: look again, once.
            Err(ReadError::AllMissing { .. } | ReadError::StripeShort { stale: true, .. }) => {
                let again = self.extent(part.fetched.0).await?;
                self.read(&part.located(&again)).await?
            }
            other => other?,
        };
        let room = Arc::new(room);
        Ok(frames.into_iter().map(|bytes| Bytes::from_owner(InRoom { bytes, _room: room.clone() })).collect())
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

    async fn read(&self, part: &WantedPart) -> Result<Vec<Bytes>, ReadError> {
        match &part.wanted {
            Wanted::Chunk(chunk, part) => self.read_chunk(chunk, part).await.map(|bytes| vec![bytes]),
            Wanted::Stripe(stripe, part, bytes) => self.read_stripe(stripe, part, *bytes).await,
        }
    }

    async fn read_stripe(
        &self,
        stripe: &LocatedStripe,
        part: &StripePart,
        bytes: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let mut bad = Vec::new();
        let outcome = self.objects.inner.nodes.read_stripe(stripe, part, &mut bad).await;
        for BadShard { index, copy } in bad {
            let shard = ShardAt { class: self.class, stripe: stripe.stripe.id, index };
            self.report(Copied::Shard(shard), copy);
        }
        let read = outcome?;
        if read.rebuilt > 0 {
            self.objects.inner.degraded.fetch_add(1, Ordering::Relaxed);
        }
        let mut left = bytes;
        let cut = |mut frame: Bytes| {
            frame.truncate(left);
            left -= frame.len();
            frame
        };
        Ok(read.shards.into_iter().map(cut).filter(|frame| !frame.is_empty()).collect())
    }

    fn report(&self, of: Copied, copy: BadCopy) {
        // A full queue loses the report; the next reader or audit finds the copy again.
        self.objects.inner.bad.try_send(BadReport { of, copy }).ok();
    }

    async fn read_chunk(&self, chunk: &Located, part: &Part) -> Result<Bytes, ReadError> {
        let mut bad = Vec::new();
        let nodes = &self.objects.inner.nodes;
        let outcome = match self.read_quorum {
            0 | 1 => nodes.read(&chunk.chunk, &chunk.nodes, part, &mut bad).await,
            copies => nodes.read_agreeing(&chunk.chunk, &chunk.nodes, copies, &mut bad).await.map(|bytes| match part {
                Part::Whole => bytes,
                Part::Range(range) => bytes.slice(range.start as usize..range.end as usize),
            }),
        };
        for copy in bad {
            self.report(Copied::Chunk(self.class, chunk.chunk.id), copy);
        }
        outcome
    }

    async fn extent(&self, extent: u32) -> Result<LocatedExtent, ObjectError> {
        let meta = &self.objects.inner.meta;
        let located = self.objects.retrying(|| meta.extent(self.body, extent)).await;
        located
            .inspect_err(|error| tracing::warn!(object = %self.name, extent, %error, "an extent could not be fetched"))
    }
}

/// Bytes that give their room in the budget back when they are dropped.
struct InRoom {
    bytes: Bytes,
    _room: Arc<Reservation>,
}

impl AsRef<[u8]> for InRoom {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
