//! The network: messages take their time, are lost, come twice, or do not get through at all.
//!
//! A message is a call of a seam. It travels there, is carried out, and its answer travels back; either way may fail. A lost
//! question was not carried out, a lost answer was, and the caller cannot tell them apart: both are silence for two
//! seconds, then an error. Under loss a message may also be delivered a second time, later.
//!
//! What is behind the network is found anew for every message, so that a restarted process is reached under its old name.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::chunk_store::{Held, MerkleSummary, NodeIdentity, Restamp, Stored};
use api::rpc::{self, Carry, MetaReply, MetaRequest};
use api::{ChunkError, ChunkStore, MetaError, Metadata, NodeStatus};
use async_trait::async_trait;
use bytes::Bytes;
use datapath::Connect;
use domain::view::NodeView;
use domain::{ChunkId, Crc32c, NodeId, Token};
use parking_lot::Mutex;

use crate::directory::Directory;
use crate::plant::Plant;
use crate::power::{Process, Who};
use crate::random::Random;

/// How long a caller waits for an answer that does not come.
pub const SILENCE: Duration = Duration::from_secs(2);

/// What happens to messages.
pub struct Network {
    random: Mutex<Random>,
    /// Some messages take up to this long.
    jitter_ms: AtomicU64,
    /// So many of a thousand messages are lost each way, and as many come twice.
    loss_per_mille: AtomicU64,
    /// Pairs between which nothing gets through.
    cut: Mutex<BTreeSet<(Who, Who)>>,
}

impl Network {
    /// A network whose moods follow `random`.
    pub fn new(random: Random) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(random),
            jitter_ms: AtomicU64::new(0),
            loss_per_mille: AtomicU64::new(0),
            cut: Mutex::default(),
        })
    }

    /// Lets one message in four take up to so long.
    pub fn set_jitter(&self, ms: u64) {
        self.jitter_ms.store(ms, Ordering::Relaxed);
    }

    /// Loses so many of a thousand messages each way, and delivers as many twice.
    pub fn set_loss(&self, per_mille: u64) {
        self.loss_per_mille.store(per_mille, Ordering::Relaxed);
    }

    /// Lets nothing through between the two, or everything again.
    pub fn set_cut(&self, one: Who, other: Who, cut: bool) {
        let pair = (one.min(other), one.max(other));
        let mut cuts = self.cut.lock();
        if cut {
            cuts.insert(pair)
        } else {
            cuts.remove(&pair)
        };
    }

    /// No loss, no cuts.
    pub fn mend(&self) {
        self.set_loss(0);
        self.cut.lock().clear();
    }

    /// Takes a message from one to the other; false if it is lost, after the silence.
    async fn travel(&self, from: Who, to: Who) -> bool {
        let jitter_ms = self.jitter_ms.load(Ordering::Relaxed);
        let (lost, delay_ms) = {
            let mut random = self.random.lock();
            let lost = random.chance(self.loss_per_mille.load(Ordering::Relaxed));
            (lost, if jitter_ms > 0 && random.chance(250) { random.below(jitter_ms + 1) } else { 0 })
        };
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        let cut = self.cut.lock().contains(&(from.min(to), from.max(to)));
        if lost || cut {
            tokio::time::sleep(SILENCE).await;
        }
        !lost && !cut
    }

    /// After how long this message comes a second time, if it does.
    fn echo(&self) -> Option<Duration> {
        let mut random = self.random.lock();
        let twice = random.chance(self.loss_per_mille.load(Ordering::Relaxed));
        twice.then(|| Duration::from_millis(random.below(10_000)))
    }
}

/// One machine's ways to all others.
#[derive(Clone)]
pub struct Lines {
    from: Who,
    network: Arc<Network>,
    directory: Arc<Directory>,
}

impl Lines {
    /// The lines of `from`.
    pub fn new(from: Who, network: Arc<Network>, directory: Arc<Directory>) -> Self {
        Self { from, network, directory }
    }
}

