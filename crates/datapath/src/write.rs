//! Writing a chunk: to all its nodes at once, done at a quorum, patient with the rest for a moment.
//!
//! Placement says where the chunk should be. Nodes that are known not to answer are passed over, one that
//! fails is replaced by the next in order, from its own failure domain if that has another node, and so is one that stays silent while the quorum
//! is not met. At W durable
//! answers the chunk is written; the others get three times their usual put time, at most 50 ms, to be part of the same
//! commit. What comes later is handed to the caller's sink, to be confirmed in a batch.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use api::{ChunkError, Stored, request_id};
use bytes::Bytes;
use domain::change::{ShardAt, Written};
use domain::placement::topology::{self, Wish};
use domain::record::ChunkRef;
use domain::view::NodeView;
use domain::{ChunkId, ClassId, Crc32c, Incarnation, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::nodes::{Nodes, Peer, doubt};

/// Something to keep alive until the last put of a chunk is over: its place in the byte budget, the floor under it.
pub type Hold = Arc<dyn Any + Send + Sync>;

/// The longest that a written chunk waits for further answers.
const PATIENCE: Duration = Duration::from_millis(50);

/// A node whose put takes this long without a quorum gets company: the next node in order.
const COMPANY_AFTER: Duration = Duration::from_millis(500);

/// A put that takes this long makes its node slow in our eyes.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// A chunk to be written.
pub struct WriteRequest {
    /// What it is.
    pub chunk: ChunkRef,
    /// Storage class: what kind of node it prefers.
    pub class: ClassId,
    /// Its bytes.
    pub bytes: Bytes,
    /// How many copies there should be: R.
    pub copies: u8,
    /// How many must be durable: W.
    pub quorum: u8,
    /// Kept until no put of this chunk is under way any more.
    pub hold: Hold,
}

/// What a copy on a node is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// A chunk, in its storage class.
    Chunk(ClassId, ChunkId),
    /// A shard of a stripe.
    Shard(ShardAt),
}

/// An answer that came after its chunk or stripe was handed back as written.
pub struct LateAnswer {
    /// What the node made durable.
    pub of: Copied,
    /// The node that made it durable.
    pub node: NodeId,
    /// The directory that did.
    pub incarnation: Incarnation,
    /// What must be kept until the answer is confirmed.
    pub hold: Hold,
}

/// Why a chunk is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Fewer than W nodes made it durable.
    #[error("quorum not reached: {answered}/{quorum} success; {reasons}")]
    QuorumShort {
        /// Nodes that did.
        answered: usize,
        /// How many must.
        quorum: u8,
        /// What the others said.
        reasons: String,
    },
    /// Too few nodes have room.
    #[error("the cluster is full: {reasons}")]
    Full {
        /// What the nodes said.
        reasons: String,
    },
    /// Parity could not be computed: a bug, or a stripe of a shape that no code has.
    #[error("the stripe could not be encoded: {reason}")]
    Encode {
        /// What the code said.
        reason: String,
    },
    /// Too few nodes can take more just now.
    #[error("the cluster is busy: {reasons}")]
    Busy {
        /// What the nodes said.
        reasons: String,
    },
}

/// How long a busy node is asked again, and how often.
const BUSY_FOR: Duration = Duration::from_secs(5);
const BUSY_RETRY: Duration = Duration::from_millis(10);

type Answer = (NodeId, Result<Incarnation, ChunkError>);

impl Nodes {
    /// Writes a chunk. Costs one message to each of R nodes and the slowest of the W fastest barriers.
    pub async fn write(&self, request: WriteRequest, late: &mpsc::Sender<LateAnswer>) -> Result<Written, WriteError> {
        let request = Arc::new(request);
        let view = self.view();
        let wish = Wish { class: request.class, copies: request.copies.into() };
        let mut writing = Writing::new(self, &request, view.place(&request.chunk.id, wish));
        for _ in 0..request.copies {
            writing.start_next();
        }
        let outcome = writing.until_quorum().await;
        let answers = match outcome {
            Ok(()) => writing.patiently().await,
            Err(error) => return Err(error),
        };
        writing.leave_the_rest(late.clone());
        Ok(Written { chunk: request.chunk, answers, quorum: request.quorum, copies: request.copies })
    }
}

