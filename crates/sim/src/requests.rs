//! Requests to the gateway: drawn at random, carried out, and their answers in the model's words.

use std::time::Duration;

use bytes::Bytes;
use domain::change::{Precondition, Refusal};
use domain::record::ObjectName;
use domain::{BucketName, ObjectKey};
use futures_util::{Stream, TryStreamExt, stream};
use objects::{GetRequest, ObjectError, Objects, PutRequest, ReadPart};

use crate::contents::Contents;
use crate::model::{Answered, Asked, Key, Model, Version, etag_of, short, show};
use crate::random::Random;

/// The bucket that everything is in.
pub const BUCKET: &str = "sim";

/// A request, drawn before it is made.
#[derive(Clone, Debug)]
pub struct Request {
    /// Of which key.
    pub key: Key,
    /// How long after its batch begins.
    pub after: Duration,
    /// After how long its client goes away, if it does.
    pub patience: Option<Duration>,
    /// What.
    pub what: What,
}

/// What a request does.
#[derive(Clone, Debug)]
pub enum What {
    /// Stores an object.
    Put(Put),
    /// Removes one.
    Delete(Precondition),
    /// Reads one or a part of it.
    Get {
        /// Which part.
        part: ReadPart,
        /// How many copies must agree.
        quorum: u8,
        /// How long the reader pauses after each piece.
        pause: Duration,
    },
    /// Asks for its size.
    Head,
}

/// A put, piece by piece.
#[derive(Clone, Debug)]
pub struct Put {
    bytes: Bytes,
    etag: String,
    when: Precondition,
    /// Lengths of the pieces in which the body comes.
    piece_bytes: usize,
    /// How long the body pauses before each piece.
    pause: Duration,
    /// Whether the length is announced.
    announced: bool,
    /// The piece instead of which the connection breaks.
    breaks_at: Option<usize>,
}

/// A request's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In the model's words.
    pub answered: Answered,
    /// The error that only trouble excuses.
    pub trouble: Option<String>,
}

impl Request {
    /// A request for one of `keys`. `slow` ones take seconds, so that much happens beside them.
    pub fn draw(random: &mut Random, keys: &[Key], contents: &Contents, model: &Model, slow: bool) -> Self {
        let key = random.pick(keys).clone();
        let what = match random.below(100) {
            0..45 => What::Put(Put::draw(random, &key, contents, model, slow)),
            45..60 => What::Delete(precondition(random, &key, contents, model, 150)),
            60..90 => What::Get {
                part: part(random, contents),
                quorum: if random.chance(100) { 2 } else { 1 },
                pause: if slow { Duration::from_millis(random.below(4000)) } else { Duration::ZERO },
            },
            _ => What::Head,
        };
        let patience = random.chance(15).then(|| random.below(if slow { 5000 } else { 20 }));
        let patience = patience.map(Duration::from_millis);
        Self { key, after: Duration::ZERO, patience, what }
    }

    /// A read of all of `key`.
    pub fn whole(key: Key) -> Self {
        Self::plain(key, What::Get { part: ReadPart::Whole, quorum: 1, pause: Duration::ZERO })
    }

    /// A delete of `key`, whatever it is.
    pub fn delete(key: Key) -> Self {
        Self::plain(key, What::Delete(Precondition::default()))
    }

    /// A delete of an object, and seconds later a slow put of the same bytes: chunks become garbage, and are wanted again while they are
    /// being collected. Nothing if no object has more than one chunk.
    pub fn rebirth(random: &mut Random, keys: &[Key], contents: &Contents, model: &Model) -> Vec<Self> {
        let versions = |key: &Key| model.states(key).into_iter().flatten().next().map(|version| (key.clone(), version));
        let long = |version: &Version| version.bytes.len() > contents.chunk_bytes();
        let candidates: Vec<_> = model.keys().filter_map(versions).filter(|(_, version)| long(version)).collect();
        if candidates.is_empty() {
            return Vec::new();
        }
        let (key, version) = random.pick(&candidates).clone();
        let pieces = version.bytes.len().div_ceil(contents.chunk_bytes()) as u64;
        let put = Put {
            etag: version.etag,
            when: Precondition::default(),
            piece_bytes: contents.chunk_bytes(),
            pause: Duration::from_millis((2000 + random.below(10_000)) / pieces),
            announced: true,
            breaks_at: None,
            bytes: version.bytes,
        };
        let after = Duration::from_millis(random.below(9000));
        let put = Self { after, ..Self::plain(random.pick(keys).clone(), What::Put(put)) };
        vec![Self::delete(key), put]
    }

    fn plain(key: Key, what: What) -> Self {
        Self { key, after: Duration::ZERO, patience: None, what }
    }

