//! A listener's surface that is not there yet: the process already listens, so that others can ask how it is.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

/// A router that comes later.
#[derive(Clone)]
pub struct Late {
    router: Arc<OnceLock<Router>>,
    why: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Late {
    /// Until it is there, every request gets 503 and what `why` says.
    pub fn new(why: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { router: Arc::default(), why: Arc::new(why) }
    }

    /// It is there.
    pub fn arrived(&self, router: Router) {
        // It comes once.
        self.router.set(router).ok();
    }

    /// What stands in for it, and later is it.
    pub fn router(&self) -> Router {
        Router::new().fallback(stand_in).with_state(self.clone())
    }
}

async fn stand_in(State(late): State<Late>, request: Request) -> Response {
    match late.router.get() {
        Some(router) => match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => {
            let error = serde_json::json!({ "error": format!("not ready: {}", (late.why)()) });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(error)).into_response()
        }
    }
}
