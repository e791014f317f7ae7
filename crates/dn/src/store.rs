//! One directory of chunks and what memory knows of it: which chunks are durable, and their tokens.
//!
//! Everything here blocks, and assumes that no two calls that change the *same* chunk run at the same time; [`crate::Node`] sees to
//! both. The rules:
//!
//! - **Listed means durable.** A chunk enters the inventory after its last barrier, or at a start after the sync of its directory.
//! - **Present means equal.** A put that finds its chunk listed compares the bytes. Equal: nothing to write. Different: one of the two is
//!   wrong, and the id decides which; a wrong copy is written anew (healed), wrong bytes from the caller are refused.
//! - **A token for every answer.** Puts and touches draw one while they hold the chunk, so a delete that was planned before comes too late.
//!   A chunk nobody touched since the start has draw 0; the boot counter keeps it apart from every earlier one.
//! - **A failed sync ends it** (see [`crate::poison`]); any other error costs the one operation.
//!
//! Memory: about 100 bytes a chunk.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use api::chunk_store::{Held, MerkleSummary, NodeIdentity, Restamp, Stored};
use api::{ChunkError, Clock, Disk, Entropy, NodeStatus};
use domain::codec::{self, CodecError};
use domain::merkle::{self, Inventory};
use domain::{ChunkId, Crc32c, Incarnation, NodeId, Token};
use parking_lot::Mutex;

use crate::layout::{Found, Layout, Trouble};
use crate::poison::Poison;
use crate::room::Room;

/// Why a directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk said no, or another process uses the directory.
    #[error("cannot open data directory {path}: {source}")]
    Disk {
        /// The directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The stamp is there, but is none.
    #[error(
        "{path}: {source}; if the disk is damaged, start a node with another address on an empty directory and add it with `kvfs node add`"
    )]
    Stamp {
        /// The stamp's file.
        path: PathBuf,
        /// What is wrong with it.
        source: CodecError,
    },
}

/// The `files` engine: see the module.
pub struct FilesStore {
    layout: Layout,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    poison: Poison,
    room: Room,
    formatting: Mutex<()>,
    state: Mutex<State>,
    _lock: Box<dyn Send + Sync>,
}

#[derive(Default)]
struct State {
    identity: Option<NodeIdentity>,
    inventory: Inventory,
    draws: u64,
    tokens: HashMap<ChunkId, u64>,
}

