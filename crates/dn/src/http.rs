//! The node's HTTP: a table of endpoints, each a thin handler over [`Node`].
//!
//! The router is made *from* [`ENDPOINTS`], so no endpoint can be missing from it, and the test that asks each of them without the
//! cluster secret asks them all. Only `/healthz` lies outside the door.
//!
//! A `PUT` says what it sends: `X-KVFS-Crc32c`. A caller that knows none (the reference, `curl`) may leave it out; the node then
//! hashes the body and compares it with the id, which takes 9 ms for 16 MiB.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use api::chunk_store::{Held, Restamp, Stored};
use api::routes::{HEADER_CRC, HEADER_INCARNATION, HEADER_TOKEN, QUERY_GENERATION};
use api::{ChunkError, ChunkStore, Clock};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, head, post, put};
use axum::{Json, Router};
use bootstrap::{Secret, peer_layer};
use domain::chunking::MAX_CHUNK_BYTES;
use domain::{ChunkId, Crc32c, NodeId, codec, id::hex};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::node::{MAX_STAT_IDS, Node};
use crate::wire::{self, Failure, Form, Named, Parameters};

/// The most ids on a page of `/chunks`.
const MAX_PAGE: usize = 10_000;

/// The most bytes of a request that is not a chunk: 4,096 ids as JSON, with some room.
const MAX_REQUEST_BYTES: u64 = 512 << 10;

/// One thing that can be asked of a node.
pub struct Endpoint {
    /// Request method.
    pub method: &'static str,
    /// Path, parameters in braces.
    pub path: &'static str,
    serve: fn() -> MethodRouter<Node>,
}

/// Everything behind the door.
pub const ENDPOINTS: [Endpoint; 15] = [
    Endpoint { method: "PUT", path: "/chunk/{id}", serve: || put(put_chunk) },
    Endpoint { method: "GET", path: "/chunk/{id}", serve: || get(get_chunk) },
    Endpoint { method: "HEAD", path: "/chunk/{id}", serve: || head(head_chunk) },
    Endpoint { method: "DELETE", path: "/chunk/{id}", serve: || delete(delete_chunk) },
    Endpoint { method: "POST", path: "/chunk/{id}/touch", serve: || post(touch_chunk) },
    Endpoint { method: "POST", path: "/chunk/{id}/verify", serve: || post(verify_chunk) },
    Endpoint { method: "POST", path: "/chunks/stat", serve: || post(stat) },
    Endpoint { method: "GET", path: "/chunks", serve: || get(list) },
    Endpoint { method: "GET", path: "/chunks/merkle", serve: || get(merkle) },
    Endpoint { method: "GET", path: "/chunks/merkle/bucket", serve: || get(merkle_bucket) },
    Endpoint { method: "GET", path: "/chunks/deep", serve: || get(deep_scan) },
    Endpoint { method: "GET", path: "/node", serve: || get(status) },
    Endpoint { method: "POST", path: "/node/format", serve: || post(format) },
    Endpoint { method: "POST", path: "/node/witness", serve: || post(witness) },
    Endpoint { method: "POST", path: "/node/restamp", serve: || post(restamp) },
];

/// The node's router: [`ENDPOINTS`] behind the check of `secret`, and `/healthz` in the open.
///
/// `None` lets everybody in; only a node on loopback may be served so.
pub fn router(node: Node, secret: Option<Secret>, clock: Arc<dyn Clock>) -> Router {
    let table =
        ENDPOINTS.iter().fold(Router::new(), |router, endpoint| router.route(endpoint.path, (endpoint.serve)()));
    let inner = table
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing at this path\n") })
        .layer(from_fn(|form: Form, request: Request, next: Next| async move {
            wire::as_asked(form, next.run(request).await)
        }))
        .with_state(node.clone());
    let (begun, ticking) = (clock.monotonic(), clock.clone());
    let health = get(move || async move { health(&node, ticking.monotonic().saturating_sub(begun)) });
    Router::new().route("/healthz", health).fallback_service(peer_layer::guard(inner, secret, clock))
}

