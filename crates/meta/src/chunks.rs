//! Chunks and their copies: counting references in, and keeping the queues of what is not as it should be.
//!
//! A chunk's row says where its copies are; placement says where they should be. Wanted minus held is
//! *degraded*, held minus wanted is *misplaced*: two queues that repair and rebalance read, so that neither ever looks
//! at a chunk that is as it should be.

use std::collections::BTreeMap;

use domain::change::{Refusal, Written};
use domain::placement::topology::{self, Wish};
use domain::record::{ChunkRef, ChunkRow, DegradedCause, DegradedRow, Replica, ReplicaState};
use domain::{ChunkId, ClassId, Incarnation, NodeId};

use crate::keys;
use crate::machine::Machine;
use crate::tables::{StorageError, Table};

/// The verdict on something that may be refused: the outer error stops the process, the inner one is a reply.
pub(crate) type Verdict<T> = Result<Result<T, Refusal>, StorageError>;

impl Machine<'_> {
    /// Whether every chunk of `written` may be referenced: enough answers that count, and no contradiction to its record.
    pub fn check_written(&mut self, class: ClassId, written: &[Written]) -> Verdict<()> {
        // A chunk of a class that nobody knows would be found by no search for its record.
        if usize::from(class.0) >= self.cluster.classes.len() {
            return Ok(Err(Refusal::NoSuchClass { class }));
        }
        for write in written {
            let counted = self.counting(&write.answers)?.len() as u8;
            if counted < write.quorum.max(1) {
                let (chunk, quorum) = (write.chunk.id, write.quorum.max(1));
                return Ok(Err(Refusal::QuorumShort { chunk, counted, quorum }));
            }
            let known = self.chunk(class, &write.chunk.id)?;
            if known.is_some_and(|row| (row.length, row.crc) != (write.chunk.length, write.chunk.crc)) {
                return Ok(Err(Refusal::ChunkDiffers { chunk: write.chunk.id }));
            }
        }
        Ok(Ok(()))
    }

    /// Counts one reference for each entry of `written` and notes the answers. Call after [`Self::check_written`].
    pub fn reference(&mut self, class: ClassId, written: &[Written]) -> Result<(), StorageError> {
        let mut unique: BTreeMap<ChunkId, (u64, Written)> = BTreeMap::new();
        for write in written {
            let entry = unique.entry(write.chunk.id).or_insert_with(|| (0, write.clone()));
            if entry.0 > 0 {
                entry.1.answers.extend(&write.answers);
            }
            entry.0 += 1;
        }
        for (references, write) in unique.into_values() {
            self.reference_chunk(class, references, &write)?;
        }
        Ok(())
    }

    fn reference_chunk(&mut self, class: ClassId, references: u64, write: &Written) -> Result<(), StorageError> {
        let id = write.chunk.id;
        let known = self.chunk(class, &id)?;
        let fresh = known.is_none();
        let mut row = known.unwrap_or_else(|| new_row(&write.chunk, self.at));
        if fresh {
            self.count_unique(row.length.into())?;
        }
        row.count += references;
        if let Some(since) = row.zero_at.take() {
            self.delete(Table::Garbage, &keys::garbage(since, class, &id))?;
        }
        self.note_copies(write.copies)?;
        let raised = write.copies > row.wanted;
        row.wanted = row.wanted.max(write.copies);
        let changed = self.hold(&mut row, &write.answers)?;
        if fresh || changed || raised {
            row.placement = self.at;
            self.queue(class, &id, &row, DegradedCause::ShortWrite, fresh)?;
        }
        self.put(Table::Chunks, &keys::chunk(class, &id), &row)
    }

    /// Notes answers that came after their commit; those for chunks or incarnations that are gone are passed over.
    pub fn confirm(&mut self, late: &[(ClassId, ChunkId, NodeId, Incarnation)]) -> Result<(), StorageError> {
        for &(class, id, node, incarnation) in late {
            let Some(mut row) = self.chunk(class, &id)? else { continue };
            if self.hold(&mut row, &[(node, incarnation)])? {
                row.placement = self.at;
                self.queue(class, &id, &row, DegradedCause::ShortWrite, false)?;
                self.put(Table::Chunks, &keys::chunk(class, &id), &row)?;
            }
        }
        Ok(())
    }

    /// Notes that a held copy was found bad.
    pub fn report(
        &mut self,
        class: ClassId,
        id: &ChunkId,
        copy: (NodeId, Incarnation),
        cause: DegradedCause,
    ) -> Result<(), StorageError> {
        let Some(mut row) = self.chunk(class, id)? else { return Ok(()) };
        let found =
            |replica: &&mut Replica| (replica.node, replica.incarnation) == copy && replica.state == ReplicaState::Held;
        let Some(replica) = row.replicas.iter_mut().find(found) else { return Ok(()) };
        replica.state = ReplicaState::Missing { since_ms: self.now_ms };
        row.placement = self.at;
        self.queue(class, id, &row, cause, false)?;
        self.put(Table::Chunks, &keys::chunk(class, id), &row)
    }

    /// Remembers the most nodes that any write has asked for.
    pub fn note_copies(&mut self, copies: u8) -> Result<(), StorageError> {
        if copies <= self.cluster.most_copies {
            return Ok(());
        }
        self.cluster.most_copies = copies;
        self.put_cluster()
    }

    /// The answers that count: of registered nodes in their present incarnation, each node once.
    pub fn counting(
        &mut self,
        answers: &[(NodeId, Incarnation)],
    ) -> Result<BTreeMap<NodeId, Incarnation>, StorageError> {
        let nodes = self.nodes()?;
        let present = |&&(id, incarnation): &&(NodeId, Incarnation)| {
            nodes.iter().any(|(node, row)| *node == id && row.incarnation == Some(incarnation))
        };
        Ok(answers.iter().filter(present).copied().collect())
    }

    /// Enters the answers that count as held copies; true if that changed anything.
    fn hold(&mut self, row: &mut ChunkRow, answers: &[(NodeId, Incarnation)]) -> Result<bool, StorageError> {
        let mut changed = false;
        for (node, incarnation) in self.counting(answers)? {
            let held = Replica { node, incarnation, state: ReplicaState::Held };
            match row.replicas.iter_mut().find(|replica| replica.node == node) {
                Some(replica) if *replica == held => {}
                Some(replica) => {
                    *replica = held;
                    changed = true;
                }
                None => {
                    row.replicas.push(held);
                    self.count_copies(node, 1)?;
                    self.count_stored(row.length.into())?;
                    changed = true;
                }
            }
        }
        Ok(changed)
    }

    /// Puts the chunk into, or takes it out of, the queues, by what its row says against what placement says.
    pub fn queue(
        &mut self,
        class: ClassId,
        id: &ChunkId,
        row: &ChunkRow,
        cause: DegradedCause,
        fresh: bool,
    ) -> Result<(), StorageError> {
        let wanted = self.wanted(&id.to_hex(), Wish { class, copies: row.wanted.into() })?;
        let held: Vec<_> = row.held().collect();
        let key = keys::chunk(class, id);
        match wanted.iter().all(|node| held.contains(node)) && wanted.len() >= usize::from(row.wanted) {
            true if fresh => {}
            true => self.delete(Table::Degraded, &key)?,
            false => self.put(Table::Degraded, &key, &DegradedRow { since_ms: self.now_ms, cause })?,
        }
        let there = |replica: &&Replica| !matches!(replica.state, ReplicaState::Missing { .. });
        match row.replicas.iter().filter(there).all(|replica| wanted.contains(&replica.node)) {
            true if fresh => Ok(()),
            true => self.delete(Table::Misplaced, &key),
            false => self.put(Table::Misplaced, &key, &()),
        }
    }

    /// On which nodes copies or shards of what has the key `key` should be, by the present registry.
    pub fn wanted(&mut self, key: &str, wish: Wish) -> Result<Vec<NodeId>, StorageError> {
        let (takers, sites): (Vec<_>, Vec<_>) =
            self.nodes()?.iter().filter_map(|(node, row)| row.site().map(|site| (*node, site))).unzip();
        let order = topology::place(key, wish, &sites);
        Ok(order.into_iter().take(wish.copies).map(|ranked| takers[ranked.site]).collect())
    }
}

fn new_row(chunk: &ChunkRef, at: domain::LogPosition) -> ChunkRow {
    ChunkRow {
        length: chunk.length,
        crc: chunk.crc,
        count: 0,
        zero_at: None,
        wanted: 0,
        placement: at,
        replicas: Vec::new(),
    }
}
