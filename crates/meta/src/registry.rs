//! The registry: which data nodes there are, where, with which labels.
//!
//! A node is named for ever by the address it was first registered under: that name decides which chunks it holds. Address and
//! labels may change. It goes only when no copy names it, and never so that fewer nodes remain than copies are wanted.

use domain::record::{NodeRow, NodeState};
use domain::registry::NodeLabels;
use domain::{ClassId, Incarnation, NodeId};

use crate::command::Reply;
use crate::keys;
use crate::machine::Machine;
use crate::tables::{StorageError, Table};

/// Storage classes, the one without a name included: as many as an id can tell apart.
const MAX_CLASSES: usize = 256;

impl Machine<'_> {
    /// Registers a node; one that is registered keeps its labels.
    pub fn add_node(&mut self, addr: &str) -> Result<Reply, StorageError> {
        if let Some(id) = self.node_at(addr)? {
            return Ok(Reply::Node(id));
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
            boot: 0,
            witness: 0,
            lost: None,
            sweep: None,
            state: NodeState::In,
            domain: String::new(),
            class: ClassId::default(),
            weight: 1,
            added: self.at,
        };
        self.lay_out(id, &row)?;
        Ok(Reply::Node(id))
    }

    /// Notes the incarnation of a node that never had one.
    pub fn stamp_node(&mut self, id: NodeId, incarnation: Incarnation) -> Result<Reply, StorageError> {
        match self.node(id)? {
            None => Ok(Reply::NoSuch(format!("there is no node {id}"))),
            Some(row) if row.incarnation == Some(incarnation) => Ok(Reply::Done),
            Some(row) if row.incarnation.is_some() || row.lost.is_some() => {
                Ok(Reply::Refused(format!("{id} has been stamped already; a new directory must be taken in anew")))
            }
            Some(row) => {
                self.lay_out(id, &NodeRow { incarnation: Some(incarnation), ..row })?;
                Ok(Reply::Done)
            }
        }
    }

    /// Changes labels. A class that nobody has used before gets the next id.
    pub fn label_node(&mut self, addr: &str, labels: &NodeLabels) -> Result<Reply, StorageError> {
        if let Some(problem) = labels.problem() {
            return Ok(Reply::Refused(problem));
        }
        let Some((id, mut row)) = self.find_node(addr)? else { return Ok(nobody(addr)) };
        let before = row.clone();
        if let Some(class) = &labels.class {
            match self.class_id(class)? {
                Some(class) => row.class = class,
                None => return Ok(Reply::Refused(format!("there are {MAX_CLASSES} storage classes already"))),
            }
        }
        row.domain = labels.domain.clone().unwrap_or(row.domain);
        row.weight = labels.weight.unwrap_or(row.weight);
        if row != before {
            self.lay_out(id, &row)?;
        }
        Ok(Reply::Node(id))
    }

    /// Changes a node's address; whether the node is there is for the heartbeat to see.
    pub fn move_node(&mut self, addr: &str, to: &str) -> Result<Reply, StorageError> {
        let Some((id, row)) = self.find_node(addr)? else { return Ok(nobody(addr)) };
        let taken = |(other, row): &&(NodeId, NodeRow)| *other != id && (row.addr == to || row.name == to);
        if let Some((other, row)) = self.nodes()?.iter().find(taken) {
            let how = if row.addr == to { "is the address of" } else { "still names" };
            return Ok(Reply::Refused(format!("{to} {how} node {other}; move or remove that one first")));
        }
        if row.addr != to {
            self.lay_out(id, &NodeRow { addr: to.to_string(), ..row })?;
        }
        Ok(Reply::Node(id))
    }

    /// Removes a node. Done already if nobody is registered there.
    pub fn remove_node(&mut self, addr: &str, copies: u8) -> Result<Reply, StorageError> {
        let Some((id, row)) = self.find_node(addr)? else { return Ok(Reply::Done) };
        let held: u64 = self.get(Table::Holdings, &keys::node(id))?.unwrap_or(0);
        if held > 0 {
            return Ok(Reply::Refused(format!(
                "{held} chunks have a copy on {addr}; a node goes only when it holds nothing"
            )));
        }
        let others = self.nodes()?.iter().filter(|(other, row)| *other != id && row.state == NodeState::In).count();
        let wanted = usize::from(copies.max(self.cluster.most_copies));
        if row.state == NodeState::In && others < wanted {
            return Ok(Reply::Refused(format!(
                "without {addr} there would be {others} data nodes, and chunks are wanted in {wanted} copies; add a node first"
            )));
        }
        self.delete(Table::Nodes, &keys::node(id))?;
        self.delete(Table::Holdings, &keys::node(id))?;
        self.layout_changed()?;
        Ok(Reply::Done)
    }

    /// A node's row.
    pub fn node(&self, id: NodeId) -> Result<Option<NodeRow>, StorageError> {
        self.get(Table::Nodes, &keys::node(id))
    }

    /// Writes a row by which the answer to "where should a chunk be" may change.
    pub fn lay_out(&mut self, id: NodeId, row: &NodeRow) -> Result<(), StorageError> {
        self.put(Table::Nodes, &keys::node(id), row)?;
        self.layout_changed()
    }

    fn layout_changed(&mut self) -> Result<(), StorageError> {
        self.nodes = None;
        self.cluster.epoch += 1;
        self.put_cluster()
    }

    fn node_at(&mut self, addr: &str) -> Result<Option<NodeId>, StorageError> {
        Ok(self.nodes()?.iter().find(|(_, row)| row.addr == addr).map(|(id, _)| *id))
    }

    fn find_node(&mut self, addr: &str) -> Result<Option<(NodeId, NodeRow)>, StorageError> {
        Ok(self.nodes()?.iter().find(|(_, row)| row.addr == addr).cloned())
    }

    fn class_id(&mut self, name: &str) -> Result<Option<ClassId>, StorageError> {
        let classes = &mut self.cluster.classes;
        let known = classes.iter().position(|class| class == name);
        if known.is_none() {
            if classes.len() >= MAX_CLASSES {
                return Ok(None);
            }
            classes.push(name.to_string());
            self.put_cluster()?;
        }
        let id = known.unwrap_or(self.cluster.classes.len() - 1);
        Ok(u8::try_from(id).ok().map(ClassId))
    }
}

fn nobody(addr: &str) -> Reply {
    Reply::NoSuch(format!("no data node is registered as {addr}"))
}
