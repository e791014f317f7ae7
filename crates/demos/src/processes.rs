//! A cluster of real processes on this machine, each the `kvfs` binary, all in a temporary directory.
//!
//! Every process listens on a port of 127.0.0.1 that the system chose, and says which in its ready file. Secrets are drawn
//! by nobody: a cluster that lives for seconds and listens on loopback needs none that are secret. When the value is
//! dropped, on success, on failure or on ctrl-c, the processes are killed and the directory is removed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use api::{Admin, Clock};
use async_trait::async_trait;
use client::{Http, HttpAdmin, Native, TcpConnector};
use domain::ChunkId;
use tempfile::TempDir;

use crate::cluster::{Cluster, Condition, DemoError, GatewaySettings, Signal, Who};
use crate::process::Process;
use crate::shell;
use crate::words::Words;

const CLUSTER_SECRET: &str = "the cluster secret of a demo";
const ADMIN_TOKEN: &str = "the admin token of a demo";

/// The secret behind the demo cluster's URL key `v1`.
pub const URL_SECRET: &str = "the url key of a demo";

/// Each short name of a gateway setting, and its environment variable.
pub const SETTINGS: &[(&str, &str)] = &[
    ("copies", "EDGE_REPLICAS"),
    ("write-quorum", "EDGE_QUORUM_WRITE"),
    ("chunk-size", "EDGE_CHUNK_SIZE"),
    ("body-budget", "EDGE_BODY_BUDGET"),
    ("gc-delay", "EDGE_GC_DELAY"),
    ("gc-every", "EDGE_GC_INTERVAL"),
    ("sweep-every", "EDGE_SWEEP_INTERVAL"),
    ("skip-auth", "EDGE_SKIP_AUTH"),
];

/// Real processes.
pub struct Processes {
    // Dropped in this order: first the processes end, then their directory goes.
    running: BTreeMap<Who, Process>,
    dir: TempDir,
    binary: PathBuf,
    clock: Arc<dyn Clock>,
    gateway: GatewaySettings,
    http: Http,
}

impl Processes {
    /// A cluster of nothing yet, of processes of `binary`, with a directory of its own.
    pub fn new(binary: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, DemoError> {
        let dir = tempfile::Builder::new().prefix("kvfs-demo-").tempdir();
        let dir = dir.map_err(DemoError::io("making a temporary directory"))?;
        let http = Http::new(Arc::new(TcpConnector), clock.clone(), None);
        Ok(Self { running: BTreeMap::new(), dir, binary, clock, gateway: GatewaySettings::new(), http })
    }

    /// A process that was started.
    pub(crate) fn process(&self, who: Who) -> Result<&Process, DemoError> {
        self.running.get(&who).ok_or_else(|| DemoError::usage(format!("{who} was never started")))
    }

    /// A node's directory.
    pub(crate) fn home(&self, node: Who) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    /// The gateway's chosen settings.
    pub(crate) fn settings(&self) -> &GatewaySettings {
        &self.gateway
    }

    fn spawn(&self, who: Who) -> Result<Process, DemoError> {
        // A process that ran before comes back at its address, under which the others know it.
        let address = self.running.get(&who).map_or("127.0.0.1:0", |process| process.address.as_str());
        let mut variables = vec![("KVFS_CLUSTER_SECRET", CLUSTER_SECRET.to_string())];
        let role = match who {
            Who::Node(_) => {
                let home = self.home(who).display().to_string();
                // The disk may be nearly full: what a demo writes is small and goes away.
                let own = [("DN_ID", who.to_string()), ("DN_DATA_DIR", home), ("DN_RESERVE_BYTES", "0".into())];
                variables.extend(own);
                variables.push(("DN_ADDR", address.to_string()));
                "dn"
            }
            Who::Gateway => {
                variables.extend(self.gateway_variables());
                variables.push(("EDGE_ADDR", address.to_string()));
                "edge"
            }
        };
        let variables: Vec<_> = variables.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        Process::spawn(&self.binary, self.dir.path(), who, role, &variables)
    }

    fn gateway_variables(&self) -> Vec<(&'static str, String)> {
        let nodes = self.running.iter().filter(|(who, _)| **who != Who::Gateway);
        let nodes: Vec<_> = nodes.map(|(_, process)| process.address.clone()).collect();
        let mut variables = vec![
            ("KVFS_ADMIN_TOKEN", ADMIN_TOKEN.to_string()),
            ("EDGE_URLKEY_SECRET", URL_SECRET.to_string()),
            ("EDGE_DATA_DIR", self.home(Who::Gateway).display().to_string()),
            ("EDGE_DNS", nodes.join(",")),
        ];
        for (short, variable) in SETTINGS {
            variables.extend(self.gateway.get(*short).map(|value| (*variable, value.clone())));
        }
        variables
    }

    fn file(&self, node: Who, chunk: ChunkId) -> PathBuf {
        let hex = chunk.to_hex();
        self.home(node).join("chunks").join(&hex[..2]).join(&hex[2..])
    }
}

#[async_trait]
impl Cluster for Processes {
    async fn found(&mut self, nodes: u8, gateway: &GatewaySettings) -> Result<(), DemoError> {
        self.gateway = gateway.clone();
        for who in (1..=nodes).map(Who::Node) {
            let process = self.spawn(who)?;
            self.running.insert(who, process);
        }
        for process in self.running.values_mut() {
            process.until_ready().await?;
        }
        self.start(Who::Gateway).await
    }

    async fn start(&mut self, who: Who) -> Result<(), DemoError> {
        if self.running.get_mut(&who).is_some_and(|process| process.condition() != Condition::Dead) {
            return Err(DemoError::usage(format!("{who} runs already")));
        }
        let mut process = self.spawn(who)?;
        process.until_ready().await?;
        self.running.insert(who, process);
        Ok(())
    }

    async fn signal(&mut self, who: Who, signal: Signal) -> Result<(), DemoError> {
        let process = self.running.get_mut(&who);
        process.ok_or_else(|| DemoError::usage(format!("{who} was never started")))?.signal(signal)
    }

    fn processes(&mut self) -> BTreeMap<Who, Condition> {
        self.running.iter_mut().map(|(who, process)| (*who, process.condition())).collect()
    }

    fn address(&self, who: Who) -> Result<String, DemoError> {
        self.process(who).map(|process| process.address.clone())
    }

    fn native(&self) -> Result<Native, DemoError> {
        let address = self.address(Who::Gateway)?;
        Ok(Native::new(Arc::new(TcpConnector), self.clock.clone(), address, "v1", URL_SECRET.as_bytes()))
    }

    fn http(&self) -> Http {
        self.http.clone()
    }

    fn admin(&self) -> Result<Arc<dyn Admin>, DemoError> {
        Ok(Arc::new(HttpAdmin::new(self.http.clone(), vec![self.address(Who::Gateway)?], ADMIN_TOKEN)))
    }

    fn chunks(&self, node: Who) -> Result<Vec<ChunkId>, DemoError> {
        let mut found = Vec::new();
        let chunks = self.home(node).join("chunks");
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
