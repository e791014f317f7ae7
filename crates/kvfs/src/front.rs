//! One listener, several surfaces: which path goes where.

use std::sync::Arc;

use api::{Metadata, routes};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use bootstrap::{Secret, peer_layer};
use coord::Coordinator;
use coord::http::{AdminAuth, AskHealth, admin_router, health_router, member_admin_router, rpc_router};
use tower::ServiceExt;

use crate::hosting::Hosting;
use crate::settings::Common;
use crate::wiring::World;

/// Who may administer, by the settings.
pub fn admin_auth(common: &Common) -> AdminAuth {
    match (&common.admin_token, common.insecure_admin) {
        (Some(token), _) => AdminAuth::Token(String::from_utf8_lossy(token.expose()).into()),
        (None, true) => AdminAuth::Insecure,
        (None, false) => AdminAuth::Closed,
    }
}

/// The admin API at a coordinator: where several are, the leader answers.
pub fn coordinator_admin(coordinator: Coordinator, auth: AdminAuth) -> Router {
    match coordinator.group().is_alone() {
        true => admin_router(Arc::new(coordinator), auth),
        false => member_admin_router(coordinator, auth),
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
    /// A listener on which all paths go to `rest`, unless others are added.
    pub fn new(rest: Router) -> Self {
        Self { by_prefix: Vec::new(), rest }
    }

    /// A gateway's listener: the native API, and administration beside it.
    pub fn gateway(edge: Router, admin: Router) -> Self {
        Self::new(edge).with_admin(admin)
    }

    /// With administration, under our paths and the reference's.
    pub fn with_admin(self, admin: Router) -> Self {
        self.with("/v1/admin/", admin.clone()).with(routes::COORD_ADMIN_PREFIX, admin)
    }

    /// What a coordinator answers, its open routes and the other coordinators excepted.
    pub fn coordinator(coordinator: Coordinator, auth: AdminAuth, secret: Option<Secret>, world: &World) -> Self {
        let meta = rpc_router(Arc::new(coordinator.clone()));
        let rest = peer_layer::guard(meta, secret, world.clock.clone());
        Self::new(rest).with_admin(coordinator_admin(coordinator, auth))
    }

    /// With what a hosted coordinator adds: its answers to other gateways, behind the cluster secret.
    ///
    /// Without a secret nobody from outside may ask: the coordinator then answers its own gateway alone.
    pub fn with_coordinator(self, meta: Arc<dyn Metadata>, secret: Option<Secret>, world: &World) -> Self {
        match secret {
            None => self,
            secret => self.with("/v1/coord/", peer_layer::guard(rpc_router(meta), secret, world.clock.clone())),
        }
    }

    /// With the open routes of a coordinator.
    pub fn with_health(self, ask: AskHealth) -> Self {
        let health = health_router(ask);
        self.with("/healthz", health.clone()).with("/readyz", health.clone()).with("/v1/coord/healthz", health)
    }

    /// With the way in for other coordinators, if there are any.
    pub fn with_raft(self, hosting: &Hosting, secret: Option<Secret>, world: &World) -> Self {
        match hosting.raft() {
            None => self,
            Some(raft) => self.with(routes::COORD_RAFT, peer_layer::guard(raft, secret, world.clock.clone())),
        }
    }

    /// With paths that begin with `prefix`; the first prefix that fits wins.
    pub fn with(mut self, prefix: &'static str, router: Router) -> Self {
        self.by_prefix.push((prefix, router));
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
