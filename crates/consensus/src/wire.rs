//! What members say to each other: our own records, whatever openraft's types look like this month.
//!
//! Every message names the cluster, its generation, and whom it is from and to. A member answers only what is meant for it: a
//! coordinator that lost its disk is nobody, so what is sent to the id it once had is refused, and it cannot vote twice.

use bytes::Bytes;
use domain::codec;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};
use std::io;

use crate::record::{Ballot, Kind, Position, Stored};
use crate::types::TypeConfig;

/// Which cluster, and which of its lives: a restore or a recovery begins another, and the former must not take part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterKey {
    /// Drawn by the founder.
    pub cluster: u128,
    /// 1 at the founding.
    pub generation: u64,
}

/// A message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// To whoever is at the address, member or not: who are you?
    Who,
    /// To a pristine coordinator: be this member.
    Sit(ClusterKey, u64),
    /// To a member.
    Member { key: ClusterKey, from: u64, to: u64, ask: Ask },
}

/// A question among members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Append(Append),
    Vote(Candidacy),
    PreVote(Candidacy),
    /// To the leader: up to where must the tables be applied for a read that began before this was sent?
    ReadIndex,
    /// A part of a snapshot's stream, from `offset` on.
    Snapshot {
        ballot: Ballot,
        /// Tells transfers apart.
        transfer: u64,
        offset: u64,
        bytes: Bytes,
        /// Nothing follows: install it.
        last: bool,
    },
}

/// Raft's AppendEntries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Append {
    ballot: Ballot,
    previous: Option<Position>,
    entries: Vec<(Position, u8, Bytes)>,
    commit: Option<Position>,
}

/// Raft's RequestVote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Candidacy {
    ballot: Ballot,
    last: Option<Position>,
    transfer: bool,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To [`Message::Who`].
    Standing(Standing),
    /// To [`Message::Sit`].
    Seated,
    Append(Appended),
    Vote {
        ballot: Ballot,
        granted: bool,
        last: Option<Position>,
    },
    ReadIndex(u64),
    /// A part of a snapshot was taken in; to the last one: it is installed.
    Snapshot {
        ballot: Ballot,
    },
    /// Not answered, and why.
    Refused(String),
}

/// What a coordinator is at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Of no cluster yet; it was told of these coordinators.
    Pristine(Vec<String>),
    /// A member, by this number.
    Seated(ClusterKey, u64),
}

/// Raft's answer to AppendEntries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Appended {
    All,
    Upto(Option<Position>),
    Conflict,
    HigherVote(Ballot),
}

impl Append {
    pub(crate) fn of(request: AppendEntriesRequest<TypeConfig>) -> Self {
        let entry = |entry| {
            let Stored { at, kind, body } = Stored::of(entry);
            (at, kind as u8, body)
        };
        Self {
            ballot: Ballot::of(&request.vote),
            previous: request.prev_log_id.as_ref().map(Position::of),
            entries: request.entries.into_iter().map(entry).collect(),
            commit: request.leader_commit.as_ref().map(Position::of),
        }
    }

    pub(crate) fn into_raft(self) -> io::Result<AppendEntriesRequest<TypeConfig>> {
        let entry =
            |(at, kind, body): (Position, u8, Bytes)| Stored { at, kind: Kind::from_byte(kind)?, body }.into_raft();
        Ok(AppendEntriesRequest {
            vote: self.ballot.to_raft(),
            prev_log_id: self.previous.map(Position::to_raft),
            entries: self.entries.into_iter().map(entry).collect::<io::Result<_>>()?,
            leader_commit: self.commit.map(Position::to_raft),
        })
    }
}

impl Candidacy {
    pub(crate) fn of(request: &VoteRequest<TypeConfig>) -> Self {
        Self {
            ballot: Ballot::of(&request.vote),
            last: request.last_log_id.as_ref().map(Position::of),
            transfer: request.leadership_transfer,
        }
    }

    pub(crate) fn to_raft(&self) -> VoteRequest<TypeConfig> {
        VoteRequest {
            leadership_transfer: self.transfer,
            ..VoteRequest::new(self.ballot.to_raft(), self.last.map(Position::to_raft))
        }
    }
}

impl Appended {
    pub(crate) fn of(response: &AppendEntriesResponse<TypeConfig>) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::All,
            AppendEntriesResponse::PartialSuccess(upto) => Self::Upto(upto.as_ref().map(Position::of)),
            AppendEntriesResponse::Conflict => Self::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Self::HigherVote(Ballot::of(vote)),
        }
    }

    pub(crate) fn into_raft(self) -> AppendEntriesResponse<TypeConfig> {
        match self {
            Self::All => AppendEntriesResponse::Success,
            Self::Upto(upto) => AppendEntriesResponse::PartialSuccess(upto.map(Position::to_raft)),
            Self::Conflict => AppendEntriesResponse::Conflict,
            Self::HigherVote(ballot) => AppendEntriesResponse::HigherVote(ballot.to_raft()),
        }
    }
}

impl Answer {
    pub(crate) fn vote(response: &VoteResponse<TypeConfig>) -> Self {
        Self::Vote {
            ballot: Ballot::of(&response.vote),
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(Position::of),
        }
    }
}

/// A message's or an answer's bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    codec::encode(value).into()
}

/// The value in `bytes`; an error says that it is none.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    codec::decode(bytes).map_err(|error| format!("not a message between coordinators: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let position = Position { term: 3, index: 9 };
        let append = Append {
            ballot: Ballot { term: 3, granted: true, node: 1 },
            previous: Some(position),
            entries: vec![(Position { term: 3, index: 10 }, 1, Bytes::from_static(b"batch"))],
            commit: None,
        };
        let message = Message::Member {
            key: ClusterKey { cluster: 7, generation: 2 },
            from: 1,
            to: 2,
            ask: Ask::Append(Append::of(append.clone().into_raft().unwrap())),
        };
        let again: Message = decode(&encode(&message)).unwrap();
        assert_eq!(format!("{message:?}"), format!("{again:?}"));
        assert!(decode::<Message>(b"GET / HTTP/1.1").is_err());
        let unknown = Append { entries: vec![(position, 9, Bytes::new())], ..append };
        assert!(unknown.into_raft().is_err(), "an entry kind that nobody knows");
    }
}
