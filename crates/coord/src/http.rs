//! The coordinator's HTTP: the metadata seam for edges, and the admin API for operators.
//!
//! Every path has a row in [`ROUTES`], with who may use it. Authentication comes before any path is looked up: an
//! unknown path and a forbidden one look the same to a stranger.
//!
//! The admin API answers under `/v1/admin/` and, in the shapes that the reference's coordinator has, under `/v1/coord/admin/`.

mod buckets;
mod insight;
mod keys;
mod nodes;

use std::sync::Arc;

use api::admin::{Admin, AdminError, CoordChange};
use api::rpc::{self, MetaReply, MetaRequest};
use api::{MetaError, Metadata, Situation, routes};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bootstrap::checked_body::OtherBody;
use bootstrap::server::OverTls;
use consensus::Seat;
use serde::Serialize;
use subtle::ConstantTimeEq;

use crate::{Coordinator, backup_http};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever knows the cluster secret.
    Peer,
    /// Whoever holds the admin token.
    Admin,
}

/// Every route: method, path, access.
pub const ROUTES: &[(&str, &str, Access)] = &[
    ("GET", "/healthz", Access::Open),
    ("GET", "/v1/coord/healthz", Access::Open),
    ("GET", "/readyz", Access::Open),
    ("POST", routes::COORD_RPC, Access::Peer),
    ("POST", routes::COORD_RAFT, Access::Peer),
    ("GET", routes::ADMIN_MEMBERS, Access::Admin),
    ("POST", routes::ADMIN_MEMBERS, Access::Admin),
    ("GET", routes::ADMIN_STATUS, Access::Admin),
    ("GET", routes::ADMIN_META_INFO, Access::Admin),
    ("GET", routes::ADMIN_META_SNAPSHOT, Access::Admin),
    ("GET", routes::ADMIN_META_HASH, Access::Admin),
    ("GET", routes::ADMIN_META_HOLD, Access::Admin),
    ("POST", routes::ADMIN_META_HOLD_AUDIT, Access::Admin),
    ("POST", routes::ADMIN_META_HOLD_RELEASE, Access::Admin),
    ("GET", routes::ADMIN_SNAPSHOT_HISTORY, Access::Admin),
    ("GET", routes::ADMIN_NODES, Access::Admin),
    ("POST", routes::ADMIN_NODES, Access::Admin),
    ("DELETE", routes::ADMIN_NODES, Access::Admin),
    ("PUT", routes::ADMIN_NODE_CLASS, Access::Admin),
    ("PUT", routes::ADMIN_NODE_LABELS, Access::Admin),
    ("POST", routes::ADMIN_NODE_REPLACE, Access::Admin),
    ("POST", routes::ADMIN_NODE_MOVE, Access::Admin),
    ("GET", routes::ADMIN_HEARTBEAT, Access::Admin),
    ("GET", routes::ADMIN_ROLE, Access::Admin),
    ("GET", routes::ADMIN_OBJECT, Access::Admin),
    ("GET", routes::ADMIN_BUCKET_POLICY, Access::Admin),
    ("PUT", routes::ADMIN_BUCKET_POLICY, Access::Admin),
    ("GET", routes::ADMIN_URLKEYS, Access::Admin),
    ("DELETE", routes::ADMIN_URLKEYS, Access::Admin),
    ("POST", routes::ADMIN_URLKEY_ROTATE, Access::Admin),
    ("GET", routes::COORD_NODES, Access::Admin),
    ("POST", routes::COORD_NODES, Access::Admin),
    ("DELETE", routes::COORD_NODES, Access::Admin),
    ("PUT", routes::COORD_NODE_CLASS, Access::Admin),
    ("PUT", routes::COORD_NODE_DOMAIN, Access::Admin),
    ("GET", routes::COORD_URLKEYS, Access::Admin),
    ("DELETE", routes::COORD_URLKEYS, Access::Admin),
    ("POST", routes::COORD_URLKEY_ROTATE, Access::Admin),
];

/// The largest question: a command with a full extent is well below.
const MAX_QUESTION: usize = 4 << 20;

/// The largest message between coordinators: some entries, the last of which may be as large as an entry gets.
const MAX_MESSAGE: usize = 16 << 20;

/// Who may administer.
#[derive(Clone)]
pub enum AdminAuth {
    /// Whoever sends this bearer token.
    Token(Arc<str>),
    /// Nobody: no token is configured.
    Closed,
    /// Anybody who reaches the listener (`KVFS_INSECURE_ADMIN=1`).
    Insecure,
}

