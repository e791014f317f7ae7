//! A cluster of real processes on this machine, each the `kvfs` binary, all in a temporary directory.
//!
//! Every process listens on a port of 127.0.0.1 that the system chose, and says which in its ready file. Secrets are drawn
//! by nobody: a cluster that lives for seconds and listens on loopback needs none that are secret. When the value is
//! dropped, on success, on failure or on ctrl-c, the processes are killed and the directory is removed.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use api::{Admin, Clock};
use async_trait::async_trait;
use client::{Http, HttpAdmin, Native, TcpConnector};
use domain::ChunkId;
use tempfile::TempDir;

use crate::cluster::{Cluster, Condition, DemoError, GatewaySettings, Link, Ran, Shape, Signal, Who};
use crate::environment::{self, Around};
use crate::net;
use crate::process::Process;
use crate::shell;
use crate::words::Words;

/// Real processes.
pub struct Processes {
    // Dropped in this order: first the processes end, then their directory goes.
    running: BTreeMap<Who, Process>,
    dir: TempDir,
    binary: PathBuf,
    clock: Arc<dyn Clock>,
    shape: Shape,
    settings: GatewaySettings,
    /// Where coordinators listen: each must know the others' before any of them runs.
    reserved: BTreeMap<Who, String>,
    http: Http,
    /// Whether each coordinator has a network of its own.
    networks: bool,
    links: BTreeMap<Who, Link>,
}

/// Where coordinators listen that have a network each.
const COORD_PORT: u16 = 9000;

impl Processes {
    /// A cluster of nothing yet, of processes of `binary`, with a directory of its own; with networks for its coordinators only inside of
    /// what [`net::outer`] and [`net::found`] made.
    pub fn new(binary: PathBuf, clock: Arc<dyn Clock>, networks: bool) -> Result<Self, DemoError> {
        let dir = tempfile::Builder::new().prefix("kvfs-demo-").tempdir();
        let dir = dir.map_err(DemoError::io("making a temporary directory"))?;
        let http = Http::new(Arc::new(TcpConnector), clock.clone(), None);
        let shape = Shape { nodes: 0, coordinators: 0, gateways: 0 };
        let (running, reserved) = (BTreeMap::new(), BTreeMap::new());
        let (settings, links) = (GatewaySettings::new(), BTreeMap::new());
        Ok(Self { running, dir, binary, clock, shape, settings, reserved, http, networks, links })
    }

    /// A process that was started.
    pub(crate) fn process(&self, who: Who) -> Result<&Process, DemoError> {
        self.running.get(&who).ok_or_else(|| DemoError::usage(format!("{who} was never started")))
    }

    /// A node's directory.
    pub(crate) fn home(&self, node: Who) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    /// The chosen settings.
    pub(crate) fn settings(&self) -> &GatewaySettings {
        &self.settings
    }

    fn launch(&self, who: Who) -> Result<Process, DemoError> {
        // A process that ran before comes back at its address, under which the others know it.
        let ran = self.running.get(&who).map(|process| process.address.clone()).filter(|address| !address.is_empty());
        let address = ran.or_else(|| self.reserved.get(&who).cloned()).unwrap_or_else(|| format!("{}:0", self.host()));
        let nodes = self.running.iter().filter(|(who, _)| matches!(who, Who::Node(_)));
        let around = Around {
            address,
            home: self.home(who).display().to_string(),
            nodes: nodes.map(|(_, process)| process.address.clone()).collect(),
            hosts: self.hosts().iter().filter_map(|host| self.reserved.get(host).cloned()).collect(),
            settings: &self.settings,
            shape: self.shape,
        };
        Process::spawn(
            &self.binary,
            self.dir.path(),
            who,
            environment::role(who),
            &environment::variables(who, &around),
            self.network(who),
        )
    }

    /// Where those listen that have no network of their own.
    fn host(&self) -> String {
        if self.networks { net::hub() } else { "127.0.0.1".into() }
    }

    /// Which network a process has for itself.
    fn network(&self, who: Who) -> Option<usize> {
        match who {
            Who::Coord(nth) if self.networks => Some(usize::from(nth)),
            _ => None,
        }
    }

    /// The addresses of those that hold the metadata and run.
    fn awake(&self) -> Vec<String> {
        let awake = |who: &Who| self.running.get(who).filter(|process| process.answers());
        self.hosts().iter().filter_map(awake).map(|process| process.address.clone()).collect()
    }

