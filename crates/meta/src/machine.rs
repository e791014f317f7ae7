//! The state machine's hands: typed rows of one transaction, at one place in the log.

use domain::codec;
use domain::record::{
    BodyKind, BodyRow, ChunkRow, ClusterRow, Extent, LeaseRow, NodeRow, ObjectName, ObjectRow, TotalsRow,
};
use domain::stripe::{StripeExtent, StripeRow, Unit};
use domain::{ChunkId, ClassId, LogPosition, NodeId, StripeId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::keys;
use crate::tables::{Row, StorageError, Table, Tables, TablesMut};

/// The value at `key`, decoded.
pub fn get<T: DeserializeOwned>(tables: &dyn Tables, table: Table, key: &[u8]) -> Result<Option<T>, StorageError> {
    tables.get(table, key)?.map(|bytes| decode(table, &bytes)).transpose()
}

/// A stored value, decoded; damage is a storage error that names the table.
pub fn decode<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, StorageError> {
    codec::decode(bytes).map_err(|error| StorageError(format!("table {}: {error}", table.name())))
}

/// A body.
pub fn body(tables: &dyn Tables, id: LogPosition) -> Result<Option<BodyRow>, StorageError> {
    tables.get(Table::Bodies, &keys::position(id))?.map(|bytes| decode_body(&bytes)).transpose()
}

/// A stored body, decoded.
pub fn decode_body(bytes: &[u8]) -> Result<BodyRow, StorageError> {
    BodyRow::decode(bytes).map_err(|error| StorageError(format!("table {}: {error}", Table::Bodies.name())))
}

/// What extent `index` of body `id` refers to, in order and as often as it does.
pub fn units(tables: &dyn Tables, id: LogPosition, kind: BodyKind, index: u32) -> Result<Vec<Unit>, StorageError> {
    let missing = || StorageError(format!("extent {index} of body {id} is missing"));
    let value = tables.get(Table::Extents, &keys::pair(id, u64::from(index)))?.ok_or_else(missing)?;
    decode_units(kind, &value)
}

/// What a stored extent of a body of this kind refers to.
pub fn decode_units(kind: BodyKind, value: &[u8]) -> Result<Vec<Unit>, StorageError> {
    Ok(match kind {
        BodyKind::Chunks => {
            let extent: Extent = decode(Table::Extents, value)?;
            extent.chunks.iter().map(|chunk| Unit::Chunk(chunk.id)).collect()
        }
        BodyKind::Stripes(_) => {
            let extent: StripeExtent = decode(Table::Extents, value)?;
            extent.stripes.iter().map(|stripe| Unit::Stripe(stripe.id)).collect()
        }
    })
}

/// At most `limit` rows whose keys begin with `prefix`.
pub fn scan_prefix(tables: &dyn Tables, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, StorageError> {
    tables.scan(table, prefix, &keys::after_prefix(prefix), limit)
}

/// The newest version of an object.
pub fn current(tables: &dyn Tables, name: &ObjectName) -> Result<Option<(LogPosition, ObjectRow)>, StorageError> {
    let prefix = keys::versions_of(&name.bucket, name.key.as_bytes());
    let Some((key, value)) = scan_prefix(tables, Table::Objects, &prefix, 1)?.pop() else {
        return Ok(None);
    };
    let version = keys::parse_position(&key[prefix.len()..]).ok_or_else(|| damaged_key(Table::Objects))?;
    Ok(Some((LogPosition(!version.0), decode(Table::Objects, &value)?)))
}

/// All registered nodes, by number.
pub fn nodes(tables: &dyn Tables) -> Result<Vec<(NodeId, NodeRow)>, StorageError> {
    let rows = tables.scan(Table::Nodes, &[], &[], usize::MAX)?;
    rows.into_iter()
        .map(|(key, value)| {
            let number = key.try_into().map_err(|_| damaged_key(Table::Nodes))?;
            Ok((NodeId(u32::from_be_bytes(number)), decode(Table::Nodes, &value)?))
        })
        .collect()
}

/// The error for a key that nobody wrote.
pub fn damaged_key(table: Table) -> StorageError {
    StorageError(format!("table {}: a key is damaged", table.name()))
}

/// One command's view of the tables.
pub(crate) struct Machine<'a> {
    pub tables: &'a mut dyn TablesMut,
    /// This command's place in the log.
    pub at: LogPosition,
    /// Wall clock of the entry: data only.
    pub now_ms: u64,
    /// The cluster, as the entry found it or a command left it.
    pub cluster: ClusterRow,
    /// What the store holds, as the entry found it or a command left it; written back at the entry's end.
    pub totals: TotalsRow,
    /// The registry, read once an entry.
    pub nodes: Option<Vec<(NodeId, NodeRow)>>,
}

impl Machine<'_> {
    pub fn get<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StorageError> {
        get(&*self.tables, table, key)
    }

    pub fn put<T: Serialize>(&mut self, table: Table, key: &[u8], row: &T) -> Result<(), StorageError> {
        self.tables.put(table, key, &codec::encode(row))
    }

    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StorageError> {
        self.tables.delete(table, key)
    }

    pub fn put_cluster(&mut self) -> Result<(), StorageError> {
        let row = self.cluster.clone();
        self.put(Table::Cluster, keys::CLUSTER, &row)
    }

    pub fn lease(&self, id: LogPosition) -> Result<Option<LeaseRow>, StorageError> {
        self.get(Table::Leases, &keys::position(id))
    }

    pub fn body(&self, id: LogPosition) -> Result<Option<BodyRow>, StorageError> {
        body(&*self.tables, id)
    }

    pub fn put_body(&mut self, id: LogPosition, row: &BodyRow) -> Result<(), StorageError> {
        self.tables.put(Table::Bodies, &keys::position(id), &row.encode())
    }

    pub fn stripe(&self, class: ClassId, id: &StripeId) -> Result<Option<StripeRow>, StorageError> {
        self.get(Table::Stripes, &keys::stripe(class, id))
    }

    pub fn chunk(&self, class: ClassId, id: &ChunkId) -> Result<Option<ChunkRow>, StorageError> {
        self.get(Table::Chunks, &keys::chunk(class, id))
    }

    /// All registered nodes; from memory after the first call of an entry.
    pub fn nodes(&mut self) -> Result<&[(NodeId, NodeRow)], StorageError> {
        if self.nodes.is_none() {
            self.nodes = Some(nodes(&*self.tables)?);
        }
        Ok(self.nodes.as_deref().unwrap_or_default())
    }

    /// Adds `by` to the number of copies that name a node.
    pub fn count_copies(&mut self, node: NodeId, by: i64) -> Result<(), StorageError> {
        let key = keys::node(node);
        let count: u64 = self.get(Table::Holdings, &key)?.unwrap_or(0);
        let count = count.checked_add_signed(by).ok_or_else(|| StorageError(format!("copies of {node} below zero")))?;
        self.put(Table::Holdings, &key, &count)
    }
}
