//! `kvfs coord`: a coordinator alone, or one of several.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use bootstrap::metrics::Metrics;
use bootstrap::server::{Server, ServerOptions};
use bootstrap::settings::Sources;
use bootstrap::{access_log, shutdown};

use crate::front::{Front, admin_auth};
use crate::hosting::Hosting;
use crate::late::Late;
use crate::measure;
use crate::settings::{self, Coord};
use crate::tls::Tls;
use crate::wiring::{HttpNodes, World, exit_code, first_key, sealer, start_coordinator, write_ready_file};

/// Runs until a signal, or until the metadata fails (exit code 74).
pub async fn run(sources: Sources) -> Result<ExitCode> {
    let (settings, resolved) = settings::coord(sources)?;
    for setting in &resolved {
        tracing::info!(name = setting.name, value = setting.value, origin = %setting.origin, "setting");
    }
    let common = &settings.common;
    if common.cluster_secret.is_none() {
        tracing::warn!("no KVFS_CLUSTER_SECRET: everybody on this machine can change the metadata here");
    }
    let stop = shutdown::on_signals()?;
    let tls = Tls::open(&common.tls)?;
    let world = World::linked(tls.links.clone());
    let server = Server::bind(&settings.addr).await?.with_tls(tls.server);
    let secret = common.cluster_secret.as_ref();
    let hosting = Hosting::open(&world, (&settings.data_dir, &settings.log), settings.member.as_ref(), secret).await?;
    let health = hosting.health();
    let late = Late::new({
        let health = health.clone();
        move || health().not_ready.unwrap_or_else(|| "the coordinator starts".into())
    });
    let metrics = Metrics::new();
    let front = Front::new(late.router()).with_health(health).with_raft(&hosting, secret.cloned(), &world);
    let router = access_log::log(front.router(), metrics.clone(), world.clock.clone(), world.entropy.clone());
    let router = metrics.serve(router, common.metrics);
    let address = server.address();
    tracing::info!(%address, "coordinator listens");
    let serve = async {
        take_up(&settings, &world, &hosting, &metrics, &late).await?;
        write_ready_file(settings.ready_file.as_deref(), &format!("{address}\n"))?;
        Ok::<_, anyhow::Error>(hosting.failed().await)
    };
    let code = tokio::select! {
        () = server.run(router, ServerOptions::default(), stop) => ExitCode::SUCCESS,
        failed = serve => {
            tracing::error!(reason = failed?, "the metadata failed; stopping");
            exit_code(hosting.is_poisoned())
        }
    };
    hosting.close().await;
    // Saving may have been what failed.
    Ok(if hosting.is_poisoned() { exit_code(true) } else { code })
}

/// Waits for the seat, and answers from then on.
async fn take_up(settings: &Coord, world: &World, hosting: &Hosting, metrics: &Metrics, late: &Late) -> Result<()> {
    let group = hosting.group().await?;
    let common = &settings.common;
    let connect = Arc::new(HttpNodes(world.http_to_nodes(common.cluster_secret.as_ref())));
    let url_key = settings.url_secret.as_ref().map(|secret| first_key(secret, &*world.clock));
    let sealer = sealer(world, &settings.data_dir, common.cluster_secret.as_ref())?;
    let loops = coord::Settings { url_key, sealer, ..settings.coord.clone() };
    let coordinator = start_coordinator(world, group, connect, loops).await?;
    measure::coordinator(metrics, Arc::new(coordinator.clone()));
    measure::log(metrics, coordinator.group().clone());
    late.arrived(Front::coordinator(coordinator, admin_auth(common), common.cluster_secret.clone(), world).router());
    Ok(())
}
