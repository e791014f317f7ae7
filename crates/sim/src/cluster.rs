//! The cluster: production parts, wired as `kvfs` wires them, on machines that can be switched off at any moment.
//!
//! What is real: the `files` engine behind `dn::Node`, `consensus::Group` with redb tables, `coord::Coordinator` with all its loops,
//! `objects::Objects` with its lease, and if asked for the HTTP between them. What is swapped: disk, network, clock, entropy, and the
//! home of the log ([`consensus::LogKind::Inline`]). Everything runs on the caller's runtime, which must be a paused
//! current-thread one (see [`on_one_thread`]): time moves only when nobody has anything to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::poison::Marker;
use api::rpc::Remote;
use api::{Clock, Disk, Entropy};
use bootstrap::{Secret, peer_layer};
use consensus::Group;
use coord::Coordinator;
use domain::ChunkId;
use objects::Objects;
use testkit::clock::SimClock;
use testkit::entropy::SeededEntropy;
use testkit::sim_disk::SimDisk;

use crate::directory::{Directory, Wiring};
use crate::network::{Lines, Network};
use crate::plant::Plant;
use crate::power::{Power, Process, Who};
use crate::random::Random;

/// When the simulation begins.
const BEGIN_MS: u64 = 1_750_000_000_000;

/// Bytes that nodes keep free: room for a stamp on a disk that is full for chunks.
pub const NODE_RESERVE_BYTES: u64 = 16 << 10;

/// A cluster that does not come up within this time never will: recovery itself may wait for ten minutes.
const UP_WITHIN: Duration = Duration::from_secs(900);

/// How a cluster is built.
#[derive(Clone, Debug)]
pub struct Options {
    /// What disks, network and ids follow.
    pub seed: u64,
    /// Data nodes.
    pub nodes: usize,
    /// How parts reach each other.
    pub wiring: Wiring,
    /// Length of a chunk in bytes.
    pub chunk_bytes: u32,
    /// Applied log entries that are kept: few, so that purges happen.
    pub log_keep_entries: u64,
    /// Size of a log file.
    pub log_file_bytes: usize,
    /// Age at which garbage may be collected.
    pub gc_delay: Duration,
}

impl Options {
    /// Three nodes, direct calls, chunks of 1 KiB, garbage collected at once.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: 3,
            wiring: Wiring::default(),
            chunk_bytes: 1024,
            log_keep_entries: 200,
            log_file_bytes: 64 << 10,
            gc_delay: Duration::ZERO,
        }
    }
}

/// Why a process did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// Its power was cut meanwhile: start it again.
    #[error("the power was cut during the start")]
    Cut,
    /// It had power and did not start: that is a finding.
    #[error("{0}")]
    Broken(String),
}

/// A cluster. Methods take `&self`, so that faults can come while requests run; clones are the same cluster.
#[derive(Clone)]
pub struct Cluster(Arc<Parts>);

struct Parts {
    options: Options,
    power: Arc<Power>,
    network: Arc<Network>,
    directory: Arc<Directory>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    secret: Secret,
}

