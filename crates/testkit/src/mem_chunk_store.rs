//! A data node in memory: keeps the rules of the seam, and breaks them on request.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use api::chunk_store::{Held, MerkleSummary, NodeIdentity, Restamp, Stored};
use api::{ChunkError, ChunkStore, NodeStatus};
use async_trait::async_trait;
use bytes::Bytes;
use domain::chunking::MAX_CHUNK_BYTES;
use domain::merkle::{self, Inventory};
use domain::{ChunkId, Crc32c, Incarnation, NodeId, Token};
use parking_lot::Mutex;

use crate::entropy::split_mix;

/// How a store misbehaves, until told otherwise.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// Every operation answers this error.
    Fail(ChunkError),
    /// No operation ever answers.
    Hang,
    /// No read of this chunk ever answers.
    HangOn(ChunkId),
    /// Every operation takes that much longer.
    Slow(Duration),
    /// Reads give bytes with a flipped bit and say they are fine.
    WrongBytes,
    /// Puts do what they should, and then no answer comes.
    LoseAnswers,
}

/// The store.
pub struct MemChunkStore {
    random: Mutex<u64>,
    fault: Mutex<Fault>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    identity: Option<NodeIdentity>,
    chunks: BTreeMap<ChunkId, (Bytes, u64)>,
    draws: u64,
}

impl MemChunkStore {
    /// An unformatted store; `seed` decides its incarnations.
    pub fn new(seed: u64) -> Self {
        Self { random: Mutex::new(seed), fault: Mutex::default(), state: Mutex::default() }
    }

    /// A store that is `node` of cluster 1 already.
    pub fn formatted(node: NodeId, seed: u64) -> Self {
        let store = Self::new(seed);
        store.stamp(1, 1, node);
        store
    }

    /// Misbehaves by `fault` from now on.
    pub fn set_fault(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }

    /// As after a restart: same chunks, another boot, no token of before.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        state.draws = 0;
        state.chunks.values_mut().for_each(|(_, draw)| *draw = 0);
        if let Some(identity) = &mut state.identity {
            identity.boot += 1;
        }
    }

    /// Loses everything, the stamp too: a new disk in the old place.
    pub fn wipe(&self) {
        *self.state.lock() = State::default();
    }

    /// Changes the stored bytes of `id`; false if it is not there.
    pub fn alter(&self, id: ChunkId, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state.lock();
        let Some((bytes, _)) = state.chunks.get_mut(&id) else {
            return false;
        };
        let mut altered = bytes.to_vec();
        change(&mut altered);
        *bytes = altered.into();
        true
    }

    fn stamp(&self, cluster_id: u128, generation: u64, node: NodeId) -> NodeIdentity {
        let incarnation = self.draw_incarnation();
        let identity = NodeIdentity { cluster_id, generation, node, incarnation, boot: 1, witness: 0 };
        *self.state.lock().identity.insert(identity)
    }

    fn draw_incarnation(&self) -> Incarnation {
        Incarnation(split_mix(&mut self.random.lock()))
    }

    async fn pass(&self) -> Result<(), ChunkError> {
        let fault = self.fault.lock().clone();
        match fault {
            Fault::Fail(error) => Err(error),
            Fault::Hang => std::future::pending().await,
            Fault::Slow(delay) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            Fault::None | Fault::HangOn(_) | Fault::WrongBytes | Fault::LoseAnswers => Ok(()),
        }
    }

    async fn answer(&self) {
        let lost = matches!(*self.fault.lock(), Fault::LoseAnswers);
        if lost {
            std::future::pending().await
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State, NodeIdentity) -> Result<T, ChunkError>) -> Result<T, ChunkError> {
        let mut state = self.state.lock();
        let identity = state.identity.ok_or_else(|| ChunkError::NotThisNode { reason: "unformatted".into() })?;
        work(&mut state, identity)
    }

    fn inventory_now(&self) -> Result<Inventory, ChunkError> {
        self.with(|state, _| {
            let mut inventory = Inventory::default();
            state.chunks.keys().for_each(|id| {
                inventory.insert(*id);
            });
            Ok(inventory)
        })
    }
}

impl State {
    fn draw(&mut self, identity: NodeIdentity, id: ChunkId, present: bool) -> Result<Stored, ChunkError> {
        self.draws += 1;
        let draw = self.draws;
        self.chunks.get_mut(&id).ok_or(ChunkError::Missing { id })?.1 = draw;
        Ok(Stored { incarnation: identity.incarnation, token: Token { boot: identity.boot, draw }, present })
    }

    fn held(&self, identity: NodeIdentity, id: ChunkId) -> Option<Held> {
        let (bytes, draw) = self.chunks.get(&id)?;
        Some(Held { id, length: bytes.len() as u64, token: Token { boot: identity.boot, draw: *draw } })
    }
}

#[async_trait]
impl ChunkStore for MemChunkStore {
    async fn put(&self, id: ChunkId, crc: Crc32c, bytes: Bytes) -> Result<Stored, ChunkError> {
        self.pass().await?;
        let stored = self.with(|state, identity| {
            let wrong = |what: &str| Err(ChunkError::Mismatch { id, what: what.into() });
            if bytes.len() > MAX_CHUNK_BYTES as usize {
                return wrong("length");
            }
            if crc != Crc32c::of(&bytes) {
                return wrong("checksum");
            }
            let known = state.chunks.get(&id).map(|(stored, _)| *stored == bytes);
            if known == Some(false) && !id.names(&bytes) {
                return wrong("id");
            }
            state.chunks.insert(id, (bytes, 0));
            state.draw(identity, id, known == Some(true))
        })?;
        self.answer().await;
        Ok(stored)
    }

