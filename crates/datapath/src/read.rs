//! Reading a chunk: the first copy that is what metadata says it is.
//!
//! The likeliest node is asked; if it takes longer than 95 of 100 of its answers did, the next is asked beside it (a *hedge*), and
//! the first good copy wins. Hedges are capped at 5 % of reads, so that load alone cannot double itself; a
//! node silent for 50 ms is not load but trouble: it does not count against the cap, and is asked last from then on. So that hedges in time do not
//! hide it, who was asked is listened to for so long although another's answer is used; and silence is a node's, not a question's: whoever asks
//! it later waits for what is left of the 50 ms.
//! Source: Dean & Barroso, "The Tail at Scale", CACM 56(2), 2013.
//!
//! Nothing leaves here unverified: length and CRC-32C are compared with metadata's, whoever compared them before.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use api::ChunkError;
use bytes::Bytes;
use domain::record::{ChunkRef, DegradedCause};
use domain::view::NodeView;
use domain::{Crc32c, Incarnation, NodeId};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::nodes::{Nodes, Peer, doubt};

/// The shortest time after which a second copy is asked for.
pub(crate) const MIN_HEDGE: Duration = Duration::from_millis(5);

/// A node that is silent for this long is slow.
pub(crate) const SILENT_AFTER: Duration = Duration::from_millis(50);

/// The whole of a read, all copies tried: beyond it the request's own deadline would cut it anyway.
pub(crate) const DEADLINE: Duration = Duration::from_secs(8);

/// Which part of a chunk is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Range(Range<u32>),
}

/// A copy that was found absent or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCopy {
    /// Whose copy it is.
    pub node: NodeId,
    /// The directory that was asked, as the view knows it.
    pub incarnation: Incarnation,
    /// What was found.
    pub cause: DegradedCause,
}

/// Why no copy could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Every node that should hold it says that it does not: the caller's locations may be out of date.
    #[error("no node holds chunk {chunk} any more")]
    AllMissing {
        /// The chunk.
        chunk: domain::ChunkId,
    },
    /// Fewer than K shards of a stripe could be had.
    #[error("stripe {stripe}: {found} of {needed} shards that are needed could be read: {reasons}")]
    StripeShort {
        /// The stripe.
        stripe: domain::StripeId,
        /// Good shards.
        found: usize,
        /// K.
        needed: usize,
        /// Whether some node does not have what it should: the caller's locations may be out of date.
        stale: bool,
        /// What the nodes said.
        reasons: String,
    },
    /// Not enough good copies could be had.
    #[error("chunk {chunk}: {found} of {wanted} good copies could be read: {reasons}")]
    Unreadable {
        /// The chunk.
        chunk: domain::ChunkId,
        /// Good copies.
        found: u8,
        /// How many were asked for.
        wanted: u8,
        /// What the nodes said.
        reasons: String,
    },
}

impl Nodes {
    /// Reads `part` of `chunk` from one of `holders`. Bad copies met on the way are pushed to `bad`.
    pub async fn read(
        &self,
        chunk: &ChunkRef,
        holders: &[NodeId],
        part: &Part,
        bad: &mut Vec<BadCopy>,
    ) -> Result<Bytes, ReadError> {
        self.hedges.count(1);
        let mut reading = Reading::new(self, *chunk, holders, part);
        let outcome = reading.first_good().await;
        bad.append(&mut reading.bad);
        listen_on(self, reading.asked, reading.waiting, |(node, ..)| (0, node.id));
        outcome
    }

    /// Reads `copies` whole copies of `chunk`, each checked against its SHA-256, and returns one.
    pub async fn read_agreeing(
        &self,
        chunk: &ChunkRef,
        holders: &[NodeId],
        copies: u8,
        bad: &mut Vec<BadCopy>,
    ) -> Result<Bytes, ReadError> {
        let mut reading = Reading::new(self, *chunk, holders, &Part::Whole);
        let outcome = reading.agreeing(copies).await;
        bad.append(&mut reading.bad);
        outcome
    }
}

