//! Tables in memory: the state machine's storage where nothing needs to last.

use std::collections::BTreeMap;

use meta::{Row, StorageError, Table, Tables, TablesMut};

/// One ordered map a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemTables(BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>);

impl Tables for MemTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StorageError> {
        let Some(rows) = self.0.get(&table) else { return Ok(Vec::new()) };
        let within = rows.range(from.to_vec()..).take_while(|(key, _)| to.is_empty() || key.as_slice() < to);
        Ok(within.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn count(&self, table: Table) -> Result<u64, StorageError> {
        Ok(self.0.get(&table).map_or(0, |rows| rows.len() as u64))
    }
}

impl TablesMut for MemTables {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.0.entry(table).or_default().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StorageError> {
        if let Some(rows) = self.0.get_mut(&table) {
            rows.remove(key);
        }
        Ok(())
    }
}