    async fn touch(&self, id: ChunkId) -> Result<Stored, ChunkError> {
        self.pass().await?;
        self.with(|state, identity| state.draw(identity, id, true))
    }

    async fn get(&self, id: ChunkId, crc: Option<Crc32c>) -> Result<Bytes, ChunkError> {
        self.pass().await?;
        if matches!(*self.fault.lock(), Fault::HangOn(hangs) if hangs == id) {
            std::future::pending().await
        }
        let bytes = self
            .with(|state, _| state.chunks.get(&id).map(|(bytes, _)| bytes.clone()).ok_or(ChunkError::Missing { id }))?;
        if !crc.map_or_else(|| id.names(&bytes), |crc| crc == Crc32c::of(&bytes)) {
            return Err(ChunkError::Damaged { id });
        }
        if matches!(*self.fault.lock(), Fault::WrongBytes) && !bytes.is_empty() {
            let mut wrong = bytes.to_vec();
            wrong[0] ^= 1;
            return Ok(wrong.into());
        }
        Ok(bytes)
    }

    async fn get_range(&self, id: ChunkId, crc: Crc32c, range: Range<u32>) -> Result<(Bytes, Crc32c), ChunkError> {
        let bytes = self.get(id, Some(crc)).await?;
        if range.start > range.end || range.end as usize > bytes.len() {
            return Err(ChunkError::Mismatch { id, what: "range".into() });
        }
        let part = bytes.slice(range.start as usize..range.end as usize);
        let part_crc = Crc32c::of(&part);
        Ok((part, part_crc))
    }

    async fn stat(&self, ids: &[ChunkId]) -> Result<Vec<Held>, ChunkError> {
        self.pass().await?;
        self.with(|state, identity| Ok(ids.iter().filter_map(|id| state.held(identity, *id)).collect()))
    }

    async fn delete(&self, id: ChunkId, token: Token) -> Result<(), ChunkError> {
        self.pass().await?;
        self.with(|state, identity| {
            let present = state.held(identity, id).ok_or(ChunkError::Missing { id })?.token;
            if present != token {
                return Err(ChunkError::Touched { id, named: token, present });
            }
            state.chunks.remove(&id);
            Ok(())
        })
    }

    async fn inventory(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        self.pass().await?;
        Ok(self.inventory_now()?.page(after, limit))
    }

    async fn merkle(&self) -> Result<MerkleSummary, ChunkError> {
        self.pass().await?;
        let buckets = self.inventory_now()?.buckets();
        Ok(MerkleSummary {
            root: merkle::root(&buckets),
            total: buckets.iter().map(|bucket| bucket.count as u64).sum(),
            buckets: buckets.iter().map(|bucket| (bucket.digest, bucket.count as u64)).collect(),
        })
    }

    async fn merkle_bucket(&self, bucket: u8) -> Result<Vec<ChunkId>, ChunkError> {
        self.pass().await?;
        Ok(self.inventory_now()?.bucket_ids(bucket).copied().collect())
    }

    async fn deep_scan(&self, bucket: u8) -> Result<Vec<Held>, ChunkError> {
        let ids = self.merkle_bucket(bucket).await?;
        self.stat(&ids).await
    }

    async fn verify(&self, id: ChunkId) -> Result<(), ChunkError> {
        self.get(id, None).await.map(drop)
    }

    async fn status(&self) -> Result<NodeStatus, ChunkError> {
        self.pass().await?;
        let state = self.state.lock();
        Ok(NodeStatus {
            identity: state.identity,
            free_bytes: 1 << 40,
            total_bytes: 1 << 40,
            reserve_bytes: 1 << 30,
            chunks: state.chunks.len() as u64,
            poisoned: None,
        })
    }

    async fn format(&self, cluster_id: u128, generation: u64, node: NodeId) -> Result<NodeIdentity, ChunkError> {
        self.pass().await?;
        let known = self.state.lock().identity;
        match known {
            None => Ok(self.stamp(cluster_id, generation, node)),
            Some(known) if (known.cluster_id, known.node) == (cluster_id, node) => {
                if generation < known.generation {
                    return Err(ChunkError::Superseded { named: generation, obeyed: known.generation });
                }
                Ok(*self.state.lock().identity.insert(NodeIdentity { generation, ..known }))
            }
            Some(known) => Err(ChunkError::NotThisNode { reason: format!("this is {}", known.node) }),
        }
    }

    async fn witness(&self, witness: u64) -> Result<NodeIdentity, ChunkError> {
        self.pass().await?;
        self.with(|state, known| {
            let identity = NodeIdentity { witness: known.witness.max(witness), ..known };
            Ok(*state.identity.insert(identity))
        })
    }

    async fn restamp(&self, stamp: Restamp) -> Result<NodeIdentity, ChunkError> {
        self.pass().await?;
        let incarnation = self.draw_incarnation();
        self.with(|state, known| match (known.incarnation == stamp.was, known.node == stamp.node) {
            _ if known.cluster_id != stamp.cluster_id => {
                Err(ChunkError::NotThisNode { reason: "of another cluster".into() })
            }
            (false, true) => Ok(known),
            (false, false) => Err(ChunkError::NotThisNode { reason: format!("this is {}", known.node) }),
            (true, _) => {
                let Restamp { cluster_id, generation, node, .. } = stamp;
                let boot = known.boot.max(stamp.boot) + 1;
                Ok(*state.identity.insert(NodeIdentity { cluster_id, generation, node, incarnation, boot, witness: 0 }))
            }
        })
    }
}
