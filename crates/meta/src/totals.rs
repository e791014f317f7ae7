//! What the store holds, in bytes, counted along the way: what all objects have together, what of it is different, and what it takes on disks.
//!
//! `logical` is what users see: the sizes of all objects. `unique` counts every chunk once, however many objects share it; `logical / unique` is
//! what sharing saves. `stored` is `unique` times the copies: the bytes on nodes. A deleted object leaves `logical` at once; its chunks
//! leave the others when their records are forgotten. A stripe counts as its data shards among the unique bytes, and as all copies of all shards
//! among the stored.
//!
//! Three numbers in one row, changed with the rows that they sum up, in the same transaction; so nobody ever reads all rows to answer. Tables written
//! before the row was there are counted once, at the next entry, which every replica does alike.

use domain::record::{ChunkRow, ObjectRow, TotalsRow};
use domain::stripe::StripeRow;

use crate::keys;
use crate::machine::{Machine, decode, get};
use crate::stripes::copies_of;
use crate::tables::{StorageError, Table, Tables};

impl Machine<'_> {
    /// Adds `by` to the sizes of all objects.
    pub fn count_logical(&mut self, by: i64) -> Result<(), StorageError> {
        shift(&mut self.totals.logical_bytes, by, "logical")
    }

    /// Adds `by` to the sizes of all chunks and of the data shards of all stripes.
    pub fn count_unique(&mut self, by: i64) -> Result<(), StorageError> {
        shift(&mut self.totals.unique_bytes, by, "unique")
    }

    /// Adds `by` to the sizes of all copies.
    pub fn count_stored(&mut self, by: i64) -> Result<(), StorageError> {
        shift(&mut self.totals.stored_bytes, by, "stored")
    }
}

fn shift(total: &mut u64, by: i64, what: &str) -> Result<(), StorageError> {
    *total = total.checked_add_signed(by).ok_or_else(|| StorageError(format!("{what} bytes below zero")))?;
    Ok(())
}

/// The totals: as they were counted along the way, or if they never were, by reading all rows.
pub fn totals(tables: &dyn Tables) -> Result<TotalsRow, StorageError> {
    match get(tables, Table::Cluster, keys::TOTALS)? {
        Some(row) => Ok(row),
        None => count(tables),
    }
}

/// The totals by a full count.
pub fn count(tables: &dyn Tables) -> Result<TotalsRow, StorageError> {
    let mut totals = TotalsRow::default();
    for (_, value) in tables.scan(Table::Objects, &[], &[], usize::MAX)? {
        let object: ObjectRow = decode(Table::Objects, &value)?;
        totals.logical_bytes += object.size;
    }
    for (_, value) in tables.scan(Table::Chunks, &[], &[], usize::MAX)? {
        let chunk: ChunkRow = decode(Table::Chunks, &value)?;
        totals.unique_bytes += u64::from(chunk.length);
        totals.stored_bytes += u64::from(chunk.length) * chunk.replicas.len() as u64;
    }
    for (_, value) in tables.scan(Table::Stripes, &[], &[], usize::MAX)? {
        let stripe: StripeRow = decode(Table::Stripes, &value)?;
        totals.unique_bytes += stripe.data_bytes();
        totals.stored_bytes += u64::from(stripe.shard_bytes) * copies_of(&stripe).count() as u64;
    }
    Ok(totals)
}
