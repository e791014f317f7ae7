//! `kvfs edge`: a gateway, which hosts the coordinator if it has none to go to. The same code either way, over the metadata seam.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use api::Metadata;
use bootstrap::metrics::Metrics;
use bootstrap::server::Server;
use bootstrap::settings::Sources;
use bootstrap::{access_log, shutdown};
use client::{HttpAdmin, http_metadata};
use consensus::Group;
use coord::Coordinator;
use coord::http::{admin_router, health_router};
use edge::{Auth, UrlKeys};
use objects::Objects;

use crate::front::{Front, admin_auth, coordinator_admin};
use crate::hosting::Hosting;
use crate::late::Late;
use crate::measure;
use crate::settings::{self, Edge};
use crate::tls::Tls;
use crate::wiring::{
    HttpNodes, World, exit_code, first_key, gateway_options, sealer, start_coordinator, write_ready_file,
};

/// Runs until a signal, or until a hosted coordinator's metadata fails (exit code 74).
///
/// It listens at once, and says at `/readyz` what it waits for; requests for objects are answered as soon as a coordinator has given it a
/// lease and keys.
pub async fn run(sources: Sources) -> Result<ExitCode> {
    let (settings, resolved) = settings::edge(sources)?;
    for setting in &resolved {
        tracing::info!(name = setting.name, value = setting.value, origin = %setting.origin, "setting");
    }
    warn(&settings);
    let stop = shutdown::on_signals()?;
    let tls = Tls::open(&settings.common.tls)?;
    let world = World::linked(tls.links.clone());
    let server = Server::bind(&settings.addr).await?.with_tls(tls.server);
    let plane = ControlPlane::reach(&world, &settings).await?;
    let connect = Arc::new(HttpNodes(world.http_to_nodes(settings.common.cluster_secret.as_ref())));
    let objects = Objects::start(plane.meta.clone(), connect, settings.objects.clone());
    let keys = UrlKeys::follow(plane.meta.clone(), objects.views());
    let auth = if settings.skip_auth { Auth::Skip } else { Auth::UrlKey(keys.clone()) };
    let metrics = Metrics::new();
    measure::gateway(&metrics, &objects);
    let counts = edge::Counts::register(&metrics);
    let edge = edge::router(edge::Edge {
        objects: objects.clone(),
        auth,
        clock: world.clock.clone(),
        counts,
        writes_go_to: settings.writes_go_to.clone(),
    });
    let late = Late::new({
        let objects = objects.clone();
        move || objects.not_ready().unwrap_or_else(|| "no URL key is known yet".into())
    });
    // How it is, is told from the beginning.
    let front = Front::new(late.router()).with("/healthz", edge.clone()).with("/readyz", edge.clone());
    let front = plane.with_surfaces(front, &settings, &world);
    let router = access_log::log(front.router(), metrics.clone(), world.clock.clone(), world.entropy.clone());
    let router = metrics.serve(router, settings.common.metrics);
    let address = server.address();
    tracing::info!(%address, "gateway listens");
    let serve = async {
        plane.take_up(&settings, &world, &metrics).await?;
        objects.until_ready(false).await;
        if !settings.skip_auth {
            keys.until_ready().await;
        }
        late.arrived(edge);
        tracing::info!(%address, "gateway serves");
        write_ready_file(settings.ready_file.as_deref(), &format!("{address}\n"))?;
        Ok::<_, anyhow::Error>(plane.failed().await)
    };
    let code = tokio::select! {
        () = server.run(router, gateway_options(&objects), stop) => ExitCode::SUCCESS,
        failed = serve => {
            tracing::error!(reason = failed?, "the metadata failed; stopping");
            exit_code(plane.is_poisoned())
        }
    };
    objects.close().await;
    plane.close().await;
    // Saving the metadata may have been what failed.
    Ok(if plane.is_poisoned() { exit_code(true) } else { code })
}

fn warn(settings: &Edge) {
    if settings.skip_auth {
        tracing::warn!("EDGE_SKIP_AUTH is set: everybody on this machine can read and write every object");
    }
    if settings.common.cluster_secret.is_none() {
        tracing::warn!("no KVFS_CLUSTER_SECRET: requests to data nodes and coordinators are not signed");
    }
    if settings.coord_urls.is_empty() && settings.url_secret.is_none() && !settings.skip_auth {
        tracing::warn!("no EDGE_URLKEY_SECRET: if the registry has no key yet, nobody can be let in");
    }
}

/// Metadata and administration, hosted here or reached over HTTP.
struct ControlPlane {
    meta: Arc<dyn Metadata>,
    way: Way,
}

