//! `apply`: one log entry against the tables. Pure: the same tables and entry give the same tables and replies.

use domain::LogPosition;
use domain::change::{Change, Outcome, Refusal, Session};
use domain::record::{ClusterRow, LeaseRow, TotalsRow};

use crate::command::{Batch, Command, Reply};
use crate::keys;
use crate::machine::{self, Machine};
use crate::tables::{StorageError, Table, TablesMut};
use crate::totals;

/// How many old replies one command forgets: more than it adds, so that they never pile up.
const FORGET_REPLIES: usize = 16;

/// Ticks are written back once they have grown by this much, in milliseconds.
const TICK_GRAIN_MS: u64 = 1000;

/// Applies the entry at `index`, written by the leader of `term`, and returns one reply for each of its commands, in order.
///
/// What was planned in an earlier term than that is refused: its planner lost the lead, and what it saw may no longer hold. An error means that the tables are unusable: nothing of the entry may be kept, and the process must stop.
pub fn apply(tables: &mut dyn TablesMut, (term, index): (u64, u64), batch: &Batch) -> Result<Vec<Reply>, StorageError> {
    if let Some(reign) = batch.reign.filter(|reign| *reign != term) {
        let refused = Reply::Refused(format!("planned in term {reign}, and this is term {term}"));
        return Ok(vec![refused; batch.commands.len()]);
    }
    let cluster: ClusterRow = machine::get(&*tables, Table::Cluster, keys::CLUSTER)?.unwrap_or_else(empty_cluster);
    let known: Option<TotalsRow> = machine::get(&*tables, Table::Cluster, keys::TOTALS)?;
    let totals = known.map_or_else(|| totals::count(&*tables), Ok)?;
    let at = LogPosition::new(index, 0);
    let mut machine = Machine { tables, at, now_ms: batch.now_ms, cluster, totals, nodes: None };
    if batch.ticks_ms >= machine.cluster.ticks_ms + TICK_GRAIN_MS {
        machine.cluster.ticks_ms = batch.ticks_ms;
        machine.put_cluster()?;
    }
    let mut replies = Vec::with_capacity(batch.commands.len());
    for (slot, command) in batch.commands.iter().enumerate() {
        let slot = u16::try_from(slot).map_err(|_| StorageError("an entry has more than 65,536 commands".into()))?;
        machine.at = LogPosition::new(index, slot);
        replies.push(machine.step(command)?);
    }
    if known.unwrap_or_default() != machine.totals {
        let totals = machine.totals;
        machine.put(Table::Cluster, keys::TOTALS, &totals)?;
    }
    Ok(replies)
}

fn empty_cluster() -> ClusterRow {
    ClusterRow {
        cluster_id: 0,
        generation: 1,
        epoch: 1,
        next_node: 1,
        hold_deletes: None,
        ticks_ms: 0,
        classes: vec![String::new()],
        most_copies: 0,
        keys_revision: 0,
    }
}

