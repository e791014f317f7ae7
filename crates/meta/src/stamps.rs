//! What a node's directory is believed to be, and what follows when it turns out to be another.
//!
//! A lost directory takes its copies along: its node's row loses the incarnation, so from the same log entry on no answer of it counts
//! and placement passes it over. Then its copies are counted as missing, chunk by chunk and then stripe by stripe, in commands of at most
//! [`MAX_SWEEP`]: each touches a row and its two queues, which with the node's own row stays within 4,096 rows. How far that is stands in the
//! node's row, so whoever leads next goes on from there. One pass is enough: no copy of that incarnation can be added behind it.

use domain::record::{ChunkRow, DegradedCause, NodeRow, ReplicaState};
use domain::registry::{Loss, LossCause, Sweep};
use domain::stripe::StripeRow;
use domain::{ChunkId, ClassId, Incarnation, NodeId, StripeId};

use crate::command::Reply;
use crate::keys;
use crate::machine::{self, Machine};
use crate::tables::{StorageError, Table};

/// The most chunks or stripes that one sweep command looks at.
pub const MAX_SWEEP: u32 = 1024;

impl Machine<'_> {
    /// Remembers what a directory was known to hold.
    pub fn witness_node(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        boot: u64,
        witness: u64,
    ) -> Result<Reply, StorageError> {
        let Some(row) = self.node(id)?.filter(|row| row.incarnation == Some(incarnation)) else {
            return Ok(Reply::NoSuch(format!("node {id} is not incarnation {incarnation} any more")));
        };
        let row = NodeRow { boot: row.boot.max(boot), witness: row.witness.max(witness), ..row };
        // Nothing about the layout changes, so the epoch stays.
        self.put(Table::Nodes, &keys::node(id), &row)?;
        self.nodes = None;
        Ok(Reply::Done)
    }

    /// Believes a directory no more.
    pub fn lose_node(&mut self, id: NodeId, incarnation: Incarnation, cause: LossCause) -> Result<Reply, StorageError> {
        let Some(row) = self.node(id)?.filter(|row| row.incarnation == Some(incarnation)) else {
            return Ok(Reply::Done);
        };
        let loss = Loss { was: incarnation, cause, since_ms: self.now_ms };
        let row = NodeRow { incarnation: None, lost: Some(loss), sweep: Some(Sweep::default()), ..row };
        self.lay_out(id, &row)?;
        Ok(Reply::Done)
    }

    /// Believes a new directory.
    pub fn replace_node(&mut self, id: NodeId, incarnation: Incarnation) -> Result<Reply, StorageError> {
        let Some(row) = self.node(id)? else { return Ok(Reply::NoSuch(format!("there is no node {id}"))) };
        if row.incarnation == Some(incarnation) {
            return Ok(Reply::Done);
        }
        if row.lost.is_some_and(|loss| loss.was == incarnation) {
            return Ok(Reply::Refused(format!(
                "incarnation {incarnation} of {id} is lost; the directory must be stamped anew"
            )));
        }
        // Copies of a row that was believed until now have not been looked at.
        let sweep = row.incarnation.map(|_| Sweep::default()).or(row.sweep);
        let row = NodeRow { incarnation: Some(incarnation), boot: 0, witness: 0, lost: None, sweep, ..row };
        self.lay_out(id, &row)?;
        Ok(Reply::Done)
    }

    /// Counts copies of earlier incarnations as missing, among the next `limit` chunks or stripes.
    pub fn sweep_node(&mut self, id: NodeId, limit: u32) -> Result<Reply, StorageError> {
        let Some(row) = self.node(id)? else { return Ok(Reply::Done) };
        let Some(sweep) = row.sweep else { return Ok(Reply::Done) };
        let limit = limit.clamp(1, MAX_SWEEP) as usize;
        let sweep = match sweep {
            Sweep::Begin => self.sweep_chunks(id, row.incarnation, None, limit)?,
            Sweep::Chunk(class, chunk) => self.sweep_chunks(id, row.incarnation, Some((class, chunk)), limit)?,
            Sweep::Stripe(after) => self.sweep_stripes(id, row.incarnation, after, limit)?,
        };
        self.put(Table::Nodes, &keys::node(id), &NodeRow { sweep, ..row })?;
        self.nodes = None;
        Ok(if sweep.is_some() { Reply::More } else { Reply::Done })
    }

    /// One page of chunks; where the sweep goes on, or `None` at its end.
    fn sweep_chunks(
        &mut self,
        node: NodeId,
        believed: Option<Incarnation>,
        after: Option<(ClassId, ChunkId)>,
        limit: usize,
    ) -> Result<Option<Sweep>, StorageError> {
        let from = after.map_or_else(Vec::new, |(class, chunk)| [&keys::chunk(class, &chunk)[..], &[0]].concat());
        let page = self.tables.scan(Table::Chunks, &from, &[], limit)?;
        let mut last = None;
        for (key, value) in &page {
            let chunk: ChunkRow = machine::decode(Table::Chunks, value)?;
            last = Some(keys::parse_chunk(key).ok_or_else(|| machine::damaged_key(Table::Chunks))?);
            self.miss_copies(key, chunk, node, believed)?;
        }
        if let Some((class, chunk)) = last.filter(|_| page.len() == limit) {
            return Ok(Some(Sweep::Chunk(class, chunk)));
        }
        // Where no stripe was ever written, the sweep ends here, as it did before there were any.
        let stripes = !self.tables.scan(Table::Stripes, &[], &[], 1)?.is_empty();
        Ok(stripes.then_some(Sweep::Stripe(None)))
    }

    /// One page of stripes.
    fn sweep_stripes(
        &mut self,
        node: NodeId,
        believed: Option<Incarnation>,
        after: Option<(ClassId, StripeId)>,
        limit: usize,
    ) -> Result<Option<Sweep>, StorageError> {
        let from = after.map_or_else(Vec::new, |(class, stripe)| [&keys::stripe(class, &stripe)[..], &[0]].concat());
        let page = self.tables.scan(Table::Stripes, &from, &[], limit)?;
        let mut last = None;
        for (key, value) in &page {
            let stripe: StripeRow = machine::decode(Table::Stripes, value)?;
            let at = keys::parse_stripe(key).ok_or_else(|| machine::damaged_key(Table::Stripes))?;
            last = Some(at);
            self.miss_shards(at, stripe, node, believed)?;
        }
        Ok(last.filter(|_| page.len() == limit).map(|at| Sweep::Stripe(Some(at))))
    }

    /// Counts the chunk's copy on `node` as missing, unless it is of the incarnation that is `believed`.
    fn miss_copies(
        &mut self,
        key: &[u8],
        mut row: ChunkRow,
        node: NodeId,
        believed: Option<Incarnation>,
    ) -> Result<(), StorageError> {
        let since_ms = self.now_ms;
        let copy = row.replicas.iter_mut().find(|copy| copy.node == node && Some(copy.incarnation) != believed);
        let Some(copy) = copy.filter(|copy| !matches!(copy.state, ReplicaState::Missing { .. })) else { return Ok(()) };
        copy.state = ReplicaState::Missing { since_ms };
        row.placement = self.at;
        let (class, id) = keys::parse_chunk(key).ok_or_else(|| machine::damaged_key(Table::Chunks))?;
        self.queue(class, &id, &row, DegradedCause::Lost, false)?;
        self.put(Table::Chunks, key, &row)
    }
}
