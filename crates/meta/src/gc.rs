//! Emptying the trash, and forgetting chunks: steps of the delete protocol that change records.
//!
//! A body in the trash gives its references back one extent at a time. A chunk whose count falls to 0 becomes garbage, dated by
//! that place in the log. Its record is removed only when nothing can come to rely on it any more: the barrier has
//! passed every lease's floor, and the count has not left 0 since the plan was made.
//!
//! The same bytes may be known in two storage classes, each with a record of its own; a node that both name keeps its copy when one of them is
//! forgotten.

use domain::record::{BodyRow, Extent, LeaseRow};
use domain::{ChunkId, ClassId, LogPosition, NodeId};

use crate::command::Reply;
use crate::keys;
use crate::machine::{self, Machine};
use crate::query;
use crate::tables::{StorageError, Table};

/// The most chunks that one command forgets.
pub const MAX_FORGET: usize = 512;

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
            self.put(Table::Bodies, &key, &body)?;
            return Ok(Reply::More);
        }
        self.delete(Table::Bodies, &key)?;
        self.delete(Table::Trash, &key)?;
        Ok(Reply::Done)
    }

    fn release_extent(&mut self, id: LogPosition, body: &BodyRow) -> Result<(), StorageError> {
        let key = keys::pair(id, u64::from(body.extents));
        let extent: Extent = self
            .get(Table::Extents, &key)?
            .ok_or_else(|| StorageError(format!("extent {} of body {id} is missing", body.extents)))?;
        for chunk in &extent.chunks {
            self.release(body.class, &chunk.id)?;
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

    /// Removes the records of chunks that are garbage still, if no lease may rely on anything before `barrier`.
    pub fn forget(&mut self, barrier: u64, chunks: &[(ClassId, ChunkId, LogPosition)]) -> Result<Reply, StorageError> {
        if let Some(reason) = &self.cluster.hold_deletes {
            return Ok(Reply::Refused(format!("deletes are on hold: {reason}")));
        }
        if chunks.len() > MAX_FORGET {
            return Ok(Reply::Refused(format!(
                "{} chunks in one command; at most {MAX_FORGET} are allowed",
                chunks.len()
            )));
        }
        if let Some(holder) = self.holder_below(barrier)? {
            return Ok(Reply::Refused(format!("{holder} may still rely on something before log index {barrier}")));
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
        let nodes: Vec<_> = row.replicas.iter().map(|replica| replica.node).collect();
        for &node in &nodes {
            self.count_copies(node, -1)?;
            self.count_stored(-i64::from(row.length))?;
        }
        self.count_unique(-i64::from(row.length))?;
        let elsewhere = self.placed_by_any_class(id)?;
        Ok(Some(nodes.into_iter().filter(|node| !elsewhere.contains(node)).collect()))
    }

    /// The nodes that a record of whatever class names for these bytes.
    fn placed_by_any_class(&self, id: &ChunkId) -> Result<Vec<NodeId>, StorageError> {
        let mut nodes = Vec::new();
        for row in query::chunk_in_classes(&*self.tables, self.cluster.classes.len(), id)? {
            nodes.extend(row.replicas.iter().map(|replica| replica.node));
        }
        Ok(nodes)
    }
}
