//! `kvfs edge`: a gateway, which hosts the coordinator if it has none to go to. The same code either way, over the metadata seam.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use api::{Admin, Metadata};
use bootstrap::metrics::Metrics;
use bootstrap::server::Server;
use bootstrap::settings::Sources;
use bootstrap::{access_log, shutdown};
use client::{HttpAdmin, http_metadata};
use coord::Coordinator;
use edge::{Auth, UrlKeys};
use objects::Objects;

use crate::front::{Front, admin_auth};
use crate::measure;
use crate::settings::{self, Edge};
use crate::wiring::{
    HttpNodes, World, exit_code_of, first_key, gateway_options, open_group, start_coordinator, write_ready_file,
};

/// Runs until a signal, or until a hosted coordinator's metadata fails (exit code 74).
pub async fn run(sources: Sources) -> Result<ExitCode> {
    let (settings, resolved) = settings::edge(sources)?;
    for setting in &resolved {
        tracing::info!(name = setting.name, value = setting.value, origin = %setting.origin, "setting");
    }
    warn(&settings);
    let stop = shutdown::on_signals()?;
    let world = World::real();
    let server = Server::bind(&settings.addr).await?;
    let plane = ControlPlane::reach(&world, &settings).await?;
    let connect = Arc::new(HttpNodes(world.http(settings.common.cluster_secret.as_ref())));
    let objects = Objects::start(plane.meta.clone(), connect, settings.objects.clone());
    let keys = UrlKeys::follow(plane.meta.clone());
    let auth = if settings.skip_auth { Auth::Skip } else { Auth::UrlKey(keys.clone()) };
    let ready = async {
        objects.until_ready(false).await;
        if !settings.skip_auth {
            keys.until_ready().await;
        }
    };
    tokio::select! {
        () = ready => {}
        () = stop.cancelled() => bail!("stopped before the gateway was ready: {}", objects.not_ready().unwrap_or_default()),
    }
    let metrics = Metrics::new();
    measure::gateway(&metrics, &objects);
    if let Some(coordinator) = &plane.hosted {
        measure::coordinator(&metrics, Arc::new(coordinator.clone()));
    }
    let counts = edge::Counts::register(&metrics);
    let edge = edge::Edge { objects: objects.clone(), auth, clock: world.clock.clone(), counts };
    let mut front = Front::gateway(edge::router(edge), plane.admin.clone(), admin_auth(&settings.common));
    if plane.hosted.is_some() {
        let secret = settings.common.cluster_secret.clone();
        front = front.with_coordinator(plane.meta.clone(), secret, world.clock.clone());
    }
    let router = access_log::log(front.router(), metrics.clone(), world.clock.clone(), world.entropy.clone());
    let router = metrics.serve(router, settings.common.metrics);
    let address = server.address();
    tracing::info!(%address, "gateway serves");
    write_ready_file(settings.ready_file.as_deref(), &format!("{address}\n"))?;
    let code = tokio::select! {
        () = server.run(router, gateway_options(&objects), stop) => ExitCode::SUCCESS,
        reason = plane.failed() => {
            tracing::error!(reason, "the metadata failed; stopping");
            plane.hosted.as_ref().map_or(ExitCode::FAILURE, |coordinator| exit_code_of(coordinator.group()))
        }
    };
    objects.close().await;
    plane.close().await;
    // Saving the metadata may have been what failed.
    let hosted = plane.hosted.as_ref().map(Coordinator::group).filter(|group| group.is_poisoned());
    Ok(hosted.map_or(code, exit_code_of))
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
    admin: Arc<dyn Admin>,
    hosted: Option<Coordinator>,
}

impl ControlPlane {
    async fn reach(world: &World, settings: &Edge) -> Result<Self> {
        let http = world.http(settings.common.cluster_secret.as_ref());
        if let Some(first) = settings.coord_urls.first() {
            let token = settings.common.admin_token.as_ref();
            let token = token.map(|token| String::from_utf8_lossy(token.expose()).into_owned()).unwrap_or_default();
            let admin = Arc::new(HttpAdmin::new(http.clone(), first, token));
            let meta = Arc::new(http_metadata(http, settings.coord_urls.clone()));
            return Ok(Self { meta, admin, hosted: None });
        }
        let group = open_group(world, &settings.data_dir).await?;
        let url_key = settings.url_secret.as_ref().map(|secret| first_key(secret, &*world.clock));
        let loops = coord::Settings { url_key, ..settings.coord.clone() };
        let coordinator = start_coordinator(world, group, Arc::new(HttpNodes(http)), loops).await?;
        let shared = Arc::new(coordinator.clone());
        Ok(Self { meta: shared.clone(), admin: shared, hosted: Some(coordinator) })
    }

    async fn failed(&self) -> String {
        match &self.hosted {
            Some(coordinator) => coordinator.group().failed().await,
            None => std::future::pending().await,
        }
    }

    async fn close(&self) {
        if let Some(coordinator) = &self.hosted
            && let Err(error) = coordinator.group().shutdown().await
        {
            tracing::warn!(%error, "the metadata was not saved on the way out");
        }
    }
}
