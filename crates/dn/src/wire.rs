//! What goes over the wire around the handlers: bodies in, replies and errors out, each in two forms.
//!
//! A caller that accepts `application/x-kvfs-record` is one of ours and gets the seam's own types as records, errors included, so that a
//! `ChunkStore` behind HTTP is as good as one in the process. Everybody else gets the reference's JSON, and errors as one
//! line of text with their name in `X-KVFS-Error`. One table, [`situation`], gives each error its status.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;

use api::ChunkError;
use api::chunk_store::CHUNK_TIMEOUT;
use api::routes::{HEADER_CRC, HEADER_ERROR, MEDIA_RECORD};
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request};
use axum::response::{IntoResponse, Response};
use bootstrap::checked_body::OtherBody;
use bytes::Bytes;
use domain::{ChunkId, Crc32c, codec};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::Serialize;

use crate::budget::Share;
use crate::node::Node;

/// Status and name of each error: the one table.
pub fn situation(error: &ChunkError) -> (StatusCode, &'static str) {
    match error {
        ChunkError::Missing { .. } => (StatusCode::NOT_FOUND, "missing"),
        ChunkError::Damaged { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
        ChunkError::Mismatch { .. } => (StatusCode::BAD_REQUEST, "mismatch"),
        ChunkError::Touched { .. } => (StatusCode::CONFLICT, "touched"),
        ChunkError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        ChunkError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        ChunkError::NotThisNode { .. } => (StatusCode::MISDIRECTED_REQUEST, "not-this-node"),
        ChunkError::Poisoned { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "poisoned"),
        ChunkError::Disk { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "disk"),
        ChunkError::Unreachable { .. } => (StatusCode::GATEWAY_TIMEOUT, "unreachable"),
        ChunkError::Refused { .. } => (StatusCode::UNAUTHORIZED, "refused"),
        ChunkError::Superseded { .. } => (StatusCode::CONFLICT, "superseded"),
    }
}

/// Why a request gets no success: the store's answer, or a request that is none.
#[derive(Debug)]
pub enum Failure {
    /// What the store said.
    Chunk(ChunkError),
    /// What is wrong with the request.
    Request(StatusCode, String),
}

impl Failure {
    /// A request that cannot be understood.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::Request(StatusCode::BAD_REQUEST, text.into())
    }
}

impl From<ChunkError> for Failure {
    fn from(error: ChunkError) -> Self {
        Self::Chunk(error)
    }
}

impl IntoResponse for Failure {
    /// The error for people; [`as_asked`] makes a record of it for programs.
    fn into_response(self) -> Response {
        match self {
            Self::Request(status, text) => (status, format!("{text}\n")).into_response(),
            Self::Chunk(error) => {
                let (status, name) = situation(&error);
                let mut response = (status, [(HEADER_ERROR, name)], format!("{error}\n")).into_response();
                if error == ChunkError::Busy {
                    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
                }
                response.extensions_mut().insert(error);
                response
            }
        }
    }
}

/// Turns a [`Failure`] into a record if the caller asked for records.
pub fn as_asked(form: Form, mut response: Response) -> Response {
    match (form, response.extensions_mut().remove::<ChunkError>()) {
        (Form::Record, Some(error)) => {
            let record = (situation(&error).0, form.reply(&error, || ()));
            record.into_response()
        }
        _ => response,
    }
}

/// In which form a caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON and lines of text.
    People,
    /// Records of `domain::codec`.
    Record,
}

impl Form {
    /// What the headers ask for.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(header::ACCEPT).is_some_and(|accept| accept == MEDIA_RECORD) {
            true => Self::Record,
            false => Self::People,
        }
    }

    /// `record` as it is, or `json` made for people.
    pub fn reply<T: Serialize, J: Serialize>(self, record: &T, json: impl FnOnce() -> J) -> Response {
        match self {
            Self::People => Json(json()).into_response(),
            Self::Record => ([(header::CONTENT_TYPE, MEDIA_RECORD)], codec::encode(record)).into_response(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// The chunk id in the path.
pub struct Named(pub ChunkId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Failure::bad("bad chunk id: the path names none"))?;
        text.parse().map(Self).map_err(|error| Failure::bad(format!("bad chunk id: {error}")))
    }
}

/// The parameters of the query, which know no percent-encoding: they are numbers and ids.
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// The parameter `name`, if it is there; `expected` completes "must be …".
    pub fn get<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, Failure> {
        let parse = |text: &String| text.parse().map_err(|_| Failure::bad(format!("{name} must be {expected}")));
        self.0.get(name).map(parse).transpose()
    }

    /// The parameter `name`, which must be there.
    pub fn need<T: FromStr>(&self, name: &str, expected: &str) -> Result<T, Failure> {
        self.get(name, expected)?.ok_or_else(|| Failure::bad(format!("{name} must be {expected}")))
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let pairs = parts.uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
        Ok(Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

/// The CRC-32C header, if there is one.
pub fn crc(headers: &HeaderMap) -> Result<Option<Crc32c>, Failure> {
    let parse = |value: &http::HeaderValue| value.to_str().ok().and_then(|text| text.parse().ok());
    match headers.get(HEADER_CRC).map(parse) {
        Some(None) => Err(Failure::bad("X-KVFS-Crc32c must be 8 lowercase hex digits")),
        given => Ok(given.flatten()),
    }
}

/// The request's body in one piece, and its share of the node's write budget, taken before the first byte was read.
///
/// Its length must be announced (else 411) and at most `limit` (else 413), and it must keep coming (else 408).
pub async fn body(node: &Node, request: Request, limit: u64) -> Result<(Bytes, Share), Failure> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let Some(length) = announced.and_then(|text| text.parse::<u64>().ok()) else {
        return Err(Failure::Request(StatusCode::LENGTH_REQUIRED, "a Content-Length is needed here".into()));
    };
    if length > limit {
        let text = format!("the body has {length} bytes, at most {limit} are taken here");
        return Err(Failure::Request(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    match node.reserve(length) {
        Ok(share) => Ok((collect(request.into_body(), length as usize).await?, share)),
        Err(busy) => {
            discard(request.into_body()).await; // A caller that is still sending would miss the answer.
            Err(busy.into())
        }
    }
}

async fn collect(mut body: Body, length: usize) -> Result<Bytes, Failure> {
    let mut whole = Vec::new();
    while let Some(data) = next(&mut body).await? {
        if data.len() == length {
            return Ok(data);
        }
        whole.reserve_exact(length.saturating_sub(whole.len()));
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

async fn discard(mut body: Body) {
    while let Ok(Some(_)) = next(&mut body).await {}
}

fn broken_off(error: axum::Error) -> Failure {
    match error.into_inner().downcast::<OtherBody>() {
        Ok(other) => Failure::Request(StatusCode::UNAUTHORIZED, other.to_string()),
        Err(error) => Failure::bad(format!("the body ended early: {error}")),
    }
}

/// The next bytes of a body that keeps coming; empty ones and trailers are skipped.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = match tokio::time::timeout(CHUNK_TIMEOUT, body.frame()).await {
            Err(_) => return Err(Failure::Request(StatusCode::REQUEST_TIMEOUT, "the body stopped coming".into())),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(broken_off(error)),
            Ok(Some(Ok(frame))) => frame,
        };
        match frame.into_data() {
            Ok(data) if !data.is_empty() => return Ok(Some(data)),
            _ => {}
        }
    }
}
