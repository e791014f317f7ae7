//! The routes of backups: a stream, and what is known of the scheduled ones.

use std::sync::Arc;

use api::admin::Admin;
use api::meta_admin::BackupStream;
use api::{AdminError, routes};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;

use crate::http::render;

/// What [`crate::http::admin_router`] merges in.
pub(crate) fn routes() -> Router<Arc<dyn Admin>> {
    Router::new()
        .route(routes::ADMIN_META_SNAPSHOT, get(backup))
        .route(routes::ADMIN_META_HASH, get(state_hash))
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

/// `GET /v1/admin/snapshot/history`.
async fn history(State(admin): State<Arc<dyn Admin>>) -> Response {
    match admin.backup_history().await {
        Ok(history) if !history.enabled => render(Ok(serde_json::json!({ "enabled": false }))),
        history => render(history),
    }
}