impl Machine<'_> {
    fn step(&mut self, command: &Command) -> Result<Reply, StorageError> {
        match command {
            Command::Found { cluster_id } => self.found(*cluster_id),
            Command::Change { session, change } => self.once(*session, change).map(Reply::Changed),
            Command::OpenLease { holder, known } => self.open_lease(holder, *known),
            Command::RenewLease { lease, floor } => self.renew_lease(*lease, *floor),
            Command::CloseLease { lease } => self.close_lease(*lease),
            Command::ExpireLease { lease, after_ms } => self.expire_lease(*lease, *after_ms),
            Command::Barrier => Ok(Reply::Done),
            Command::AddNode { addr } => self.add_node(addr),
            Command::StampNode { node, incarnation } => self.stamp_node(*node, *incarnation),
            Command::WitnessNode { node, incarnation, boot, witness } => {
                self.witness_node(*node, *incarnation, *boot, *witness)
            }
            Command::LoseNode { node, incarnation, cause } => self.lose_node(*node, *incarnation, *cause),
            Command::ReplaceNode { node, incarnation } => self.replace_node(*node, *incarnation),
            Command::SweepNode { node, chunks } => self.sweep_node(*node, *chunks),
            Command::LabelNode { addr, labels } => self.label_node(addr, labels),
            Command::MoveNode { addr, to } => self.move_node(addr, to),
            Command::RemoveNode { addr, copies } => self.remove_node(addr, *copies),
            Command::SeedUrlKey { kid, secret } => self.seed_url_key(kid, secret),
            Command::PutUrlKey { kid, secret, primary } => self.put_url_key(kid, secret, *primary),
            Command::ResealUrlKey { kid, was, secret } => self.reseal_url_key(kid, was, secret),
            Command::RemoveUrlKey { kid } => self.remove_url_key(kid),
            Command::PutCredential { access_key, secret, user, state } => {
                self.put_credential(access_key, secret, user, *state)
            }
            Command::RemoveCredential { access_key } => self.remove_credential(access_key),
            Command::EmptyTrash { body } => self.empty_trash(*body),
            Command::ForgetChunks { barrier, chunks } => self.forget(*barrier, chunks),
            Command::HoldDeletes { reason } => self.hold_deletes(reason.clone()),
            Command::ForgetStripes { barrier, stripes } => self.forget_stripes(*barrier, stripes),
            Command::SetBucketPolicy { bucket, policy } => self.set_bucket_policy(bucket, policy),
        }
    }

    fn found(&mut self, cluster_id: u128) -> Result<Reply, StorageError> {
        if self.cluster.cluster_id == 0 {
            self.cluster.cluster_id = cluster_id;
            self.put_cluster()?;
        }
        Ok(Reply::Done)
    }

    /// Carries a change out, unless it was carried out before: then the recorded reply is the answer.
    fn once(&mut self, session: Session, change: &Change) -> Result<Result<Outcome, Refusal>, StorageError> {
        let Some(mut lease) = self.lease(session.lease)? else {
            return Ok(Err(Refusal::LeaseGone));
        };
        let key = keys::pair(session.lease, session.request);
        if let Some(recorded) = self.get(Table::Sessions, &key)? {
            return Ok(recorded);
        }
        if session.request < lease.lowest {
            return Ok(Err(Refusal::Forgotten { request: session.request }));
        }
        let verdict = self.change(session.lease, change)?;
        self.put(Table::Sessions, &key, &verdict)?;
        if session.lowest > lease.lowest {
            lease.lowest = session.lowest;
            self.put(Table::Leases, &keys::position(session.lease), &lease)?;
        }
        self.forget_replies(session.lease, lease.lowest)?;
        Ok(verdict)
    }

    fn forget_replies(&mut self, lease: LogPosition, lowest: u64) -> Result<(), StorageError> {
        let (from, to) = (keys::pair(lease, 0), keys::pair(lease, lowest));
        for (key, _) in self.tables.scan(Table::Sessions, &from, &to, FORGET_REPLIES)? {
            self.delete(Table::Sessions, &key)?;
        }
        Ok(())
    }

    fn open_lease(&mut self, holder: &str, known: u64) -> Result<Reply, StorageError> {
        let row =
            LeaseRow { holder: holder.to_string(), floor: known, renewed_ticks: self.cluster.ticks_ms, lowest: 0 };
        self.put(Table::Leases, &keys::position(self.at), &row)?;
        Ok(Reply::Lease(self.at))
    }

    fn renew_lease(&mut self, id: LogPosition, floor: u64) -> Result<Reply, StorageError> {
        let Some(mut lease) = self.lease(id)? else { return Ok(Reply::LeaseGone) };
        lease.floor = lease.floor.max(floor);
        lease.renewed_ticks = self.cluster.ticks_ms;
        self.put(Table::Leases, &keys::position(id), &lease)?;
        Ok(Reply::Done)
    }

    fn expire_lease(&mut self, id: LogPosition, after_ms: u64) -> Result<Reply, StorageError> {
        match self.lease(id)? {
            Some(lease) if self.cluster.ticks_ms.saturating_sub(lease.renewed_ticks) >= after_ms => {
                self.close_lease(id)
            }
            _ => Ok(Reply::Done),
        }
    }

    /// Removes a lease, its replies, and moves what was under construction beneath it to the trash.
    pub(crate) fn close_lease(&mut self, id: LogPosition) -> Result<Reply, StorageError> {
        if self.lease(id)?.is_none() {
            return Ok(Reply::LeaseGone);
        }
        let prefix = keys::position(id);
        for (key, _) in machine::scan_prefix(&*self.tables, Table::Uploads, &prefix, usize::MAX)? {
            let upload = keys::parse_second(&key).ok_or_else(|| machine::damaged_key(Table::Uploads))?;
            let upload = LogPosition(upload);
            let body = self.body(upload)?.ok_or_else(|| StorageError(format!("upload {upload} has no body")))?;
            self.discard_building(id, upload, body)?;
        }
        for (key, _) in machine::scan_prefix(&*self.tables, Table::Sessions, &prefix, usize::MAX)? {
            self.delete(Table::Sessions, &key)?;
        }
        self.delete(Table::Leases, &prefix)?;
        Ok(Reply::Done)
    }

    fn hold_deletes(&mut self, reason: Option<String>) -> Result<Reply, StorageError> {
        self.cluster.hold_deletes = reason;
        self.put_cluster()?;
        Ok(Reply::Done)
    }
}
