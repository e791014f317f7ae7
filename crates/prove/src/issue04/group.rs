//! Coordinators, gateways and data nodes, each a process: started, killed, wiped, looked at.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::Admin;
use bootstrap::SystemClock;
use client::{Ask, Http, HttpAdmin, Native, TcpConnector};
use demos::net;
use domain::view::Health;
use futures_util::future::try_join_all;
use http::{Method, StatusCode};
use std::sync::Arc;
use tokio::process::Command;

use crate::cluster::{self, CLUSTER_SECRET, Daemon, binary, free_port};

/// The secret of the first URL key.
pub const URL_SECRET: &str = "the url key of a group under test";
/// The admin token.
pub const ADMIN_TOKEN: &str = "the admin token of a group under test";

/// `strace` as a grandchild, so that the process that is started is the coordinator itself. A filter in the kernel lets all other system calls
/// pass untouched: what is measured is the coordinator, not its tracer. But strace 6.1 stops a new thread at every call until the first one that it
/// was asked for; so it is asked for `rseq` too, which each thread calls once as it begins.
const STRACE: [&str; 8] = ["strace", "-D", "-f", "--seccomp-bpf", "-y", "-ttt", "--trace=fdatasync,fsync,rseq", "-o"];

/// How many of each.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Coordinators.
    pub coords: usize,
    /// Gateways.
    pub edges: usize,
    /// Data nodes.
    pub nodes: usize,
}

/// Three coordinators, two gateways, three data nodes.
pub const USUAL: Shape = Shape { coords: 3, edges: 2, nodes: 3 };

/// How the processes of a group are set up.
#[derive(Clone, Default)]
pub struct Setup {
    /// Whether each process has a network of its own ([`demos::net`]).
    pub namespaces: bool,
    /// How coordinators reach each other, if not at their addresses: proxies.
    pub coord_urls: Option<Vec<String>>,
    /// The coordinators' addresses, if they were chosen beforehand.
    pub coord_addrs: Option<Vec<String>>,
    /// More of the environment of some coordinators.
    pub coord_extra: Vec<(usize, &'static str, String)>,
    /// Whether `strace` writes down the coordinators' syncs, to [`Group::trace_of`].
    pub syncs_traced: bool,
}

/// A running group.
pub struct Group {
    /// Where its processes live.
    pub dir: PathBuf,
    setup: Setup,
    shape: Shape,
    /// The coordinators' addresses.
    pub coord_addrs: Vec<String>,
    /// Those by which they know each other.
    coord_urls: Vec<String>,
    /// The data nodes' addresses.
    pub node_addrs: Vec<String>,
    /// The coordinators; `None` is down.
    pub coords: Vec<Option<Daemon>>,
    /// The gateways.
    pub edges: Vec<Daemon>,
    /// The data nodes.
    pub nodes: Vec<Option<Daemon>>,
    /// A client of each gateway.
    pub natives: Vec<Native>,
    http: Http,
}

impl Group {
    /// Starts everything, and waits until all of it is ready.
    pub async fn start(dir: &Path, shape: Shape) -> Result<Self> {
        Self::start_as(dir, shape, Setup::default()).await
    }

