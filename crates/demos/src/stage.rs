//! What a demo knows while it runs: the cluster, and everything that was done to it so far.
//!
//! The stage keeps its own books. What it was told when it put an object (which chunks, which nodes) and what must follow (where
//! the chunks belong, by [`crate::hrw`]) is written down at once, so that the oracles at the end compare the world with
//! the books and not with itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Clock;
use client::native::{Download, PutAnswer, PutChunk, PutStripe};
use domain::ChunkId;
use domain::record::NodeState;

use crate::cluster::{Cluster, Condition, DemoError, GatewaySettings, Who};
use crate::content::Content;
use crate::hrw;
use crate::words::Variables;

/// The bucket of all objects of a demo.
pub const BUCKET: &str = "demo";

/// Copies of a chunk, unless the script chose another number.
const DEFAULT_COPIES: u64 = 3;

/// Bytes of a chunk, unless the script chose another size.
const DEFAULT_CHUNK_BYTES: u64 = 4 << 20;

/// An acknowledged object.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it holds.
    pub content: Content,
    /// The SHA-256 of that.
    pub sha256: [u8; 32],
    /// Its chunks, as the gateway told; of an object in stripes, the shards of one stripe after the other.
    pub chunks: Vec<PutChunk>,
    /// How many shards each of its stripes has; 0 if it has none.
    pub shards: usize,
    /// For each chunk, the nodes that it belongs on.
    pub places: Vec<Place>,
}

/// A node of the registry.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The name it is placed by.
    pub name: String,
    /// Which process it is.
    pub who: Who,
    /// Its failure domain; empty means its own.
    pub domain: String,
}

/// Where a chunk belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// It must be on all of these.
    pub must: BTreeSet<Who>,
    /// It may be on these too: they were silent when it was written, and may have taken it or not.
    pub may: BTreeSet<Who>,
    /// How many copies there should be.
    pub copies: usize,
}

/// A demo in progress.
pub struct Stage {
    /// What it runs on.
    pub cluster: Box<dyn Cluster>,
    /// The time, for signatures.
    pub clock: Arc<dyn Clock>,
    /// The gateway's settings at its start.
    pub gateway: GatewaySettings,
    /// The URL key that requests are signed with.
    pub kid: String,
    /// What `let` kept.
    pub variables: Variables,
    /// Every object that was acknowledged and not deleted.
    pub objects: BTreeMap<String, Stored>,
    /// What `objects` was when a backup of that name was taken.
    pub backed_up: BTreeMap<String, BTreeMap<String, Stored>>,
    /// Chunks that may lie on disks without an object: of deleted, replaced, refused and broken uploads.
    pub leftovers: BTreeSet<ChunkId>,
    /// Chunk files that the script damaged or deleted.
    pub damaged: BTreeSet<(Who, ChunkId)>,
    /// Processes that the script killed.
    pub killed: BTreeSet<Who>,
    /// Coordinators whose disk the script emptied, and that nobody took in since.
    pub wiped: BTreeSet<Who>,
    /// Nodes of the registry.
    pub registry: Vec<Registered>,
    /// Downloads that are held open.
    pub readers: BTreeMap<String, Download>,
    /// Words of log lines that may be errors.
    pub allowed_errors: Vec<String>,
    /// What a watcher is told beside the answer of the present line.
    pub notes: Vec<String>,
}

