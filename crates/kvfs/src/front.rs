//! One listener, several surfaces: which path goes where.

use std::sync::Arc;

use api::{Admin, Clock, Entropy, Metadata};
use axum::Router;
use bootstrap::{Secret, access_log, peer_layer};
use coord::http::{AdminAuth, admin_router, health_router, rpc_router};

use crate::settings::Common;

/// Who may administer, by the settings.
pub fn admin_auth(common: &Common) -> AdminAuth {
    match (&common.admin_token, common.insecure_admin) {
        (Some(token), _) => AdminAuth::Token(String::from_utf8_lossy(token.expose()).into()),
        (None, true) => AdminAuth::Insecure,
        (None, false) => AdminAuth::Closed,
    }
}

/// A gateway's listener: the native API, and administration beside it.
pub fn gateway(edge: Router, admin: Arc<dyn Admin>, auth: AdminAuth) -> Router {
    Router::new().route_service("/v1/admin/{*rest}", admin_router(admin, auth)).fallback_service(edge)
}

/// What a coordinator adds to a listener: its answers to edges, behind the cluster secret.
///
/// Without a secret nobody from outside may ask: a coordinator hosted by a gateway then answers its own gateway alone.
pub fn with_coordinator(
    front: Router,
    meta: Arc<dyn Metadata>,
    secret: Option<Secret>,
    clock: Arc<dyn Clock>,
) -> Router {
    let front = front.route_service("/v1/coord/healthz", health_router());
    match secret {
        Some(secret) => {
            front.route_service("/v1/coord/{*rest}", peer_layer::guard(rpc_router(meta), Some(secret), clock))
        }
        None => front,
    }
}

/// A standalone coordinator's listener.
pub fn coordinator(
    meta: Arc<dyn Metadata>,
    admin: Arc<dyn Admin>,
    auth: AdminAuth,
    secret: Option<Secret>,
    clock: Arc<dyn Clock>,
) -> Router {
    let health = health_router();
    let guarded = peer_layer::guard(rpc_router(meta), secret, clock);
    Router::new()
        .route_service("/healthz", health.clone())
        .route_service("/v1/coord/healthz", health)
        .route_service("/v1/admin/{*rest}", admin_router(admin, auth))
        .fallback_service(guarded)
}

/// With a line in the log for each request.
pub fn logged(router: Router, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Router {
    access_log::log(router, clock, entropy)
}
