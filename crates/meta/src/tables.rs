//! The storage that the state machine runs over: ordered tables in one transaction.

/// The tables, by name. What a key and a value are is said where each is used, in [`crate::keys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The one row about the cluster.
    Cluster,
    /// Buckets by name.
    Buckets,
    /// Object versions by bucket, key and version, newest first.
    Objects,
    /// Bodies by id.
    Bodies,
    /// Bodies under construction, by lease and body.
    Uploads,
    /// Extents by body and index.
    Extents,
    /// Chunks by class and id.
    Chunks,
    /// Chunks and stripes without references, by the log position at which the last one went, and id.
    Garbage,
    /// Bodies without objects, waiting to be emptied.
    Trash,
    /// Chunks with copies, and stripes with shards, where placement does not want them.
    Misplaced,
    /// Chunks with fewer good copies, and stripes with fewer good shards, than wanted.
    Degraded,
    /// How many copies of chunks and shards name a node, by its number.
    Holdings,
    /// Data nodes by number.
    Nodes,
    /// Leases by id.
    Leases,
    /// Replies by lease and request number, until the requester has them.
    Sessions,
    /// URL keys by kid.
    UrlKeys,
    /// S3 credentials by access key id.
    Credentials,
    /// Stripes by class and id.
    Stripes,
    /// Which stripes place which chunk id on which node as a shard: by chunk id, node, class and stripe.
    Shards,
    /// The names of buckets that have a policy.
    Policies,
}

impl Table {
    /// All tables, in a fixed order.
    pub const ALL: [Table; 20] = [
        Table::Cluster,
        Table::Buckets,
        Table::Objects,
        Table::Bodies,
        Table::Uploads,
        Table::Extents,
        Table::Chunks,
        Table::Garbage,
        Table::Trash,
        Table::Misplaced,
        Table::Degraded,
        Table::Holdings,
        Table::Nodes,
        Table::Leases,
        Table::Sessions,
        Table::UrlKeys,
        Table::Credentials,
        Table::Stripes,
        Table::Shards,
        Table::Policies,
    ];

    /// The table's name on disk and in snapshots.
    pub fn name(self) -> &'static str {
        match self {
            Table::Cluster => "cluster",
            Table::Buckets => "buckets",
            Table::Objects => "objects",
            Table::Bodies => "bodies",
            Table::Uploads => "uploads",
            Table::Extents => "extents",
            Table::Chunks => "chunks",
            Table::Garbage => "garbage",
            Table::Trash => "trash",
            Table::Misplaced => "misplaced",
            Table::Degraded => "degraded",
            Table::Holdings => "holdings",
            Table::Nodes => "nodes",
            Table::Leases => "leases",
            Table::Sessions => "sessions",
            Table::UrlKeys => "urlkeys",
            Table::Credentials => "credentials",
            Table::Stripes => "stripes",
            Table::Shards => "shards",
            Table::Policies => "policies",
        }
    }
}

/// The tables could not be read or written, or hold what nobody wrote. The process must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata storage: {0}")]
pub struct StorageError(pub String);

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Tables at one moment.
pub trait Tables {
    /// The value at `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
    /// At most `limit` rows with `from` ≤ key < `to`, in key order; an empty `to` means to the end.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StorageError>;
    /// How many rows a table has.
    fn count(&self, table: Table) -> Result<u64, StorageError>;
}

/// Tables inside a write transaction; reads see its own writes.
pub trait TablesMut: Tables {
    /// Sets the value at `key`.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StorageError>;
    /// Removes `key`; fine if it is not there.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StorageError>;
}
