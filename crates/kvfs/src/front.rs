//! One listener, several surfaces: which path goes where.

use std::sync::Arc;

use api::{Admin, Clock, Metadata};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use bootstrap::{Secret, peer_layer};
use coord::http::{AdminAuth, admin_router, health_router, rpc_router};
use tower::ServiceExt;

use crate::settings::Common;

/// Who may administer, by the settings.
pub fn admin_auth(common: &Common) -> AdminAuth {
    match (&common.admin_token, common.insecure_admin) {
        (Some(token), _) => AdminAuth::Token(String::from_utf8_lossy(token.expose()).into()),
        (None, true) => AdminAuth::Insecure,
        (None, false) => AdminAuth::Closed,
    }
}

/// The surfaces of a listener, each with the paths it answers; every surface checks its own callers.
#[derive(Clone)]
pub struct Front {
    /// Paths that begin so go there; the first that fits wins.
    by_prefix: Vec<(&'static str, Router)>,
    /// All other paths.
    rest: Router,
}

impl Front {
    /// A gateway's listener: the native API, and administration beside it.
    pub fn gateway(edge: Router, admin: Arc<dyn Admin>, auth: AdminAuth) -> Self {
        Self { by_prefix: vec![("/v1/admin/", admin_router(admin, auth))], rest: edge }
    }

    /// A standalone coordinator's listener.
    pub fn coordinator(
        meta: Arc<dyn Metadata>,
        admin: Arc<dyn Admin>,
        auth: AdminAuth,
        secret: Option<Secret>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let health = health_router();
        let by_prefix = vec![
            ("/v1/admin/", admin_router(admin, auth)),
            ("/healthz", health.clone()),
            ("/v1/coord/healthz", health),
        ];
        Self { by_prefix, rest: peer_layer::guard(rpc_router(meta), secret, clock) }
    }

    /// With what a hosted coordinator adds: its answers to other gateways, behind the cluster secret.
    ///
    /// Without a secret nobody from outside may ask: the coordinator then answers its own gateway alone.
    pub fn with_coordinator(mut self, meta: Arc<dyn Metadata>, secret: Option<Secret>, clock: Arc<dyn Clock>) -> Self {
        self.by_prefix.push(("/v1/coord/healthz", health_router()));
        if secret.is_some() {
            self.by_prefix.push(("/v1/coord/", peer_layer::guard(rpc_router(meta), secret, clock)));
        }
        self
    }

    /// The listener's router.
    pub fn router(self) -> Router {
        Router::new().fallback(dispatch).with_state(Arc::new(self))
    }
}

async fn dispatch(State(front): State<Arc<Front>>, request: Request) -> Response {
    let path = request.uri().path();
    let surface = front.by_prefix.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, router)| router);
    let surface = surface.unwrap_or(&front.rest).clone();
    match surface.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