impl Connect for Lines {
    fn connect(&self, node: &NodeView) -> Arc<dyn ChunkStore> {
        match self.directory.number_of(&node.name) {
            Some(nth) => Arc::new(NodeLine { lines: self.clone(), nth }),
            None => Arc::new(NodeLine { lines: self.clone(), nth: usize::MAX }),
        }
    }
}

/// The way to one data node.
#[derive(Clone)]
struct NodeLine {
    lines: Lines,
    nth: usize,
}

/// Whoever answers at the other end, and the process that it is a part of.
type There = (Arc<dyn ChunkStore>, Arc<Process>);

impl NodeLine {
    async fn there(&self) -> Result<There, ChunkError> {
        if !self.lines.network.travel(self.lines.from, Who::Node(self.nth)).await {
            return Err(no_answer("the question was lost"));
        }
        match self.lines.directory.node(self.lines.from, self.nth) {
            Some((store, process)) if !process.is_over() => Ok((store, process)),
            _ => Err(no_answer("nobody listens there")),
        }
    }

    async fn back<T>(&self, process: &Process, answer: Result<T, ChunkError>) -> Result<T, ChunkError> {
        // What a process says whose power just went is never heard.
        if process.is_over() {
            return Err(no_answer("the connection broke"));
        }
        match self.lines.network.travel(Who::Node(self.nth), self.lines.from).await {
            true => answer,
            false => Err(no_answer("the answer was lost")),
        }
    }

    /// Delivers a message a second time, later, if the network is in the mood.
    fn perhaps_again<F>(&self, again: impl FnOnce(There) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let Some(after) = self.lines.network.echo() else { return };
        let line = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some((store, process)) = line.lines.directory.node(line.lines.from, line.nth)
                && !process.is_over()
            {
                again((store, process)).await;
            }
        });
    }

    async fn put_now(&self, id: ChunkId, crc: Crc32c, bytes: Bytes) -> Result<Stored, ChunkError> {
        let again = bytes.clone();
        self.perhaps_again(move |(store, _)| async move { drop(store.put(id, crc, again).await) });
        carry!(self, store => store.put(id, crc, bytes))
    }
}

fn no_answer(reason: &str) -> ChunkError {
    ChunkError::Unreachable { reason: reason.into() }
}

/// Carries a call to the node and its answer back.
macro_rules! carry {
    ($line:ident, $store:ident => $call:expr) => {{
        let ($store, process) = $line.there().await?;
        let answer = tokio::select! {
            biased;
            () = process.ended() => Err(no_answer("the connection broke")),
            answer = $call => answer,
        };
        $line.back(&process, answer).await
    }};
}
use carry;

#[async_trait]
impl ChunkStore for NodeLine {
    async fn put(&self, id: ChunkId, crc: Crc32c, bytes: Bytes) -> Result<Stored, ChunkError> {
        if self.lines.directory.planted() == Some(Plant::EarlyAnswers) {
            return self.answer_early(id, crc, bytes).await;
        }
        self.put_now(id, crc, bytes).await
    }

    async fn touch(&self, id: ChunkId) -> Result<Stored, ChunkError> {
        carry!(self, store => store.touch(id))
    }

    async fn get(&self, id: ChunkId, crc: Option<Crc32c>) -> Result<Bytes, ChunkError> {
        carry!(self, store => store.get(id, crc))
    }

    async fn get_range(&self, id: ChunkId, crc: Crc32c, range: Range<u32>) -> Result<(Bytes, Crc32c), ChunkError> {
        carry!(self, store => store.get_range(id, crc, range))
    }

    async fn stat(&self, ids: &[ChunkId]) -> Result<Vec<Held>, ChunkError> {
        carry!(self, store => store.stat(ids))
    }

    async fn delete(&self, id: ChunkId, token: Token) -> Result<(), ChunkError> {
        let token = match self.lines.directory.planted() {
            Some(Plant::DeletesIgnoreTokens) => self.present_token(id).await?.unwrap_or(token),
            _ => token,
        };
        self.perhaps_again(move |(store, _)| async move { drop(store.delete(id, token).await) });
        carry!(self, store => store.delete(id, token))
    }

    async fn inventory(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        carry!(self, store => store.inventory(after, limit))
    }

