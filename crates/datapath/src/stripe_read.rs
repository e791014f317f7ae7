//! Reading from a stripe: the shards that are wanted, or any K of it.
//!
//! A healthy read asks for the wanted data shards alone, and of each only the stretch that is wanted: byte *i* of a lost shard depends on the
//! bytes *i* of the others alone, so a stretch is also all that a rebuild reads. When a shard is absent, damaged, late or its node is known not to
//! answer, more are asked for, data before parity, until K are on their way; with K at hand what is missing is computed, and only that.
//! Lateness is judged as for chunks: after the time that 95 of 100 answers take, within the cap on hedges; after 50 ms of silence without it.
//!
//! Nothing leaves here unverified: each shard is compared with the CRC-32C that metadata have for it, and so is what was rebuilt whole.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use api::ChunkError;
use bytes::Bytes;
use domain::Crc32c;
use domain::NodeId;
use domain::record::ChunkRef;
use domain::stripe::LocatedStripe;
use domain::view::NodeView;
use erasure::ShardSet;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::nodes::{Nodes, Peer, doubt};
use crate::read::{
    BadCopy, DEADLINE, MIN_HEDGE, Part, ReadError, SILENT_AFTER, Waiting, cause_of, fetch, listen_on, suspect_silent,
};
use crate::stripe;

/// A part of a stripe: one stretch of some of its data shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripePart {
    /// Which data shards.
    pub shards: Range<u8>,
    /// Which bytes of each.
    pub stretch: Range<u32>,
}

/// What was read of a stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeBytes {
    /// The stretch of each wanted shard, in order.
    pub shards: Vec<Bytes>,
    /// How many of them had to be computed from others.
    pub rebuilt: usize,
}

/// A copy of a shard that was found absent or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadShard {
    /// Which shard.
    pub index: u8,
    /// Whose copy, and what was found.
    pub copy: BadCopy,
}

impl Nodes {
    /// Reads a part of a stripe. Bad copies met on the way are pushed to `bad`.
    pub async fn read_stripe(
        &self,
        stripe: &LocatedStripe,
        part: &StripePart,
        bad: &mut Vec<BadShard>,
    ) -> Result<StripeBytes, ReadError> {
        self.hedges.count(part.shards.len());
        let mut reading = Reading::new(self, stripe, part);
        let outcome = reading.run().await;
        bad.append(&mut reading.bad);
        listen_on(self, reading.asked, reading.waiting, |(shard, node, ..)| (*shard, node.id));
        outcome
    }
}

type Fetched = (u8, NodeView, Arc<Peer>, Result<Bytes, ChunkError>);

/// A part being read.
struct Reading<'a> {
    nodes: &'a Nodes,
    stripe: &'a LocatedStripe,
    wanted: ShardSet,
    part: Part,
    /// By shard: the nodes to ask, best first. A shard that was asked for has one fewer.
    candidates: Vec<VecDeque<(NodeView, Arc<Peer>)>>,
    tried: ShardSet,
    asked: JoinSet<Fetched>,
    /// Those asked that are expected to answer: a silent one is taken out.
    waiting: Vec<Waiting>,
    /// Of those, the shards and nodes that have not taken longer than usual yet, and when they will have.
    on_time: Vec<((u8, NodeId), Instant)>,
    have: BTreeMap<u8, Bytes>,
    errors: Vec<(u8, NodeId, ChunkError)>,
    bad: Vec<BadShard>,
}

impl<'a> Reading<'a> {
    fn new(nodes: &'a Nodes, stripe: &'a LocatedStripe, part: &StripePart) -> Self {
        let view = nodes.view();
        let rank = |holders: &[NodeId]| {
            let known = holders.iter().filter_map(|id| view.node(*id)).map(|node| (node.clone(), nodes.peer(node)));
            let mut known: Vec<_> = known.collect();
            known.sort_by_key(|(node, peer)| doubt(peer, node));
            VecDeque::from(known)
        };
        let whole = part.stretch == (0..stripe.shard_bytes);
        Self {
            nodes,
            stripe,
            wanted: part.shards.clone().collect(),
            part: if whole { Part::Whole } else { Part::Range(part.stretch.clone()) },
            candidates: stripe.shards.iter().map(|shard| rank(&shard.nodes)).collect(),
            tried: ShardSet::default(),
            asked: JoinSet::new(),
            waiting: vec![],
            on_time: vec![],
            have: BTreeMap::new(),
            errors: vec![],
            bad: vec![],
        }
    }

