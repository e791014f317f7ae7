//! The routes of backups: a stream, and what is known of the scheduled ones.

use std::sync::Arc;

use api::admin::Admin;
use api::meta_admin::BackupStream;
use api::{AdminError, Situation, routes};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde::Deserialize;

use crate::http::{failure, render};

/// What [`crate::http::admin_router`] merges in.
pub(crate) fn routes() -> Router<Arc<dyn Admin>> {
    Router::new()
        .route(routes::ADMIN_META_SNAPSHOT, get(backup))
        .route(routes::ADMIN_META_HASH, get(state_hash))
        .route(routes::ADMIN_META_HOLD, get(hold))
        .route(routes::ADMIN_META_HOLD_AUDIT, post(audit_hold))
        .route(routes::ADMIN_META_HOLD_RELEASE, post(release_hold))
        .route(routes::ADMIN_SNAPSHOT_HISTORY, get(history))
}

/// `GET /v1/admin/meta/snapshot`: all metadata. An answer that breaks off lacks its trailer, and a reader refuses it.
async fn backup(State(admin): State<Arc<dyn Admin>>) -> Response {
    let stream = match admin.backup().await {
        Ok(stream) => stream,
        Err(error) => return render::<()>(Err(error)),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"kvfs-meta-snapshot.kvfs\""),
    ];
    (headers, Body::from_stream(stream::try_unfold(stream, piece))).into_response()
}

async fn piece(mut stream: Box<dyn BackupStream>) -> Result<Option<(Bytes, Box<dyn BackupStream>)>, AdminError> {
    let next = stream.next().await.inspect_err(|error| tracing::warn!(%error, "a backup broke off"))?;
    Ok(next.map(|bytes| (bytes, stream)))
}

/// `GET /v1/admin/meta/hash`.
async fn state_hash(State(admin): State<Arc<dyn Admin>>) -> Response {
    render(admin.state_hash().await)
}

/// `GET /v1/admin/meta/hold`.
async fn hold(State(admin): State<Arc<dyn Admin>>) -> Response {
    render(admin.hold().await)
}

/// `POST /v1/admin/meta/hold/audit`.
async fn audit_hold(State(admin): State<Arc<dyn Admin>>) -> Response {
    render(admin.audit_hold().await)
}

#[derive(Deserialize)]
struct Force {
    #[serde(default)]
    force: String,
}

/// `POST /v1/admin/meta/hold/release`.
async fn release_hold(State(admin): State<Arc<dyn Admin>>, Query(Force { force }): Query<Force>) -> Response {
    match force.as_str() {
        "" | "0" => render(admin.release_hold(false).await),
        "1" => render(admin.release_hold(true).await),
        _ => failure(Situation::BadRequest, "force must be 0 or 1"),
    }
}

/// `GET /v1/admin/snapshot/history`.
async fn history(State(admin): State<Arc<dyn Admin>>) -> Response {
    match admin.backup_history().await {
        Ok(history) if !history.enabled => render(Ok(serde_json::json!({ "enabled": false }))),
        history => render(history),
    }
}
