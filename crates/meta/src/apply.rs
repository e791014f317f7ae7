//! `apply`: one log entry against the tables. Pure: the same tables and entry give the same tables and replies.

use domain::change::{Change, Outcome, Refusal, Session};
use domain::codec;
use domain::record::{ClusterRow, LeaseRow, NodeRow, NodeState};
use domain::urlkey::UrlKey;
use domain::{ClassId, Incarnation, LogPosition, NodeId};

use crate::command::{Batch, Command, Reply};
use crate::keys;
use crate::machine::{self, Machine};
use crate::tables::{StorageError, Table, TablesMut};

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
    let mut machine = Machine { tables, at: LogPosition::new(index, 0), now_ms: batch.now_ms, cluster, nodes: None };
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
    Ok(replies)
}

fn empty_cluster() -> ClusterRow {
    ClusterRow { cluster_id: 0, generation: 1, epoch: 1, next_node: 1, hold_deletes: None, ticks_ms: 0 }
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
            Command::RemoveNode { addr } => self.remove_node(addr),
            Command::SeedUrlKey(key) => self.seed_url_key(key),
            Command::EmptyTrash { body } => self.empty_trash(*body),
            Command::ForgetChunks { barrier, chunks } => self.forget(*barrier, chunks),
            Command::HoldDeletes { reason } => self.hold_deletes(reason.clone()),
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

    fn add_node(&mut self, addr: &str) -> Result<Reply, StorageError> {
        if let Some((id, _)) = self.nodes()?.iter().find(|(_, row)| row.addr == addr) {
            return Ok(Reply::Node(*id));
        }
        if self.nodes()?.iter().any(|(_, row)| row.name == addr) {
            return Ok(Reply::Refused(format!("{addr} was the first address of another node and still names it")));
        }
        let id = NodeId(self.cluster.next_node);
        self.cluster.next_node += 1;
        let row = NodeRow {
            name: addr.to_string(),
            addr: addr.to_string(),
            incarnation: None,
            state: NodeState::In,
            domain: String::new(),
            class: ClassId::default(),
            weight: 1,
            added: self.at,
        };
        self.put_node(id, &row)?;
        Ok(Reply::Node(id))
    }

    fn stamp_node(&mut self, id: NodeId, incarnation: Incarnation) -> Result<Reply, StorageError> {
        let row: Option<NodeRow> = self.get(Table::Nodes, &keys::node(id))?;
        match row {
            None => Ok(Reply::Refused(format!("there is no node {id}"))),
            Some(row) if row.incarnation == Some(incarnation) => Ok(Reply::Done),
            Some(NodeRow { incarnation: Some(_), .. }) => {
                Ok(Reply::Refused(format!("{id} has been stamped already; a new directory must be taken in anew")))
            }
            Some(row) => {
                self.put_node(id, &NodeRow { incarnation: Some(incarnation), ..row })?;
                Ok(Reply::Done)
            }
        }
    }

    fn put_node(&mut self, id: NodeId, row: &NodeRow) -> Result<(), StorageError> {
        self.put(Table::Nodes, &keys::node(id), row)?;
        self.layout_changed()
    }

    fn layout_changed(&mut self) -> Result<(), StorageError> {
        self.nodes = None;
        self.cluster.epoch += 1;
        self.put_cluster()
    }

    fn remove_node(&mut self, addr: &str) -> Result<Reply, StorageError> {
        let Some(id) = self.nodes()?.iter().find(|(_, row)| row.addr == addr).map(|(id, _)| *id) else {
            return Ok(Reply::Done);
        };
        let copies: u64 = self.get(Table::Holdings, &keys::node(id))?.unwrap_or(0);
        if copies > 0 {
            return Ok(Reply::Refused(format!(
                "{copies} chunks have a copy on {addr}; a node goes only when it holds nothing"
            )));
        }
        self.delete(Table::Nodes, &keys::node(id))?;
        self.delete(Table::Holdings, &keys::node(id))?;
        self.layout_changed()?;
        Ok(Reply::Done)
    }

    fn seed_url_key(&mut self, key: &UrlKey) -> Result<Reply, StorageError> {
        if self.tables.scan(Table::UrlKeys, &[], &[], 1)?.is_empty() {
            self.tables.put(Table::UrlKeys, key.kid.as_bytes(), &codec::encode(key))?;
        }
        Ok(Reply::Done)
    }

    fn hold_deletes(&mut self, reason: Option<String>) -> Result<Reply, StorageError> {
        self.cluster.hold_deletes = reason;
        self.put_cluster()?;
        Ok(Reply::Done)
    }
}
