//! Writing a stripe: each shard to a node of its own, done when all are durable, or when enough are and nothing better is left to try.
//!
//! Shard *i* goes to the *i*-th node in the order of the stripe's id. A shard whose node fails, or has not made it durable within a second, goes
//! to the next node that has none of this stripe, from the failure domain that has fewest of it. When no such node is left that answers, the stripe is *written* with K + ⌈M/2⌉ durable
//! shards: two nodes that hang under 4+2 are one too many, and one makes a gap that the commit notes as degraded. A node that is known to
//! hang is not waited for again: the second stripe does not lose the second that the first lost.
//!
//! Every node is asked at most once for a stripe, so that shards which count stand on distinct nodes. What comes late goes to the caller's sink.

use std::sync::Arc;
use std::time::Duration;

use api::{ChunkError, request_id};
use domain::change::{ShardAt, WrittenShard, WrittenStripe};
use domain::placement::topology::{self, Wish};
use domain::view::NodeView;
use domain::{ClassId, Incarnation, NodeId, Scheme};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::nodes::{Nodes, Peer, doubt};
use crate::stripe::{self, Stripe};
use crate::write::{Copied, Hold, LateAnswer, WriteError, failure, put};

/// A shard that is not durable after this long goes to another node too.
const COMPANY_AFTER: Duration = Duration::from_secs(1);

/// A stripe to be written.
pub struct StripeWrite {
    /// The stripe.
    pub stripe: Stripe,
    /// Storage class, for late answers.
    pub class: ClassId,
    /// Kept until no put of this stripe is under way any more.
    pub hold: Hold,
}

type Answer = (u8, NodeId, Result<Incarnation, ChunkError>);

impl Nodes {
    /// Makes a stripe of `payload`: 1 to K × `shard_bytes` bytes, in a buffer that should have room for K + M shards. Costs a SHA-256 and a
    /// CRC-32C over all shards, and M products a byte.
    pub async fn cut_stripe(&self, scheme: Scheme, payload: Vec<u8>, shard_bytes: u32) -> Result<Stripe, WriteError> {
        let encode = |error: erasure::Error| WriteError::Encode { reason: error.to_string() };
        let codec = self.codecs.get(scheme).map_err(encode)?;
        stripe::cut(&codec, scheme, payload, shard_bytes).await.map_err(encode)
    }

    /// Writes a stripe. Costs one message to each of K + M nodes and the slowest of their barriers, or a second where one hangs unexpectedly.
    pub async fn write_stripe(
        &self,
        request: StripeWrite,
        late: &mpsc::Sender<LateAnswer>,
    ) -> Result<WrittenStripe, WriteError> {
        let request = Arc::new(request);
        let mut writing = Writing::new(self, &request);
        for index in 0..writing.places.len() {
            if let Some(spare) = writing.next_spare(index, |_| true) {
                writing.start(index, spare);
            }
        }
        writing.until_written().await?;
        let written = writing.written();
        writing.leave_the_rest(late.clone());
        Ok(written)
    }
}

/// One stripe on its way.
struct Writing<'a> {
    nodes: &'a Nodes,
    request: &'a Arc<StripeWrite>,
    /// Nodes that were not asked yet, best first.
    spare: Vec<Spare>,
    places: Vec<Place>,
    /// The failure domains of those that have a shard or are being asked.
    taken: Vec<(NodeId, String)>,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    bad: Vec<(NodeId, ChunkError)>,
}

/// A node that was not asked yet.
struct Spare {
    id: NodeId,
    domain: String,
    peer: Arc<Peer>,
    /// Lower is better: nodes that answer before those that do not, those of the wished class before others.
    tier: u8,
}

/// One shard: who has it, and who was asked and has not answered.
#[derive(Default)]
struct Place {
    good: Vec<(NodeId, Incarnation)>,
    pending: Vec<(NodeId, Arc<Peer>, Instant)>,
}

impl Place {
    /// Whether nobody who was asked is likely to answer soon.
    fn is_late(&self, now: Instant) -> bool {
        self.pending.iter().all(|(_, peer, since)| peer.experience.is_slow() || now >= *since + COMPANY_AFTER)
    }

    /// Whether everybody who was asked has had the time to answer.
    fn is_overdue(&self, now: Instant) -> bool {
        self.pending.iter().all(|(.., since)| now >= *since + COMPANY_AFTER)
    }
}

impl<'a> Writing<'a> {
    fn new(nodes: &'a Nodes, request: &'a Arc<StripeWrite>) -> Self {
        let view = nodes.view();
        let wish = Wish { class: request.class, copies: request.stripe.scheme.shards() };
        let spare = |(node, last_resort): (&NodeView, bool)| {
            let peer = nodes.peer(node);
            let tier = 2 * u8::from(doubt(&peer, node) >= 2) + u8::from(last_resort);
            Spare { id: node.id, domain: node.domain.clone(), peer, tier }
        };
        let order = view.place_stripe(&request.stripe.stripe.id, wish);
        let spare: Vec<_> = order.into_iter().map(spare).collect();
        let (sender, answers) = mpsc::channel(spare.len().max(1));
        let places = request.stripe.shards.iter().map(|_| Place::default()).collect();
        Self { nodes, request, spare, places, taken: vec![], sender, answers, bad: vec![] }
    }

