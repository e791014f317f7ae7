//! A data node: the `ChunkStore` seam over one directory.
//!
//! The store below blocks and minds one chunk at a time; this is what stands between it and many callers:
//!
//! - Disk work runs as jobs of the `Disk` seam, never on the threads that carry the network. A job that was started ends by itself:
//!   when its caller goes away, it still gives back its lock and its share of the budget.
//! - Callers that change the same chunk take turns. So the second of two equal puts **joins the barrier** of the first: it waits, finds
//!   durable bytes, compares, and says `present`. Locks are striped: 1,024 of them, by bits of the id, so that two chunks share
//!   one by accident now and then, which costs the second a wait and nothing else.
//! - Reads take no lock: a chunk never changes, and a healed one replaces the old file as a whole.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use api::chunk_store::{Held, MerkleSummary, NodeIdentity, Restamp, Stored};
use api::{ChunkError, ChunkStore, Clock, Disk, Entropy, NodeStatus};
use async_trait::async_trait;
use bytes::Bytes;
use domain::chunking::MAX_CHUNK_BYTES;
use domain::{ChunkId, Crc32c, NodeId, Token};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::budget::{Budget, Share};
use crate::store::{FilesStore, OpenError};

/// How many locks the chunks share: many more than disks do at once, few enough to be nothing in memory.
const STRIPES: usize = 1024;

/// The most ids that one `stat` over HTTP may ask for.
pub const MAX_STAT_IDS: usize = 4096;

/// Bounds of a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that stay free on the disk; `None` means 1 GiB or 2 % of it, whichever is more.
    pub reserve_bytes: Option<u64>,
    /// Bytes of puts between their arrival and the disk; beyond them, [`ChunkError::Busy`].
    pub write_budget_bytes: u64,
    /// Bytes of reads between the disk and their departure; beyond them, [`ChunkError::Busy`].
    pub read_budget_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { reserve_bytes: None, write_budget_bytes: 64 << 20, read_budget_bytes: 256 << 20 }
    }
}

/// A data node; clones are the same node.
#[derive(Clone)]
pub struct Node {
    disk: Arc<dyn Disk>,
    store: Arc<FilesStore>,
    writes: Arc<Budget>,
    reads: Arc<Budget>,
    stripes: Arc<[Arc<Mutex<()>>]>,
    /// The metadata generation in whose name this handle's user asks, if it says.
    named: Option<u64>,
}

impl Node {
    /// Opens `directory`, which must be on one file system and used by nobody else; it may be empty, or not be there yet.
    pub async fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        directory: PathBuf,
        options: Options,
    ) -> Result<Self, OpenError> {
        let (files, path) = (disk.clone(), directory.clone());
        let open = move || FilesStore::open(files, clock, entropy, path, options.reserve_bytes);
        let store = run(&*disk, open).await.unwrap_or_else(|| {
            let source = std::io::Error::other("opening it did not end: a bug, or the runtime is shutting down");
            Err(OpenError::Disk { path: directory, source })
        })?;
        Ok(Self {
            disk,
            store: Arc::new(store),
            writes: Budget::new(options.write_budget_bytes),
            reads: Budget::new(options.read_budget_bytes),
            stripes: (0..STRIPES).map(|_| Arc::default()).collect(),
            named: None,
        })
    }

    /// The same node, for somebody who goes by this generation of the metadata: puts, touches and deletes are refused once the node
    /// obeys a higher one.
    pub fn in_the_name_of(&self, generation: Option<u64>) -> Self {
        Self { named: generation, ..self.clone() }
    }

    /// Who this node is, if its directory is stamped.
    pub fn identity(&self) -> Option<NodeIdentity> {
        self.store.identity().ok()
    }

    /// Waits until the store is poisoned and gives the reason; the process should then end with [`api::poison::EXIT_POISONED`] once nobody
    /// needs its reads any more.
    pub fn poisoned(&self) -> impl Future<Output = String> + Send + use<> {
        self.store.poison().poisoned()
    }

    /// Chunks it holds and the error that poisoned it: what can be said without asking the disk.
    pub fn pulse(&self) -> (usize, Option<String>) {
        (self.store.chunks(), self.store.poison().reason())
    }

    /// A share of the write budget for a body of `bytes`, to be taken before the body is read.
    pub fn reserve(&self, bytes: u64) -> Result<Share, ChunkError> {
        self.writes.take(bytes)
    }

    /// Bytes of puts and of reads that are on their way.
    pub fn in_flight(&self) -> (u64, u64) {
        (self.writes.used(), self.reads.used())
    }

    /// [`put`](ChunkStore::put) with a share taken before.
    pub async fn put_reserved(
        &self,
        id: ChunkId,
        crc: Crc32c,
        bytes: Bytes,
        share: Share,
    ) -> Result<Stored, ChunkError> {
        check_incoming(id, crc, &bytes)?;
        let (turn, named) = (self.turn(&id).await, self.named);
        self.job(move |store| {
            let _until_done = (turn, share);
            store.obey(named)?;
            store.put(id, &bytes)
        })
        .await
    }

    /// A verified part of a chunk with its own CRC-32C, and the length of the whole.
    pub async fn part(&self, id: ChunkId, crc: Crc32c, range: Range<u32>) -> Result<(Bytes, Crc32c, u32), ChunkError> {
        let bytes = self.get(id, Some(crc)).await?;
        let length = bytes.len() as u32;
        if range.start > range.end || range.end > length {
            let what = format!("range: {}..{} of a chunk of {length} bytes", range.start, range.end);
            return Err(ChunkError::Mismatch { id, what });
        }
        let part = bytes.slice(range.start as usize..range.end as usize);
        let part_crc = Crc32c::of(&part);
        Ok((part, part_crc, length))
    }

    async fn turn(&self, id: &ChunkId) -> OwnedMutexGuard<()> {
        let bits = u16::from_le_bytes([id.as_bytes()[8], id.as_bytes()[9]]);
        self.stripes[usize::from(bits) % STRIPES].clone().lock_owned().await
    }

    async fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&FilesStore) -> Result<T, ChunkError> + Send + 'static,
    ) -> Result<T, ChunkError> {
        let store = self.store.clone();
        run(&*self.disk, move || work(&store)).await.unwrap_or_else(|| {
            Err(ChunkError::Disk { reason: "a disk job did not end: a bug, or the node is shutting down".into() })
        })
    }
}