/// Somebody who was asked and is expected to answer.
pub(crate) struct Waiting {
    /// Which shard was asked for; 0 where a chunk was.
    pub shard: u8,
    pub node: NodeId,
    pub peer: Arc<Peer>,
    pub asked: Instant,
}

impl Waiting {
    /// When the node has been silent for too long.
    pub fn silent_at(&self) -> Instant {
        self.peer.experience.silent_at(self.asked, SILENT_AFTER)
    }
}

/// Takes out of `waiting` whoever was silent for too long, who is slow from now on. True if there was one.
pub(crate) fn suspect_silent(nodes: &Nodes, waiting: &mut Vec<Waiting>) -> bool {
    let now = Instant::now();
    let silent: Vec<_> = waiting.extract_if(.., |waiting| now >= waiting.silent_at()).collect();
    silent.iter().for_each(|waiting| nodes.suspect(&waiting.peer));
    !silent.is_empty()
}

/// Listens to those who were asked and are not needed any more until each has answered or was silent for too long. What they send is dropped.
pub(crate) fn listen_on<T: Send + 'static>(
    nodes: &Nodes,
    mut asked: JoinSet<T>,
    mut waiting: Vec<Waiting>,
    asked_of: impl Fn(&T) -> (u8, NodeId) + Send + 'static,
) {
    if waiting.is_empty() {
        return;
    }
    let nodes = nodes.clone();
    tokio::spawn(async move {
        while let Some(silent_at) = waiting.iter().map(Waiting::silent_at).min() {
            match timeout_at(silent_at, asked.join_next()).await {
                Ok(Some(Ok(answer))) => waiting.retain(|waiting| (waiting.shard, waiting.node) != asked_of(&answer)),
                Ok(Some(Err(_))) => {}
                Ok(None) => return,
                Err(_) => _ = suspect_silent(&nodes, &mut waiting),
            }
        }
    });
}

/// One chunk being read.
struct Reading<'a> {
    nodes: &'a Nodes,
    chunk: ChunkRef,
    part: Part,
    candidates: std::vec::IntoIter<(NodeView, Arc<Peer>)>,
    asked: JoinSet<(NodeView, Arc<Peer>, Result<Bytes, ChunkError>)>,
    /// Those asked and not heard of; a silent one is taken out once it is known to be slow.
    waiting: Vec<Waiting>,
    /// When the one asked last has taken longer than it usually does.
    hedge_at: Option<Instant>,
    errors: Vec<(NodeId, ChunkError)>,
    bad: Vec<BadCopy>,
}

impl<'a> Reading<'a> {
    fn new(nodes: &'a Nodes, chunk: ChunkRef, holders: &[NodeId], part: &Part) -> Self {
        let view = nodes.view();
        let mut known: Vec<_> =
            holders.iter().filter_map(|id| view.node(*id)).map(|node| (node.clone(), nodes.peer(node))).collect();
        // Chunks differ in which holder comes first, so that equally good nodes share the load.
        if !known.is_empty() {
            let turn = usize::from(chunk.id.as_bytes()[31]) % known.len();
            known.rotate_left(turn);
        }
        known.sort_by_key(|(node, peer)| doubt(peer, node));
        let candidates = known.into_iter();
        Self {
            nodes,
            chunk,
            part: part.clone(),
            candidates,
            asked: JoinSet::new(),
            waiting: vec![],
            hedge_at: None,
            errors: vec![],
            bad: vec![],
        }
    }

    fn ask_next(&mut self) -> bool {
        let Some((node, peer)) = self.candidates.next() else { return false };
        let now = Instant::now();
        let usual = peer.experience.get_p95().unwrap_or(SILENT_AFTER);
        self.hedge_at = Some(now + usual.clamp(MIN_HEDGE, SILENT_AFTER));
        self.waiting.push(Waiting { shard: 0, node: node.id, peer: peer.clone(), asked: now });
        let (chunk, part) = (self.chunk, self.part.clone());
        self.asked.spawn(async move {
            let answer = fetch(&peer, &chunk, &part).await;
            (node, peer, answer)
        });
        true
    }

