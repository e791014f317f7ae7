//! Stripes and their shards: counting references in, noting where shards are, and queueing what is not as it should be.
//!
//! A stripe's row says where each shard is; `shards` says it the other way round, by chunk id and node, because a shard is stored as a chunk:
//! the same bytes on the same node may be a shard of several stripes and a copy of a chunk too, and may be deleted only when no record
//! places them there ([`Machine::is_placed`]).
//!
//! A stripe is *degraded* while fewer than K + M shards stand on a node of their own, and *misplaced* while a shard is on a node that is not one of
//! the K + M that placement wants for it. Which of these has which shard does not matter: so a node that joins moves one shard of a stripe, at
//! most, and not all behind it.

use std::collections::{BTreeMap, BTreeSet};

use domain::change::{Refusal, ShardAt, WrittenStripe};
use domain::placement::topology::Wish;
use domain::record::{DegradedCause, DegradedRow, Replica, ReplicaState};
use domain::stripe::{ShardRow, StripeRow, standing};
use domain::{ChunkId, ClassId, Incarnation, NodeId, Scheme, StripeId};

use crate::chunks::Verdict;
use crate::keys;
use crate::machine::{self, Machine};
use crate::tables::{StorageError, Table};

impl Machine<'_> {
    /// Whether every stripe of `written` may be referenced: well formed, enough answers that count, no contradiction to its record.
    pub fn check_stripes(&mut self, class: ClassId, scheme: Scheme, written: &[WrittenStripe]) -> Verdict<()> {
        // A stripe of a class that nobody knows would be found by no search for its record.
        if usize::from(class.0) >= self.cluster.classes.len() {
            return Ok(Err(Refusal::NoSuchClass { class }));
        }
        let mut met: BTreeMap<StripeId, &WrittenStripe> = BTreeMap::new();
        for write in written {
            let id = write.stripe.id;
            if let Some(why) = malformed(scheme, write) {
                return Ok(Err(Refusal::StripeMalformed { stripe: id, why }));
            }
            let mut counted = Vec::with_capacity(write.shards.len());
            for shard in &write.shards {
                counted.push(self.counting(&shard.answers)?.into_keys().collect());
            }
            let (counted, needed) = (standing(counted) as u16, scheme.min_ack() as u16);
            if counted < needed {
                return Ok(Err(Refusal::StripeShort { stripe: id, counted, needed }));
            }
            let twin = met.insert(id, write).is_some_and(|other| !same_shards(write, other.shard_bytes, crcs(other)));
            let known = self.stripe(class, &id)?;
            let known =
                known.is_some_and(|row| !same_shards(write, row.shard_bytes, row.shards.iter().map(|shard| shard.crc)));
            if twin || known {
                return Ok(Err(Refusal::StripeDiffers { stripe: id }));
            }
        }
        Ok(Ok(()))
    }

    /// Counts one reference for each entry of `written` and notes the answers. Call after [`Self::check_stripes`].
    pub fn reference_stripes(
        &mut self,
        class: ClassId,
        scheme: Scheme,
        written: &[WrittenStripe],
    ) -> Result<(), StorageError> {
        self.note_copies(scheme.shards() as u8)?;
        written.iter().try_for_each(|write| self.reference_stripe(class, scheme, write))
    }

    fn reference_stripe(&mut self, class: ClassId, scheme: Scheme, write: &WrittenStripe) -> Result<(), StorageError> {
        let id = write.stripe.id;
        let known = self.stripe(class, &id)?;
        let fresh = known.is_none();
        let mut row = known.unwrap_or_else(|| self.new_stripe(scheme, write));
        if fresh {
            self.count_unique(row.data_bytes() as i64)?;
        }
        row.count += 1;
        if let Some(since) = row.zero_at.take() {
            self.delete(Table::Garbage, &keys::garbage_stripe(since, class, &id))?;
        }
        let before = if fresh { BTreeSet::new() } else { nowhere(&row) };
        let mut changed = false;
        for (index, shard) in write.shards.iter().enumerate() {
            changed |= self.hold_shard((class, &id, row.shard_bytes), &mut row.shards[index], &shard.answers)?;
        }
        self.note_nowhere((class, &id), &before, &row)?;
        if fresh || changed {
            row.placement = self.at;
            self.queue_stripe(class, &id, &row, DegradedCause::ShortWrite, fresh)?;
        }
        self.put(Table::Stripes, &keys::stripe(class, &id), &row)
    }

    fn new_stripe(&self, scheme: Scheme, write: &WrittenStripe) -> StripeRow {
        let shard = |shard: &domain::change::WrittenShard| ShardRow { id: shard.id, crc: shard.crc, replicas: vec![] };
        StripeRow {
            scheme,
            shard_bytes: write.shard_bytes,
            count: 0,
            zero_at: None,
            placement: self.at,
            shards: write.shards.iter().map(shard).collect(),
        }
    }

    /// Notes answers that came after their commit; those for stripes or incarnations that are gone are passed over.
    pub fn confirm_shards(&mut self, late: &[(ShardAt, NodeId, Incarnation)]) -> Result<(), StorageError> {
        for &(ShardAt { class, stripe, index }, node, incarnation) in late {
            let Some(mut row) = self.stripe(class, &stripe)? else { continue };
            let (shard_bytes, before) = (row.shard_bytes, nowhere(&row));
            let Some(shard) = row.shards.get_mut(usize::from(index)) else { continue };
            if self.hold_shard((class, &stripe, shard_bytes), shard, &[(node, incarnation)])? {
                self.note_nowhere((class, &stripe), &before, &row)?;
                row.placement = self.at;
                self.queue_stripe(class, &stripe, &row, DegradedCause::ShortWrite, false)?;
                self.put(Table::Stripes, &keys::stripe(class, &stripe), &row)?;
            }
        }
        Ok(())
    }

    /// Notes that a held copy of a shard was found bad.
    pub fn report_shard(
        &mut self,
        at: ShardAt,
        copy: (NodeId, Incarnation),
        cause: DegradedCause,
    ) -> Result<(), StorageError> {
        let Some(mut row) = self.stripe(at.class, &at.stripe)? else { return Ok(()) };
        let Some(id) = row.shards.get(usize::from(at.index)).map(|shard| shard.id) else { return Ok(()) };
        let (since_ms, mut changed) = (self.now_ms, false);
        // Shards of equal bytes are one file on a node: what is wrong with it is wrong with all of them.
        for replica in row.shards.iter_mut().filter(|shard| shard.id == id).flat_map(|shard| &mut shard.replicas) {
            if (replica.node, replica.incarnation) == copy && replica.state == ReplicaState::Held {
                replica.state = ReplicaState::Missing { since_ms };
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
        row.placement = self.at;
        self.queue_stripe(at.class, &at.stripe, &row, cause, false)?;
        self.put(Table::Stripes, &keys::stripe(at.class, &at.stripe), &row)
    }

    /// Counts the stripe's shards on `node` as missing, unless they are of the incarnation that is `believed`.
    pub fn miss_shards(
        &mut self,
        (class, id): (ClassId, StripeId),
        mut row: StripeRow,
        node: NodeId,
        believed: Option<Incarnation>,
    ) -> Result<(), StorageError> {
        let (since_ms, mut changed) = (self.now_ms, false);
        for copy in row.shards.iter_mut().flat_map(|shard| &mut shard.replicas) {
            let there = !matches!(copy.state, ReplicaState::Missing { .. });
            if copy.node == node && Some(copy.incarnation) != believed && there {
                copy.state = ReplicaState::Missing { since_ms };
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
        row.placement = self.at;
        self.queue_stripe(class, &id, &row, DegradedCause::Lost, false)?;
        self.put(Table::Stripes, &keys::stripe(class, &id), &row)
    }

    /// Takes one reference away; a stripe without any is garbage.
    pub fn release_stripe(&mut self, class: ClassId, id: &StripeId) -> Result<(), StorageError> {
        let mut row = self
            .stripe(class, id)?
            .ok_or_else(|| StorageError(format!("stripe {id} is referenced and has no record")))?;
        row.count = row.count.checked_sub(1).ok_or_else(|| StorageError(format!("references of {id} below zero")))?;
        if row.count == 0 {
            row.zero_at = Some(self.at);
            self.put(Table::Garbage, &keys::garbage_stripe(self.at, class, id), &())?;
        }
        self.put(Table::Stripes, &keys::stripe(class, id), &row)
    }

    /// Removes the stripe's record, and returns the copies that no record places where they are any more.
    pub fn remove_stripe(
        &mut self,
        class: ClassId,
        id: &StripeId,
        row: &StripeRow,
    ) -> Result<BTreeSet<(NodeId, ChunkId)>, StorageError> {
        if let Some(since) = row.zero_at {
            self.delete(Table::Garbage, &keys::garbage_stripe(since, class, id))?;
        }
        self.delete(Table::Stripes, &keys::stripe(class, id))?;
        for table in [Table::Degraded, Table::Misplaced] {
            self.delete(table, &keys::queued_stripe(class, id))?;
        }
        for shard in nowhere(row) {
            self.delete(Table::Shards, &keys::shard_nowhere(&shard, class, id))?;
        }
        let mut copies = BTreeSet::new();
        for (shard, copy) in copies_of(row) {
            self.delete(Table::Shards, &keys::shard(copy.node, &shard, class, id))?;
            self.count_copies(copy.node, -1)?;
            self.count_stored(-i64::from(row.shard_bytes))?;
            copies.insert((copy.node, shard));
        }
        self.count_unique(-(row.data_bytes() as i64))?;
        let mut released = BTreeSet::new();
        for (node, shard) in copies {
            if !self.is_placed(node, &shard)? {
                released.insert((node, shard));
            }
        }
        Ok(released)
    }

    /// Whether any record, of a chunk or of a stripe, places `id` on `node`: then it may not be deleted there.
    pub fn is_placed(&self, node: NodeId, id: &ChunkId) -> Result<bool, StorageError> {
        if !machine::scan_prefix(&*self.tables, Table::Shards, &keys::shards_on(node, id), 1)?.is_empty() {
            return Ok(true);
        }
        for class in (0..=u8::MAX).take(self.cluster.classes.len()) {
            let row = self.chunk(ClassId(class), id)?;
            if row.is_some_and(|row| row.replicas.iter().any(|copy| copy.node == node)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Enters the answers that count as held copies of a shard; true if that changed anything.
    fn hold_shard(
        &mut self,
        (class, stripe, shard_bytes): (ClassId, &StripeId, u32),
        shard: &mut ShardRow,
        answers: &[(NodeId, Incarnation)],
    ) -> Result<bool, StorageError> {
        let mut changed = false;
        for (node, incarnation) in self.counting(answers)? {
            let held = Replica { node, incarnation, state: ReplicaState::Held };
            match shard.replicas.iter_mut().find(|replica| replica.node == node) {
                Some(replica) if *replica == held => continue,
                Some(replica) => *replica = held,
                None => {
                    shard.replicas.push(held);
                    self.count_copies(node, 1)?;
                    self.count_stored(shard_bytes.into())?;
                    self.put(Table::Shards, &keys::shard(node, &shard.id, class, stripe), &())?;
                }
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Lists the shards that are on no node now, and no longer those that were on none before.
    fn note_nowhere(
        &mut self,
        (class, stripe): (ClassId, &StripeId),
        before: &BTreeSet<ChunkId>,
        row: &StripeRow,
    ) -> Result<(), StorageError> {
        let now = nowhere(row);
        for id in now.difference(before) {
            self.put(Table::Shards, &keys::shard_nowhere(id, class, stripe), &())?;
        }
        for id in before.difference(&now) {
            self.delete(Table::Shards, &keys::shard_nowhere(id, class, stripe))?;
        }
        Ok(())
    }

    /// Puts the stripe into, or takes it out of, the queues, by what its row says against what placement says.
    fn queue_stripe(
        &mut self,
        class: ClassId,
        id: &StripeId,
        row: &StripeRow,
        cause: DegradedCause,
        fresh: bool,
    ) -> Result<(), StorageError> {
        let wanted = self.wanted(&id.to_hex(), Wish { class, copies: row.scheme.shards() })?;
        let key = keys::queued_stripe(class, id);
        match row.standing() == row.scheme.shards() {
            true if fresh => {}
            true => self.delete(Table::Degraded, &key)?,
            false => self.put(Table::Degraded, &key, &DegradedRow { since_ms: self.now_ms, cause })?,
        }
        let there = |replica: &&Replica| !matches!(replica.state, ReplicaState::Missing { .. });
        let mut copies = row.shards.iter().flat_map(|shard| &shard.replicas).filter(there);
        match copies.all(|copy| wanted.contains(&copy.node)) {
            true if fresh => Ok(()),
            true => self.delete(Table::Misplaced, &key),
            false => self.put(Table::Misplaced, &key, &()),
        }
    }
}

/// All copies of all shards, with the chunk that each is stored as.
pub(crate) fn copies_of(row: &StripeRow) -> impl Iterator<Item = (ChunkId, &Replica)> {
    row.shards.iter().flat_map(|shard| shard.replicas.iter().map(|copy| (shard.id, copy)))
}

/// The shards that are on no node.
pub(crate) fn nowhere(row: &StripeRow) -> BTreeSet<ChunkId> {
    row.shards.iter().filter(|shard| shard.replicas.is_empty()).map(|shard| shard.id).collect()
}

fn malformed(scheme: Scheme, write: &WrittenStripe) -> Option<String> {
    let (shards, room) = (write.shards.len(), scheme.data() as u64 * u64::from(write.shard_bytes));
    let length = u64::from(write.stripe.length);
    if shards != scheme.shards() {
        return Some(format!("has {shards} shards, and a stripe of {scheme} has {}", scheme.shards()));
    }
    if length == 0 || length > room {
        return Some(format!("has {length} bytes, and 1 to {room} fit into its shards"));
    }
    let id = StripeId::of(scheme, write.shards.iter().map(|shard| &shard.id));
    (id != write.stripe.id).then(|| format!("is not the stripe of its shards, which is {id}"))
}

fn crcs(write: &WrittenStripe) -> impl Iterator<Item = domain::Crc32c> {
    write.shards.iter().map(|shard| shard.crc)
}

fn same_shards(write: &WrittenStripe, shard_bytes: u32, known: impl Iterator<Item = domain::Crc32c>) -> bool {
    write.shard_bytes == shard_bytes && crcs(write).eq(known)
}