    /// The same, set up in another way.
    pub async fn start_as(dir: &Path, shape: Shape, setup: Setup) -> Result<Self> {
        let addresses = |first: usize, count: usize| -> Result<Vec<String>> {
            let address = |nth| match setup.namespaces {
                true => Ok(format!("{}:9000", net::address(first + nth))),
                false => Ok(format!("127.0.0.1:{}", free_port()?)),
            };
            (0..count).map(address).collect()
        };
        let coord_addrs = setup.coord_addrs.clone().map_or_else(|| addresses(0, shape.coords), Ok)?;
        let http = Http::new(Arc::new(TcpConnector), Arc::new(SystemClock::new()), None);
        let mut group = Self {
            dir: dir.to_path_buf(),
            coord_urls: setup.coord_urls.clone().unwrap_or_else(|| coord_addrs.clone()),
            coord_addrs,
            node_addrs: addresses(shape.coords + shape.edges, shape.nodes)?,
            shape,
            setup,
            coords: Vec::new(),
            edges: Vec::new(),
            nodes: Vec::new(),
            natives: Vec::new(),
            http,
        };
        let nodes = try_join_all((0..shape.nodes).map(|nth| group.launch_node(nth))).await?;
        let coords = try_join_all((0..shape.coords).map(|nth| group.launch_coord(nth))).await?;
        let edge_addr = |nth| match group.setup.namespaces {
            true => format!("{}:8000", net::address(shape.coords + nth)),
            false => "127.0.0.1:0".to_string(),
        };
        let edges = try_join_all((0..shape.edges).map(|nth| group.launch_edge(nth, edge_addr(nth)))).await?;
        group.nodes = nodes.into_iter().map(Some).collect();
        group.coords = coords.into_iter().map(Some).collect();
        group.natives = edges.iter().map(|edge| cluster::native(&edge.address, "v1", URL_SECRET)).collect();
        group.edges = edges;
        Ok(group)
    }

    async fn launch_node(&self, nth: usize) -> Result<Daemon> {
        let name = format!("dn{nth}");
        let variables = [
            ("KVFS_CLUSTER_SECRET", CLUSTER_SECRET),
            ("DN_ID", name.as_str()),
            ("DN_ADDR", self.node_addrs[nth].as_str()),
            ("DN_DATA_DIR", name.as_str()),
            ("DN_RESERVE_BYTES", "0"),
        ];
        self.launch(self.shape.coords + self.shape.edges + nth, &name, "dn", &variables).await
    }

    /// Starts process `nth` of all: coordinators first, then gateways, then nodes.
    async fn launch(&self, nth: usize, name: &str, role: &str, variables: &[(&str, &str)]) -> Result<Daemon> {
        match self.setup.namespaces {
            true => {
                let connect = |pid| Ok(net::connect(nth, pid)?);
                Daemon::start_by(&self.dir, name, net::WRAPPER, &[role], variables, connect).await
            }
            false => Daemon::start(&self.dir, name, &[role], variables).await,
        }
    }

    /// Starts the process of coordinator `nth` and waits until it is a member.
    pub async fn launch_coord(&self, nth: usize) -> Result<Daemon> {
        let variables = self.coord_variables(nth);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let name = format!("coord{nth}");
        match self.setup.syncs_traced {
            true => {
                let trace = self.trace_of(nth).display().to_string();
                let wrapper = [&STRACE[..], &[&trace]].concat();
                Daemon::start_by(&self.dir, &name, &wrapper, &["coord"], &variables, |_| Ok(())).await
            }
            false => self.launch(nth, &name, "coord", &variables).await,
        }
    }

    /// What `strace` says of the syncs of coordinator `nth`.
    pub fn trace_of(&self, nth: usize) -> PathBuf {
        self.dir.join(format!("trace-coord{nth}"))
    }

    /// Starts the process of coordinator `nth`, and waits for nothing: it may never become a member.
    pub fn spawn_coord(&self, nth: usize) -> Result<Daemon> {
        let variables = self.coord_variables(nth);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Daemon::spawn(&self.dir, &format!("coord{nth}"), &[], &["coord"], &variables)
    }