    async fn first_good(&mut self) -> Result<Bytes, ReadError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if self.asked.is_empty() && !self.ask_next() {
                return Err(self.failure(0, 1));
            }
            let silent_at = self.waiting.iter().map(Waiting::silent_at).min();
            let wake = [self.hedge_at, silent_at].into_iter().flatten().fold(deadline, Instant::min);
            match timeout_at(wake, self.asked.join_next()).await {
                Ok(Some(Ok(answer))) => match self.judge(answer) {
                    Some(bytes) => return Ok(bytes),
                    None => _ = self.ask_next(),
                },
                Ok(_) => {}
                Err(_) if Instant::now() >= deadline => return Err(self.failure(0, 1)),
                Err(_) => self.lose_patience(),
            }
        }
    }

    /// Whoever was silent for too long is slow from now on, and another is asked; so is one that is merely late, within the cap.
    fn lose_patience(&mut self) {
        let now = Instant::now();
        let silent = suspect_silent(self.nodes, &mut self.waiting);
        let late = self.hedge_at.take_if(|at| now >= *at).is_some();
        if silent || (late && self.nodes.hedges.take()) {
            self.ask_next();
        }
    }

    async fn agreeing(&mut self, copies: u8) -> Result<Bytes, ReadError> {
        let deadline = Instant::now() + DEADLINE;
        let mut good: Vec<Bytes> = Vec::new();
        while self.asked.len() < usize::from(copies) && self.ask_next() {}
        while good.len() < usize::from(copies) {
            match timeout_at(deadline, self.asked.join_next()).await {
                Ok(Some(Ok(answer))) => match self.judge(answer) {
                    Some(bytes) if self.chunk.id.names(&bytes) => good.push(bytes),
                    _ => _ = self.ask_next(),
                },
                Ok(Some(Err(_))) => _ = self.ask_next(),
                Ok(None) | Err(_) => break,
            }
        }
        let found = good.len() as u8;
        match good.pop() {
            Some(bytes) if found >= copies => Ok(bytes),
            _ => Err(self.failure(found, copies)),
        }
    }

    /// The bytes if they are good; otherwise notes what was wrong with whom.
    fn judge(&mut self, answer: (NodeView, Arc<Peer>, Result<Bytes, ChunkError>)) -> Option<Bytes> {
        let (node, peer, answer) = answer;
        self.waiting.retain(|waiting| waiting.node != node.id);
        let error = match answer {
            Ok(bytes) => return Some(bytes),
            Err(error) => error,
        };
        if matches!(error, ChunkError::Unreachable { .. }) {
            self.nodes.suspect(&peer);
        }
        if let (Some(cause), Some(incarnation)) = (cause_of(&error), node.incarnation) {
            self.bad.push(BadCopy { node: node.id, incarnation, cause });
        }
        self.errors.push((node.id, error));
        None
    }

    fn failure(&self, found: u8, wanted: u8) -> ReadError {
        let missing = |(_, error): &(NodeId, ChunkError)| matches!(error, ChunkError::Missing { .. });
        if self.asked.is_empty() && self.errors.iter().all(missing) {
            return ReadError::AllMissing { chunk: self.chunk.id };
        }
        let mut reasons: Vec<_> = self.errors.iter().map(|(id, error)| format!("{id}: {error}")).collect();
        if !self.asked.is_empty() {
            reasons.push(format!("{} nodes did not answer", self.asked.len()));
        }
        ReadError::Unreadable { chunk: self.chunk.id, found, wanted, reasons: reasons.join("; ") }
    }
}

/// What an error says of a copy, if it says anything.
pub(crate) fn cause_of(error: &ChunkError) -> Option<DegradedCause> {
    match error {
        ChunkError::Missing { .. } => Some(DegradedCause::Absent),
        ChunkError::Damaged { .. } => Some(DegradedCause::Damaged),
        _ => None,
    }
}