    /// The request in the model's words.
    pub fn asked(&self) -> Asked {
        match &self.what {
            What::Put(put) => Asked::Put { bytes: put.bytes.clone(), etag: put.etag.clone(), when: put.when.clone() },
            What::Delete(when) => Asked::Delete { when: when.clone() },
            What::Get { .. } | What::Head => Asked::Look,
        }
    }

    /// Makes the request; `Err` is an answer that is wrong in itself.
    pub async fn make(&self, objects: &Objects) -> Result<Answer, String> {
        let made = async {
            match &self.what {
                What::Put(put) => put.make(objects, name(&self.key)).await,
                What::Delete(when) => Ok(deleted(objects.delete(&name(&self.key), when.clone()).await)),
                What::Get { part, quorum, pause } => get(objects, name(&self.key), *part, *quorum, *pause).await,
                What::Head => Ok(match objects.head(&name(&self.key)).await {
                    Ok(head) => Answer::plain(seen(&head, None)),
                    Err(error) => not_seen(error),
                }),
            }
        };
        match self.patience {
            None => made.await,
            Some(patience) => {
                let gone = Answer::plain(Answered::Unknown);
                tokio::time::timeout(patience, made).await.unwrap_or(Ok(gone))
            }
        }
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ", String::from_utf8_lossy(&self.key))?;
        match &self.what {
            What::Put(Put { bytes, etag, when, piece_bytes, pause, breaks_at, .. }) => {
                write!(f, "put {} bytes {} {}in pieces of {piece_bytes}", bytes.len(), short(etag), show(when))?;
                write!(f, " every {pause:?}")?;
                breaks_at.map_or(Ok(()), |piece| write!(f, ", breaks at {piece}"))
            }
            What::Delete(when) => write!(f, "delete {}", show(when)),
            What::Get { part, quorum, pause } => write!(f, "get {part:?} of {quorum} copies, pause {pause:?}"),
            What::Head => write!(f, "head"),
        }?;
        self.patience.map_or(Ok(()), |patience| write!(f, ", patience {patience:?}"))
    }
}

impl Answer {
    fn plain(answered: Answered) -> Self {
        Self { answered, trouble: None }
    }

    fn trouble(answered: Answered, error: &ObjectError) -> Self {
        Self { answered, trouble: Some(error.to_string()) }
    }
}

impl Put {
    fn draw(random: &mut Random, key: &Key, contents: &Contents, model: &Model, slow: bool) -> Self {
        let bytes = contents.draw(random);
        let piece_bytes = *random.pick(&[usize::MAX, contents.chunk_bytes(), contents.chunk_bytes() / 2 + 7]);
        let pause = match slow {
            // Beyond half a minute the references so far are committed as an extent.
            true => {
                let most_ms = *random.pick(&[1000, 3000, 3000, 20_000]);
                Duration::from_millis(random.below(most_ms))
            }
            false => Duration::ZERO,
        };
        let pieces = bytes.len() / piece_bytes.min(bytes.len().max(1)) + 1;
        Self {
            etag: etag_of(&bytes, contents.chunk_bytes()),
            when: precondition(random, key, contents, model, 200),
            piece_bytes,
            pause,
            announced: random.chance(700),
            breaks_at: random.chance(60).then(|| random.below(pieces as u64) as usize),
            bytes,
        }
    }

    async fn make(&self, objects: &Objects, name: ObjectName) -> Result<Answer, String> {
        let request = PutRequest {
            name,
            length: self.announced.then_some(self.bytes.len() as u64),
            content_type: "application/octet-stream".into(),
            user_metadata: Vec::new(),
            when: self.when.clone(),
            keep: Default::default(),
            write_quorum: None,
            chunk_mode: None,
            make_bucket: true,
        };
        match objects.put(request, Box::pin(self.body())).await {
            Ok(_) if self.breaks_at.is_some() && !self.bytes.is_empty() => {
                Err("a put whose body broke off was acknowledged".into())
            }
            Ok(done) if (done.size, &done.etag) != (self.bytes.len() as u64, &self.etag) => {
                Err(format!("a put of {} bytes, {}, was answered with {done:?}", self.bytes.len(), self.etag))
            }
            Ok(done) => Ok(Answer::plain(Answered::Put(done.revision))),
            Err(ObjectError::BodyBroken(_)) if self.breaks_at.is_some() => Ok(Answer::plain(Answered::Nothing)),
            Err(error) => Ok(refused(error)),
        }
    }

