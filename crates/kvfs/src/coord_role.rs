//! `kvfs coord`: a coordinator alone.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use bootstrap::metrics::Metrics;
use bootstrap::server::{Server, ServerOptions};
use bootstrap::settings::Sources;
use bootstrap::{access_log, shutdown};

use crate::front::{Front, admin_auth};
use crate::wiring::{HttpNodes, World, exit_code_of, first_key, open_group, start_coordinator, write_ready_file};
use crate::{measure, settings};

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
    let world = World::real();
    let server = Server::bind(&settings.addr).await?;
    let group = open_group(&world, &settings.data_dir).await?;
    let connect = Arc::new(HttpNodes(world.http(common.cluster_secret.as_ref())));
    let url_key = settings.url_secret.as_ref().map(|secret| first_key(secret, &*world.clock));
    let loops = coord::Settings { url_key, ..settings.coord.clone() };
    let coordinator = start_coordinator(&world, group, connect, loops).await?;
    let shared = Arc::new(coordinator.clone());
    let (auth, secret) = (admin_auth(common), common.cluster_secret.clone());
    let front = Front::coordinator(shared.clone(), shared, auth, secret, world.clock.clone());
    let metrics = Metrics::new();
    measure::coordinator(&metrics, Arc::new(coordinator.clone()));
    let router = access_log::log(front.router(), metrics.clone(), world.clock.clone(), world.entropy.clone());
    let router = metrics.serve(router, common.metrics);
    let address = server.address();
    tracing::info!(%address, "coordinator serves");
    write_ready_file(settings.ready_file.as_deref(), &format!("{address}\n"))?;
    let failed = coordinator.group().failed();
    let code = tokio::select! {
        () = server.run(router, ServerOptions::default(), stop) => ExitCode::SUCCESS,
        reason = failed => {
            tracing::error!(reason, "the metadata failed; stopping");
            exit_code_of(coordinator.group())
        }
    };
    if let Err(error) = coordinator.group().shutdown().await {
        tracing::warn!(%error, "the metadata was not saved on the way out");
    }
    // Saving may have been what failed.
    Ok(if coordinator.group().is_poisoned() { exit_code_of(coordinator.group()) } else { code })
}
