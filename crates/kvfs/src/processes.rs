//! `kvfs up --processes`: the same store as real processes, for whoever wants to stop, kill and watch them one by one.
//!
//! Each data node, the coordinator and the gateway is a child process under a supervisor task here. One that dies is started again, with a
//! pause that grows while it keeps dying; one that ends with [`EXIT_POISONED`] is not, since its disk failed and a person must look
//! first. Children are in process groups of their own, so that ctrl-c reaches this process alone and it stops them in order: gateway,
//! coordinator, nodes. Each holds the reading end of a pipe from here as its standard input and stops when that closes, so
//! none is left behind even by `kill -9` of this process.
//!
//! A data node's address is part of what the registry knows, so ports are chosen at the first start and kept in `ports.toml`.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::poison::EXIT_POISONED;
use bootstrap::settings::Sources;
use bootstrap::{RealDisk, Secret, durations, shutdown};
use cli::ClientFile;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::home::{Home, Secrets};
use crate::settings::{self, Up};
use crate::up::{say_next, try_it};
use crate::wiring::{World, write_ready_file};

/// How long a child may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a child may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// The pause before a child is started again: doubled each time, up to the second, and the first again once it ran that long.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Runs until ctrl-c, or until a child's disk fails.
pub async fn run(sources: Sources) -> Result<ExitCode> {
    let begun = Instant::now();
    let (settings, _) = settings::up(sources)?;
    let stop = shutdown::on_signals()?;
    let world = World::real();
    let home = Home(settings.data_dir.clone());
    if home.meta().exists() && !home.ports_file().exists() {
        bail!(
            "{} was made by `kvfs up` without --processes; start it so, or choose another --data-dir",
            home.0.display()
        );
    }
    let secrets = home.prepare(&*world.entropy)?;
    let _lock = world.disk.lock(&home.0).with_context(|| format!("another process runs in {}", home.0.display()))?;
    let ports = Ports::of(&home, settings.nodes)?;
    let plan = Plan { binary: std::env::current_exe()?, home: &home, secrets: &secrets, settings: &settings, ports };
    let mut family = Family::default();
    let outcome = tokio::select! {
        outcome = plan.start(&mut family) => outcome,
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the store was ready")),
    };
    let served = match outcome {
        Ok(address) => serve(&world, &plan, &mut family, &address, stop, begun).await,
        Err(error) => Err(error),
    };
    family.stop().await;
    served
}

async fn serve(
    world: &World,
    plan: &Plan<'_>,
    family: &mut Family,
    address: &str,
    stop: CancellationToken,
    begun: Instant,
) -> Result<ExitCode> {
    let (home, secrets, settings) = (plan.home, plan.secrets, plan.settings);
    let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
    let (kid, secret) = home.client_key(secrets);
    let client =
        ClientFile { endpoint: address.to_string(), admin: None, kid, secret, admin_token: Some(text(&secrets.admin)) };
    client.write(&home.client_file())?;
    try_it(world, &client).await.context("the store does not keep its own test object")?;
    println!(
        "kvfs is ready on http://{address} after {} ms: {} processes, data and logs in {}",
        begun.elapsed().as_millis(),
        family.members.len(),
        settings.data_dir.display()
    );
    family.members.iter().for_each(|member| println!("  {}", member.line));
    say_next();
    write_ready_file(settings.ready_file.as_deref(), &format!("{address}\n"))?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
            news = family.news.1.recv() => match news {
                Some(News::Again(line)) => println!("  {line}"),
                Some(News::Poisoned(name)) => {
                    tracing::error!(name, "its disk failed; it is not started again");
                    // The others go on without a node; without coordinator or gateway nothing would.
                    if !name.starts_with("node-") {
                        return Ok(ExitCode::from(EXIT_POISONED));
                    }
                }
                // The sender is in `family`.
                None => return Ok(ExitCode::SUCCESS),
            },
        }
    }
}

/// Ports that were chosen once.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ports {
    coordinator: u16,
    nodes: Vec<u16>,
}

impl Ports {
    /// Those of an earlier start, and as many more as are needed.
    fn of(home: &Home, nodes: u32) -> Result<Self> {
        let path = home.ports_file();
        let mut ports: Self = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?,
            Err(_) => Self::default(),
        };
        let free = || -> Result<u16> { Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        if ports.coordinator == 0 {
            ports.coordinator = free()?;
        }
        while ports.nodes.len() < nodes as usize {
            ports.nodes.push(free()?);
        }
        let text = toml::to_string(&ports)?;
        api::disk::replace(&RealDisk, &path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
        Ok(ports)
    }

    fn node_addresses(&self) -> String {
        self.nodes.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }
}

/// What is started, and how.
struct Plan<'a> {
    binary: PathBuf,
    home: &'a Home,
    secrets: &'a Secrets,
    settings: &'a Up,
    ports: Ports,
}

