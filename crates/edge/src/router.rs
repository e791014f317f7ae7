//! From a request to its handler: authenticate, look the path up, dispatch by method.

use std::sync::Arc;

use api::{Clock, Situation, routes};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bootstrap::metrics::{Counters, Metrics};
use objects::Objects;

use crate::auth::Auth;
use crate::path::{self, Target};
use crate::reply::Failure;
use crate::{buckets, get, list, put};

/// Every route: path and methods. All but the two health paths need a signature.
pub const ROUTES: &[(&str, &str)] = &[
    ("/healthz", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/v1/o/{bucket}/{key}", "DELETE, GET, HEAD, PUT"),
    ("/v1/list/{bucket}", "GET"),
    ("/v1/b/{bucket}", "DELETE, PUT"),
    ("/v1/b", "GET"),
];

/// What the handlers work with.
#[derive(Clone)]
pub struct Edge {
    /// The object service.
    pub objects: Objects,
    /// How requests are let in.
    pub auth: Auth,
    /// The time, for expiries.
    pub clock: Arc<dyn Clock>,
    /// What it counts.
    pub counts: Counts,
    /// The gateway that takes the writes, if this one is to refuse them (`EDGE_ROLE=follower`).
    pub writes_go_to: Option<HeaderValue>,
}

/// What a gateway counts besides its requests, under the reference's names.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    puts: Counters,
    gets: Counters,
    deletes: Counters,
    quorums: Counters,
}

impl Counts {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            puts: metrics.counters("kvfs_put", "Objects put, past authentication", &["mode"]),
            gets: metrics.counters("kvfs_get", "Objects found by GET", &["mode"]),
            deletes: metrics.counters("kvfs_delete", "Deletes of objects, past authentication", &[]),
            quorums: metrics.counters(
                "kvfs_tunable_quorum",
                "Requests that ask for a quorum of their own",
                &["op", "value"],
            ),
        }
    }

    pub(crate) fn put(&self, stripes: bool, write_quorum: Option<u8>) {
        self.puts.count(&[mode(stripes)]);
        if let Some(quorum) = write_quorum {
            self.quorums.count(&["write", &quorum.to_string()]);
        }
    }

    pub(crate) fn get(&self, stripes: bool, read_quorum: u8) {
        self.gets.count(&[mode(stripes)]);
        if read_quorum > 1 && !stripes {
            self.quorums.count(&["read", &read_quorum.to_string()]);
        }
    }

    pub(crate) fn delete(&self) {
        self.deletes.count(&[]);
    }
}

/// How the reference calls the two ways of keeping an object.
fn mode(stripes: bool) -> &'static str {
    if stripes { "ec" } else { "replication" }
}

/// The native API.
pub fn router(edge: Edge) -> Router {
    Router::new().fallback(handle).with_state(edge)
}

async fn handle(State(edge): State<Edge>, request: Request) -> Response {
    let head = request.method() == Method::HEAD;
    let response = dispatch(&edge, request).await.unwrap_or_else(Failure::into_response);
    match head && !response.status().is_success() {
        // An answer to HEAD has no body; what a failure would have said stays behind.
        true => response.map(|_| Body::empty()),
        false => response,
    }
}

async fn dispatch(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let target = path::parse(parts.uri.path());
    match (&target, parts.method.as_str()) {
        (Ok(Target::Health), "GET" | "HEAD") => return Ok(health(edge)),
        (Ok(Target::Ready), "GET" | "HEAD") => return ready(edge),
        (Ok(Target::Health | Target::Ready), _) => return Ok(not_allowed("GET, HEAD")),
        _ => {}
    }
    edge.auth.check(&parts, &*edge.clock).map_err(|error| Failure::new(Situation::Unsigned, error.to_string()))?;
    let target = target?;
    let writes =
        matches!(parts.method.as_str(), "PUT" | "DELETE") && !matches!(target, Target::List(_) | Target::Buckets);
    if let (true, Some(primary)) = (writes, &edge.writes_go_to) {
        return Ok(elsewhere(primary));
    }
    match (target, parts.method.as_str()) {
        (Target::Object(name), "PUT") => put::put(edge, name, parts, body).await,
        (Target::Object(name), "GET" | "HEAD") => get::get(edge, name, &parts).await,
        (Target::Object(name), "DELETE") => put::delete(edge, name, &parts).await,
        (Target::Object(_), _) => Ok(not_allowed("DELETE, GET, HEAD, PUT")),
        (Target::List(bucket), "GET") => list::list(edge, bucket, &parts).await,
        (Target::List(_), _) => Ok(not_allowed("GET")),
        (Target::Bucket(bucket), "PUT") => buckets::create(edge, bucket).await,
        (Target::Bucket(bucket), "DELETE") => buckets::remove(edge, bucket).await,
        (Target::Bucket(_), _) => Ok(not_allowed("DELETE, PUT")),
        (Target::Buckets, "GET") => buckets::list(edge, &parts).await,
        (Target::Buckets, _) => Ok(not_allowed("GET")),
        (Target::Health | Target::Ready, _) => Ok(not_allowed("GET, HEAD")),
    }
}

fn health(edge: &Edge) -> Response {
    let view = edge.objects.view();
    let dns: Vec<_> = view.nodes.iter().map(|node| node.addr.as_str()).collect();
    Json(serde_json::json!({ "status": "ok", "dns": dns })).into_response()
}

fn ready(edge: &Edge) -> Result<Response, Failure> {
    let keyless = edge.auth.not_ready().map(str::to_string);
    match edge.objects.not_ready().or(keyless) {
        None => Ok(Json(serde_json::json!({ "status": "ready" })).into_response()),
        Some(why) => Err(Failure::new(Situation::Unavailable, why)),
    }
}

/// The refusal of a write at a gateway that only reads.
fn elsewhere(primary: &HeaderValue) -> Response {
    let why = "this gateway only reads (EDGE_ROLE=follower): send writes to the one that X-KVFS-Primary names";
    let mut response = Failure::new(Situation::Unavailable, why).into_response();
    response.headers_mut().insert(HeaderName::from_static(routes::HEADER_PRIMARY), primary.clone());
    response
}

fn not_allowed(methods: &'static str) -> Response {
    let failure = Failure::new(Situation::MethodNotAllowed, format!("this path takes {methods}"));
    let mut response = failure.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}