    async fn run(&mut self) -> Result<StripeBytes, ReadError> {
        let deadline = Instant::now() + DEADLINE;
        let trusted: Vec<_> = self.wanted.iter().filter(|index| self.is_trusted(*index)).collect();
        let healthy = trusted.len() == self.wanted.len();
        trusted.into_iter().for_each(|index| _ = self.ask(index));
        if !healthy {
            self.widen(self.lacking());
        }
        loop {
            if self.wanted.iter().all(|index| self.have.contains_key(&index)) || self.have.len() >= self.needed() {
                return self.finish().await;
            }
            if self.asked.is_empty() && !self.widen(self.lacking()) {
                return Err(self.failure());
            }
            let silent_at = self.waiting.iter().map(Waiting::silent_at);
            let times = self.on_time.iter().map(|(_, until)| *until).chain(silent_at);
            match timeout_at(times.fold(deadline, Instant::min), self.asked.join_next()).await {
                Ok(Some(Ok(answer))) => self.judge(answer),
                Ok(_) => {}
                Err(_) if Instant::now() >= deadline => return Err(self.failure()),
                Err(_) => self.lose_patience(),
            }
        }
    }

    fn needed(&self) -> usize {
        self.stripe.scheme.data()
    }

    /// Whether somebody can be asked for this shard of whom an answer is to be expected.
    fn is_trusted(&self, index: u8) -> bool {
        self.candidates[usize::from(index)].front().is_some_and(|(node, peer)| doubt(peer, node) < 2)
    }

    /// Asks the next node for a shard; false if there is none.
    fn ask(&mut self, index: u8) -> bool {
        self.tried.insert(index);
        let Some((node, peer)) = self.candidates[usize::from(index)].pop_front() else { return false };
        let asked = Instant::now();
        let usual = peer.experience.get_p95().unwrap_or(SILENT_AFTER);
        self.on_time.push(((index, node.id), asked + usual.clamp(MIN_HEDGE, SILENT_AFTER)));
        self.waiting.push(Waiting { shard: index, node: node.id, peer: peer.clone(), asked });
        let shard = &self.stripe.shards[usize::from(index)];
        let chunk = ChunkRef { id: shard.id, length: self.stripe.shard_bytes, crc: shard.crc };
        let part = self.part.clone();
        self.asked.spawn(async move {
            let answer = fetch(&peer, &chunk, &part).await;
            (index, node, peer, answer)
        });
        true
    }

    /// How many shards lack until K are at hand or on their way in good time.
    fn lacking(&self) -> usize {
        self.needed().saturating_sub(self.have.len() + self.on_time.len())
    }

    /// Asks for so many more shards: data before parity, doubtful nodes last, and a second node for one that was asked for last of all.
    /// False if nobody is left to wait for.
    fn widen(&mut self, mut more: usize) -> bool {
        let coming = |index: &u8| self.on_time.iter().any(|((shard, _), _)| shard == index);
        let rest = ShardSet::all(self.stripe.shards.len());
        let mut rest: Vec<_> = rest.iter().filter(|index| !self.have.contains_key(index) && !coming(index)).collect();
        rest.sort_by_key(|index| (self.tried.contains(*index), !self.is_trusted(*index)));
        for index in rest {
            if more == 0 {
                break;
            }
            more -= usize::from(self.ask(index));
        }
        !self.asked.is_empty()
    }

