//! Buckets: make, remove, list.

use api::metadata::MAX_BUCKETS;
use axum::Json;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use domain::BucketName;
use domain::timestamp::rfc3339;

use crate::auth::query_pairs;
use crate::reply::Failure;
use crate::router::Edge;

/// `PUT /v1/b/{bucket}`.
pub(crate) async fn create(edge: &Edge, bucket: BucketName) -> Result<Response, Failure> {
    edge.objects.create_bucket(&bucket).await?;
    Ok((StatusCode::CREATED, Json(serde_json::json!({ "bucket": bucket.as_str() }))).into_response())
}

/// `DELETE /v1/b/{bucket}`.
pub(crate) async fn remove(edge: &Edge, bucket: BucketName) -> Result<Response, Failure> {
    edge.objects.delete_bucket(&bucket).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /v1/b?after=`: a page of buckets, by name. `next`, if present, is the next page's `after`.
pub(crate) async fn list(edge: &Edge, parts: &Parts) -> Result<Response, Failure> {
    let query = parts.uri.query().unwrap_or_default();
    let after = query_pairs(query).find(|(key, _)| key == "after").map(|(_, value)| value);
    let buckets = edge.objects.buckets(after.as_deref().filter(|after| !after.is_empty()), MAX_BUCKETS).await?;
    let next = buckets.last().filter(|_| buckets.len() == MAX_BUCKETS).map(|(name, _)| name.to_string());
    let entries: Vec<_> = buckets
        .iter()
        .map(|(name, row)| serde_json::json!({ "name": name.as_str(), "created_at": rfc3339(row.created_ms) }))
        .collect();
    Ok(Json(serde_json::json!({ "buckets": entries, "next": next })).into_response())
}
