//! One number for all that the tables say: equal states have equal hashes, whoever holds them.

use std::io;
use std::ops::Bound;

use meta::Table;
use sha2::{Digest, Sha256};

use super::Block;
use crate::tables::Snapshot;

/// SHA-256 over every row of every table, in order: table, key and value, each with its length before it.
///
/// What the tables reflect (log position, membership) is not in it: a replay reaches the same state under another log.
#[derive(Clone, Debug, Default)]
pub struct StateHash(Sha256);

impl StateHash {
    /// The hash of no rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the rows of a block, which must come in a stream's order.
    pub fn block(&mut self, block: &Block<'_>) {
        block.rows().for_each(|(key, value)| self.row(block.table, key, value));
    }

    /// The hash of all rows so far.
    pub fn finish(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }

    fn row(&mut self, table: Table, key: &[u8], value: &[u8]) {
        for part in [table.name().as_bytes(), key, value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }
}

/// The hash of all that `rows` says. Costs a read of everything; blocks.
pub fn state_hash(rows: &Snapshot) -> io::Result<[u8; 32]> {
    let mut hash = StateHash::new();
    for table in Table::ALL {
        rows.visit(table, Bound::Unbounded, &mut |key, value| {
            hash.row(table, key, value);
            true
        })?;
    }
    Ok(hash.finish())
}