    /// Ports for those that must know each other beforehand: free a moment ago.
    fn reserve(&mut self) -> Result<(), DemoError> {
        // A gateway that hosts the only coordinator is known to nobody before it serves.
        let alone = self.shape.coordinators == 0 && self.shape.gateways == 1;
        let hosts = if alone { Vec::new() } else { self.shape.hosts() };
        let hosts: Vec<_> = hosts.into_iter().filter(|who| self.network(*who).is_none()).collect();
        // Held together, so that no port is given twice.
        let held = hosts.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>();
        let held = held.map_err(DemoError::io("finding free ports"))?;
        for who in self.shape.hosts() {
            if let Some(nth) = self.network(who) {
                self.reserved.insert(who, format!("{}:{COORD_PORT}", net::address(nth)));
            }
        }
        for (who, listener) in hosts.into_iter().zip(held) {
            let address = listener.local_addr().map_err(DemoError::io("finding free ports"))?;
            self.reserved.insert(who, address.to_string());
        }
        Ok(())
    }

    async fn start_all(&mut self, all: Vec<Who>) -> Result<(), DemoError> {
        for who in &all {
            self.spawn(*who)?;
        }
        for who in all {
            self.until_ready(who).await?;
        }
        Ok(())
    }

    fn file(&self, node: Who, chunk: ChunkId) -> PathBuf {
        let hex = chunk.to_hex();
        self.home(node).join("chunks").join(&hex[..2]).join(&hex[2..])
    }
}

#[async_trait]
impl Cluster for Processes {
    async fn found(&mut self, shape: Shape, settings: &GatewaySettings) -> Result<(), DemoError> {
        (self.shape, self.settings) = (shape, settings.clone());
        self.start_all((1..=shape.nodes).map(Who::Node).collect()).await?;
        self.reserve()?;
        self.start_all((1..=shape.coordinators).map(Who::Coord).collect()).await?;
        self.start_all((1..=shape.gateways).map(Who::Gateway).collect()).await
    }

    async fn start(&mut self, who: Who) -> Result<(), DemoError> {
        self.spawn(who)?;
        self.until_ready(who).await
    }

    fn spawn(&mut self, who: Who) -> Result<(), DemoError> {
        if self.running.get_mut(&who).is_some_and(|process| process.condition() != Condition::Dead) {
            return Err(DemoError::usage(format!("{who} runs already")));
        }
        let mut process = self.launch(who)?;
        // Where it will listen is known of those that have a reserved address, before they say so.
        process.address = self.reserved.get(&who).cloned().unwrap_or_default();
        self.running.insert(who, process);
        Ok(())
    }

    async fn until_ready(&mut self, who: Who) -> Result<(), DemoError> {
        let process = self.running.get_mut(&who);
        process.ok_or_else(|| DemoError::usage(format!("{who} was never started")))?.until_ready().await
    }

    fn wipe(&mut self, who: Who) -> Result<(), DemoError> {
        if self.running.get_mut(&who).is_some_and(|process| process.condition() != Condition::Dead) {
            return Err(DemoError::usage(format!("{who} runs: only a dead process's disk is emptied")));
        }
        std::fs::remove_dir_all(self.home(who)).map_err(DemoError::io(format!("emptying the directory of {who}")))
    }

    async fn signal(&mut self, who: Who, signal: Signal) -> Result<(), DemoError> {
        let process = self.running.get_mut(&who);
        process.ok_or_else(|| DemoError::usage(format!("{who} was never started")))?.signal(signal)
    }

    fn link(&mut self, who: Who, link: Link) -> Result<(), DemoError> {
        let Some(own) = self.network(who) else {
            return Err(DemoError::usage(format!(
                "{who} has no network of its own: say `needs: networks`, and cut coordinators"
            )));
        };
        let pid = self.process(who)?.id();
        let others: Vec<_> =
            self.hosts().into_iter().filter_map(|host| self.network(host)).filter(|nth| *nth != own).collect();
        let before = self.links.insert(who, link).unwrap_or(Link::Whole);
        let problem = || DemoError::io(format!("cutting or mending the network of {who}"));
        if (before == Link::CutFromPeers) != (link == Link::CutFromPeers) {
            net::blackhole(pid, &others, link == Link::CutFromPeers).map_err(problem())?;
        }
        if (before == Link::Unplugged) != (link == Link::Unplugged) {
            net::cable(own, link != Link::Unplugged).map_err(problem())?;
        }
        Ok(())
    }

