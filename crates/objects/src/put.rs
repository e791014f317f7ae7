//! Putting an object: cut, hash, write, commit.
//!
//! Two chunks of a body are in hand at most: while one is on its way to the nodes, the next is received. SHA-256 and CRC-32C are
//! computed piece by piece as bytes arrive, so the chunk's name is known when its last byte is. A chunk is
//! received into room that was reserved before its first byte; a body that arrives in one piece is not copied at all.
//!
//! Long bodies commit their references on the way, in extents under a body that nobody sees, so that no command grows
//! with the object and the floor moves on; the last command points the key at it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::request_id;
use bytes::Bytes;
use datapath::{Hold, Reservation, WriteError, WriteRequest};
use domain::cdc::{Cutter, Profile};
use domain::change::{Change, NewBody, Outcome, Precondition, Refusal, Written, WrittenStripe};
use domain::chunking::ChunkMode;
use domain::etag::EtagHasher;
use domain::policy::Keep;
use domain::record::{ChunkRef, MAX_EXTENT_CHUNKS, ObjectName};
use domain::stripe::{MAX_EXTENT_ROWS, rows_of};
use domain::{ClassId, LogPosition, Scheme};
use futures_util::{Stream, StreamExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::error::{BodyError, ObjectError};
use crate::incoming::Incoming;
use crate::lease::Work;
use crate::policy::Way;
use crate::service::Objects;

/// The largest object: 5 TiB.
const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// References are committed at least this often, so that a slow upload does not hold the floor for ever.
const EXTENT_EVERY: Duration = Duration::from_secs(30);

/// Chunks of one body on their way to nodes at once.
const IN_FLIGHT: usize = 2;

/// What to put.
#[derive(Clone, Debug)]
pub struct PutRequest {
    /// Bucket and key.
    pub name: ObjectName,
    /// How long the body is, if that was announced.
    pub length: Option<u64>,
    /// Media type.
    pub content_type: String,
    /// Further headers of the writer's.
    pub user_metadata: Vec<(String, String)>,
    /// What must be true of the key.
    pub when: Precondition,
    /// How it is kept, if not as its bucket says; a small object in stripes is kept in copies all the same, see [`domain::stripe`].
    pub keep: Keep,
    /// Durable copies before the answer, if not what its bucket says; what is kept in stripes has its own rule.
    pub write_quorum: Option<u8>,
    /// How the body is cut, if not as configured.
    pub chunk_mode: Option<ChunkMode>,
    /// Whether a missing bucket is made.
    pub make_bucket: bool,
}

/// What a put did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutDone {
    /// Bytes stored.
    pub size: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// The version's number among its key's.
    pub revision: u64,
    /// Its chunks or stripes, with the nodes that had them when it was committed; of very long bodies only the last ones.
    pub pieces: Pieces,
}

/// What a body was cut into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// Chunks, in whole copies.
    Chunks(Vec<Written>),
    /// Stripes, all of one scheme.
    Stripes(Scheme, Vec<WrittenStripe>),
}

impl Pieces {
    /// How full the extent is that they make, where `flying` more are on their way: true if one more might not fit.
    fn fill_extent(&self, flying: usize) -> bool {
        match self {
            Pieces::Chunks(chunks) => chunks.len() + flying >= MAX_EXTENT_CHUNKS,
            Pieces::Stripes(scheme, stripes) => {
                // A shard whose node was slow may have two answers.
                let answers =
                    |stripe: &WrittenStripe| stripe.shards.iter().map(|shard| shard.answers.len().max(1)).sum();
                let there: usize = stripes.iter().map(|stripe| rows_of(answers(stripe))).sum();
                there + (flying + 1) * rows_of(2 * scheme.shards()) > MAX_EXTENT_ROWS
            }
        }
    }

    /// Takes them, and leaves none of the same kind.
    fn take(&mut self) -> Self {
        match self {
            Pieces::Chunks(chunks) => Pieces::Chunks(std::mem::take(chunks)),
            Pieces::Stripes(scheme, stripes) => Pieces::Stripes(*scheme, std::mem::take(stripes)),
        }
    }
}

/// One of them.
pub(crate) enum Piece {
    Chunk(Written),
    Stripe(WrittenStripe),
}

impl Objects {
    /// Stores `body` as the object's next version. Nothing is visible or kept unless this returns `Ok`.
    pub async fn put<S, E>(&self, request: PutRequest, body: S) -> Result<PutDone, ObjectError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Into<BodyError>,
    {
        if request.length.is_some_and(|length| length > MAX_OBJECT_BYTES) {
            return Err(ObjectError::TooLarge { limit: MAX_OBJECT_BYTES });
        }
        let way = self.way(&request.name.bucket, request.keep, request.write_quorum)?;
        if let Some(scheme) = way.scheme {
            self.check_scheme(scheme, request.chunk_mode.unwrap_or(self.settings().chunk_mode))?;
        }
        let mut upload = Upload::begin(self, &request, way)?;
        // Its end is asked for more than once, which a stream need not bear.
        upload.receive(body.fuse()).await?;
        upload.commit(&request).await
    }
}

