//! PUT and DELETE of an object.

use api::pace::TooSlow;
use api::{Situation, routes};
use axum::Json;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::change::{Written, WrittenStripe};
use domain::chunking::ChunkMode;
use domain::policy::Keep;
use domain::record::ObjectName;
use domain::view::ClusterView;
use domain::{ChunkId, Incarnation, NodeId, Scheme, etag, quorum};
use futures_util::StreamExt;
use objects::{BodyError, Pieces, PutDone, PutRequest};
use serde::Serialize;
use serde_json::json;

use crate::conditional;
use crate::reply::Failure;
use crate::router::Edge;

/// What a reference client is told of a chunk or shard.
#[derive(Serialize)]
struct ChunkJson {
    chunk_id: String,
    size: u32,
    replicas: Vec<String>,
}

/// `PUT /v1/o/{bucket}/{key}`: stores the body as the object's next version.
pub(crate) async fn put(edge: &Edge, name: ObjectName, parts: Parts, body: Body) -> Result<Response, Failure> {
    let request = request(edge, &name, &parts.headers)?;
    let way = edge.objects.way(&name.bucket, request.keep, request.write_quorum)?;
    let own_quorum = request.write_quorum.filter(|_| way.scheme.is_none());
    edge.counts.put(way.scheme.is_some(), own_quorum);
    let body = body.into_data_stream().map(|frame| frame.map_err(body_error));
    let done = edge.objects.put(request, body).await?;
    Ok(render(edge, &name, done))
}

/// What ended a body: a sender that was too slow for the listener, or anything else.
fn body_error(error: axum::Error) -> BodyError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(at) = cause {
        if let Some(slow) = at.downcast_ref::<TooSlow>() {
            return BodyError::TooSlow(slow.clone());
        }
        cause = at.source();
    }
    BodyError::Broken(error.to_string())
}

/// `DELETE /v1/o/{bucket}/{key}`.
pub(crate) async fn delete(edge: &Edge, name: ObjectName, parts: &Parts) -> Result<Response, Failure> {
    let when = conditional::precondition(&parts.headers).map_err(bad_argument)?;
    edge.counts.delete();
    edge.objects.delete(&name, when).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn request(edge: &Edge, name: &ObjectName, headers: &HeaderMap) -> Result<PutRequest, Failure> {
    let keep = match text(headers, routes::HEADER_EC)?.map(str::trim).filter(|text| !text.is_empty()) {
        None => Keep::AsConfigured,
        Some("none") => Keep::Copies(edge.objects.settings().copies),
        Some(scheme) => {
            let scheme = scheme.parse::<Scheme>();
            Keep::Stripes(scheme.map_err(|error| bad_argument(format!("X-KVFS-EC: {error}")))?)
        }
    };
    let write_quorum = match text(headers, routes::HEADER_W)?.filter(|wanted| !wanted.trim().is_empty()) {
        None => None,
        Some(wanted) => {
            let copies = edge.objects.way(&name.bucket, keep, Some(1))?.copies;
            let parsed = quorum::parse("X-KVFS-W", wanted, copies, 1);
            Some(parsed.map_err(|error| bad_argument(error.to_string()))?)
        }
    };
    let length = match text(headers, header::CONTENT_LENGTH.as_str())? {
        Some(length) => {
            Some(length.parse().map_err(|_| bad_argument(format!("Content-Length: not a length: {length:?}")))?)
        }
        None => None,
    };
    Ok(PutRequest {
        name: name.clone(),
        length,
        content_type: text(headers, header::CONTENT_TYPE.as_str())?.unwrap_or("application/octet-stream").to_string(),
        user_metadata: Vec::new(),
        when: conditional::precondition(headers).map_err(bad_argument)?,
        keep,
        write_quorum,
        chunk_mode: chunk_mode(headers)?,
        make_bucket: true,
    })
}

/// How the request wants its body cut, if it says.
fn chunk_mode(headers: &HeaderMap) -> Result<Option<ChunkMode>, Failure> {
    let Some(wanted) = text(headers, routes::HEADER_CHUNK_MODE)? else { return Ok(None) };
    let wrong = || bad_argument(format!("X-KVFS-Chunk-Mode: {wanted:?} is no way to cut; expected fixed or cdc"));
    ChunkMode::parse(wanted.trim()).map(Some).ok_or_else(wrong)
}

fn render(edge: &Edge, name: &ObjectName, done: PutDone) -> Response {
    let view = edge.objects.view();
    let mut body = serde_json::json!({
        "bucket": name.bucket.as_str(),
        "key": name.key.to_string(),
        "size": done.size,
        "version": done.revision,
        "etag": done.etag,
    });
    match &done.pieces {
        Pieces::Chunks(chunks) => {
            body["chunk_size"] = edge.objects.settings().chunk_bytes.into();
            body["chunks"] = chunks.iter().map(|chunk| json!(chunk_json(chunk, &view))).collect();
        }
        Pieces::Stripes(scheme, stripes) => {
            let shard_size = stripes.first().map_or(0, |stripe| stripe.shard_bytes);
            let (k, m) = (scheme.data(), scheme.parity());
            body["ec"] = json!({ "k": k, "m": m, "shard_size": shard_size, "data_size": done.size });
            body["stripes"] = stripes.iter().map(|stripe| stripe_json(stripe, &view)).collect();
            body["num_stripes"] = etag::chunks_of(&done.etag).into();
        }
    }
    let etag = (header::ETAG, format!("\"{}\"", done.etag));
    (StatusCode::CREATED, [etag], Json(body)).into_response()
}

fn chunk_json(written: &Written, view: &ClusterView) -> ChunkJson {
    located(&written.chunk.id, written.chunk.length, &written.answers, view)
}

fn stripe_json(written: &WrittenStripe, view: &ClusterView) -> serde_json::Value {
    let shards = written.shards.iter().map(|shard| located(&shard.id, written.shard_bytes, &shard.answers, view));
    json!({
        "stripe_id": written.stripe.id.to_hex(),
        "data_len": written.stripe.length,
        "shards": shards.collect::<Vec<_>>(),
    })
}

fn located(id: &ChunkId, size: u32, answers: &[(NodeId, Incarnation)], view: &ClusterView) -> ChunkJson {
    let address = |(node, _): &(NodeId, Incarnation)| view.node(*node).map(|node| node.addr.clone());
    ChunkJson { chunk_id: id.to_hex(), size, replicas: answers.iter().filter_map(address).collect() }
}

/// A header's text; bytes that are no text are refused.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Failure> {
    match headers.get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(bad_argument(format!("{name}: not printable ASCII"))),
    }
}

pub(crate) fn bad_argument(message: impl Into<String>) -> Failure {
    Failure::new(Situation::BadArgument, message)
}