/// How a coordinator is, for whoever asks at `/healthz`, `/readyz` and `/v1/coord/healthz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it leads.
    pub leads: bool,
    /// The leader's address, as far as it is known.
    pub leader: Option<String>,
    /// Why it cannot serve, if so.
    pub not_ready: Option<String>,
}

/// Tells how the coordinator is at this moment.
pub type AskHealth = Arc<dyn Fn() -> Health + Send + Sync>;

/// The open routes.
pub fn health_router(ask: AskHealth) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(serde_json::json!({"status": "ok"})) }))
        .route("/readyz", get(ready))
        .route("/v1/coord/healthz", get(health))
        .with_state(ask)
}

async fn health(State(ask): State<AskHealth>, over: Option<Extension<OverTls>>) -> Response {
    let health = ask();
    let role = if health.leads { "leader" } else { "follower" };
    let leader = health.leader.map(|address| url(&address, over.is_some())).unwrap_or_default();
    Json(serde_json::json!({"status": "ok", "role": role, "leader_url": leader})).into_response()
}

async fn ready(State(ask): State<AskHealth>) -> Response {
    match ask().not_ready {
        None => Json(serde_json::json!({"status": "ready"})).into_response(),
        Some(why) => failure(Situation::Unavailable, &why),
    }
}

/// What the other coordinators say; to be wrapped in the peer layer.
pub fn raft_router(seat: Seat) -> Router {
    Router::new().route(routes::COORD_RAFT, post(message)).with_state(seat)
}

async fn message(State(seat): State<Seat>, body: Body) -> Response {
    match axum::body::to_bytes(body, MAX_MESSAGE).await {
        Ok(bytes) => seat.handle(bytes).await.into_response(),
        Err(error) => unread(error, "a message has at most 16 MiB"),
    }
}