/// Runs `work` as a job of the disk; `None` if it was dropped or panicked.
async fn run<T: Send + 'static>(disk: &dyn Disk, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    disk.spawn(Box::new(move || drop(answer.send(work()))));
    answered.await.ok()
}

fn check_incoming(id: ChunkId, crc: Crc32c, bytes: &[u8]) -> Result<(), ChunkError> {
    let wrong = |what: &str| Err(ChunkError::Mismatch { id, what: what.into() });
    if bytes.len() > MAX_CHUNK_BYTES as usize {
        return wrong("length: a chunk has at most 16 MiB");
    }
    if Crc32c::of(bytes) != crc {
        return wrong("checksum");
    }
    Ok(())
}

/// Bytes that keep their share of the read budget until the last reader drops them.
struct Lent {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[async_trait]
impl ChunkStore for Node {
    async fn put(&self, id: ChunkId, crc: Crc32c, bytes: Bytes) -> Result<Stored, ChunkError> {
        let share = self.reserve(bytes.len() as u64)?;
        self.put_reserved(id, crc, bytes, share).await
    }

    async fn touch(&self, id: ChunkId) -> Result<Stored, ChunkError> {
        let (turn, named) = (self.turn(&id).await, self.named);
        self.job(move |store| {
            let _until_done = turn;
            store.obey(named)?;
            store.touch(id)
        })
        .await
    }

    async fn get(&self, id: ChunkId, crc: Option<Crc32c>) -> Result<Bytes, ChunkError> {
        let reads = self.reads.clone();
        self.job(move |store| {
            let expected = store.length(id)?.min(u64::from(MAX_CHUNK_BYTES));
            let share = reads.take(expected)?;
            let bytes = store.read(id, crc)?;
            Ok(Bytes::from_owner(Lent { bytes, _share: share }))
        })
        .await
    }

    async fn get_range(&self, id: ChunkId, crc: Crc32c, range: Range<u32>) -> Result<(Bytes, Crc32c), ChunkError> {
        self.part(id, crc, range).await.map(|(part, part_crc, _)| (part, part_crc))
    }

    async fn stat(&self, ids: &[ChunkId]) -> Result<Vec<Held>, ChunkError> {
        let ids = ids.to_vec();
        self.job(move |store| store.stat(&ids)).await
    }

    async fn delete(&self, id: ChunkId, token: Token) -> Result<(), ChunkError> {
        let (turn, named) = (self.turn(&id).await, self.named);
        self.job(move |store| {
            let _until_done = turn;
            store.obey(named)?;
            store.delete(id, token)
        })
        .await
    }

    async fn inventory(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        self.store.page(after, limit)
    }

    async fn merkle(&self) -> Result<MerkleSummary, ChunkError> {
        self.job(|store| store.merkle()).await
    }

    async fn merkle_bucket(&self, bucket: u8) -> Result<Vec<ChunkId>, ChunkError> {
        self.store.bucket(bucket)
    }

    async fn deep_scan(&self, bucket: u8) -> Result<Vec<Held>, ChunkError> {
        self.job(move |store| store.deep_scan(bucket)).await
    }

    async fn verify(&self, id: ChunkId) -> Result<(), ChunkError> {
        self.job(move |store| store.read(id, None).map(drop)).await
    }

    async fn status(&self) -> Result<NodeStatus, ChunkError> {
        self.job(|store| store.status()).await
    }

    async fn format(&self, cluster_id: u128, generation: u64, node: NodeId) -> Result<NodeIdentity, ChunkError> {
        let before = self.identity().map(|identity| identity.generation);
        let identity = self.job(move |store| store.format(cluster_id, generation, node)).await?;
        if before.is_some_and(|before| before < identity.generation) {
            // Whoever was let in under the generation before holds a stripe: taking each of them once waits for all.
            for stripe in self.stripes.iter() {
                drop(stripe.lock().await);
            }
        }
        Ok(identity)
    }

    async fn witness(&self, witness: u64) -> Result<NodeIdentity, ChunkError> {
        self.job(move |store| store.witness(witness)).await
    }

    async fn restamp(&self, stamp: Restamp) -> Result<NodeIdentity, ChunkError> {
        self.job(move |store| store.restamp(stamp)).await
    }
}
