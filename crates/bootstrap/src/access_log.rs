//! One log line and one measurement a request, and an id by which the reply, the line, the caller's own log and those of the
//! processes that were asked on the way find each other.

use std::sync::Arc;

use api::routes::{COORD_RAFT, HEADER_REQUEST_ID};
use api::{Clock, Entropy, request_id};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;
use tracing::{Instrument, Span};

use crate::metrics::{Metrics, operation};

/// The id of a request; in its extensions, its log line and its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The caller's `X-Request-Id` if it is 1–64 letters, digits, `-`, `_` or `.`, else a new one of 16 hex digits.
    pub fn take_or_draw(headers: &HeaderMap, entropy: &dyn Entropy) -> Self {
        let sane = |text: &&str| {
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let given = headers.get(HEADER_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane);
        Self(given.map_or_else(|| format!("{:016x}", entropy.u64()), str::to_owned))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `inner`, with one line at `info` for each request (`debug` for what coordinators say to each other): method, path without query, status, bytes, milliseconds, id.
///
/// Bytes are what the reply announces (streams of unknown length say 0), milliseconds end when the reply's body begins.
pub fn log(inner: Router, metrics: Metrics, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Router {
    inner.layer(from_fn_with_state((metrics, clock, entropy), line))
}

type Seams = (Metrics, Arc<dyn Clock>, Arc<dyn Entropy>);

async fn line(State((metrics, clock, entropy)): State<Seams>, mut request: Request, next: Next) -> Response {
    let id = RequestId::take_or_draw(request.headers(), &*entropy);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(id.clone());
    let begun = clock.monotonic();
    let busy = metrics.begin();
    let operation = operation(&method, &path);
    let span = span(&id, operation);
    let mut response = request_id::scope(Some(id.as_str().into()), next.run(request).instrument(span.clone())).await;
    drop(busy);
    span.record("status", response.status().as_u16());
    let took = clock.monotonic().saturating_sub(begun);
    metrics.took(operation, response.status().as_u16(), took);
    let ms = took.as_secs_f64() * 1e3;
    let (status, bytes) = (response.status().as_u16(), response.body().size_hint().exact().unwrap_or(0));
    match path.as_str() {
        // Coordinators talk to each other all the time.
        COORD_RAFT => tracing::debug!(target: "access", %method, path, status, bytes, ms, id = id.as_str()),
        _ => tracing::info!(target: "access", %method, path, status, bytes, ms, id = id.as_str()),
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER_REQUEST_ID, value);
    }
    response
}

/// The span of a request: what is logged within it shows its id, and a trace is made of it.
fn span(id: &RequestId, operation: &'static str) -> Span {
    let span = tracing::info_span!(
        target: "request", "request", id = id.as_str(), otel.name = operation, otel.kind = "server",
        status = tracing::field::Empty
    );
    #[cfg(feature = "otlp")]
    crate::traces::adopt(&span, id.as_str());
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SystemClock, SystemEntropy};
    use axum::body::Body;
    use tower::ServiceExt;

    #[tokio::test]
    async fn sane_ids_are_kept_and_others_replaced() {
        for (given, kept) in
            [("abc-1.2_3", true), ("", false), ("a b", false), ("x\u{7f}", false), (&*"x".repeat(65), false)]
        {
            let router = log(Router::new(), Metrics::new(), Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
            let mut request = Request::new(Body::empty());
            if let Ok(value) = HeaderValue::from_bytes(given.as_bytes()) {
                request.headers_mut().insert(HEADER_REQUEST_ID, value);
            }
            let reply = router.oneshot(request).await.unwrap();
            let id = reply.headers()[HEADER_REQUEST_ID].to_str().unwrap();
            assert_eq!(id == given, kept, "{given:?} gave {id:?}");
            assert!(!id.is_empty());
        }
    }
}