impl Plan<'_> {
    /// Starts nodes, then the coordinator, then the gateway, whose address it gives.
    async fn start(&self, family: &mut Family) -> Result<String> {
        let mut nodes = Vec::new();
        for (nth, port) in (1..).zip(&self.ports.nodes) {
            let name = settings::node_name(nth);
            let mut variables = vec![
                ("DN_ID", name.clone()),
                ("DN_ADDR", format!("127.0.0.1:{port}")),
                ("DN_DATA_DIR", self.home.node(&name).display().to_string()),
            ];
            if let Some(bytes) = self.settings.reserve_bytes {
                variables.push(("DN_RESERVE_BYTES", bytes.to_string()));
            }
            nodes.push(family.add(self.recipe(&name, "dn", variables)));
        }
        for node in nodes {
            family.settled(node).await?;
        }
        let coordinator = family.add(self.coordinator());
        family.settled(coordinator).await?;
        let gateway = family.add(self.gateway());
        family.settled(gateway).await
    }

    fn coordinator(&self) -> Recipe {
        let loops = &self.settings.coord;
        let mut variables = vec![
            ("COORD_ADDR", format!("127.0.0.1:{}", self.ports.coordinator)),
            ("COORD_DATA_DIR", self.home.meta().display().to_string()),
            ("COORD_DNS", self.ports.node_addresses()),
            ("COORD_GC_DELAY", durations::show(loops.gc_delay)),
            ("COORD_GC_INTERVAL", durations::show(loops.gc_every)),
            ("COORD_SWEEP_INTERVAL", durations::show(loops.sweep_every)),
        ];
        if let Some(path) = &self.settings.log.audit {
            variables.push(("COORD_WAL_PATH", path.display().to_string()));
        }
        variables.push(("COORD_LOG_KEEP", durations::show(self.settings.log.keep)));
        if let Some(backups) = &loops.backups {
            variables.push(("COORD_SNAPSHOT_DIR", backups.dir.display().to_string()));
            variables.push(("COORD_SNAPSHOT_INTERVAL", durations::show(backups.every)));
            variables.push(("COORD_SNAPSHOT_KEEP", backups.keep.to_string()));
        }
        self.recipe("coordinator", "coord", variables)
    }

    fn gateway(&self) -> Recipe {
        let objects = &self.settings.objects;
        self.recipe(
            "gateway",
            "edge",
            vec![
                ("EDGE_ADDR", self.settings.addr.clone()),
                ("EDGE_DATA_DIR", self.home.0.join("gateway").display().to_string()),
                ("EDGE_COORD_URL", format!("http://127.0.0.1:{}", self.ports.coordinator)),
                ("EDGE_REPLICAS", objects.copies.to_string()),
                ("EDGE_QUORUM_WRITE", objects.write_quorum.to_string()),
                ("EDGE_CHUNK_SIZE", objects.shard_bytes.unwrap_or(0).to_string()),
                ("EDGE_CHUNK_MODE", objects.chunk_mode.name().to_string()),
                ("EDGE_PLACEMENT_PREFER", objects.prefer.clone().unwrap_or_default()),
                ("EDGE_BODY_BUDGET", objects.budget_bytes.to_string()),
            ],
        )
    }

    fn recipe(&self, name: &str, role: &'static str, mut variables: Vec<(&'static str, String)>) -> Recipe {
        let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        variables.extend([
            ("KVFS_CLUSTER_SECRET", text(&self.secrets.cluster)),
            ("KVFS_ADMIN_TOKEN", text(&self.secrets.admin)),
            ("EDGE_URLKEY_SECRET", text(&self.secrets.url_key)),
            (shutdown::SUPERVISED, "1".to_string()),
        ]);
        variables.extend(
            ["KVFS_LOG", "KVFS_LOG_FORMAT", "OTEL_EXPORTER_OTLP_ENDPOINT", "PATH"]
                .into_iter()
                .filter_map(|name| Some((name, std::env::var(name).ok()?))),
        );
        let logs = self.home.0.join("logs");
        Recipe { binary: self.binary.clone(), name: name.to_string(), role, variables, logs }
    }
}

/// How to start one child.
struct Recipe {
    binary: PathBuf,
    name: String,
    role: &'static str,
    variables: Vec<(&'static str, String)>,
    logs: PathBuf,
}

impl Recipe {
    /// Has later starts listen where the first one did, if the system chose the port.
    fn stay_at(&mut self, address: &str) {
        let listens = self.variables.iter_mut().find(|(name, _)| name.ends_with("_ADDR"));
        if let Some((_, value)) = listens {
            *value = address.to_string();
        }
    }