    async fn merkle(&self) -> Result<MerkleSummary, ChunkError> {
        carry!(self, store => store.merkle())
    }

    async fn merkle_bucket(&self, bucket: u8) -> Result<Vec<ChunkId>, ChunkError> {
        carry!(self, store => store.merkle_bucket(bucket))
    }

    async fn deep_scan(&self, bucket: u8) -> Result<Vec<Held>, ChunkError> {
        carry!(self, store => store.deep_scan(bucket))
    }

    async fn verify(&self, id: ChunkId) -> Result<(), ChunkError> {
        carry!(self, store => store.verify(id))
    }

    async fn status(&self) -> Result<NodeStatus, ChunkError> {
        carry!(self, store => store.status())
    }

    async fn format(&self, cluster_id: u128, generation: u64, node: NodeId) -> Result<NodeIdentity, ChunkError> {
        carry!(self, store => store.format(cluster_id, generation, node))
    }

    async fn witness(&self, witness: u64) -> Result<NodeIdentity, ChunkError> {
        carry!(self, store => store.witness(witness))
    }

    async fn restamp(&self, stamp: Restamp) -> Result<NodeIdentity, ChunkError> {
        carry!(self, store => store.restamp(stamp))
    }
}

/// What a [`Plant`] makes of this line.
impl NodeLine {
    /// Says "durable" and lets the put follow at its own pace.
    async fn answer_early(&self, id: ChunkId, crc: Crc32c, bytes: Bytes) -> Result<Stored, ChunkError> {
        let identity = self.status().await?.identity.ok_or_else(|| no_answer("it is nobody yet"))?;
        let line = self.clone();
        let pace = Duration::from_millis(self.lines.network.random.lock().below(20));
        tokio::spawn(async move {
            tokio::time::sleep(pace).await;
            drop(line.put_now(id, crc, bytes).await);
        });
        let token = Token { boot: identity.boot, draw: 0 };
        Ok(Stored { incarnation: identity.incarnation, token, present: false })
    }

    async fn present_token(&self, id: ChunkId) -> Result<Option<Token>, ChunkError> {
        Ok(self.stat(&[id]).await?.pop().map(|held| held.token))
    }
}

/// The way to the coordinator.
#[async_trait]
impl Carry for Lines {
    async fn carry(&self, request: MetaRequest) -> Result<MetaReply, MetaError> {
        let changes = request.changes();
        if !self.network.travel(self.from, Who::Coordinator).await {
            return Err(no_reply(changes, "the question was lost"));
        }
        let (meta, process) = match self.directory.coordinator() {
            Some((meta, process)) if !process.is_over() => (meta, process),
            _ => return Err(no_reply(false, "nobody listens there")),
        };
        let request = self.directory.tamper(request);
        let again = request.clone();
        let answer = tokio::select! {
            biased;
            () = process.ended() => Err(no_reply(changes, "the connection broke")),
            answer = rpc::answer(&*meta, request) => answer,
        };
        if process.is_over() {
            return Err(no_reply(changes, "the connection broke"));
        }
        self.perhaps_again(again);
        match self.network.travel(Who::Coordinator, self.from).await {
            true => answer,
            false => Err(no_reply(changes, "the answer was lost")),
        }
    }
}

impl Lines {
    /// Delivers a change that was carried out a second time, later, if the network is in the mood.
    fn perhaps_again(&self, request: MetaRequest) {
        if !matches!(request, MetaRequest::Change(..) | MetaRequest::RenewLease(..)) {
            return;
        }
        let Some(after) = self.network.echo() else { return };
        let lines = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some((meta, process)) = lines.directory.coordinator()
                && !process.is_over()
            {
                tokio::select! {
                    biased;
                    () = process.ended() => {}
                    _ = rpc::answer(&*meta as &dyn Metadata, request) => {}
                }
            }
        });
    }
}

fn no_reply(may_be_done: bool, reason: &str) -> MetaError {
    let reason = reason.to_string();
    if may_be_done { MetaError::OutcomeUnknown { reason } } else { MetaError::Unavailable { reason } }
}