/// A body on its way in.
pub(crate) struct Upload<'a> {
    pub objects: &'a Objects,
    work: Arc<Work>,
    /// Chosen once: what is put under it must be committed under it, though the cluster may learn a class meanwhile.
    pub class: ClassId,
    pub chunk_mode: ChunkMode,
    /// Copies of each chunk, and how many of them must be durable.
    pub copies: (u8, u8),
    scheme: Option<Scheme>,
    pub announced: Option<u64>,
    pub received: u64,
    pub etag: EtagHasher,
    flying: VecDeque<JoinHandle<Result<Piece, WriteError>>>,
    pub written: Pieces,
    uncommitted_since: Option<Instant>,
    body: Option<(LogPosition, u32)>,
}

impl<'a> Upload<'a> {
    fn begin(objects: &'a Objects, request: &PutRequest, way: Way) -> Result<Self, ObjectError> {
        Ok(Self {
            objects,
            work: Arc::new(objects.begin()?),
            class: objects.class(),
            chunk_mode: request.chunk_mode.unwrap_or(objects.settings().chunk_mode),
            copies: (way.copies, way.quorum),
            scheme: way.scheme,
            announced: request.length,
            received: 0,
            etag: EtagHasher::default(),
            flying: VecDeque::new(),
            written: Pieces::Chunks(Vec::new()),
            uncommitted_since: None,
            body: None,
        })
    }

    async fn receive<S, E>(&mut self, body: S) -> Result<(), ObjectError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Into<BodyError>,
    {
        let mut body = Incoming::new(body, self.objects.settings().patience, self.objects.inner.budget.clone());
        body.cutter = match self.chunk_mode {
            ChunkMode::Fixed => None,
            ChunkMode::ContentDefined => Some(Cutter::new(Profile::DEFAULT)),
        };
        match self.scheme {
            None => self.receive_chunks(&mut body).await?,
            Some(scheme) => self.receive_stripes(scheme, &mut body).await?,
        }
        body.must_be_over().await?;
        while self.land().await? {}
        match self.announced {
            Some(said) if said != self.received => Err(ObjectError::BodyLength { found: self.received, said }),
            _ => Ok(()),
        }
    }

    async fn receive_chunks<S, E>(&mut self, body: &mut Incoming<S>) -> Result<(), ObjectError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Into<BodyError>,
    {
        let longest = match self.chunk_mode {
            ChunkMode::Fixed => self.objects.settings().chunk_bytes,
            ChunkMode::ContentDefined => Profile::DEFAULT.max(),
        };
        while self.announced != Some(self.received) {
            let mut room = self.room(self.left().min(longest.into()) as usize).await?;
            let Some((chunk, bytes)) = body.next_chunk(room.bytes).await? else { break };
            room.reservation.shrink_to(bytes.len());
            self.count_received(bytes.len())?;
            self.etag.add(&chunk.id);
            self.send_chunk(chunk, bytes, room.reservation)?;
            self.commit_extent_if_due().await?;
        }
        Ok(())
    }

    /// Bytes that are still to come, as far as that was announced.
    pub fn left(&self) -> u64 {
        self.announced.map_or(u64::MAX, |all| all.saturating_sub(self.received))
    }

    pub fn count_received(&mut self, bytes: usize) -> Result<(), ObjectError> {
        self.received += bytes as u64;
        match self.received > MAX_OBJECT_BYTES {
            true => Err(ObjectError::TooLarge { limit: MAX_OBJECT_BYTES }),
            false => Ok(()),
        }
    }

    /// Room for the longest that the next piece can be, before its first byte is read: at once beside one in flight, else in turn.
    pub async fn room(&mut self, bytes: usize) -> Result<Room, ObjectError> {
        let settings = self.objects.settings();
        let budget = &self.objects.inner.budget;
        while !self.flying.is_empty() {
            if self.flying.len() < IN_FLIGHT
                && let Some(reservation) = budget.more(bytes)
            {
                return Ok(Room { bytes, reservation });
            }
            self.land().await?;
        }
        match timeout(settings.patience, budget.first(bytes)).await {
            Ok(reservation) => Ok(Room { bytes, reservation }),
            Err(_) => Err(ObjectError::Busy { waited_s: settings.patience.as_secs() }),
        }
    }

    pub fn send_chunk(&mut self, chunk: ChunkRef, bytes: Bytes, reservation: Reservation) -> Result<(), ObjectError> {
        let hold = self.hold(reservation)?;
        let ((copies, quorum), class) = (self.copies, self.class);
        let request = WriteRequest { chunk, class, bytes, copies, quorum, hold };
        let (nodes, late) = (self.objects.inner.nodes.clone(), self.objects.inner.late.clone());
        self.fly(async move { nodes.write(request, &late).await.map(Piece::Chunk) });
        Ok(())
    }