    fn processes(&mut self) -> BTreeMap<Who, Condition> {
        self.running.iter_mut().map(|(who, process)| (*who, process.condition())).collect()
    }

    fn address(&self, who: Who) -> Result<String, DemoError> {
        self.process(who).map(|process| process.address.clone())
    }

    fn native(&self, gateway: Who, kid: &str) -> Result<Native, DemoError> {
        let (address, secret) = (self.address(gateway)?, environment::url_secret(kid));
        Ok(Native::new(Arc::new(TcpConnector), self.clock.clone(), address, kid, secret.as_bytes()))
    }

    fn http(&self) -> Http {
        self.http.clone()
    }

    fn admin(&self) -> Result<Arc<dyn Admin>, DemoError> {
        Ok(Arc::new(HttpAdmin::new(self.http.clone(), self.awake(), environment::ADMIN_TOKEN)))
    }

    fn admin_of(&self, who: Who) -> Result<Arc<dyn Admin>, DemoError> {
        Ok(Arc::new(HttpAdmin::new(self.http.clone(), vec![self.address(who)?], environment::ADMIN_TOKEN)))
    }

    fn hosts(&self) -> Vec<Who> {
        self.shape.hosts()
    }

    async fn kvfs(&self, arguments: &[&str]) -> Result<Ran, DemoError> {
        let mut command = tokio::process::Command::new(&self.binary);
        let command = command.args(arguments).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        let command = command.envs(environment::SECRETS.iter().copied()).kill_on_drop(true);
        let output = command.output().await.map_err(DemoError::io("running kvfs"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran { code: output.status.code(), printed: text(&output.stdout), complained: text(&output.stderr) })
    }

    fn spoil(&self, file: &str) -> Result<(), DemoError> {
        let path = self.dir.path().join(file);
        let mut bytes = std::fs::read(&path).map_err(DemoError::io("reading what is to be spoiled"))?;
        let middle = bytes.len() / 2;
        bytes.get_mut(middle).into_iter().for_each(|byte| *byte ^= 0xff);
        std::fs::write(&path, bytes).map_err(DemoError::io("spoiling a file"))
    }

    fn listing(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(dir)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn chunks(&self, node: Who) -> Result<Vec<ChunkId>, DemoError> {
        let mut found = Vec::new();
        let chunks = self.home(node).join("chunks");
        if !chunks.exists() {
            // Nobody registered it yet, so nobody formatted it.
            return Ok(found);
        }
        let problem = || DemoError::io(format!("looking into {node}"));
        for bucket in std::fs::read_dir(&chunks).map_err(problem())? {
            let bucket = bucket.map_err(problem())?;
            let prefix = bucket.file_name().to_string_lossy().into_owned();
            for file in std::fs::read_dir(bucket.path()).map_err(problem())? {
                let name = format!("{prefix}{}", file.map_err(problem())?.file_name().to_string_lossy());
                let id = name.parse().map_err(|_| DemoError::usage(format!("{node} has a file `{name}`")))?;
                found.push(id);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn read_chunk(&self, node: Who, chunk: ChunkId) -> Result<Vec<u8>, DemoError> {
        std::fs::read(self.file(node, chunk)).map_err(DemoError::io(format!("reading a chunk file of {node}")))
    }

    fn write_chunk(&self, node: Who, chunk: ChunkId, bytes: &[u8]) -> Result<(), DemoError> {
        std::fs::write(self.file(node, chunk), bytes).map_err(DemoError::io(format!("damaging a file of {node}")))
    }

    fn remove_chunk(&self, node: Who, chunk: ChunkId) -> Result<(), DemoError> {
        std::fs::remove_file(self.file(node, chunk)).map_err(DemoError::io(format!("deleting a file of {node}")))
    }

    fn temporary_files(&self, node: Who) -> Result<usize, DemoError> {
        let files = std::fs::read_dir(self.home(node).join("tmp"));
        Ok(files.map_err(DemoError::io(format!("looking into {node}")))?.count())
    }

    fn peak_bytes(&self, who: Who) -> Result<u64, DemoError> {
        self.process(who)?.peak_bytes()
    }

    fn log(&self, who: Who) -> String {
        self.process(who).map(Process::logged).unwrap_or_default()
    }

    fn shell(&self, words: &Words) -> Option<String> {
        shell::line(self, words)
    }
}