    /// Waits until coordinator `nth` says at `/readyz` that it is not ready, for a reason with `why` in it.
    pub async fn until_waiting(&self, nth: usize, why: &str) -> Result<()> {
        let ask = Ask::new(Method::GET, "/readyz").patience(Duration::from_millis(500));
        let (begun, mut last) = (Instant::now(), String::new());
        while begun.elapsed() < Duration::from_secs(20) {
            if let Ok(reply) = self.http.send(&self.coord_addrs[nth], &ask).await {
                last = format!("{}: {}", reply.status, String::from_utf8_lossy(&reply.body));
                if reply.status == StatusCode::SERVICE_UNAVAILABLE && last.contains(why) {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("coordinator {nth} does not say {why:?}; it says {last}")
    }

    /// Whether coordinator `nth` says that it leads; `None` if it says nothing.
    pub async fn leads(&self, nth: usize) -> Option<bool> {
        Some(self.role(nth).await? == "leader")
    }

    /// The environment of coordinator `nth`.
    pub fn coord_variables(&self, nth: usize) -> Vec<(&'static str, String)> {
        let extra = self.setup.coord_extra.iter().filter(|(whose, ..)| *whose == nth);
        let extra = extra.map(|(_, name, value)| (*name, value.clone()));
        let usual = [
            ("KVFS_CLUSTER_SECRET", CLUSTER_SECRET.to_string()),
            ("KVFS_ADMIN_TOKEN", ADMIN_TOKEN.to_string()),
            ("EDGE_URLKEY_SECRET", URL_SECRET.to_string()),
            ("COORD_ADDR", self.coord_addrs[nth].clone()),
            ("COORD_SELF_URL", format!("http://{}", self.coord_urls[nth])),
            ("COORD_PEERS", self.coord_urls.join(",")),
            ("COORD_DNS", self.node_addrs.join(",")),
            ("COORD_DATA_DIR", format!("coord{nth}")),
        ];
        usual.into_iter().chain(extra).collect()
    }

    async fn launch_edge(&self, nth: usize, addr: String) -> Result<Daemon> {
        let coords = self.coord_addrs.join(",");
        let variables = [
            ("KVFS_CLUSTER_SECRET", CLUSTER_SECRET),
            ("KVFS_ADMIN_TOKEN", ADMIN_TOKEN),
            ("EDGE_ADDR", addr.as_str()),
            ("EDGE_COORD_URL", coords.as_str()),
        ];
        self.launch(self.shape.coords + nth, &format!("edge{nth}"), "edge", &variables).await
    }

    /// The coordinators' addresses, as `--coord` takes them.
    pub fn coords_list(&self) -> String {
        self.coord_addrs.join(",")
    }

    /// Stops coordinator `nth` in order.
    pub async fn stop_coord(&mut self, nth: usize) -> Result<()> {
        self.coords[nth].take().context("that coordinator is down")?.stop().await
    }

    /// Stops data node `nth` in order.
    pub async fn stop_node(&mut self, nth: usize) -> Result<()> {
        self.nodes[nth].take().context("that node is down")?.stop().await
    }

    /// Starts data node `nth` again.
    pub async fn restart_node(&mut self, nth: usize) -> Result<()> {
        self.nodes[nth] = Some(self.launch_node(nth).await?);
        Ok(())
    }

    /// Stops gateway `nth` in order, and starts it again at its address.
    pub async fn restart_edge(&mut self, nth: usize) -> Result<()> {
        let old = self.edges.remove(nth);
        let address = old.address.clone();
        old.stop().await?;
        let new = self.launch_edge(nth, address).await?;
        self.edges.insert(nth, new);
        Ok(())
    }

    /// Stops everything: gateways first, then coordinators, then nodes.
    pub async fn stop_everything(&mut self) -> Result<()> {
        for edge in self.edges.drain(..) {
            edge.stop().await?;
        }
        for daemon in self.coords.iter_mut().chain(&mut self.nodes) {
            if let Some(daemon) = daemon.take() {
                daemon.stop().await?;
            }
        }
        Ok(())
    }

    /// Starts everything again after that: all at once, as after a power cut.
    pub async fn start_everything(&mut self) -> Result<()> {
        let edges = self.natives.len();
        let nodes = try_join_all((0..self.nodes.len()).map(|nth| self.launch_node(nth)));
        let coords = try_join_all((0..self.coords.len()).map(|nth| self.launch_coord(nth)));
        let edges = try_join_all((0..edges).map(|nth| self.launch_edge(nth, "127.0.0.1:0".into())));
        let (nodes, coords, edges) = tokio::try_join!(nodes, coords, edges)?;
        self.nodes = nodes.into_iter().map(Some).collect();
        self.coords = coords.into_iter().map(Some).collect();
        self.natives = edges.iter().map(|edge| cluster::native(&edge.address, "v1", URL_SECRET)).collect();
        self.edges = edges;
        Ok(())
    }

    /// Waits until the coordinators say that node `nth` is up.
    pub async fn until_up(&self, nth: usize) -> Result<()> {
        let begun = Instant::now();
        let mut seen = None;
        while begun.elapsed() < Duration::from_secs(30) {
            if let Ok(status) = self.admin().status().await {
                seen = status.nodes.into_iter().find(|node| node.addr == self.node_addrs[nth]);
                if seen.as_ref().is_some_and(|node| node.health == Health::Up) {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("node {nth} is not up: {seen:?}")
    }

    /// `kill -9` of coordinator `nth`.
    pub async fn kill_coord(&mut self, nth: usize) -> Result<()> {
        let mut coord = self.coords[nth].take().context("that coordinator is down")?;
        coord.kill().await
    }

    /// Starts the process of coordinator `nth` again, and waits for nothing: it may lack a majority.
    pub fn spawn_again(&mut self, nth: usize) -> Result<()> {
        self.coords[nth] = Some(self.spawn_coord(nth)?);
        Ok(())
    }

    /// Starts coordinator `nth` again.
    pub async fn restart_coord(&mut self, nth: usize) -> Result<()> {
        self.coords[nth] = Some(self.launch_coord(nth).await?);
        Ok(())
    }

    /// Which coordinator says that it leads, and in which term: asked of those whose processes run.
    pub async fn leader(&self) -> Option<usize> {
        for nth in (0..self.coords.len()).filter(|nth| self.coords[*nth].is_some()) {
            if self.leads(nth).await == Some(true) {
                return Some(nth);
            }
        }
        None
    }

    async fn role(&self, nth: usize) -> Option<String> {
        let ask = Ask::new(Method::GET, "/v1/coord/healthz").patience(Duration::from_millis(300));
        let reply = self.http.send(&self.coord_addrs[nth], &ask).await.ok()?;
        let health: serde_json::Value = serde_json::from_slice(&reply.body).ok()?;
        Some(health["role"].as_str()?.to_string())
    }

    /// The leader, as soon as there is one.
    pub async fn until_led(&self) -> Result<usize> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                bail!("no coordinator leads for 20 s");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client of any process, without credentials.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The admin API of the coordinators.
    pub fn admin(&self) -> HttpAdmin {
        HttpAdmin::new(self.http.clone(), self.coord_addrs.clone(), ADMIN_TOKEN)
    }

    /// Runs `kvfs` with these arguments in the group's directory, as its operator; what it prints on stdout.
    pub async fn kvfs(&self, arguments: &[&str]) -> Result<String> {
        self.kvfs_within(arguments, Duration::from_secs(120)).await
    }

    /// The same, for what may take long.
    pub async fn kvfs_within(&self, arguments: &[&str], limit: Duration) -> Result<String> {
        let run = Command::new(binary()?)
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .env("KVFS_CLUSTER_SECRET", CLUSTER_SECRET)
            .env("KVFS_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("EDGE_URLKEY_SECRET", URL_SECRET)
            .output();
        let output = tokio::time::timeout(limit, run).await.context("kvfs takes too long")??;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(printed),
            false => bail!("kvfs {}: {printed}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()),
        }
    }

    /// The Raft term.
    pub async fn term(&self) -> Result<u64> {
        Ok(self.admin().status().await?.consensus.term)
    }
}