fn health(node: &Node, uptime: Duration) -> Response {
    let (chunks, poisoned) = node.pulse();
    let state = match (node.identity(), poisoned) {
        (_, Some(_)) => "poisoned",
        (None, None) => "unformatted",
        (Some(_), None) => "ok",
    };
    let uptime_sec = uptime.as_secs_f64();
    Json(json!({"dn": name(node), "status": state, "uptime_sec": uptime_sec, "chunk_count": chunks})).into_response()
}

/// `PUT /chunk/{id}`: makes the body durable.
async fn put_chunk(
    State(node): State<Node>,
    Named(id): Named,
    query: Parameters,
    request: Request,
) -> Result<Response, Failure> {
    let node = named(&node, &query)?;
    let given = wire::crc(request.headers())?;
    let (bytes, share) = wire::body(&node, request, u64::from(MAX_CHUNK_BYTES)).await?;
    let crc = match given {
        Some(crc) => crc,
        None if id.names(&bytes) => Crc32c::of(&bytes),
        None => return Err(ChunkError::Mismatch { id, what: "id".into() }.into()),
    };
    let size = bytes.len();
    let stored = node.put_reserved(id, crc, bytes, share).await?;
    let (status, word) = match stored.present {
        true => (StatusCode::OK, "already-stored"),
        false => (StatusCode::CREATED, "stored"),
    };
    Ok((status, vouch(stored), Json(json!({"dn": name(&node), "size": size, "status": word}))).into_response())
}

/// `POST /chunk/{id}/touch`: draws a new token.
async fn touch_chunk(State(node): State<Node>, Named(id): Named, query: Parameters) -> Result<Response, Failure> {
    let stored = named(&node, &query)?.touch(id).await?;
    Ok((vouch(stored), Json(json!({"dn": name(&node), "status": "touched"}))).into_response())
}

/// `GET /chunk/{id}`: the chunk, or with `Range` and `X-KVFS-Crc32c` a part of it, verified.
async fn get_chunk(State(node): State<Node>, Named(id): Named, headers: HeaderMap) -> Result<Response, Failure> {
    let crc = wire::crc(&headers)?;
    let plain = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
    let Some(range) = asked_range(&headers)? else {
        let bytes = node.get(id, crc).await?;
        let crc = crc.unwrap_or_else(|| Crc32c::of(&bytes));
        return Ok(([plain], [(HEADER_CRC, crc.to_string())], bytes).into_response());
    };
    let Some(crc) = crc else {
        return Err(Failure::bad(
            "a Range needs the whole chunk's X-KVFS-Crc32c, by which the node verifies what it reads",
        ));
    };
    let (part, part_crc, length) = node.part(id, crc, range.clone()).await?;
    let place = (header::CONTENT_RANGE, format!("bytes {}-{}/{length}", range.start, range.end - 1));
    Ok((StatusCode::PARTIAL_CONTENT, [plain, place], [(HEADER_CRC, part_crc.to_string())], part).into_response())
}

/// `HEAD /chunk/{id}`: length and token, without reading it.
async fn head_chunk(State(node): State<Node>, Named(id): Named) -> Result<Response, Failure> {
    let held = node.stat(&[id]).await?.pop().ok_or(ChunkError::Missing { id })?;
    let length = [(header::CONTENT_LENGTH, held.length.to_string())];
    Ok((length, [(HEADER_TOKEN, held.token.to_string())]).into_response())
}