    /// Starts it and waits until it serves; the process and its address.
    async fn start(&self) -> Result<(Running, String)> {
        std::fs::create_dir_all(&self.logs).with_context(|| format!("making {}", self.logs.display()))?;
        let (log_path, ready) =
            (self.logs.join(format!("{}.log", self.name)), self.logs.join(format!("{}.ready", self.name)));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.with_context(|| format!("opening {}", log_path.display()))?;
        std::fs::remove_file(&ready).ok();
        let mut child = Command::new(&self.binary)
            .arg(self.role)
            .arg("--ready-file")
            .arg(&ready)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        // Taken out, because waiting for a child closes what is still in it.
        let leash = child.stdin.take();
        let begun = Instant::now();
        loop {
            if let Some(address) = first_line(&ready) {
                return Ok((Running { child, _leash: leash }, address));
            }
            if let Some(status) = child.try_wait()? {
                if status.code() == Some(i32::from(EXIT_POISONED)) {
                    return Err(anyhow::Error::new(Poisoned).context(format!(
                        "{}; see {}",
                        self.name,
                        log_path.display()
                    )));
                }
                bail!("{} ended with {status} before it served; see {}", self.name, log_path.display());
            }
            if begun.elapsed() > READY_WITHIN {
                bail!("{} did not serve within {READY_WITHIN:?}; see {}", self.name, log_path.display());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A child that serves.
struct Running {
    child: Child,
    /// It stops when this is dropped.
    _leash: Option<ChildStdin>,
}

/// A child whose disk failed.
#[derive(Debug, thiserror::Error)]
#[error("its disk failed, and somebody must look at it first")]
pub struct Poisoned;

fn first_line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.ends_with('\n').then(|| text.trim().to_string())
}

/// What supervisors tell.
enum News {
    /// A child runs again.
    Again(String),
    /// A child's disk failed.
    Poisoned(String),
}

/// A child under its supervisor.
struct Member {
    line: String,
    stop: CancellationToken,
    started: Option<oneshot::Receiver<Result<(String, String)>>>,
    supervisor: JoinHandle<()>,
}

/// All children.
struct Family {
    members: Vec<Member>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
}

impl Default for Family {
    fn default() -> Self {
        Self { members: Vec::new(), news: mpsc::channel(64) }
    }
}

impl Family {
    /// Starts a child under a supervisor; its number.
    fn add(&mut self, recipe: Recipe) -> usize {
        let (stop, (tell, started)) = (CancellationToken::new(), oneshot::channel());
        let supervisor = tokio::spawn(supervise(recipe, tell, stop.clone(), self.news.0.clone()));
        self.members.push(Member { line: String::new(), stop, started: Some(started), supervisor });
        self.members.len() - 1
    }

    /// Waits until it serves for the first time; its address.
    async fn settled(&mut self, number: usize) -> Result<String> {
        let member = &mut self.members[number];
        let started = member.started.take().context("it was waited for before")?;
        let (line, address) = started.await.context("its supervisor ended")??;
        member.line = line;
        Ok(address)
    }

    /// Stops all, the last that was started first.
    async fn stop(self) {
        for member in self.members.into_iter().rev() {
            member.stop.cancel();
            member.supervisor.await.ok();
        }
    }
}

async fn supervise(
    mut recipe: Recipe,
    first: oneshot::Sender<Result<(String, String)>>,
    stop: CancellationToken,
    news: mpsc::Sender<News>,
) {
    let started = tokio::select! {
        started = recipe.start() => started,
        () = stop.cancelled() => return,
    };
    let mut child = match started {
        Ok((child, address)) => {
            let line = describe(&recipe.name, &child, &address);
            recipe.stay_at(&address);
            if first.send(Ok((line, address))).is_err() {
                return end(child).await;
            }
            child
        }
        Err(error) => return drop(first.send(Err(error))),
    };
    let mut pause = PAUSES.0;
    loop {
        let begun = Instant::now();
        let status = tokio::select! {
            status = child.child.wait() => status,
            () = stop.cancelled() => return end(child).await,
        };
        if matches!(&status, Ok(status) if status.code() == Some(i32::from(EXIT_POISONED))) {
            return drop(news.send(News::Poisoned(recipe.name)).await);
        }
        tracing::warn!(name = recipe.name, ?status, "a process ended; starting it again");
        pause = if begun.elapsed() > PAUSES.1 { PAUSES.0 } else { pause };
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(PAUSES.1);
            let started = tokio::select! {
                started = recipe.start() => started,
                () = stop.cancelled() => return,
            };
            match started {
                Ok((child, address)) => {
                    news.send(News::Again(describe(&recipe.name, &child, &address))).await.ok();
                    break child;
                }
                Err(error) if error.is::<Poisoned>() => return drop(news.send(News::Poisoned(recipe.name)).await),
                Err(error) => tracing::warn!(name = recipe.name, error = format!("{error:#}"), "it does not start"),
            }
        };
    }
}

fn describe(name: &str, running: &Running, address: &str) -> String {
    format!("{name:<12} pid {:<8} {address}", running.child.id().unwrap_or_default())
}

/// Asks a child to stop, and makes it.
async fn end(mut running: Running) {
    let child = &mut running.child;
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        kill_process(pid, Signal::TERM).ok();
    }
    if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
        child.kill().await.ok();
    }
}
