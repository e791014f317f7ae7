//! Answers: errors from the one table, and the headers of an object.

use api::{MetaError, Situation, routes};
use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::change::Refusal;
use objects::{ObjectError, ObjectHead, ReadError, WriteError};

use crate::path::PathError;

/// An answer that is not what was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub situation: Situation,
    pub message: String,
}

impl Failure {
    pub fn new(situation: Situation, message: impl Into<String>) -> Self {
        Self { situation, message: message.into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.situation.answer().0;
        if self.situation == Situation::NotModified {
            return status.into_response();
        }
        let mut response = (status, Json(serde_json::json!({ "error": self.message }))).into_response();
        if let Some(seconds) = self.situation.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Unknown => Failure::new(
                Situation::NoSuchRoute,
                "there is no such path; objects are at /v1/o/{bucket}/{key}, lists at /v1/list/{bucket}, buckets at /v1/b",
            ),
            PathError::Bucket(why) => Failure::new(Situation::BadBucketName, why),
            PathError::Key(why) => Failure::new(Situation::BadKey, format!("bucket and key required: {why}")),
        }
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        let situation = match &error {
            ObjectError::NotFound => Situation::NoSuchKey,
            ObjectError::Replaced => Situation::DataUnavailable,
            ObjectError::Refused(refusal) => refusal_situation(refusal),
            ObjectError::Quorum(_) | ObjectError::Scheme(_) => Situation::BadArgument,
            ObjectError::BodyBroken(_) | ObjectError::BodyLength { .. } => Situation::BodyBroken,
            ObjectError::TooLarge { .. } => Situation::TooLarge,
            ObjectError::TooSlow(_) => Situation::TooSlow,
            ObjectError::Write(error) => write_situation(error),
            ObjectError::Read(ReadError::StripeShort { .. }) => Situation::Unavailable,
            ObjectError::Read(_) => Situation::DataUnavailable,
            ObjectError::Meta(error) => meta_situation(error),
            ObjectError::Busy { .. } => Situation::Busy,
            ObjectError::Range { .. } => Situation::BadRange,
            ObjectError::NotReady(_) => Situation::Unavailable,
        };
        Failure::new(situation, error.to_string())
    }
}

fn write_situation(error: &WriteError) -> Situation {
    match error {
        WriteError::QuorumShort { .. } => Situation::DataUnavailable,
        WriteError::Full { .. } => Situation::Full,
        WriteError::Busy { .. } => Situation::Busy,
        WriteError::Encode { .. } => Situation::Internal,
    }
}

fn refusal_situation(refusal: &Refusal) -> Situation {
    match refusal {
        Refusal::NoSuchBucket { .. } => Situation::NoSuchBucket,
        Refusal::BucketExists { .. } => Situation::BucketExists,
        Refusal::BucketNotEmpty { .. } => Situation::BucketNotEmpty,
        Refusal::NoSuchObject => Situation::NoSuchKey,
        Refusal::Precondition { .. } => Situation::PreconditionFailed,
        Refusal::LeaseGone
        | Refusal::Forgotten { .. }
        | Refusal::BodyGone { .. }
        | Refusal::QuorumShort { .. }
        | Refusal::StripeShort { .. } => Situation::Unavailable,
        Refusal::BodyDiffers { .. }
        | Refusal::ChunkDiffers { .. }
        | Refusal::StripeDiffers { .. }
        | Refusal::StripeMalformed { .. }
        | Refusal::BodyKind { .. }
        | Refusal::NoSuchClass { .. } => Situation::Internal,
        Refusal::TooMany { .. } => Situation::Busy,
    }
}

fn meta_situation(error: &MetaError) -> Situation {
    match error {
        MetaError::NotFound => Situation::NoSuchKey,
        MetaError::Unavailable { .. }
        | MetaError::NotLeader { .. }
        | MetaError::OutcomeUnknown { .. }
        | MetaError::Refused { .. } => Situation::Unavailable,
        MetaError::Failed { .. } => Situation::Internal,
        MetaError::Full { .. } => Situation::Full,
    }
}

/// Headers that every answer about an object carries.
pub(crate) fn describe(response: &mut Response, head: &ObjectHead) {
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_millis(head.row.created_ms);
    let pairs = [
        (header::ETAG, format!("\"{}\"", head.row.etag)),
        (header::LAST_MODIFIED, httpdate::fmt_http_date(modified)),
        (header::ACCEPT_RANGES, "bytes".to_string()),
        (HeaderName::from_static(routes::HEADER_VERSION), head.row.revision.to_string()),
        (header::CONTENT_TYPE, head.row.content_type.clone()),
    ];
    let pieces = match head.scheme {
        None => vec![(routes::HEADER_CHUNKS, head.pieces.to_string())],
        Some(scheme) => {
            let stripes = domain::etag::chunks_of(&head.row.etag);
            vec![(routes::HEADER_EC, scheme.to_string()), (routes::HEADER_STRIPES, stripes.to_string())]
        }
    };
    let pieces = pieces.into_iter().map(|(name, value)| (HeaderName::from_static(name), value));
    for (name, value) in pairs.into_iter().chain(pieces) {
        // A stored value came in as a header, so it is one; a damaged row must not become a panic.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
}
