//! Ways to nodes: in this process, or over HTTP.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use api::poison::{EXIT_POISONED, EXIT_TRY_AGAIN};
use api::{ChunkStore, Clock, Disk};
use bootstrap::paced::Slowest;
use bootstrap::server::ServerOptions;
use bootstrap::{RealDisk, Secret, SystemClock, SystemEntropy, secrets};
use client::{Http, HttpChunkStore};
use consensus::Group;
use coord::Coordinator;
use coord::seal::Sealer;
use datapath::Connect;
use domain::urlkey::UrlKey;
use domain::view::NodeView;
use objects::Objects;

use crate::home::FIRST_KID;
use crate::settings::GroupLog;
use crate::tls::Links;

/// The real world, behind the seams.
#[derive(Clone)]
pub struct World {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn api::Entropy>,
    /// The ways to other processes.
    pub links: Links,
}

impl World {
    /// This machine.
    pub fn real() -> Self {
        Self::linked(Links::default())
    }

    /// This machine, with these ways to others.
    pub fn linked(links: Links) -> Self {
        Self { disk: Arc::new(RealDisk), clock: Arc::new(SystemClock::new()), entropy: Arc::new(SystemEntropy), links }
    }

    /// A client of data nodes that signs with the cluster secret.
    pub fn http_to_nodes(&self, secret: Option<&Secret>) -> Http {
        Http::new(self.links.nodes.connector(), self.clock.clone(), secret.map(Secret::share))
    }

    /// A client of coordinators that signs with the cluster secret.
    pub fn http_to_coords(&self, secret: Option<&Secret>) -> Http {
        Http::new(self.links.coords.connector(), self.clock.clone(), secret.map(Secret::share))
    }
}

/// Nodes that live in this process, by name; whatever else the registry names is asked over HTTP.
pub struct LocalNodes {
    /// The nodes here.
    pub nodes: BTreeMap<String, dn::Node>,
    /// The way to the others.
    pub others: HttpNodes,
}

impl Connect for LocalNodes {
    fn connect(&self, node: &NodeView) -> Arc<dyn ChunkStore> {
        match self.nodes.get(&node.name) {
            Some(local) => Arc::new(local.in_the_name_of(Some(node.generation))),
            None => self.others.connect(node),
        }
    }
}

/// Nodes behind HTTP, by address.
pub struct HttpNodes(pub Http);

impl Connect for HttpNodes {
    fn connect(&self, node: &NodeView) -> Arc<dyn ChunkStore> {
        Arc::new(HttpChunkStore::new(self.0.clone(), node.addr.clone()).in_the_name_of(node.generation))
    }
}

/// How a group is kept in `dir`.
pub fn group_settings(dir: &Path, log: &GroupLog) -> consensus::Settings {
    consensus::Settings { audit_log: log.audit.clone(), log_keep: log.keep, ..consensus::Settings::new(dir) }
}

/// Opens the consensus group in `dir`: a group of one.
pub async fn open_group(world: &World, dir: &Path, log: &GroupLog) -> Result<Group> {
    let settings = group_settings(dir, log);
    Group::open(settings, world.disk.clone(), world.clock.clone())
        .await
        .with_context(|| format!("opening the metadata in {}", dir.display()))
}

/// Bounds of a gateway's listener: who holds room in the body budget must be faster while somebody waits for it.
pub fn gateway_options(objects: &Objects) -> ServerOptions {
    let objects = objects.clone();
    ServerOptions { slowest: Slowest::new(move || objects.slowest()), ..ServerOptions::default() }
}

/// The exit code of a process whose metadata has failed: 74 if only a person may call that over, 75 if a restart may (a full disk).
pub fn exit_code(poisoned: bool) -> ExitCode {
    ExitCode::from(if poisoned { EXIT_POISONED } else { EXIT_TRY_AGAIN })
}

/// Starts a coordinator over a group.
pub async fn start_coordinator(
    world: &World,
    group: Group,
    connect: Arc<dyn Connect>,
    settings: coord::Settings,
) -> Result<Coordinator> {
    Coordinator::start(group, connect, world.clock.clone(), world.entropy.clone(), settings)
        .await
        .context("starting the coordinator")
}

/// What seals secrets in the metadata in `dir`: the cluster's secret, or where there is none the `cluster.key` there.
///
/// A file that an earlier start without a secret left is still good for opening.
pub fn sealer(world: &World, dir: &Path, secret: Option<&Secret>) -> Result<Sealer> {
    let path = dir.join("cluster.key");
    let file = match secret {
        None => Some(secrets::read_or_draw(&path, &*world.entropy)),
        Some(_) => match secrets::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            found => Some(found),
        },
    };
    let file = file.transpose().with_context(|| format!("the key in {}", path.display()))?;
    Ok(Sealer::new(secret.into_iter().chain(&file).map(Secret::expose)))
}

/// The first URL key, which seeds an empty registry.
pub fn first_key(secret: &Secret, clock: &dyn Clock) -> UrlKey {
    UrlKey { kid: FIRST_KID.into(), secret: secret.expose().to_vec(), primary: true, created_ms: clock.wall_ms() }
}

/// Writes `text` to the file that says that this process serves: whole, or not at all.
pub fn write_ready_file(path: Option<&Path>, text: &str) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    api::disk::replace(&RealDisk, path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}