/// Where the coordinator is.
enum Way {
    /// Elsewhere.
    Remote(HttpAdmin),
    /// Here, and the only one.
    Alone(Group, Coordinator),
    /// Here, one of several: there once it has its seat.
    Member(Hosting, Late),
}

impl ControlPlane {
    async fn reach(world: &World, settings: &Edge) -> Result<Self> {
        let secret = settings.common.cluster_secret.as_ref();
        let http = world.http_to_coords(secret);
        if !settings.coord_urls.is_empty() {
            let token = settings.common.admin_token.as_ref();
            let token = token.map(|token| String::from_utf8_lossy(token.expose()).into_owned()).unwrap_or_default();
            let admin = HttpAdmin::new(http.clone(), settings.coord_urls.clone(), token);
            let meta = Arc::new(http_metadata(http, settings.coord_urls.clone()));
            return Ok(Self { meta, way: Way::Remote(admin) });
        }
        match Hosting::open(world, (&settings.data_dir, &settings.log), settings.member.as_ref(), secret).await? {
            Hosting::Alone(group) => {
                let coordinator = coordinator(world, settings, group.clone()).await?;
                Ok(Self { meta: Arc::new(coordinator.clone()), way: Way::Alone(group, coordinator) })
            }
            hosting => {
                let member = settings.member.iter();
                let addresses = member.flat_map(|member| member.peers.iter().chain([&member.own])).cloned();
                let addresses = addresses.collect::<BTreeSet<_>>().into_iter().collect();
                let health = hosting.health();
                let why = move || health().not_ready.unwrap_or_else(|| "the coordinator starts".into());
                Ok(Self { meta: Arc::new(http_metadata(http, addresses)), way: Way::Member(hosting, Late::new(why)) })
            }
        }
    }

    /// The paths that it adds to the gateway's.
    fn with_surfaces(&self, front: Front, settings: &Edge, world: &World) -> Front {
        let (auth, secret) = (admin_auth(&settings.common), settings.common.cluster_secret.clone());
        match &self.way {
            Way::Remote(admin) => front.with_admin(admin_router(Arc::new(admin.clone()), auth)),
            Way::Alone(group, coordinator) => front
                .with("/v1/coord/healthz", health_router(Hosting::Alone(group.clone()).health()))
                .with_admin(coordinator_admin(coordinator.clone(), auth))
                .with_coordinator(self.meta.clone(), secret, world),
            Way::Member(hosting, late) => front
                .with("/v1/coord/healthz", health_router(hosting.health()))
                .with_raft(hosting, secret, world)
                .with("/v1/coord/", late.router())
                .with("/v1/admin/", late.router()),
        }
    }

    /// Starts what had to wait until this process listened: a member's coordinator.
    async fn take_up(&self, settings: &Edge, world: &World, metrics: &Metrics) -> Result<()> {
        let coordinator = match &self.way {
            Way::Remote(_) => return Ok(()),
            Way::Alone(_, coordinator) => coordinator.clone(),
            Way::Member(hosting, late) => {
                let coordinator = coordinator(world, settings, hosting.group().await?).await?;
                let (auth, secret) = (admin_auth(&settings.common), settings.common.cluster_secret.clone());
                late.arrived(Front::coordinator(coordinator.clone(), auth, secret, world).router());
                coordinator
            }
        };
        measure::log(metrics, coordinator.group().clone());
        measure::coordinator(metrics, Arc::new(coordinator));
        Ok(())
    }

    fn hosting(&self) -> Option<Hosting> {
        match &self.way {
            Way::Remote(_) => None,
            Way::Alone(group, _) => Some(Hosting::Alone(group.clone())),
            Way::Member(hosting, _) => Some(hosting.clone()),
        }
    }

    async fn failed(&self) -> String {
        match self.hosting() {
            Some(hosting) => hosting.failed().await,
            None => std::future::pending().await,
        }
    }

    fn is_poisoned(&self) -> bool {
        self.hosting().is_some_and(|hosting| hosting.is_poisoned())
    }

    async fn close(&self) {
        if let Some(hosting) = self.hosting() {
            hosting.close().await;
        }
    }
}

/// The coordinator of this gateway, over its group.
async fn coordinator(world: &World, settings: &Edge, group: Group) -> Result<Coordinator> {
    let nodes = Arc::new(HttpNodes(world.http_to_nodes(settings.common.cluster_secret.as_ref())));
    let url_key = settings.url_secret.as_ref().map(|secret| first_key(secret, &*world.clock));
    let sealer = sealer(world, &settings.data_dir, settings.common.cluster_secret.as_ref())?;
    let loops = coord::Settings { url_key, sealer, ..settings.coord.clone() };
    start_coordinator(world, group, nodes, loops).await
}
