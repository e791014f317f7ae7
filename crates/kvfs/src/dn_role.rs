//! `kvfs dn`: a data node alone.

use std::process::ExitCode;

use anyhow::{Context, Result};
use api::poison::EXIT_POISONED;
use bootstrap::metrics::Metrics;
use bootstrap::server::{Server, ServerOptions};
use bootstrap::settings::Sources;
use bootstrap::{access_log, shutdown};

use crate::tls::Tls;
use crate::wiring::{World, write_ready_file};
use crate::{measure, settings};

/// Runs until a signal. Exits with 74 if a sync failed meanwhile: no supervisor should start it again before somebody looked.
pub async fn run(sources: Sources) -> Result<ExitCode> {
    let (settings, resolved) = settings::dn(sources)?;
    for setting in &resolved {
        tracing::info!(name = setting.name, value = setting.value, origin = %setting.origin, "setting");
    }
    if settings.common.cluster_secret.is_none() {
        tracing::warn!("no KVFS_CLUSTER_SECRET: everybody on this machine can read, write and delete chunks here");
    }
    let stop = shutdown::on_signals()?;
    let tls = Tls::open(&settings.common.tls)?;
    let world = World::linked(tls.links.clone());
    let server = Server::bind(&settings.addr).await?.with_tls(tls.server);
    let (disk, clock, entropy) = (world.disk.clone(), world.clock.clone(), world.entropy.clone());
    let node = dn::Node::open(disk, clock, entropy, settings.data_dir.clone(), settings.options.clone())
        .await
        .with_context(|| format!("opening {}", settings.data_dir.display()))?;
    let router = dn::http::router(node.clone(), settings.common.cluster_secret.clone(), world.clock.clone());
    let metrics = Metrics::new();
    measure::node(&metrics, &node);
    let router = metrics.serve(
        access_log::log(router, metrics.clone(), world.clock.clone(), world.entropy.clone()),
        settings.common.metrics,
    );
    let address = server.address();
    tracing::info!(id = settings.id, %address, "data node serves");
    write_ready_file(settings.ready_file.as_deref(), &format!("{address}\n"))?;
    server.run(router, ServerOptions::default(), stop).await;
    match node.pulse().1 {
        None => Ok(ExitCode::SUCCESS),
        Some(reason) => {
            tracing::error!(reason, "a sync failed while this node ran");
            Ok(ExitCode::from(EXIT_POISONED))
        }
    }
}