    /// The body: pieces with pauses, and perhaps a break.
    fn body(&self) -> impl Stream<Item = Result<Bytes, String>> + Send + use<> {
        let (pause, breaks_at) = (self.pause, self.breaks_at);
        stream::unfold((self.bytes.clone(), self.piece_bytes, 0), move |(mut rest, piece_bytes, nth)| async move {
            if breaks_at == Some(nth) {
                return Some((Err("the connection broke".into()), (Bytes::new(), piece_bytes, nth + 1)));
            }
            if rest.is_empty() {
                return None;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let piece = rest.split_to(piece_bytes.min(rest.len()));
            Some((Ok(piece), (rest, piece_bytes, nth + 1)))
        })
    }
}

async fn get(
    objects: &Objects,
    name: ObjectName,
    part: ReadPart,
    quorum: u8,
    pause: Duration,
) -> Result<Answer, String> {
    let reader = match objects.open(GetRequest { name, read_quorum: quorum }).await {
        Ok(reader) => reader,
        Err(error) => return Ok(not_seen(error)),
    };
    let head = reader.head();
    let Some(range) = part.of(head.row.size) else { return Ok(Answer::plain(seen(&head, None))) };
    let begun = tokio::time::Instant::now();
    let read = async {
        let mut body = reader.read(range.clone()).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = body.try_next().await? {
            bytes.extend_from_slice(&piece);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(bytes)
    };
    match read.await {
        Ok(bytes) if bytes.len() as u64 != range.end - range.start => {
            Err(format!("{} bytes came of {range:?}", bytes.len()))
        }
        Ok(bytes) => Ok(Answer::plain(seen(&head, Some((range, bytes.into()))))),
        // Damage may well leave one good copy where two are asked for.
        Err(ObjectError::Read(_)) if quorum > 1 => Ok(Answer::plain(seen(&head, None))),
        // Who reads for more than an hour looks up again, and may find another version: seed 478 once.
        Err(ObjectError::Replaced) if begun.elapsed() >= objects.settings().hold_floor => {
            Ok(Answer::plain(seen(&head, None)))
        }
        // What the lookup said counts, whatever became of the bytes.
        Err(error) => Ok(Answer::trouble(seen(&head, None), &error)),
    }
}

fn seen(head: &objects::ObjectHead, part: Option<(std::ops::Range<u64>, Bytes)>) -> Answered {
    Answered::Seen { size: head.row.size, etag: head.row.etag.clone(), revision: head.row.revision, part }
}

fn not_seen(error: ObjectError) -> Answer {
    match error {
        ObjectError::NotFound => Answer::plain(Answered::Absent),
        error => Answer::trouble(Answered::Nothing, &error),
    }
}

fn deleted(outcome: Result<(), ObjectError>) -> Answer {
    match outcome {
        Ok(()) => Answer::plain(Answered::Deleted),
        Err(ObjectError::NotFound) => Answer::plain(Answered::Absent),
        Err(error) => refused(error),
    }
}

/// A change that was not acknowledged: refused for good, certainly not done, or nobody knows.
fn refused(error: ObjectError) -> Answer {
    match error {
        ObjectError::Refused(Refusal::Precondition { etag }) => Answer::plain(Answered::Refused(etag)),
        ObjectError::Meta(api::MetaError::OutcomeUnknown { .. } | api::MetaError::Failed { .. }) => {
            Answer::trouble(Answered::Unknown, &error)
        }
        error => Answer::trouble(Answered::Nothing, &error),
    }
}

/// Mostly none; else one that holds or not, by what the key may be.
fn precondition(random: &mut Random, key: &Key, contents: &Contents, model: &Model, per_mille: u64) -> Precondition {
    if !random.chance(per_mille) {
        return Precondition::default();
    }
    let tags = |random: &mut Random| {
        let states: Vec<_> = model.states(key).into_iter().flatten().collect();
        match states.is_empty() || random.chance(200) {
            true => vec![etag_of(&contents.draw(random), contents.chunk_bytes())],
            false => vec![random.pick(&states).etag.clone()],
        }
    };
    match random.below(4) {
        0 => Precondition { if_none_match: Some(vec![]), ..Default::default() },
        1 => Precondition { if_match: Some(vec![]), ..Default::default() },
        2 => Precondition { if_none_match: Some(tags(random)), ..Default::default() },
        _ => Precondition { if_match: Some(tags(random)), ..Default::default() },
    }
}

fn part(random: &mut Random, contents: &Contents) -> ReadPart {
    let bound = 3 * contents.chunk_bytes() as u64;
    match random.below(10) {
        0 => ReadPart::Last(random.below(bound)),
        1 => ReadPart::From(random.below(bound), None),
        2 | 3 => {
            let first = random.below(bound);
            ReadPart::From(first, Some(first + random.below(bound)))
        }
        _ => ReadPart::Whole,
    }
}

/// The object of `key`.
pub fn name(key: &[u8]) -> ObjectName {
    ObjectName {
        bucket: bucket(),
        key: ObjectKey::parse(key).expect("the keys that are drawn from are short and not empty"),
    }
}

/// The bucket.
pub fn bucket() -> BucketName {
    BucketName::parse(BUCKET).expect("a valid name")
}