/// Why a body was not read: not the one that was signed, or too long.
fn unread(error: axum::Error, bound: &'static str) -> Response {
    // Each layer that a body passes through wraps its errors once more.
    let causes = std::iter::successors(Some(&error as &(dyn std::error::Error + 'static)), |cause| cause.source());
    match causes.into_iter().find_map(|cause| cause.downcast_ref::<OtherBody>()) {
        Some(other) => (StatusCode::UNAUTHORIZED, format!("{other}\n")).into_response(),
        None => (StatusCode::PAYLOAD_TOO_LARGE, format!("{bound}\n")).into_response(),
    }
}

/// What every coordinator of several can be asked: the rest only its leader knows, or may do.
const ANYWHERE: [&str; 4] =
    [routes::ADMIN_ROLE, routes::ADMIN_META_SNAPSHOT, routes::ADMIN_META_HASH, routes::ADMIN_SNAPSHOT_HISTORY];

async fn at_the_leader(State(coordinator): State<Coordinator>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let here = path == routes::ADMIN_MEMBERS && request.uri().query() == Some(routes::ASK_HERE);
    let anywhere = request.method() == axum::http::Method::GET && (here || ANYWHERE.contains(&path));
    match coordinator.elsewhere() {
        Some(leader) if !anywhere => not_leader(leader.as_deref(), request.extensions().get::<OverTls>().is_some()),
        _ => next.run(request).await,
    }
}

/// Another coordinator as the caller can reach it: all of them speak TLS, or none does.
fn url(address: &str, over_tls: bool) -> String {
    format!("{}://{address}", if over_tls { "https" } else { "http" })
}

fn not_leader(leader: Option<&str>, over_tls: bool) -> Response {
    let error = MetaError::NotLeader { leader: leader.map(str::to_string) };
    let mut response = failure(Situation::Unavailable, &error.to_string());
    if let Some(url) = leader.and_then(|leader| HeaderValue::from_str(&url(leader, over_tls)).ok()) {
        response.headers_mut().insert(HeaderName::from_static(routes::HEADER_LEADER), url);
    }
    response
}

/// The metadata seam over HTTP; to be wrapped in the peer layer.
pub fn rpc_router(meta: Arc<dyn Metadata>) -> Router {
    Router::new().route(routes::COORD_RPC, post(question)).with_state(meta)
}

async fn question(State(meta): State<Arc<dyn Metadata>>, over: Option<Extension<OverTls>>, body: Body) -> Response {
    let body = match axum::body::to_bytes(body, MAX_QUESTION).await {
        Ok(body) => body,
        Err(error) => return unread(error, "a question has at most 4 MiB"),
    };
    let answer: Result<MetaReply, MetaError> = match domain::codec::decode::<MetaRequest>(&body) {
        Ok(request) => rpc::answer(&*meta, request).await,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("not a question: {error}\n")).into_response(),
    };
    if let Err(MetaError::NotLeader { leader }) = &answer {
        return not_leader(leader.as_deref(), over.is_some());
    }
    let bytes = Bytes::from(domain::codec::encode(&answer));
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

/// The admin API over any admin: one behind HTTP, or the coordinator of a group of one.
pub fn admin_router(admin: Arc<dyn Admin>, auth: AdminAuth) -> Router {
    admin_paths(admin).layer(axum::middleware::from_fn_with_state(auth, admin_only))
}

/// The admin API at one coordinator of several: it answers while it leads, and says who does otherwise (503 with `X-COORD-LEADER`).
///
/// The role of each, and backups, can be had from each of them; so can the list of the coordinators with `?here=1`, without what only the
/// leader knows (how far each of the others has come).
pub fn member_admin_router(coordinator: Coordinator, auth: AdminAuth) -> Router {
    admin_paths(Arc::new(coordinator.clone()))
        .layer(axum::middleware::from_fn_with_state(coordinator, at_the_leader))
        .layer(axum::middleware::from_fn_with_state(auth, admin_only))
}

fn admin_paths(admin: Arc<dyn Admin>) -> Router {
    Router::new()
        .route(routes::ADMIN_STATUS, get(status))
        .route(routes::ADMIN_MEMBERS, get(list_members).post(change_members))
        .merge(backup_http::routes())
        .merge(buckets::router())
        .merge(insight::router())
        .merge(nodes::router())
        .merge(keys::router())
        .fallback(|| async { failure(Situation::NoSuchRoute, "there is no such admin path") })
        .with_state(admin)
}

async fn admin_only(State(auth): State<AdminAuth>, request: Request, next: Next) -> Response {
    match permitted(&auth, request.headers()) {
        Ok(()) => next.run(request).await,
        Err((situation, why)) => failure(situation, why),
    }
}

fn permitted(auth: &AdminAuth, headers: &HeaderMap) -> Result<(), (Situation, &'static str)> {
    if headers.contains_key(header::ORIGIN) {
        return Err((Situation::Forbidden, "the admin API does not answer to pages of other origins"));
    }
    let token = match auth {
        AdminAuth::Insecure => return Ok(()),
        AdminAuth::Closed => {
            return Err((
                Situation::Forbidden,
                "the admin API is closed: set KVFS_ADMIN_TOKEN, or on loopback KVFS_INSECURE_ADMIN=1",
            ));
        }
        AdminAuth::Token(token) => token,
    };
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    match token.as_bytes().ct_eq(sent.as_bytes()).into() {
        true => Ok(()),
        false => Err((Situation::Unsigned, "the admin token is missing or wrong: send `Authorization: Bearer TOKEN`")),
    }
}

async fn status(State(admin): State<Arc<dyn Admin>>) -> Response {
    render(admin.status().await)
}

async fn list_members(State(admin): State<Arc<dyn Admin>>) -> Response {
    render(admin.coordinators().await)
}

async fn change_members(State(admin): State<Arc<dyn Admin>>, body: Bytes) -> Response {
    match serde_json::from_slice::<CoordChange>(&body) {
        Ok(change) => render(admin.change_coordinators(&change).await),
        Err(error) => {
            let expected = r#"{"action": "add", "addr": "host:port"}, or promote, remove (with "node"), replace (with "old", "new")"#;
            failure(Situation::BadRequest, &format!("{error}; expected a JSON body like {expected}"))
        }
    }
}

pub(crate) fn render<T: Serialize>(outcome: Result<T, AdminError>) -> Response {
    let (situation, error) = match outcome {
        Ok(value) => return Json(value).into_response(),
        Err(error @ AdminError::Invalid(_)) => (Situation::BadRequest, error),
        Err(error @ AdminError::NotFound(_)) => (Situation::NoSuchKey, error),
        Err(error @ AdminError::Conflict(_)) => (Situation::Conflict, error),
        Err(error @ AdminError::Refused(_)) => (Situation::Forbidden, error),
        Err(error @ AdminError::Unavailable(_)) => (Situation::Unavailable, error),
    };
    failure(situation, &error.to_string())
}

pub(crate) fn failure(situation: Situation, message: &str) -> Response {
    (situation.answer().0, Json(serde_json::json!({ "error": message }))).into_response()
}