impl Cluster {
    /// A cluster whose machines are off; nothing is on their disks.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn new(options: Options) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(BEGIN_MS));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(options.seed));
        let secret = Secret::draw(&*entropy);
        let mut random = Random::new(options.seed);
        Self(Arc::new(Parts {
            power: Power::new(options.nodes, options.seed),
            network: Network::new(random.fork()),
            directory: Directory::new(options.nodes, options.wiring, clock.clone(), &secret),
            options,
            clock,
            entropy,
            secret,
        }))
    }

    /// A running cluster.
    pub async fn start(options: Options) -> Result<Self, BootError> {
        let cluster = Self::new(options);
        cluster.restart().await?;
        Ok(cluster)
    }

    /// The options it was built with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Machines and their disks.
    pub fn power(&self) -> &Arc<Power> {
        &self.0.power
    }

    /// The network.
    pub fn network(&self) -> &Arc<Network> {
        &self.0.network
    }

    /// The object service of the running gateway.
    pub fn objects(&self) -> Option<Objects> {
        self.0.directory.gateway()
    }

    /// The running coordinator.
    pub fn coordinator(&self) -> Option<Coordinator> {
        self.0.directory.coordinator_itself()
    }

    /// Node `nth`, if it runs.
    pub fn node(&self, nth: usize) -> Option<dn::Node> {
        self.0.directory.node_itself(nth)
    }

    /// The disk of node `nth`.
    pub fn node_disk(&self, nth: usize) -> &SimDisk {
        self.0.power.disk(Who::Node(nth))
    }

    /// The file of a chunk on node `nth`'s disk.
    pub fn chunk_path(&self, nth: usize, chunk: ChunkId) -> PathBuf {
        let hex = chunk.to_hex();
        home(nth).join("chunks").join(&hex[..2]).join(&hex[2..])
    }

    /// Plants a fault, or takes it out.
    pub fn plant(&self, plant: Option<Plant>) {
        self.0.directory.plant(plant);
        self.0.power.disk(Who::Coordinator).lie_about_sync(plant == Some(Plant::CoordinatorForgetsSyncs));
        for nth in 0..self.0.options.nodes {
            self.node_disk(nth).lie_about_sync(plant == Some(Plant::NodesForgetSyncs));
        }
    }

    /// Cuts the power of everything.
    pub fn power_cut(&self) {
        self.cut(&self.0.power.all());
    }

    /// Cuts the power of some machines.
    pub fn cut(&self, machines: &[Who]) {
        self.0.power.cut(machines);
        self.bury();
    }

    /// Ends one process with `kill -9`.
    pub fn kill(&self, who: Who) {
        self.0.power.kill(who);
        self.bury();
    }

    /// Machines without a running process.
    pub fn down(&self) -> Vec<Who> {
        self.0.power.all().into_iter().filter(|who| self.0.power.process(*who).is_over()).collect()
    }

    /// Starts whatever is down: nodes first, the gateway last. Returns once the gateway takes writes.
    pub async fn restart(&self) -> Result<(), BootError> {
        self.bury();
        let down = self.down();
        for who in down.iter().copied().filter(|who| matches!(who, Who::Node(_))) {
            self.boot(who).await?;
        }
        for who in [Who::Coordinator, Who::Gateway] {
            if down.contains(&who) {
                self.boot(who).await?;
            }
        }
        Ok(())
    }

    /// Starts one machine's process, which must be down.
    pub async fn boot(&self, who: Who) -> Result<(), BootError> {
        self.bury();
        if who == Who::Coordinator {
            self.look_after_the_disk()?;
        }
        let (process, disk) = self.0.power.boot(who);
        let started = async {
            match who {
                Who::Node(nth) => self.boot_node(nth, disk, &process).await,
                Who::Coordinator => self.boot_coordinator(disk, &process).await,
                Who::Gateway => self.boot_gateway().await,
            }
        };
        let outcome = tokio::time::timeout(UP_WITHIN, started).await;
        if process.is_over() {
            self.bury();
            return Err(BootError::Cut);
        }
        let outcome = outcome.unwrap_or_else(|_| Err(format!("it is not up after {UP_WITHIN:?}")));
        outcome.map_err(|why| BootError::Broken(format!("{who:?} does not start: {why}")))
    }

    /// Ends everything in order: the lease is given back, the tables are saved.
    pub async fn shut_down(&self) -> Result<(), BootError> {
        if let Some(objects) = self.0.directory.remove_gateway() {
            objects.close().await;
        }
        if let Some(coordinator) = self.0.directory.remove_coordinator() {
            let saved = coordinator.group().shutdown().await;
            saved.map_err(|error| BootError::Broken(format!("the coordinator does not stop: {error}")))?;
        }
        for who in self.0.power.all() {
            self.kill(who);
        }
        Ok(())
    }

    async fn boot_node(&self, nth: usize, disk: Arc<dyn api::Disk>, process: &Arc<Process>) -> Result<(), String> {
        let parts = &*self.0;
        let options = dn::Options { reserve_bytes: Some(NODE_RESERVE_BYTES), ..dn::Options::default() };
        let node = dn::Node::open(disk, parts.clock.clone(), parts.entropy.clone(), home(nth), options).await;
        let node = node.map_err(|error| error.to_string())?;
        let router = dn::http::router(node.clone(), Some(parts.secret.clone()), parts.clock.clone());
        parts.directory.enter_node(nth, node, process.clone(), router);
        Ok(())
    }

    async fn boot_coordinator(&self, disk: Arc<dyn api::Disk>, process: &Arc<Process>) -> Result<(), String> {
        let parts = &*self.0;
        let settings = consensus::Settings {
            log_keep_entries: parts.options.log_keep_entries,
            log_file_bytes: parts.options.log_file_bytes,
            table_cache_bytes: 8 << 20,
            ..consensus::Settings::simulated(META)
        };
        let group = Group::open(settings, disk, parts.clock.clone()).await.map_err(|error| error.to_string())?;
        let lines = Arc::new(self.lines(Who::Coordinator));
        let settings = coord::Settings {
            nodes: (0..parts.options.nodes).map(Directory::name).collect(),
            // Long enough for two renewals and a restart; short, because garbage of before a crash waits for it.
            lease_timeout: Duration::from_secs(12),
            gc_every: Duration::from_secs(2),
            gc_delay: parts.options.gc_delay,
            sweep_every: Duration::from_secs(15),
            ..coord::Settings::default()
        };
        let started =
            Coordinator::start(group.clone(), lines, parts.clock.clone(), parts.entropy.clone(), settings).await;
        let coordinator = match started {
            Ok(coordinator) => coordinator,
            Err(error) => {
                tokio::spawn(async move { drop(group.shutdown().await) });
                return Err(error.to_string());
            }
        };
        self.supervise(group, process.clone());
        let meta = Arc::new(coordinator.clone());
        let router = coord::http::rpc_router(meta);
        let router = peer_layer::guard(router, Some(parts.secret.clone()), parts.clock.clone());
        parts.directory.enter_coordinator(coordinator, process.clone(), router);
        Ok(())
    }

    /// What a person does after the coordinator's disk failed a sync, as the marker says: reboot the machine, remove the marker.
    ///
    /// A coordinator that was killed before it could leave the marker is rebooted as well: the kernel's log told.
    fn look_after_the_disk(&self) -> Result<(), BootError> {
        let disk = self.0.power.disk(Who::Coordinator);
        if disk.sync_failed() {
            self.cut(&[Who::Coordinator]);
        }
        if disk.is_down() {
            disk.restart();
        }
        let marker = Marker::of(Path::new(META));
        let removed = match marker.read(disk) {
            Some(_) => disk.remove(marker.path()).and_then(|()| disk.sync_dir(Path::new(META))),
            None => Ok(()),
        };
        removed.map_err(|error| BootError::Broken(format!("the marker does not go: {error}")))
    }

    /// A coordinator whose storage failed ends, as the real process does.
    fn supervise(&self, group: Group, process: Arc<Process>) {
        let power = self.0.power.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = process.ended() => {}
                _ = group.failed() => if !process.is_over() { power.kill(Who::Coordinator) },
            }
        });
    }

    async fn boot_gateway(&self) -> Result<(), String> {
        let lines = self.lines(Who::Gateway);
        let settings = objects::Settings {
            chunk_bytes: self.0.options.chunk_bytes,
            hold_floor: HOLD_FLOOR,
            // Bodies are as slow as real ones and a thousand times as short: a pace in bytes a second means nothing here.
            patience: Duration::from_secs(3600),
            ..objects::Settings::default()
        };
        let objects = Objects::start(Arc::new(Remote(lines.clone())), Arc::new(lines), settings);
        self.0.directory.enter_gateway(objects.clone());
        objects.until_ready(false).await;
        Ok(())
    }

    fn lines(&self, who: Who) -> Lines {
        Lines::new(who, self.0.network.clone(), self.0.directory.clone())
    }

    /// Takes down what is left of processes that are over.
    fn bury(&self) {
        let directory = &self.0.directory;
        for who in self.down() {
            match who {
                Who::Gateway => drop(directory.remove_gateway()),
                Who::Node(nth) => directory.remove_node(nth),
                Who::Coordinator => {
                    if let Some(coordinator) = directory.remove_coordinator() {
                        let group = coordinator.group().clone();
                        // Its loops end here. The group finds its disk fenced off, and ends as well.
                        drop(coordinator);
                        tokio::spawn(async move { drop(group.shutdown().await) });
                    }
                }
            }
        }
    }
}

impl Drop for Parts {
    /// Parts hold lines, lines the directory, the directory the parts: taken apart here.
    fn drop(&mut self) {
        self.directory.remove_gateway();
        self.directory.remove_coordinator();
        (0..self.options.nodes).for_each(|nth| self.directory.remove_node(nth));
    }
}

/// How long a reader keeps deletes waiting: short, so that slow readers come to look again.
pub const HOLD_FLOOR: Duration = Duration::from_secs(10);

/// The coordinator's directory.
const META: &str = "/meta";

fn home(nth: usize) -> PathBuf {
    Path::new("/data").join(format!("dn{}", nth + 1))
}

/// Runs `story` on one thread with paused time. When it returns, nothing of it is left.
pub fn on_one_thread<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    // Without I/O there is nothing that building could fail at.
    runtime.expect("a runtime with nothing but a timer").block_on(story)
}