/// A node that was not asked yet.
struct Candidate<'a> {
    node: &'a NodeView,
    peer: Arc<Peer>,
    tier: u8,
}

/// One chunk on its way.
struct Writing<'a> {
    nodes: &'a Nodes,
    request: &'a Arc<WriteRequest>,
    candidates: Vec<Candidate<'a>>,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    pending: Vec<(NodeId, Arc<Peer>)>,
    /// The failure domains of those that have it or are being asked.
    taken: Vec<(NodeId, &'a str)>,
    good: Vec<(NodeId, Incarnation)>,
    bad: Vec<(NodeId, ChunkError)>,
}

impl<'a> Writing<'a> {
    fn new(nodes: &'a Nodes, request: &'a Arc<WriteRequest>, order: Vec<(&'a NodeView, bool)>) -> Self {
        // A node of another class that answers is better than one of the class that does not.
        let candidate = |(node, last_resort)| {
            let peer = nodes.peer(node);
            let tier = 2 * u8::from(doubt(&peer, node) >= 2) + u8::from(last_resort);
            Candidate { node, peer, tier }
        };
        let candidates: Vec<_> = order.into_iter().map(candidate).collect();
        let (sender, answers) = mpsc::channel(candidates.len().max(1));
        let (pending, taken, good, bad) = (vec![], vec![], vec![], vec![]);
        Self { nodes, request, candidates, sender, answers, pending, taken, good, bad }
    }

    /// Sends the chunk to the next candidate; false if there is none.
    fn start_next(&mut self) -> bool {
        let taken: Vec<_> = self.taken.iter().map(|(_, domain)| *domain).collect();
        let candidates = self.candidates.iter().map(|one| (one.tier, one.node.domain.as_str()));
        let Some(place) = topology::next(candidates, &taken) else { return false };
        let Candidate { node, peer, .. } = self.candidates.remove(place);
        let id = node.id;
        self.pending.push((id, peer.clone()));
        self.taken.push((id, &node.domain));
        let (request, sender, nodes) = (self.request.clone(), self.sender.clone(), self.nodes.clone());
        tokio::spawn(request_id::carry(async move {
            let chunk = (request.chunk.id, request.chunk.crc);
            let answer = put(&nodes, &peer, chunk, &request.bytes).await;
            // Nobody listens any more if the write failed as a whole.
            sender.send((id, answer)).await.ok();
        }));
        true
    }

    fn note(&mut self, (id, answer): Answer) {
        self.pending.retain(|(node, _)| *node != id);
        match answer {
            Ok(incarnation) => self.good.push((id, incarnation)),
            Err(error) => {
                tracing::debug!(node = %id, %error, "put failed");
                self.taken.retain(|(node, _)| *node != id);
                self.bad.push((id, error));
            }
        }
    }

    fn written(&self) -> bool {
        self.good.len() >= usize::from(self.request.quorum)
    }

    async fn until_quorum(&mut self) -> Result<(), WriteError> {
        let mut company = Instant::now() + COMPANY_AFTER;
        while !self.written() {
            if self.pending.is_empty() && !self.start_next() {
                return Err(self.failure());
            }
            match timeout_at(company, self.answers.recv()).await {
                Ok(Some(answer)) => {
                    let failed = answer.1.is_err();
                    self.note(answer);
                    if failed {
                        self.start_next();
                    }
                }
                Ok(None) => return Err(self.failure()),
                Err(_) => {
                    for _ in 0..self.pending.len() {
                        self.start_next();
                    }
                    company = Instant::now() + COMPANY_AFTER;
                }
            }
        }
        Ok(())
    }

    /// Waits a moment for those still writing, and returns all good answers.
    async fn patiently(&mut self) -> Vec<(NodeId, Incarnation)> {
        let begun = Instant::now();
        while !self.pending.is_empty() {
            let usual = self.pending.iter().filter_map(|(_, peer)| match peer.experience.is_slow() {
                true => Some(Duration::ZERO),
                false => peer.experience.put_median(),
            });
            let patience = usual.max().map_or(PATIENCE, |median| (median * 3).min(PATIENCE));
            match timeout_at(begun + patience, self.answers.recv()).await {
                Ok(Some(answer)) => self.note(answer),
                Ok(None) | Err(_) => break,
            }
        }
        self.good.clone()
    }

    /// Hands answers that are still to come to the sink; if that is full they are lost, which is harmless.
    fn leave_the_rest(self, late: mpsc::Sender<LateAnswer>) {
        let Self { request, mut answers, pending, sender, .. } = self;
        drop(sender);
        if pending.is_empty() {
            return;
        }
        let request = request.clone();
        tokio::spawn(async move {
            while let Some((node, answer)) = answers.recv().await {
                let Ok(incarnation) = answer else { continue };
                let (of, hold) = (Copied::Chunk(request.class, request.chunk.id), request.hold.clone());
                late.try_send(LateAnswer { of, node, incarnation, hold }).ok();
            }
        });
    }

    fn failure(&self) -> WriteError {
        failure(&self.bad, self.good.len(), self.request.quorum)
    }
}

/// Why a chunk or stripe was not written: `answered` of `quorum` nodes that must made it durable, and `bad` did not.
pub(crate) fn failure(bad: &[(NodeId, ChunkError)], answered: usize, quorum: u8) -> WriteError {
    let reasons = match bad.is_empty() {
        true => "no node of the cluster takes chunks".to_string(),
        false => bad.iter().map(|(id, error)| format!("{id}: {error}")).collect::<Vec<_>>().join("; "),
    };
    let any = |test: fn(&ChunkError) -> bool| bad.iter().any(|(_, error)| test(error));
    if any(|error| matches!(error, ChunkError::Full { .. })) {
        WriteError::Full { reasons }
    } else if any(|error| matches!(error, ChunkError::Busy)) {
        WriteError::Busy { reasons }
    } else {
        WriteError::QuorumShort { answered, quorum, reasons }
    }
}

/// Puts a chunk on one node, and learns from how that went.
pub(crate) async fn put(
    nodes: &Nodes,
    peer: &Arc<Peer>,
    chunk: (ChunkId, Crc32c),
    bytes: &Bytes,
) -> Result<Incarnation, ChunkError> {
    let begun = Instant::now();
    let mut put = std::pin::pin!(put_patiently(peer, chunk, bytes, begun));
    let answer = match timeout_at(begun + SILENT_AFTER, put.as_mut()).await {
        Ok(answer) => answer,
        Err(_) => {
            nodes.suspect(peer);
            put.await
        }
    };
    match answer {
        Ok(stored) => {
            peer.experience.put_took(begun.elapsed());
            Ok(stored.incarnation)
        }
        Err(error) => {
            if matches!(error, ChunkError::Unreachable { .. }) {
                nodes.suspect(peer);
            }
            Err(error)
        }
    }
}

/// A node that is busy says so at once; it is asked again for a while, so that a burst becomes a queue and not an error.
async fn put_patiently(
    peer: &Peer,
    (id, crc): (ChunkId, Crc32c),
    bytes: &Bytes,
    begun: Instant,
) -> Result<Stored, ChunkError> {
    loop {
        match peer.store.put(id, crc, bytes.clone()).await {
            Err(ChunkError::Busy) if begun.elapsed() < BUSY_FOR => tokio::time::sleep(BUSY_RETRY).await,
            answer => return answer,
        }
    }
}