impl Stage {
    /// An empty stage.
    pub fn new(cluster: Box<dyn Cluster>, clock: Arc<dyn Clock>) -> Self {
        Self {
            cluster,
            clock,
            gateway: GatewaySettings::new(),
            kid: "v1".into(),
            variables: Variables::new(),
            objects: BTreeMap::new(),
            backed_up: BTreeMap::new(),
            leftovers: BTreeSet::new(),
            damaged: BTreeSet::new(),
            killed: BTreeSet::new(),
            wiped: BTreeSet::new(),
            registry: Vec::new(),
            readers: BTreeMap::new(),
            allowed_errors: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Copies that the gateway makes of each chunk.
    pub fn copies(&self) -> Result<usize, DemoError> {
        Ok(self.setting("copies", DEFAULT_COPIES)? as usize)
    }

    /// Bytes of a whole chunk.
    pub fn chunk_bytes(&self) -> Result<u64, DemoError> {
        let bytes = self.setting("chunk-size", DEFAULT_CHUNK_BYTES)?;
        Ok(if bytes == 0 { DEFAULT_CHUNK_BYTES } else { bytes })
    }

    fn setting(&self, name: &str, default: u64) -> Result<u64, DemoError> {
        Ok(self.gateway.get(name).map_or(Ok(default), |value| crate::words::amount(value))?)
    }

    /// An acknowledged object.
    pub fn object(&self, name: &str) -> Result<&Stored, DemoError> {
        self.objects.get(name).ok_or_else(|| DemoError::usage(format!("no object `{name}` was acknowledged")))
    }

    /// Learns which nodes are registered, under which names.
    pub async fn learn_registry(&mut self) -> Result<(), DemoError> {
        let status = self.cluster.admin()?.status().await?;
        let mut registry = Vec::new();
        for node in status.nodes.into_iter().filter(|node| node.state == NodeState::In) {
            let who = self.who_listens_at(&node.addr)?;
            registry.push(Registered { name: node.name, who, domain: node.domain });
        }
        self.registry = registry;
        Ok(())
    }

    /// The process at `address`.
    pub fn who_listens_at(&mut self, address: &str) -> Result<Who, DemoError> {
        let all = self.cluster.processes();
        let found = all.into_keys().find(|who| self.cluster.address(*who).is_ok_and(|known| known == address));
        found.ok_or_else(|| DemoError::usage(format!("no process of this demo listens at {address}")))
    }

    /// Where `chunk` belongs if it is written now: on the first nodes of its order that run.
    pub fn place(&mut self, chunk: &str) -> Result<Place, DemoError> {
        let copies = self.copies()?;
        self.place_key(chunk, copies)
    }

    /// Where the shards of a stripe belong: each where the gateway said that it is, as long as that is one of the nodes that the formula names.
    fn place_shards(&mut self, stripe: &PutStripe) -> Result<Vec<Place>, DemoError> {
        let named = self.place_key(&stripe.stripe_id, stripe.shards.len())?;
        let mut places = Vec::new();
        for shard in &stripe.shards {
            let holders = shard.replicas.iter().map(|address| self.who_listens_at(address));
            let holders: BTreeSet<Who> = holders.collect::<Result<_, _>>()?;
            let must = holders.intersection(&named.must).copied().collect();
            places.push(Place { must, may: named.must.union(&named.may).copied().collect(), copies: 1 });
        }
        Ok(places)
    }

    fn place_key(&mut self, chunk: &str, copies: usize) -> Result<Place, DemoError> {
        let conditions = self.cluster.processes();
        let names: Vec<&str> = self.registry.iter().map(|node| node.name.as_str()).collect();
        let order = hrw::order(chunk, &names);
        let known = |name: &&str| self.registry.iter().find(|node| node.name == **name);
        let order: Vec<&Registered> = order.iter().filter_map(known).collect();
        let running: Vec<_> =
            order.iter().filter(|node| conditions.get(&node.who) == Some(&Condition::Running)).copied().collect();
        let domains: Vec<&str> = running.iter().map(|node| node.domain.as_str()).collect();
        let must = hrw::dealt(&domains).into_iter().take(copies).map(|place| running[place].who).collect();
        let order: Vec<Who> = order.into_iter().map(|node| node.who).collect();
        let conditions = self.cluster.processes();
        let may = order.iter().filter(|who| conditions.get(who) == Some(&Condition::Stopped)).copied().collect();
        Ok(Place { must, may, copies })
    }

    /// Writes down that `name` was acknowledged.
    pub fn acknowledged(
        &mut self,
        name: &str,
        content: Content,
        sha256: [u8; 32],
        answer: PutAnswer,
    ) -> Result<(), DemoError> {
        let mut places: Vec<Place> =
            answer.chunks.iter().map(|chunk| self.place(&chunk.chunk_id)).collect::<Result<_, _>>()?;
        for stripe in &answer.stripes {
            places.extend(self.place_shards(stripe)?);
        }
        let shards = answer.stripes.first().map_or(0, |stripe| stripe.shards.len());
        let chunks = answer.chunks.into_iter().chain(answer.stripes.into_iter().flat_map(|stripe| stripe.shards));
        let stored = Stored { content, sha256, chunks: chunks.collect(), shards, places };
        if let Some(replaced) = self.objects.insert(name.to_string(), stored) {
            self.left_over(&replaced)?;
        }
        Ok(())
    }

    /// Writes down that `name` is no more.
    pub fn deleted(&mut self, name: &str) -> Result<(), DemoError> {
        match self.objects.remove(name) {
            Some(stored) => self.left_over(&stored),
            None => Ok(()),
        }
    }

    /// Writes down that the cluster goes back to a backup: what was written since is no object any more.
    pub fn went_back_to(&mut self, backup: &str) -> Result<(), DemoError> {
        if let Some(then) = self.backed_up.get(backup).cloned() {
            for replaced in std::mem::replace(&mut self.objects, then).into_values() {
                self.left_over(&replaced)?;
            }
        }
        Ok(())
    }

    /// Writes down that `content` may have left chunks behind, though nobody acknowledged it.
    pub fn not_acknowledged(&mut self, content: &Content) -> Result<(), DemoError> {
        let chunk_bytes = self.chunk_bytes()?;
        for at in (0..content.size()).step_by(chunk_bytes as usize) {
            let end = content.size().min(at + chunk_bytes);
            let hash = content.sha256(at..end);
            self.leftovers.insert(parse_id(&hex(&hash))?);
        }
        Ok(())
    }

    fn left_over(&mut self, stored: &Stored) -> Result<(), DemoError> {
        for chunk in &stored.chunks {
            self.leftovers.insert(parse_id(&chunk.chunk_id)?);
        }
        Ok(())
    }

    /// Every chunk of an acknowledged object, and where it belongs.
    pub fn wanted(&self, prefix: &str) -> Result<BTreeMap<ChunkId, Place>, DemoError> {
        let mut wanted: BTreeMap<ChunkId, Place> = BTreeMap::new();
        for (_, stored) in self.objects.iter().filter(|(name, _)| name.starts_with(prefix)) {
            for (chunk, place) in stored.chunks.iter().zip(&stored.places) {
                let known = wanted.entry(parse_id(&chunk.chunk_id)?).or_default();
                known.copies = known.copies.max(place.copies);
                known.must.extend(&place.must);
                known.may.extend(&place.may);
            }
        }
        Ok(wanted)
    }

    /// Chunks of acknowledged objects that have a record of their own, which shards have not.
    pub fn recorded(&self) -> Result<BTreeSet<ChunkId>, DemoError> {
        let chunks = self.objects.values().filter(|stored| stored.shards == 0).flat_map(|stored| &stored.chunks);
        chunks.map(|chunk| parse_id(&chunk.chunk_id)).collect()
    }

    /// Every chunk on a disk, and on which.
    pub fn found(&mut self) -> Result<BTreeMap<ChunkId, BTreeSet<Who>>, DemoError> {
        let mut found: BTreeMap<ChunkId, BTreeSet<Who>> = BTreeMap::new();
        for node in self.nodes() {
            for chunk in self.cluster.chunks(node)? {
                found.entry(chunk).or_default().insert(node);
            }
        }
        Ok(found)
    }

    /// All data nodes that were ever started.
    pub fn nodes(&mut self) -> Vec<Who> {
        self.cluster.processes().into_keys().filter(|who| matches!(who, Who::Node(_))).collect()
    }

    /// Tells a watcher something that is not compared.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// A chunk's id from its 64 hex digits.
pub fn parse_id(hex: &str) -> Result<ChunkId, DemoError> {
    hex.parse().map_err(|error| DemoError::usage(format!("`{hex}` names no chunk: {error}")))
}

/// Bytes as lowercase hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