impl FilesStore {
    /// Opens `directory`, makes it if need be, and believes in what it lists after having synced it.
    ///
    /// `reserve` is what stays free, see [`Room::new`]. A sync that fails here does not fail the opening: the store comes up
    /// poisoned and serves reads.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        directory: PathBuf,
        reserve: Option<u64>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Disk { path: directory.clone(), source };
        disk.create_dir_all(&directory).map_err(failed)?;
        let lock = disk.lock(&directory).map_err(failed)?;
        let poison = Poison::of(&*disk, &directory);
        let store = Self {
            layout: Layout::new(disk.clone(), directory.clone(), entropy.u64()),
            disk,
            clock,
            entropy,
            poison,
            room: Room::new(reserve),
            formatting: Mutex::new(()),
            state: Mutex::default(),
            _lock: lock,
        };
        if let Some(identity) = store.read_stamp()? {
            store.start(identity).map_err(failed)?;
        }
        Ok(store)
    }

    /// The node's poison: whether there is any, and a way to wait for it.
    pub fn poison(&self) -> &Poison {
        &self.poison
    }

    /// Who this node is, or [`ChunkError::NotThisNode`] while its directory is unformatted.
    pub fn identity(&self) -> Result<NodeIdentity, ChunkError> {
        self.state.lock().identity.ok_or_else(|| ChunkError::NotThisNode {
            reason: format!("{} is unformatted; its cluster stamps it when it is added", self.layout.root().display()),
        })
    }

    /// How many chunks are listed.
    pub fn chunks(&self) -> usize {
        self.state.lock().inventory.len()
    }

    /// Stamps the directory. Chunks that lie in it already (a reference node's) are synced and adopted.
    pub fn format(&self, cluster_id: u128, generation: u64, node: NodeId) -> Result<NodeIdentity, ChunkError> {
        let _one_at_a_time = self.formatting.lock();
        if let Ok(known) = self.identity() {
            if (known.cluster_id, known.node) != (cluster_id, node) {
                return Err(other_node(known, cluster_id, node));
            }
            return self.raise(known, generation);
        }
        self.poison.check()?;
        let incarnation = Incarnation(self.entropy.u64());
        let identity = NodeIdentity { cluster_id, generation, node, incarnation, boot: 1, witness: 0 };
        self.layout.prepare().map_err(|trouble| self.explain(trouble))?;
        let ids = self.scan_all().map_err(|trouble| self.explain(trouble))?;
        ids.iter().try_for_each(|id| self.layout.adopt(*id)).map_err(|trouble| self.explain(trouble))?;
        self.write_stamp(&identity).map_err(|trouble| self.explain(trouble))?;
        self.believe(identity, ids);
        Ok(identity)
    }

    /// Obeys `generation` from now on, durably. Whoever is past [`obey`](Self::obey) already is for the caller to wait for.
    fn raise(&self, known: NodeIdentity, generation: u64) -> Result<NodeIdentity, ChunkError> {
        match generation.cmp(&known.generation) {
            Ordering::Less => Err(ChunkError::Superseded { named: generation, obeyed: known.generation }),
            Ordering::Equal => Ok(known),
            Ordering::Greater => {
                self.poison.check()?;
                let identity = NodeIdentity { generation, ..known };
                self.write_stamp(&identity).map_err(|trouble| self.explain(trouble))?;
                self.state.lock().identity = Some(identity);
                Ok(identity)
            }
        }
    }

    /// Errs if `named` is a generation of the metadata before the one that this node obeys.
    pub fn obey(&self, named: Option<u64>) -> Result<(), ChunkError> {
        let obeyed = self.identity()?.generation;
        match named.filter(|named| *named < obeyed) {
            Some(named) => Err(ChunkError::Superseded { named, obeyed }),
            None => Ok(()),
        }
    }

    /// Stores a witness that is larger than the one in the stamp.
    pub fn witness(&self, witness: u64) -> Result<NodeIdentity, ChunkError> {
        let _one_at_a_time = self.formatting.lock();
        let known = self.identity()?;
        self.poison.check()?;
        if witness <= known.witness {
            return Ok(known);
        }
        self.become_of(NodeIdentity { witness, ..known })
    }

    /// Gives the directory a new incarnation; what it holds stays, under tokens that nobody has seen.
    pub fn restamp(&self, stamp: Restamp) -> Result<NodeIdentity, ChunkError> {
        let _one_at_a_time = self.formatting.lock();
        let known = self.identity()?;
        self.poison.check()?;
        if known.cluster_id != stamp.cluster_id {
            return Err(other_node(known, stamp.cluster_id, stamp.node));
        }
        if stamp.generation < known.generation {
            return Err(ChunkError::Superseded { named: stamp.generation, obeyed: known.generation });
        }
        if known.incarnation != stamp.was {
            // Its answer was lost the first time, or somebody else was faster: with another node's stamp that is an error.
            return match known.node == stamp.node {
                true => Ok(known),
                false => Err(other_node(known, stamp.cluster_id, stamp.node)),
            };
        }
        self.become_of(NodeIdentity {
            cluster_id: stamp.cluster_id,
            generation: stamp.generation,
            node: stamp.node,
            incarnation: Incarnation(self.entropy.u64()),
            boot: known.boot.max(stamp.boot) + 1,
            witness: 0,
        })
    }

    fn become_of(&self, identity: NodeIdentity) -> Result<NodeIdentity, ChunkError> {
        self.write_stamp(&identity).map_err(|trouble| self.explain(trouble))?;
        self.state.lock().identity = Some(identity);
        Ok(identity)
    }

    /// Makes `bytes`, already checked against their CRC-32C, durable under `id`.
    pub fn put(&self, id: ChunkId, bytes: &[u8]) -> Result<Stored, ChunkError> {
        let identity = self.identity()?;
        self.poison.check()?;
        let present = self.is_listed(&id) && self.compare(id, bytes)?;
        if !present {
            let _room =
                self.room.admit(bytes.len() as u64, self.clock.monotonic(), || self.disk.space(self.layout.root()))?;
            self.layout.write(id, bytes).map_err(|trouble| self.explain(trouble))?;
        }
        Ok(Stored { incarnation: identity.incarnation, token: self.draw(identity, id), present })
    }

    /// Draws a new token for a chunk that is there. Its bytes are not read.
    pub fn touch(&self, id: ChunkId) -> Result<Stored, ChunkError> {
        let identity = self.identity()?;
        self.poison.check()?;
        match self.is_listed(&id) && self.layout.length(id).map_err(io_error)?.is_some() {
            true => Ok(Stored { incarnation: identity.incarnation, token: self.draw(identity, id), present: true }),
            false => Err(ChunkError::Missing { id }),
        }
    }

    /// The chunk's bytes, compared with `crc`, or with the id where the caller knows no CRC.
    pub fn read(&self, id: ChunkId, crc: Option<Crc32c>) -> Result<Vec<u8>, ChunkError> {
        self.identity()?;
        let bytes = match self.layout.read(id).map_err(io_error)? {
            Found::Nothing => return Err(ChunkError::Missing { id }),
            Found::TooLong(_) => return Err(ChunkError::Damaged { id }),
            Found::Bytes(bytes) => bytes,
        };
        match crc.map_or_else(|| id.names(&bytes), |crc| crc == Crc32c::of(&bytes)) {
            true => Ok(bytes),
            false => Err(ChunkError::Damaged { id }),
        }
    }

    /// The chunk's length on the disk, if it is there; what a read of it may cost.
    pub fn length(&self, id: ChunkId) -> Result<u64, ChunkError> {
        self.identity()?;
        self.layout.length(id).map_err(io_error)?.ok_or(ChunkError::Missing { id })
    }

    /// Length and token of those of `ids` that are listed and there, in the order asked.
    pub fn stat(&self, ids: &[ChunkId]) -> Result<Vec<Held>, ChunkError> {
        let listed: Vec<_> = ids.iter().filter(|id| self.is_listed(id)).copied().collect();
        self.held(&listed)
    }

    /// Removes the chunk if `token` is its token.
    pub fn delete(&self, id: ChunkId, token: Token) -> Result<(), ChunkError> {
        let identity = self.identity()?;
        self.poison.check()?;
        if !self.is_listed(&id) {
            return Err(ChunkError::Missing { id });
        }
        let present = self.state.lock().token(identity, &id);
        if present != token {
            return Err(ChunkError::Touched { id, named: token, present });
        }
        self.layout.remove(id).map_err(|trouble| self.explain(trouble))?;
        let mut state = self.state.lock();
        state.inventory.remove(&id);
        state.tokens.remove(&id);
        Ok(())
    }

    /// At most `limit` ids after `after`, in order.
    pub fn page(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        self.identity()?;
        Ok(self.state.lock().inventory.page(after, limit))
    }

    /// The inventory's Merkle tree; only buckets that changed since the last call are hashed.
    pub fn merkle(&self) -> Result<MerkleSummary, ChunkError> {
        self.identity()?;
        let buckets = self.state.lock().inventory.buckets();
        Ok(MerkleSummary {
            root: merkle::root(&buckets),
            total: buckets.iter().map(|bucket| bucket.count as u64).sum(),
            buckets: buckets.iter().map(|bucket| (bucket.digest, bucket.count as u64)).collect(),
        })
    }

    /// The ids of one bucket, in order.
    pub fn bucket(&self, bucket: u8) -> Result<Vec<ChunkId>, ChunkError> {
        self.identity()?;
        Ok(self.state.lock().inventory.bucket_ids(bucket).copied().collect())
    }

    /// Names, lengths and tokens in one bucket as the disk has them, in order.
    pub fn deep_scan(&self, bucket: u8) -> Result<Vec<Held>, ChunkError> {
        let mut ids = self.layout.scan(bucket).map_err(|trouble| self.explain(trouble))?;
        ids.sort_unstable();
        self.held(&ids)
    }

    /// Who and how the node is; an unformatted one answers too.
    pub fn status(&self) -> Result<NodeStatus, ChunkError> {
        let space = self.disk.space(self.layout.root()).map_err(io_error)?;
        let (identity, chunks) = {
            let state = self.state.lock();
            (state.identity, state.inventory.len() as u64)
        };
        Ok(NodeStatus {
            identity,
            free_bytes: space.free,
            total_bytes: space.total,
            reserve_bytes: self.room.reserve(space),
            chunks,
            poisoned: self.poison.reason(),
        })
    }

    fn read_stamp(&self) -> Result<Option<NodeIdentity>, OpenError> {
        let path = self.layout.stamp();
        let _ = self.disk.drop_cache(&path); // What the disk has, not what a failed process left in memory; best effort.
        match api::disk::read(&*self.disk, &path) {
            Ok(bytes) => codec::decode(&bytes).map(Some).map_err(|source| OpenError::Stamp { path, source }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Disk { path, source }),
        }
    }

    /// A full disk is not a failed sync; of anything else nobody knows what the disk has.
    fn write_stamp(&self, identity: &NodeIdentity) -> Result<(), Trouble> {
        let written = api::disk::replace(&*self.disk, &self.layout.stamp(), &codec::encode(identity));
        written.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => Trouble::Io(error),
            _ => Trouble::Sync(error),
        })
    }

    /// A stamped directory comes up: synced, cleaned, counted, listed. A poisoned one is only listed.
    fn start(&self, mut identity: NodeIdentity) -> io::Result<()> {
        if self.poison.reason().is_none()
            && let Err(trouble) = self.layout.prepare().and_then(|()| self.layout.clean())
        {
            self.poison_or(trouble)?;
        }
        if self.poison.reason().is_none() {
            identity.boot += 1;
            self.write_stamp(&identity).or_else(|trouble| self.poison_or(trouble))?;
        }
        let ids = match self.scan_all() {
            Ok(ids) => ids,
            Err(Trouble::Io(error) | Trouble::Sync(error)) => return Err(error),
        };
        self.believe(identity, ids);
        Ok(())
    }

    fn poison_or(&self, trouble: Trouble) -> io::Result<()> {
        match trouble {
            Trouble::Io(error) => Err(error),
            Trouble::Sync(error) => {
                self.poison.set(&*self.disk, format!("a sync failed at the start: {error}"));
                Ok(())
            }
        }
    }

    fn scan_all(&self) -> Result<Vec<ChunkId>, Trouble> {
        let mut ids = Vec::new();
        for bucket in 0..=255 {
            ids.extend(self.layout.scan(bucket)?);
        }
        Ok(ids)
    }

    fn believe(&self, identity: NodeIdentity, ids: Vec<ChunkId>) {
        let mut inventory = Inventory::default();
        ids.into_iter().for_each(|id| {
            inventory.insert(id);
        });
        inventory.buckets();
        *self.state.lock() = State { identity: Some(identity), inventory, draws: 0, tokens: HashMap::new() };
    }

    fn is_listed(&self, id: &ChunkId) -> bool {
        self.state.lock().inventory.contains(id)
    }

    /// Whether the stored copy equals `bytes`. If not, `bytes` must be what `id` names, or they are refused.
    fn compare(&self, id: ChunkId, bytes: &[u8]) -> Result<bool, ChunkError> {
        let same_length = self.layout.length(id).map_err(io_error)? == Some(bytes.len() as u64);
        if same_length && matches!(self.layout.read(id), Ok(Found::Bytes(stored)) if stored == bytes) {
            return Ok(true);
        }
        match id.names(bytes) {
            true => Ok(false),
            false => Err(ChunkError::Mismatch { id, what: "id".into() }),
        }
    }

    fn draw(&self, identity: NodeIdentity, id: ChunkId) -> Token {
        let mut state = self.state.lock();
        state.draws += 1;
        let draw = state.draws;
        state.inventory.insert(id);
        state.tokens.insert(id, draw);
        Token { boot: identity.boot, draw }
    }

    fn held(&self, ids: &[ChunkId]) -> Result<Vec<Held>, ChunkError> {
        let identity = self.identity()?;
        let mut held = Vec::with_capacity(ids.len());
        for &id in ids {
            if let Some(length) = self.layout.length(id).map_err(io_error)? {
                held.push(Held { id, length, token: self.state.lock().token(identity, &id) });
            }
        }
        Ok(held)
    }

    fn explain(&self, trouble: Trouble) -> ChunkError {
        match trouble {
            Trouble::Sync(error) => self.poison.set(&*self.disk, format!("a sync failed: {error}")),
            Trouble::Io(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                let space = self.disk.space(self.layout.root());
                let (free_bytes, reserve_bytes) = space.map_or((0, 0), |space| (space.free, self.room.reserve(space)));
                ChunkError::Full { free_bytes, reserve_bytes }
            }
            Trouble::Io(error) => io_error(error),
        }
    }
}

impl State {
    fn token(&self, identity: NodeIdentity, id: &ChunkId) -> Token {
        Token { boot: identity.boot, draw: self.tokens.get(id).copied().unwrap_or(0) }
    }
}

fn io_error(error: io::Error) -> ChunkError {
    ChunkError::Disk { reason: error.to_string() }
}

fn other_node(known: NodeIdentity, cluster_id: u128, node: NodeId) -> ChunkError {
    let (theirs, ours) = (known.node, known.cluster_id);
    let reason = format!("the directory is {theirs} of cluster {ours:032x}, not {node} of {cluster_id:032x}");
    ChunkError::NotThisNode { reason }
}