/// Asks one node, checks what comes, and remembers how long it took.
pub(crate) async fn fetch(peer: &Peer, chunk: &ChunkRef, part: &Part) -> Result<Bytes, ChunkError> {
    let (_asked, begun) = (peer.experience.begin_get(), Instant::now());
    let answer = fetch_checked(peer, chunk, part).await;
    match &answer {
        Ok(_) => peer.experience.get_took(begun.elapsed()),
        Err(ChunkError::Unreachable { .. }) => {}
        Err(_) => peer.experience.get_answered(),
    }
    answer
}

async fn fetch_checked(peer: &Peer, chunk: &ChunkRef, part: &Part) -> Result<Bytes, ChunkError> {
    let damaged = || ChunkError::Damaged { id: chunk.id };
    match part {
        Part::Whole => {
            let bytes = peer.store.get(chunk.id, Some(chunk.crc)).await?;
            let sound = bytes.len() == chunk.length as usize && Crc32c::of(&bytes) == chunk.crc;
            sound.then_some(bytes).ok_or_else(damaged)
        }
        Part::Range(range) => {
            let (bytes, crc) = peer.store.get_range(chunk.id, chunk.crc, range.clone()).await?;
            let sound = bytes.len() == range.len() && Crc32c::of(&bytes) == crc;
            sound.then_some(bytes).ok_or_else(damaged)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::ChunkStore;
    use domain::record::NodeState;
    use domain::view::{ClusterView, Health};
    use domain::{ChunkId, ClassId};
    use testkit::mem_chunk_store::{Fault, MemChunkStore};
    use tokio::sync::watch;

    struct InMemory(Vec<Arc<MemChunkStore>>);

    impl crate::Connect for InMemory {
        fn connect(&self, node: &NodeView) -> Arc<dyn ChunkStore> {
            self.0[node.id.0 as usize].clone()
        }
    }

    /// Once, with the cap on hedges used up, a silent node cost the whole time-out: the hedge that was refused at 5 ms
    /// was taken for the question that is due at 50 ms, cap or not.
    #[tokio::test(start_paused = true)]
    async fn a_silent_node_is_left_behind_even_when_no_hedge_is_left() {
        let bytes = Bytes::from_static(b"bytes");
        let chunk = ChunkRef { id: ChunkId::of(&bytes), length: 5, crc: Crc32c::of(&bytes) };
        let stores: Vec<_> = (0..2).map(|id| Arc::new(MemChunkStore::formatted(NodeId(id), 1))).collect();
        let mut nodes = Vec::new();
        for (id, store) in (0..).zip(&stores) {
            store.put(chunk.id, chunk.crc, bytes.clone()).await.unwrap();
            let (name, addr) = (format!("dn{id}"), String::new());
            let (state, health) = (NodeState::In, Health::Up);
            nodes.push(NodeView {
                id: NodeId(id),
                name,
                addr,
                incarnation: Some(Incarnation(1)),
                state,
                health,
                generation: 1,
                domain: String::new(),
                class: ClassId::default(),
                weight: 1,
            });
        }
        let (_sender, view) = watch::channel(Arc::new(ClusterView { nodes, ..Default::default() }));
        let nodes = Nodes::new(view, Arc::new(InMemory(stores.clone())));
        let holders = [NodeId(0), NodeId(1)];
        for _ in 0..64 {
            nodes.read(&chunk, &holders, &Part::Whole, &mut vec![]).await.unwrap();
        }
        while nodes.hedges.take() {}
        stores[usize::from(chunk.id.as_bytes()[31]) % 2].set_fault(Fault::Hang);
        let begun = Instant::now();
        nodes.read(&chunk, &holders, &Part::Whole, &mut vec![]).await.unwrap();
        assert!(begun.elapsed() <= Duration::from_millis(60), "{:?}", begun.elapsed());
    }
}