    /// A node silent for too long is slow from now on, and its shard is done without; one that is merely late is hedged within the cap.
    fn lose_patience(&mut self) {
        let now = Instant::now();
        let silent = suspect_silent(self.nodes, &mut self.waiting);
        let waiting = &self.waiting;
        self.on_time.retain(|(asked, _)| waiting.iter().any(|waiting| (waiting.shard, waiting.node) == *asked));
        let before = self.on_time.len();
        self.on_time.retain(|(_, until)| now < *until);
        let late = self.on_time.len() < before;
        let lacking = self.lacking();
        // A hedge for each question more.
        let hedges = if late && !silent { (0..lacking).take_while(|_| self.nodes.hedges.take()).count() } else { 0 };
        self.widen(if silent { lacking } else { hedges });
    }

    /// Keeps the bytes if they are good; otherwise notes what was wrong with whom, and asks another.
    fn judge(&mut self, (index, node, peer, answer): Fetched) {
        self.waiting.retain(|waiting| (waiting.shard, waiting.node) != (index, node.id));
        self.on_time.retain(|(asked, _)| *asked != (index, node.id));
        let error = match answer {
            Ok(bytes) => {
                self.have.insert(index, bytes);
                return;
            }
            Err(error) => error,
        };
        if matches!(error, ChunkError::Unreachable { .. }) {
            self.nodes.suspect(&peer);
        }
        if let (Some(cause), Some(incarnation)) = (cause_of(&error), node.incarnation) {
            self.bad.push(BadShard { index, copy: BadCopy { node: node.id, incarnation, cause } });
        }
        self.errors.push((index, node.id, error));
        if !self.ask(index) {
            self.widen(self.lacking());
        }
    }

    /// Computes what is missing of the wanted, if anything is.
    async fn finish(&mut self) -> Result<StripeBytes, ReadError> {
        let missing: ShardSet = self.wanted.iter().filter(|index| !self.have.contains_key(index)).collect();
        if !missing.is_empty() {
            let made = self.rebuild(missing).await.map_err(|reason| self.short(reason))?;
            self.have.extend(missing.iter().zip(made));
        }
        let shards = self.wanted.iter().filter_map(|index| self.have.remove(&index)).collect();
        Ok(StripeBytes { shards, rebuilt: missing.len() })
    }

    async fn rebuild(&self, missing: ShardSet) -> Result<Vec<Bytes>, String> {
        let codec = self.nodes.codecs.get(self.stripe.scheme).map_err(|error| error.to_string())?;
        let present = self.have.keys().copied().collect();
        let rebuild = codec.rebuild(present, missing).map_err(|error| error.to_string())?;
        let sources: Vec<_> = rebuild.sources().iter().filter_map(|index| self.have.get(&index).cloned()).collect();
        let made = stripe::rebuild(&rebuild, &sources).await.map_err(|error| error.to_string())?;
        for (index, bytes) in missing.iter().zip(&made).filter(|_| self.part == Part::Whole) {
            if Crc32c::of(bytes) != self.stripe.shards[usize::from(index)].crc {
                return Err(format!("shard {index} was rebuilt with another checksum than it was written with"));
            }
        }
        Ok(made)
    }

    fn failure(&self) -> ReadError {
        let mut reasons: Vec<_> =
            self.errors.iter().map(|(index, node, error)| format!("shard {index} on {node}: {error}")).collect();
        if !self.asked.is_empty() {
            reasons.push(format!("{} nodes did not answer", self.asked.len()));
        }
        let nowhere = self.stripe.shards.iter().filter(|shard| shard.nodes.is_empty()).count();
        if nowhere > 0 {
            reasons.push(format!("{nowhere} shards are on no node"));
        }
        self.short(reasons.join("; "))
    }

    fn short(&self, reasons: String) -> ReadError {
        let (found, needed) = (self.have.len(), self.needed());
        let missing = |(_, _, error): &(u8, NodeId, ChunkError)| matches!(error, ChunkError::Missing { .. });
        let stale = self.errors.iter().any(missing);
        ReadError::StripeShort { stripe: self.stripe.stripe.id, found, needed, stale, reasons }
    }
}
