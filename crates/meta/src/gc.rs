//! Emptying the trash, and forgetting chunks: steps of the delete protocol that change records.
//!
//! A body in the trash gives its references back one extent at a time. A chunk or stripe whose count falls to 0 becomes garbage, dated by
//! that place in the log. Its record is removed only when nothing can come to rely on it any more: the barrier has
//! passed every lease's floor, and the count has not left 0 since the plan was made.
//!
//! The same bytes may be known in two storage classes, each with a record of its own; a node that both name keeps its copy when one of them is
//! forgotten.

use domain::record::{BodyRow, LeaseRow};
use domain::stripe::Unit;
use domain::{ChunkId, ClassId, LogPosition, NodeId, StripeId};

use crate::command::Reply;
use crate::keys;
use crate::machine::{self, Machine};
use crate::stripes::copies_of;
use crate::tables::{StorageError, Table};

/// The most chunks that one command forgets.
pub const MAX_FORGET: usize = 512;

/// The most stripes that one command is asked to forget, and how many shards it forgets before it leaves the rest to another.
pub const MAX_FORGET_STRIPES: usize = 256;
const MAX_FORGET_SHARDS: usize = 1024;

impl Machine<'_> {
    /// Takes the last extent's references out of a body in the trash, and the body itself with its first.
    pub fn empty_trash(&mut self, id: LogPosition) -> Result<Reply, StorageError> {
        let key = keys::position(id);
        if self.tables.get(Table::Trash, &key)?.is_none() {
            return Ok(Reply::Done);
        }
        let Some(mut body) = self.body(id)? else {
            return Err(StorageError(format!("body {id} is in the trash, and nowhere else")));
        };
        if body.extents > 0 {
            body.extents -= 1;
            self.release_extent(id, &body)?;
        }
        if body.extents > 0 {
            self.put_body(id, &body)?;
            return Ok(Reply::More);
        }
        self.delete(Table::Bodies, &key)?;
        self.delete(Table::Trash, &key)?;
        Ok(Reply::Done)
    }

    fn release_extent(&mut self, id: LogPosition, body: &BodyRow) -> Result<(), StorageError> {
        let key = keys::pair(id, u64::from(body.extents));
        for unit in machine::units(&*self.tables, id, body.kind, body.extents)? {
            match unit {
                Unit::Chunk(chunk) => self.release(body.class, &chunk)?,
                Unit::Stripe(stripe) => self.release_stripe(body.class, &stripe)?,
            }
        }
        self.delete(Table::Extents, &key)
    }

    fn release(&mut self, class: ClassId, id: &ChunkId) -> Result<(), StorageError> {
        let mut row = self
            .chunk(class, id)?
            .ok_or_else(|| StorageError(format!("chunk {id} is referenced and has no record")))?;
        row.count = row.count.checked_sub(1).ok_or_else(|| StorageError(format!("references of {id} below zero")))?;
        if row.count == 0 {
            row.zero_at = Some(self.at);
            self.put(Table::Garbage, &keys::garbage(self.at, class, id), &())?;
        }
        self.put(Table::Chunks, &keys::chunk(class, id), &row)
    }

    /// Removes the records of chunks that are garbage still, if no lease may rely on anything before `barrier`; tells which nodes may drop them:
    /// those on which no other record places them.
    pub fn forget(&mut self, barrier: u64, chunks: &[(ClassId, ChunkId, LogPosition)]) -> Result<Reply, StorageError> {
        if let Some(refused) = self.may_not_forget(barrier, chunks.len(), MAX_FORGET)? {
            return Ok(refused);
        }
        let mut forgotten = Vec::new();
        for &(class, id, since) in chunks {
            if let Some(nodes) = self.forget_chunk(class, &id, since)? {
                forgotten.push((id, nodes));
            }
        }
        Ok(Reply::Forgotten(forgotten))
    }

    fn holder_below(&self, barrier: u64) -> Result<Option<String>, StorageError> {
        for (_, value) in self.tables.scan(Table::Leases, &[], &[], usize::MAX)? {
            let lease: LeaseRow = machine::decode(Table::Leases, &value)?;
            if lease.floor < barrier {
                return Ok(Some(lease.holder));
            }
        }
        Ok(None)
    }

    fn forget_chunk(
        &mut self,
        class: ClassId,
        id: &ChunkId,
        since: LogPosition,
    ) -> Result<Option<Vec<NodeId>>, StorageError> {
        let Some(row) = self.chunk(class, id)? else { return Ok(None) };
        if row.count != 0 || row.zero_at != Some(since) {
            return Ok(None);
        }
        let key = keys::chunk(class, id);
        self.delete(Table::Garbage, &keys::garbage(since, class, id))?;
        for table in [Table::Chunks, Table::Degraded, Table::Misplaced] {
            self.delete(table, &key)?;
        }
        let mut free = Vec::new();
        for copy in &row.replicas {
            self.count_copies(copy.node, -1)?;
            self.count_stored(-i64::from(row.length))?;
            if !self.is_placed(copy.node, id)? {
                free.push(copy.node);
            }
        }
        self.count_unique(-i64::from(row.length))?;
        Ok(Some(free))
    }

    /// The same for stripes: removes as many records as one command may, and tells which copies no record places any more.
    pub fn forget_stripes(
        &mut self,
        barrier: u64,
        stripes: &[(ClassId, StripeId, LogPosition)],
    ) -> Result<Reply, StorageError> {
        if let Some(refused) = self.may_not_forget(barrier, stripes.len(), MAX_FORGET_STRIPES)? {
            return Ok(refused);
        }
        let (mut forgotten, mut touched, mut copies) = (0, 0, Vec::new());
        for &(class, id, since) in stripes {
            let Some(row) = self.stripe(class, &id)?.filter(|row| row.count == 0 && row.zero_at == Some(since)) else {
                continue;
            };
            let rows = copies_of(&row).count();
            if touched > 0 && touched + rows > MAX_FORGET_SHARDS {
                break;
            }
            touched += rows;
            forgotten += 1;
            copies.extend(self.remove_stripe(class, &id, &row)?);
        }
        Ok(Reply::Released { stripes: forgotten, copies })
    }

    /// Why nothing may be forgotten now.
    fn may_not_forget(&self, barrier: u64, found: usize, limit: usize) -> Result<Option<Reply>, StorageError> {
        if let Some(reason) = &self.cluster.hold_deletes {
            return Ok(Some(Reply::Refused(format!("deletes are on hold: {reason}"))));
        }
        if found > limit {
            return Ok(Some(Reply::Refused(format!("{found} records in one command; at most {limit} are allowed"))));
        }
        let holder = self.holder_below(barrier)?;
        Ok(holder
            .map(|holder| Reply::Refused(format!("{holder} may still rely on something before log index {barrier}"))))
    }
}
