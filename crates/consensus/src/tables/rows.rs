//! Rows as the state machine sees them: `meta`'s tables inside a redb write transaction, or inside a snapshot.

use std::cell::{RefCell, RefMut};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use meta::{Row, StorageError, Table, Tables, TablesMut};
use parking_lot::Mutex;
use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};

use crate::record::Applied;

/// A key and its value, both bytes.
pub(crate) type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;
type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;
type WriteTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

type Keys<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);
type Guards<'g> = (AccessGuard<'g, &'static [u8]>, AccessGuard<'g, &'static [u8]>);

const TABLES: usize = Table::ALL.len();

/// Where `table` stands in an array of all of them.
fn slot(table: Table) -> usize {
    table as usize
}

fn storage<E: std::fmt::Display>(error: E) -> StorageError {
    StorageError(error.to_string())
}

fn owned(row: Result<Guards<'_>, redb::StorageError>) -> Result<Row, StorageError> {
    row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).map_err(storage)
}

/// The tables at one moment, unmoved by what is written later. Any number may exist; each keeps the pages it sees from
/// being reused, so hold one for a request, not for an hour.
pub struct Snapshot {
    transaction: ReadTransaction,
    reflects: Applied,
    tables: [OnceLock<ReadTable>; TABLES],
    /// Dropped last.
    _file: Arc<Retired>,
}

/// Where a database lives on that was exchanged for another, until the last snapshot of it is gone: redb lets nobody read from one
/// that was dropped.
pub(crate) type Retired = Mutex<Option<Arc<Database>>>;

impl Snapshot {
    pub(crate) fn new(transaction: ReadTransaction, reflects: Applied, file: Arc<Retired>) -> Self {
        Self { transaction, reflects, tables: std::array::from_fn(|_| OnceLock::new()), _file: file }
    }

    /// The log index that the tables reflect: all entries up to it, and no later one.
    pub fn index(&self) -> u64 {
        self.reflects.index()
    }

    /// Log position and membership that the tables reflect.
    pub(crate) fn reflects(&self) -> &Applied {
        &self.reflects
    }

    /// Shows the rows of `table` from `from` on, in key order, until `visit` returns false. Copies nothing.
    pub(crate) fn visit(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> io::Result<()> {
        let Some(table) = self.table(table).map_err(io::Error::other)? else { return Ok(()) };
        for row in table.range::<&[u8]>((from, Bound::Unbounded)).map_err(io::Error::other)? {
            let (key, value) = row.map_err(io::Error::other)?;
            if !visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    /// `None` for a table that the file does not have: a build wrote it that did not know of it, and nothing was put there since.
    fn table(&self, table: Table) -> Result<Option<&ReadTable>, StorageError> {
        let cell = &self.tables[slot(table)];
        if let Some(open) = cell.get() {
            return Ok(Some(open));
        }
        match self.transaction.open_table(Definition::new(table.name())) {
            Ok(open) => Ok(Some(cell.get_or_init(|| open))),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(storage(error)),
        }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot at {}", self.index())
    }
}

impl Tables for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(table) = self.table(table)? else { return Ok(None) };
        let found = table.get(key).map_err(storage)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StorageError> {
        let Some(within) = within(from, to) else { return Ok(Vec::new()) };
        let Some(table) = self.table(table)? else { return Ok(Vec::new()) };
        table.range::<&[u8]>(within).map_err(storage)?.take(limit).map(owned).collect()
    }

    fn count(&self, table: Table) -> Result<u64, StorageError> {
        self.table(table)?.map_or(Ok(0), |table| table.len().map_err(storage))
    }
}

/// The keys of a scan: an empty `to` means to the end. `None` if no key can be between the two.
fn within<'k>(from: &'k [u8], to: &'k [u8]) -> Option<Keys<'k>> {
    match to {
        [] => Some((Bound::Included(from), Bound::Unbounded)),
        _ if from < to => Some((Bound::Included(from), Bound::Excluded(to))),
        _ => None,
    }
}

/// The tables inside a write transaction. Each is opened at its first use, and its new root is written when this is dropped.
pub(crate) struct Writer<'t> {
    transaction: &'t WriteTransaction,
    tables: [RefCell<Option<WriteTable<'t>>>; TABLES],
}

impl<'t> Writer<'t> {
    pub(crate) fn new(transaction: &'t WriteTransaction) -> Self {
        Self { transaction, tables: std::array::from_fn(|_| RefCell::new(None)) }
    }

    fn table(&self, table: Table) -> Result<RefMut<'_, WriteTable<'t>>, StorageError> {
        let mut cell = self.tables[slot(table)].borrow_mut();
        if cell.is_none() {
            *cell = Some(self.transaction.open_table(Definition::new(table.name())).map_err(storage)?);
        }
        RefMut::filter_map(cell, Option::as_mut).map_err(|_| storage("a table that was opened is gone"))
    }
}

impl Tables for Writer<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let open = self.table(table)?;
        let found = open.get(key).map_err(storage)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StorageError> {
        let Some(within) = within(from, to) else { return Ok(Vec::new()) };
        let open = self.table(table)?;
        open.range::<&[u8]>(within).map_err(storage)?.take(limit).map(owned).collect()
    }

    fn count(&self, table: Table) -> Result<u64, StorageError> {
        self.table(table)?.len().map_err(storage)
    }
}

impl TablesMut for Writer<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.table(table)?.insert(key, value).map(drop).map_err(storage)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StorageError> {
        self.table(table)?.remove(key).map(drop).map_err(storage)
    }
}
