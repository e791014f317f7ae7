//! One number for all that the tables say: equal states have equal hashes, whoever holds them.

use std::io;
use std::ops::Bound;

use meta::Table;
use sha2::{Digest, Sha256};

use crate::tables::Snapshot;

/// SHA-256 over every row of every table, in order, with lengths between them.
///
/// What the tables reflect (log position, membership) is not in it: a replay reaches the same state under another log. Costs a read
/// of everything; blocks.
pub fn state_hash(rows: &Snapshot) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    for table in Table::ALL {
        hash.update([table.name().len() as u8]);
        hash.update(table.name());
        rows.visit(table, Bound::Unbounded, &mut |key, value| {
            for part in [key, value] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
            true
        })?;
        // No row begins like this: a length of all ones.
        hash.update([0xff; 8]);
    }
    Ok(hash.finalize().into())
}