/// `DELETE /chunk/{id}?token=`: removes the chunk if nobody put or touched it since.
async fn delete_chunk(State(node): State<Node>, Named(id): Named, query: Parameters) -> Result<Response, Failure> {
    let expected = "the chunk's present token, such as 3.17, as HEAD or /chunks/stat gives it: \
                    a put or touch since then draws another one, and the chunk stays";
    named(&node, &query)?.delete(id, query.need("token", expected)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /chunk/{id}/verify`: reads the chunk and compares it with its id.
async fn verify_chunk(State(node): State<Node>, form: Form, Named(id): Named) -> Result<Response, Failure> {
    node.verify(id).await?;
    Ok(form.reply(&(), || json!({"dn": name(&node), "status": "verified"})))
}

/// `POST /chunks/stat`: length and token of those of the listed chunks that are there.
async fn stat(State(node): State<Node>, form: Form, request: Request) -> Result<Response, Failure> {
    let (body, _share) = wire::body(&node, request, MAX_REQUEST_BYTES).await?;
    let ids = match form {
        Form::Record => codec::decode(&body).map_err(|error| Failure::bad(format!("a list of ids: {error}")))?,
        Form::People => parse_ids(&body)?,
    };
    if ids.len() > MAX_STAT_IDS {
        return Err(Failure::bad(format!("{} ids, at most {MAX_STAT_IDS} may be asked for at once", ids.len())));
    }
    let held = node.stat(&ids).await?;
    Ok(form.reply(&held, || held.iter().map(show_held).collect::<Vec<_>>()))
}

/// `GET /chunks?after=&limit=`: the inventory by pages.
async fn list(State(node): State<Node>, form: Form, query: Parameters) -> Result<Response, Failure> {
    let after = query.get("after", "a chunk id (64 lowercase hex digits)")?;
    let limit = query.get("limit", "a number of ids")?.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let ids = node.inventory(after, limit).await?;
    Ok(form.reply(&ids, || {
        let next = ids.last().filter(|_| ids.len() == limit).map(ChunkId::to_hex);
        let chunks: Vec<_> = ids.iter().map(|id| json!({"id": id.to_hex()})).collect();
        json!({"dn": name(&node), "count": ids.len(), "chunks": chunks, "next": next})
    }))
}

/// `GET /chunks/merkle`: the inventory as one hash over 256.
async fn merkle(State(node): State<Node>, form: Form) -> Result<Response, Failure> {
    let summary = node.merkle().await?;
    Ok(form.reply(&summary, || {
        let each = summary.buckets.iter().enumerate();
        let buckets: Vec<_> = each.map(|(idx, (hash, n))| json!({"idx": idx, "hash": hex(hash), "count": n})).collect();
        json!({"dn": name(&node), "root": hex(&summary.root), "total": summary.total, "buckets": buckets})
    }))
}

/// `GET /chunks/merkle/bucket?idx=`: the ids of one bucket.
async fn merkle_bucket(State(node): State<Node>, form: Form, query: Parameters) -> Result<Response, Failure> {
    let idx = query.need("idx", "0..255")?;
    let ids = node.merkle_bucket(idx).await?;
    Ok(form.reply(&ids, || {
        let chunks: Vec<_> = ids.iter().map(ChunkId::to_hex).collect();
        json!({"dn": name(&node), "idx": idx, "count": ids.len(), "chunks": chunks})
    }))
}

/// `GET /chunks/deep?idx=`: one bucket as the disk has it.
async fn deep_scan(State(node): State<Node>, form: Form, query: Parameters) -> Result<Response, Failure> {
    let idx = query.need("idx", "0..255")?;
    let held = node.deep_scan(idx).await?;
    Ok(form.reply(&held, || {
        let chunks: Vec<_> = held.iter().map(show_held).collect();
        json!({"dn": name(&node), "idx": idx, "count": held.len(), "chunks": chunks})
    }))
}

/// `GET /node`: who and how the node is.
async fn status(State(node): State<Node>, form: Form) -> Result<Response, Failure> {
    let status = node.status().await?;
    Ok(form.reply(&status, || {
        let who = status.identity.map(|who| {
            let (cluster, incarnation) = (format!("{:032x}", who.cluster_id), who.incarnation.to_string());
            json!({"cluster": cluster, "generation": who.generation, "incarnation": incarnation, "boot": who.boot, "witness": who.witness})
        });
        json!({
            "dn": name(&node), "identity": who, "chunks": status.chunks, "poisoned": status.poisoned,
            "free_bytes": status.free_bytes, "total_bytes": status.total_bytes, "reserve_bytes": status.reserve_bytes,
        })
    }))
}

/// `POST /node/format`: stamps the directory; the body is a record of cluster id, generation and node id.
async fn format(State(node): State<Node>, form: Form, request: Request) -> Result<Response, Failure> {
    let (body, _share) = wire::body(&node, request, MAX_REQUEST_BYTES).await?;
    let (cluster_id, generation, id): (u128, u64, NodeId) = codec::decode(&body)
        .map_err(|error| Failure::bad(format!("format takes a record, which `kvfs node add` sends: {error}")))?;
    let identity = node.format(cluster_id, generation, id).await?;
    Ok(form.reply(&identity, || json!({"dn": name(&node), "incarnation": identity.incarnation.to_string()})))
}

/// The node, for a caller who may have said by which generation of the metadata it goes.
fn named(node: &Node, query: &Parameters) -> Result<Node, Failure> {
    Ok(node.in_the_name_of(query.get(QUERY_GENERATION, "a number: the metadata generation that the caller goes by")?))
}

/// `POST /node/witness`: stores a larger witness in the stamp; the body is a record of the number.
async fn witness(State(node): State<Node>, form: Form, request: Request) -> Result<Response, Failure> {
    let (body, _share) = wire::body(&node, request, MAX_REQUEST_BYTES).await?;
    let witness: u64 = codec::decode(&body)
        .map_err(|error| Failure::bad(format!("witness takes a record, which coordinators send: {error}")))?;
    let identity = node.witness(witness).await?;
    Ok(form.reply(&identity, || json!({"dn": name(&node), "witness": identity.witness})))
}

/// `POST /node/restamp`: gives the directory a new incarnation; the body is a record of a `Restamp`.
async fn restamp(State(node): State<Node>, form: Form, request: Request) -> Result<Response, Failure> {
    let (body, _share) = wire::body(&node, request, MAX_REQUEST_BYTES).await?;
    let stamp: Restamp = codec::decode(&body)
        .map_err(|error| Failure::bad(format!("restamp takes a record, which `kvfs node replace` sends: {error}")))?;
    let identity = node.restamp(stamp).await?;
    Ok(form.reply(&identity, || json!({"dn": name(&node), "incarnation": identity.incarnation.to_string()})))
}

fn name(node: &Node) -> String {
    node.identity().map_or_else(|| "unformatted".to_owned(), |identity| identity.node.to_string())
}

fn vouch(stored: Stored) -> [(&'static str, String); 2] {
    [(HEADER_TOKEN, stored.token.to_string()), (HEADER_INCARNATION, stored.incarnation.to_string())]
}

fn show_held(held: &Held) -> serde_json::Value {
    json!({"id": held.id.to_hex(), "size": held.length, "token": held.token.to_string()})
}

fn parse_ids(body: &[u8]) -> Result<Vec<ChunkId>, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::bad(format!("the body must be a JSON list of chunk ids: {error}"));
    let texts: Vec<String> = serde_json::from_slice(body).map_err(|error| wrong(&error))?;
    texts.iter().map(|text| text.parse().map_err(|error| wrong(&error))).collect()
}

/// The range that the `Range` header asks for: one, with both ends.
pub(crate) fn asked_range(headers: &HeaderMap) -> Result<Option<Range<u32>>, Failure> {
    let Some(value) = headers.get(header::RANGE) else {
        return Ok(None);
    };
    let bounds = value.to_str().ok().and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
    let range = bounds.and_then(|(first, last)| Some(first.parse().ok()?..last.parse::<u32>().ok()?.checked_add(1)?));
    match range.filter(|range| !range.is_empty()) {
        Some(range) => Ok(Some(range)),
        None => Err(Failure::bad("Range must be one range with both ends, such as bytes=0-99")),
    }
}
