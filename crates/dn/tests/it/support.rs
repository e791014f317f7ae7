//! Nodes to test: on which disk, behind which wire.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::{ChunkStore, Clock, Disk};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bootstrap::Secret;
use bootstrap::server::{ServerOptions, serve_stream};
use bytes::Bytes;
use client::{Connector, Http, HttpChunkStore, Stream};
use dn::{Node, Options};
use domain::{ChunkId, NodeId};
use testkit::chunk_suite::{Damage, Subject};
use testkit::clock::SimClock;
use testkit::entropy::SeededEntropy;
use testkit::sim_disk::SimDisk;
use tokio_util::sync::CancellationToken;

/// When tests take place.
pub const NOW_MS: u64 = 1_750_000_000_000;

/// Where a simulated node keeps its chunks.
pub const HOME: &str = "/data/dn1";

/// Options that keep nothing in reserve.
pub fn no_reserve() -> Options {
    Options { reserve_bytes: Some(0), ..Options::default() }
}

pub async fn open(disk: Arc<dyn Disk>, home: &Path, options: Options) -> Result<Node, dn::OpenError> {
    let entropy = Arc::new(SeededEntropy::new(11));
    Node::open(disk, Arc::new(SimClock::new(NOW_MS)), entropy, home.to_owned(), options).await
}

/// A formatted node on `disk`.
pub async fn node_on(disk: &SimDisk, options: Options) -> Node {
    let node = open(Arc::new(disk.clone()), Path::new(HOME), options).await.expect("opens");
    node.format(7, 1, NodeId(3)).await.expect("formats");
    node
}

pub fn path_of(home: &Path, id: ChunkId) -> PathBuf {
    let hex = id.to_hex();
    home.join("chunks").join(&hex[..2]).join(&hex[2..])
}

pub fn secret() -> Secret {
    Secret::new("sixteen bytes or more").expect("long enough")
}

/// A body of `pieces` times 1 KiB, and how many of them were read.
pub fn counted_body(pieces: usize) -> (Body, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    let piece = move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<_, io::Error>(Bytes::from(vec![7; 1024]))
    };
    (Body::from_stream(futures_util::stream::iter((0..pieces).map(piece))), read)
}

/// Connects to a router in this process and counts how often.
pub struct Direct {
    pub router: Router,
    pub connections: AtomicUsize,
}

impl Direct {
    pub fn to(router: Router) -> Arc<Self> {
        Arc::new(Self { router, connections: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Connector for Direct {
    async fn connect(&self, _: &str) -> io::Result<Box<dyn Stream>> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let (here, there) = tokio::io::duplex(64 << 10);
        tokio::spawn(serve_stream(there, self.router.clone(), ServerOptions::default(), CancellationToken::new()));
        Ok(Box::new(here))
    }
}

/// `node` behind HTTP and the cluster secret.
pub fn behind_http(node: &Node) -> HttpChunkStore {
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(NOW_MS));
    let router = dn::http::router(node.clone(), Some(secret()), clock.clone());
    HttpChunkStore::new(Http::new(Direct::to(router), clock, Some(secret().share())), "dn1:8080")
}

/// A node as the suite's subject: on any disk, in this process or behind HTTP.
pub struct DiskSubject {
    disk: Arc<dyn Disk>,
    home: PathBuf,
    wired: bool,
    node: Option<Node>,
    store: Option<Box<dyn ChunkStore>>,
}

impl DiskSubject {
    pub async fn new(disk: Arc<dyn Disk>, home: &Path, wired: bool) -> Self {
        let mut subject = Self { disk, home: home.to_owned(), wired, node: None, store: None };
        subject.reopen().await;
        subject
    }
}

#[async_trait]
impl Subject for DiskSubject {
    fn store(&self) -> &dyn ChunkStore {
        self.store.as_deref().expect("open")
    }

    async fn reopen(&mut self) -> bool {
        (self.node, self.store) = (None, None);
        let node = loop {
            match open(self.disk.clone(), &self.home, no_reserve()).await {
                Ok(node) => break node,
                // The server's last connection still holds the old node: it goes with its task.
                Err(dn::OpenError::Disk { source, .. }) if source.kind() == io::ErrorKind::ResourceBusy => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        self.store = Some(if self.wired { Box::new(behind_http(&node)) } else { Box::new(node.clone()) });
        self.node = Some(node);
        true
    }

    fn damage(&self, id: ChunkId, damage: Damage) -> bool {
        let file = self.disk.open(&path_of(&self.home, id)).expect("it is there");
        match damage {
            Damage::Emptied => file.set_len(0).expect("cut"),
            Damage::Truncated => file.set_len(file.len().expect("length") - 1).expect("cut"),
            Damage::FlippedBit => {
                let mut byte = [0];
                file.read_at(&mut byte, 7).expect("read");
                file.write_at(&[byte[0] ^ 1], 7).expect("write");
            }
        }
        true
    }
}
