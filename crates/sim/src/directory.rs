//! Who is where: the running processes of the cluster, found anew for every message.
//!
//! The directory also decides what a message is handed to: the part itself, in this process, or a client of the production HTTP in
//! front of it, over one half of a `tokio::io::duplex`.

use std::io;
use std::sync::{Arc, Weak};

use api::rpc::MetaRequest;
use api::{ChunkStore, Clock, Metadata};
use async_trait::async_trait;
use axum::Router;
use bootstrap::Secret;
use bootstrap::server::{ServerOptions, serve_stream};
use client::{Connector, Http, HttpChunkStore, Stream, http_metadata};
use coord::Coordinator;
use objects::Objects;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::plant::Plant;
use crate::power::{Process, Who};

/// How processes reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    /// Data nodes through their HTTP; else directly.
    pub nodes_over_http: bool,
    /// The coordinator through its HTTP; else directly.
    pub coordinator_over_http: bool,
}

/// Where the coordinator listens.
const COORDINATOR: &str = "coord:9000";

/// Bytes under way in a connection.
const PIPE_BYTES: usize = 64 << 10;

/// The running processes.
pub struct Directory {
    wiring: Wiring,
    plant: Mutex<Option<Plant>>,
    nodes: Vec<Mutex<Option<Running<dn::Node>>>>,
    coordinator: Mutex<Option<Running<Coordinator>>>,
    gateway: Mutex<Option<Objects>>,
    /// A client for each machine that asks, so that each has connections of its own.
    clients: Vec<Http>,
    endless: Arc<Process>,
}

struct Running<T> {
    part: T,
    process: Arc<Process>,
    router: Router,
}

impl Directory {
    /// An empty directory.
    pub fn new(nodes: usize, wiring: Wiring, clock: Arc<dyn Clock>, secret: &Secret) -> Arc<Self> {
        Arc::new_cyclic(|directory: &Weak<Self>| {
            let connector = Arc::new(Pipes(directory.clone()));
            let client = |_| Http::new(connector.clone(), clock.clone(), Some(secret.share()));
            Self {
                wiring,
                plant: Mutex::default(),
                nodes: (0..nodes).map(|_| Mutex::default()).collect(),
                coordinator: Mutex::default(),
                gateway: Mutex::default(),
                clients: (0..2).map(client).collect(),
                endless: Process::new(false),
            }
        })
    }

    /// The name and address of node `nth`.
    pub fn name(nth: usize) -> String {
        format!("dn{}:8080", nth + 1)
    }

    /// Which node has this name.
    pub fn number_of(&self, name: &str) -> Option<usize> {
        (0..self.nodes.len()).find(|nth| Self::name(*nth) == name)
    }

    /// Lists a node, with its HTTP.
    pub fn enter_node(&self, nth: usize, part: dn::Node, process: Arc<Process>, router: Router) {
        *self.nodes[nth].lock() = Some(Running { part, process, router });
    }

    /// Lists the coordinator, with its HTTP.
    pub fn enter_coordinator(&self, part: Coordinator, process: Arc<Process>, router: Router) {
        *self.coordinator.lock() = Some(Running { part, process, router });
    }

    /// Lists the gateway.
    pub fn enter_gateway(&self, objects: Objects) {
        *self.gateway.lock() = Some(objects);
    }

    /// Strikes out a node.
    pub fn remove_node(&self, nth: usize) {
        drop(self.nodes[nth].lock().take());
    }

    /// Strikes out the coordinator, and hands it over to be taken down.
    pub fn remove_coordinator(&self) -> Option<Coordinator> {
        self.coordinator.lock().take().map(|running| running.part)
    }

    /// Strikes out the gateway.
    pub fn remove_gateway(&self) -> Option<Objects> {
        self.gateway.lock().take()
    }

    /// Node `nth` itself.
    pub fn node_itself(&self, nth: usize) -> Option<dn::Node> {
        self.nodes[nth].lock().as_ref().map(|running| running.part.clone())
    }

    /// The coordinator itself.
    pub fn coordinator_itself(&self) -> Option<Coordinator> {
        self.coordinator.lock().as_ref().map(|running| running.part.clone())
    }

    /// The gateway.
    pub fn gateway(&self) -> Option<Objects> {
        self.gateway.lock().clone()
    }

    /// Node `nth` as `from` reaches it.
    pub fn node(&self, from: Who, nth: usize) -> Option<(Arc<dyn ChunkStore>, Arc<Process>)> {
        let running = self.nodes.get(nth)?.lock();
        let running = running.as_ref()?;
        let store: Arc<dyn ChunkStore> = match self.wiring.nodes_over_http {
            true => Arc::new(HttpChunkStore::new(self.client(from), Self::name(nth))),
            false => Arc::new(running.part.clone()),
        };
        Some((store, self.felt(self.wiring.nodes_over_http, &running.process)))
    }

    /// The coordinator as the gateway reaches it.
    pub fn coordinator(&self) -> Option<(Arc<dyn Metadata>, Arc<Process>)> {
        let running = self.coordinator.lock();
        let running = running.as_ref()?;
        let meta: Arc<dyn Metadata> = match self.wiring.coordinator_over_http {
            true => Arc::new(http_metadata(self.client(Who::Gateway), vec![COORDINATOR.into()])),
            false => Arc::new(running.part.clone()),
        };
        Some((meta, self.felt(self.wiring.coordinator_over_http, &running.process)))
    }

    /// The process whose end breaks a call off. Over HTTP that is up to the connection.
    fn felt(&self, over_http: bool, process: &Arc<Process>) -> Arc<Process> {
        if over_http { self.endless.clone() } else { process.clone() }
    }

    /// Plants a fault, or takes it out.
    pub fn plant(&self, plant: Option<Plant>) {
        *self.plant.lock() = plant;
    }

    /// The fault that is planted.
    pub fn planted(&self) -> Option<Plant> {
        *self.plant.lock()
    }

    /// What the planted fault makes of a question to the coordinator.
    pub fn tamper(&self, request: MetaRequest) -> MetaRequest {
        match (self.planted(), request) {
            (Some(Plant::FloorsRunAhead), MetaRequest::RenewLease(lease, _)) => {
                MetaRequest::RenewLease(lease, u64::MAX >> 16)
            }
            (_, request) => request,
        }
    }

    fn client(&self, from: Who) -> Http {
        self.clients[usize::from(from == Who::Coordinator)].clone()
    }

    fn listener(&self, address: &str) -> Option<(Router, Arc<Process>)> {
        let found = |router: &Router, process: &Arc<Process>| (router.clone(), process.clone());
        match self.number_of(address) {
            Some(nth) => self.nodes[nth].lock().as_ref().map(|running| found(&running.router, &running.process)),
            None => self.coordinator.lock().as_ref().map(|running| found(&running.router, &running.process)),
        }
    }
}

/// Connections in memory to whoever listens.
struct Pipes(Weak<Directory>);

#[async_trait]
impl Connector for Pipes {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let listener = self.0.upgrade().and_then(|directory| directory.listener(address));
        let Some((router, process)) = listener.filter(|(_, process)| !process.is_over()) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (here, there) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = process.ended() => {}
                () = serve_stream(there, router, ServerOptions::default(), CancellationToken::new()) => {}
            }
        });
        Ok(Box::new(here))
    }
}