    /// What must be kept until the last put of a piece is over.
    pub fn hold(&self, reservation: Reservation) -> Result<Hold, ObjectError> {
        // A floor of its own: a late answer must keep it even when this upload has moved on.
        Ok(Arc::new((reservation, self.objects.begin()?)))
    }

    /// Sets a write on its way.
    pub fn fly(&mut self, write: impl Future<Output = Result<Piece, WriteError>> + Send + 'static) {
        self.uncommitted_since.get_or_insert_with(Instant::now);
        self.flying.push_back(tokio::spawn(request_id::carry(write)));
    }

    /// Waits for the oldest piece in flight; false if there is none.
    async fn land(&mut self) -> Result<bool, ObjectError> {
        let Some(oldest) = self.flying.pop_front() else { return Ok(false) };
        let piece =
            oldest.await.map_err(|error| ObjectError::NotReady(format!("a write was cut short: {error}")))??;
        match (&mut self.written, piece) {
            (Pieces::Chunks(chunks), Piece::Chunk(written)) => chunks.push(written),
            (Pieces::Stripes(_, stripes), Piece::Stripe(written)) => {
                self.etag.add_stripe(&written.stripe);
                stripes.push(written);
            }
            _ => return Err(ObjectError::NotReady("a body was cut into chunks and stripes".into())),
        }
        Ok(true)
    }

    /// Commits references so far if they fill an extent, or are half a minute old.
    pub async fn commit_extent_if_due(&mut self) -> Result<(), ObjectError> {
        let full = self.written.fill_extent(self.flying.len());
        let old = self.uncommitted_since.is_some_and(|since| since.elapsed() >= EXTENT_EVERY);
        if !full && !old {
            return Ok(());
        }
        while self.land().await? {}
        let (body, extent) = match self.body {
            Some(body) => body,
            None => (self.begin_body().await?, 0),
        };
        let append = match self.written.take() {
            Pieces::Chunks(chunks) => Change::Append { body, extent, chunks },
            Pieces::Stripes(_, stripes) => Change::AppendStripes { body, extent, stripes },
        };
        self.objects.change(&self.work, append).await?;
        self.body = Some((body, extent + 1));
        self.uncommitted_since = None;
        // What was appended is counted now; nothing of this upload relies on older puts any more.
        self.work.move_on();
        Ok(())
    }

    async fn begin_body(&mut self) -> Result<LogPosition, ObjectError> {
        let class = self.class;
        let begin = match self.written {
            Pieces::Chunks(_) => Change::BeginBody { class },
            Pieces::Stripes(scheme, _) => Change::BeginStripes { class, scheme },
        };
        match self.objects.change(&self.work, begin).await? {
            Outcome::Body(body) => {
                self.body = Some((body, 0));
                Ok(body)
            }
            other => Err(ObjectError::NotReady(format!("a new body was answered with {other:?}"))),
        }
    }

    async fn commit(&mut self, request: &PutRequest) -> Result<PutDone, ObjectError> {
        let pieces = self.written.take();
        let body = match (self.body, pieces.clone()) {
            (None, Pieces::Chunks(chunks)) => NewBody::Whole(chunks),
            (None, Pieces::Stripes(scheme, stripes)) => NewBody::WholeStripes { scheme, stripes },
            (Some((body, _)), Pieces::Chunks(last)) => NewBody::Finish { body, last },
            (Some((body, _)), Pieces::Stripes(_, last)) => NewBody::FinishStripes { body, last },
        };
        let etag = std::mem::take(&mut self.etag).finish();
        let change = Change::PutObject {
            name: request.name.clone(),
            make_bucket: request.make_bucket,
            when: request.when.clone(),
            body,
            class: self.class,
            size: self.received,
            etag: etag.clone(),
            content_type: request.content_type.clone(),
            user_metadata: request.user_metadata.clone(),
        };
        match self.objects.change(&self.work, change).await? {
            Outcome::Put { revision, .. } => {
                self.body = None;
                Ok(PutDone { size: self.received, etag, revision, pieces })
            }
            other => Err(ObjectError::NotReady(format!("a put was answered with {other:?}"))),
        }
    }
}

impl Drop for Upload<'_> {
    /// Lets go of a body that will not be finished, also when the request was cut off in the middle. If that fails too, its
    /// lease's end does it.
    fn drop(&mut self) {
        let Some((body, _)) = self.body.take() else { return };
        let (objects, work) = (self.objects.clone(), self.work.clone());
        tokio::spawn(async move {
            match objects.change(&work, Change::Abort { body }).await {
                Ok(_) | Err(ObjectError::Refused(Refusal::BodyGone { .. })) => {}
                Err(error) => tracing::debug!(%error, "an upload was not aborted; it goes with its lease"),
            }
        });
    }
}

pub(crate) struct Room {
    pub bytes: usize,
    pub reservation: Reservation,
}