    /// Who goes next for shard `index`, of those nodes that are `worth` it: a node that is silent does not count against its domain.
    fn next_spare(&self, index: usize, worth: impl Fn(&Spare) -> bool) -> Option<usize> {
        let silent = |id: &NodeId| self.places[index].pending.iter().any(|(node, ..)| node == id);
        let taken = self.taken.iter().filter(|(id, _)| !silent(id));
        let taken: Vec<_> = taken.map(|(_, domain)| domain.as_str()).collect();
        let worth: Vec<_> = (0..self.spare.len()).filter(|spare| worth(&self.spare[*spare])).collect();
        let ranks = worth.iter().map(|spare| (self.spare[*spare].tier, self.spare[*spare].domain.as_str()));
        topology::next(ranks, &taken).map(|nth| worth[nth])
    }

    /// Sends shard `index` to one of the nodes that were not asked yet.
    fn start(&mut self, index: usize, spare: usize) {
        let Spare { id, domain, peer, .. } = self.spare.remove(spare);
        self.places[index].pending.push((id, peer.clone(), Instant::now()));
        self.taken.push((id, domain));
        let (request, sender, nodes) = (self.request.clone(), self.sender.clone(), self.nodes.clone());
        tokio::spawn(request_id::carry(async move {
            let shard = &request.stripe.shards[index];
            let answer = put(&nodes, &peer, (shard.id, shard.crc), &shard.bytes).await;
            // Nobody listens any more if the write failed as a whole.
            sender.send((index as u8, id, answer)).await.ok();
        }));
    }

    fn note(&mut self, (index, id, answer): Answer) {
        let place = &mut self.places[usize::from(index)];
        place.pending.retain(|(node, ..)| *node != id);
        match answer {
            Ok(incarnation) => place.good.push((id, incarnation)),
            Err(error) => {
                tracing::debug!(node = %id, shard = index, %error, "put failed");
                self.taken.retain(|(node, _)| *node != id);
                self.bad.push((id, error));
            }
        }
    }

    fn durable(&self) -> usize {
        self.places.iter().filter(|place| !place.good.is_empty()).count()
    }

    /// The shards that nobody has yet.
    fn open(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|index| self.places[*index].good.is_empty()).collect()
    }

    async fn until_written(&mut self) -> Result<(), WriteError> {
        loop {
            let (open, now) = (self.open(), Instant::now());
            let enough = self.durable() >= self.request.stripe.scheme.min_ack();
            for &index in open.iter().filter(|index| self.places[**index].is_late(now)).collect::<Vec<_>>() {
                // A node that is known to hang is no better than one of whom the same is known, until that has had its time; and once there are enough
                // it is not worth another wait. If all seem slow, it is we who are.
                let any = !enough && self.places[index].is_overdue(now);
                if let Some(spare) = self.next_spare(index, |spare| any || !spare.peer.experience.is_slow()) {
                    self.start(index, spare);
                }
            }
            let waiting = open.iter().any(|index| !self.places[*index].is_late(now));
            if open.is_empty() || (enough && !waiting) {
                // What has come meanwhile counts too.
                while let Ok(answer) = self.answers.try_recv() {
                    self.note(answer);
                }
                return Ok(());
            }
            if open.iter().all(|index| self.places[*index].pending.is_empty()) {
                return Err(self.failure());
            }
            let pending = open.iter().flat_map(|index| &self.places[*index].pending);
            let wake = pending.map(|(_, _, since)| *since + COMPANY_AFTER).filter(|at| *at > now).min();
            let answer = match wake {
                Some(wake) => timeout_at(wake, self.answers.recv()).await.unwrap_or_default(),
                None => self.answers.recv().await,
            };
            if let Some(answer) = answer {
                self.note(answer);
            }
        }
    }

    fn written(&self) -> WrittenStripe {
        let Stripe { stripe, shard_bytes, shards, .. } = &self.request.stripe;
        let shards = shards.iter().zip(&self.places);
        let shards =
            shards.map(|(shard, place)| WrittenShard { id: shard.id, crc: shard.crc, answers: place.good.clone() });
        WrittenStripe { stripe: *stripe, shard_bytes: *shard_bytes, shards: shards.collect() }
    }

    /// Hands answers that are still to come to the sink; if that is full they are lost, which repair mends.
    fn leave_the_rest(self, late: mpsc::Sender<LateAnswer>) {
        let Self { request, mut answers, places, sender, .. } = self;
        drop(sender);
        if places.iter().all(|place| place.pending.is_empty()) {
            return;
        }
        let request = request.clone();
        tokio::spawn(async move {
            while let Some((index, node, answer)) = answers.recv().await {
                let Ok(incarnation) = answer else { continue };
                let at = ShardAt { class: request.class, stripe: request.stripe.stripe.id, index };
                let (of, hold) = (Copied::Shard(at), request.hold.clone());
                late.try_send(LateAnswer { of, node, incarnation, hold }).ok();
            }
        });
    }

    fn failure(&self) -> WriteError {
        failure(&self.bad, self.durable(), self.request.stripe.scheme.min_ack() as u8)
    }
}
