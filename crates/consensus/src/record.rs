//! What stands in the log and in the tables about Raft itself: our own records, never openraft's serialization.
//!
//! openraft is pinned to a pre-release whose types may change their layout with any version; what is on disk must not. So
//! every value it hands us is translated here into a record of ours and back: a log id is a term and an index, a vote is a
//! [`Ballot`], a membership is lists of numbers and addresses, and the payload of an entry is a kind byte and bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use domain::codec;
use openraft::{EntryPayload, LogId};
use serde::{Deserialize, Serialize};

use crate::types::{Commands, Entry, Membership, Node, StoredMembership, TypeConfig, Vote};

/// Where an entry stands: which leader's term wrote it, and its place in the log. Never used twice for different entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// The log id type that openraft makes of a [`Position`].
pub(crate) type RaftLogId = openraft::type_config::alias::LogIdOf<TypeConfig>;

impl Position {
    pub(crate) fn of(id: &RaftLogId) -> Self {
        Self { term: id.committed_leader_id().term, index: id.index() }
    }

    pub(crate) fn to_raft(self) -> RaftLogId {
        LogId::new_term_index(self.term, self.index)
    }
}

/// A vote: for whom, in which term, and whether a majority granted it. Ordered as Raft orders votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) term: u64,
    pub(crate) granted: bool,
    pub(crate) node: u64,
}

impl Ballot {
    pub(crate) fn of(vote: &Vote) -> Self {
        Self { term: vote.leader_id.term, granted: vote.committed, node: vote.leader_id.voted_for }
    }

    pub(crate) fn to_raft(self) -> Vote {
        match self.granted {
            true => Vote::new_committed(self.term, self.node),
            false => Vote::new(self.term, self.node),
        }
    }
}

/// An entry as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
}

/// What an entry's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Nothing: a new leader's first entry.
    Blank = 0,
    /// An encoded `meta::Batch`.
    Commands = 1,
    /// An encoded [`Members`].
    Members = 2,
}

impl Kind {
    /// The kind that `byte` stands for.
    pub(crate) fn from_byte(byte: u8) -> io::Result<Self> {
        match byte {
            0 => Ok(Kind::Blank),
            1 => Ok(Kind::Commands),
            2 => Ok(Kind::Members),
            _ => Err(damaged(format!("entry kind {byte} is unknown: it is damaged or from a newer build"))),
        }
    }
}

impl Stored {
    pub(crate) fn of(entry: Entry) -> Self {
        let at = Position::of(&entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Self { at, kind: Kind::Blank, body: Bytes::new() },
            EntryPayload::Normal(commands) => Self { at, kind: Kind::Commands, body: commands.0 },
            EntryPayload::Membership(members) => {
                Self { at, kind: Kind::Members, body: codec::encode(&Members::of(&members)).into() }
            }
        }
    }

    pub(crate) fn into_raft(self) -> io::Result<Entry> {
        let payload = match self.kind {
            Kind::Blank => EntryPayload::Blank,
            Kind::Commands => EntryPayload::Normal(Commands(self.body)),
            Kind::Members => EntryPayload::Membership(decode::<Members>(&self.body)?.to_raft()?),
        };
        Ok(Entry { log_id: self.at.to_raft(), payload })
    }
}

/// Who votes (more than one set while a change is under way), and everybody's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Members {
    voters: Vec<BTreeSet<u64>>,
    addresses: BTreeMap<u64, String>,
}

impl Members {
    pub(crate) fn of(members: &Membership) -> Self {
        Self {
            voters: members.get_joint_config().clone(),
            addresses: members.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }

    /// One voter, and nobody else.
    pub(crate) fn alone(id: u64, address: &str) -> Self {
        Self { voters: vec![BTreeSet::from([id])], addresses: BTreeMap::from([(id, address.to_string())]) }
    }

    /// Everybody: number, address, and whether they vote.
    pub(crate) fn list(&self) -> Vec<(u64, String, bool)> {
        let votes = |id| self.voters.iter().any(|voters| voters.contains(id));
        self.addresses.iter().map(|(id, address)| (*id, address.clone(), votes(id))).collect()
    }

    pub(crate) fn to_raft(&self) -> io::Result<Membership> {
        if self.voters.is_empty() {
            return Ok(Membership::default());
        }
        let nodes: BTreeMap<u64, Node> = self.addresses.iter().map(|(id, addr)| (*id, Node::new(addr))).collect();
        Membership::new(self.voters.clone(), nodes).map_err(|error| damaged(error.to_string()))
    }
}

/// The row of the tables that says what they reflect; written in the same transaction as the rows it speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// The last entry that was applied.
    pub(crate) last: Option<Position>,
    /// The entry that set the membership below.
    pub(crate) members_at: Option<Position>,
    /// The membership as of then.
    pub(crate) members: Members,
}

impl Applied {
    /// The index applied up to; 0 before the first.
    pub(crate) fn index(&self) -> u64 {
        self.last.map_or(0, |last| last.index)
    }

    pub(crate) fn membership(&self) -> io::Result<StoredMembership> {
        Ok(StoredMembership::new(self.members_at.map(Position::to_raft), self.members.to_raft()?))
    }
}

/// The record in `bytes`, or an error that storage code can return.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    codec::decode(bytes).map_err(|error| damaged(error.to_string()))
}

/// An error for bytes that nobody wrote.
pub(crate) fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_votes_come_back_as_they_were() {
        let nodes: BTreeMap<u64, Node> = [(1, Node::new("a:1")), (2, Node::new("b:2"))].into();
        let members = Membership::new(vec![[1].into(), [1, 2].into()], nodes).unwrap();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Commands(Bytes::from_static(b"batch"))),
            EntryPayload::Membership(members),
        ] {
            let entry = Entry { log_id: LogId::new_term_index(3, 7), payload };
            assert_eq!(Stored::of(entry.clone()).into_raft().unwrap(), entry);
        }
        for vote in [Vote::new(4, 1), Vote::new_committed(4, 1)] {
            assert_eq!(Ballot::of(&vote).to_raft(), vote);
        }
        let (asked, granted) = (Ballot::of(&Vote::new(4, 9)), Ballot::of(&Vote::new_committed(4, 1)));
        assert!(asked < granted, "a granted vote outranks any other of its term");
        assert!(Kind::from_byte(9).is_err());
    }
}
