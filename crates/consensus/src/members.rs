//! Who belongs to the group: looking, taking in, promoting, removing, replacing, while it runs.
//!
//! A coordinator is taken in as a *learner*: it gets the log, or first a snapshot, and has no vote. Promoted once it has caught up, so that
//! waiting for it never stops the group. Its number is made of a committed log index, so nobody had it before and nobody will have it again. A vote
//! moves from a dead member to its replacement in one change (joint consensus: Raft, §6), so the number of voters need not change on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meta::Command;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};

use crate::error::ProposeError;
use crate::group::Group;
use crate::network;
use crate::running::unbroken;
use crate::types::{Node, TypeConfig};
use crate::wire::{Answer, Message, Standing};

/// Entries that a learner may lack when it is promoted: what goes to it in a fraction of a second.
const CLOSE: u64 = 2_000;

/// Added to a log index to make a number of it: founders have small numbers, from 1.
const DRAWN: u64 = 1_000;

/// How long a coordinator that is to be taken in may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its number.
    pub node: u64,
    /// Its address.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// The last entry that it is known to have; `None` where nothing is known, as at a member that does not lead.
    pub matched: Option<u64>,
}

/// Why a change of members was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Another process leads, or none.
    #[error("this process does not lead: {0}; ask the leader")]
    NotLeader(String),
    /// It cannot be done, and why.
    #[error("{0}")]
    Refused(String),
    /// It may have been begun. Look, and ask again.
    #[error("the change of members did not end: {0}; look at the members and ask again")]
    Unfinished(String),
}

impl Group {
    /// The members, by number.
    pub fn members(&self) -> Vec<MemberStatus> {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow_watched();
        let membership = now.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let matched = |id: &u64| match now.replication.as_ref() {
            _ if *id == now.id => now.last_log_index,
            Some(replication) => replication.get(id).and_then(|at| at.as_ref().map(|at| at.index())),
            None => None,
        };
        let status = |(id, node): (&u64, &Node)| MemberStatus {
            node: *id,
            address: node.addr.clone(),
            voter: voters.contains(id),
            leader: now.current_leader == Some(*id),
            matched: matched(id),
        };
        membership.nodes().map(status).collect()
    }

    /// Takes the coordinator at `address` in as a learner; its number. It must be pristine, or have been a member of this group before.
    pub async fn add_member(&self, address: &str) -> Result<u64, MembersError> {
        // One at a time: two proposals that wait together get the same log index.
        let _turn = self.inner.taking_in.lock().await;
        self.must_lead()?;
        let members = self.members();
        let transport = self.inner.member.transport.as_ref();
        let standing = match network::ask(transport, address, &Message::Who, PATIENCE).await {
            Ok(Answer::Standing(standing)) => standing,
            Ok(other) => {
                return Err(MembersError::Refused(format!("{address} does not answer as a coordinator: {other:?}")));
            }
            Err(error) => return Err(MembersError::Refused(error.to_string())),
        };
        let node = match standing {
            Standing::Seated(key, node) if key == self.key() => {
                if members.iter().any(|member| member.node == node) {
                    return Err(MembersError::Refused(format!("{address} is a member already, by number {node}")));
                }
                node
            }
            Standing::Seated(key, _) => {
                return Err(MembersError::Refused(format!(
                    "{address} belongs to cluster {:032x} in generation {}, not to this one; empty its directory if it should not",
                    key.cluster, key.generation
                )));
            }
            Standing::Pristine(_) => {
                let drawn = self.propose(vec![Command::Barrier]).await.map_err(|error| self.not_changed(&error))?;
                let node = DRAWN + drawn.index;
                let told = network::ask(transport, address, &Message::Sit(self.key(), node), PATIENCE).await;
                told.map_err(|error| MembersError::Refused(error.to_string()))?;
                node
            }
        };
        self.change(ChangeMembers::AddNodes([(node, Node::new(address))].into())).await?;
        Ok(node)
    }

    /// Gives a learner its vote.
    pub async fn promote_member(&self, node: u64) -> Result<(), MembersError> {
        self.must_lead()?;
        self.must_be_close(node)?;
        self.change(ChangeMembers::AddVoterIds([node].into())).await
    }

    /// Removes a member, with its vote if it has one. Never the last voter.
    pub async fn remove_member(&self, node: u64) -> Result<(), MembersError> {
        self.must_lead()?;
        let member = self.member(node)?;
        let others = self.members().iter().filter(|other| other.voter && other.node != node).count();
        if member.voter && others == 0 {
            return Err(MembersError::Refused(format!(
                "coordinator {node} is the only voter: without it there is no group"
            )));
        }
        if member.voter {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([node]))).await?;
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node]))).await
    }

    /// Gives the vote of `old` to the learner `new`, and removes `old`.
    pub async fn replace_member(&self, old: u64, new: u64) -> Result<(), MembersError> {
        self.must_lead()?;
        self.member(old)?;
        self.must_be_close(new)?;
        let nodes = BTreeMap::from([(new, Node::new(self.member(new)?.address))]);
        let removed = ChangeMembers::RemoveVoters(BTreeSet::from([old]));
        self.change(ChangeMembers::Batch(vec![ChangeMembers::AddVoters(nodes), removed])).await?;
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([old]))).await
    }

    fn member(&self, node: u64) -> Result<MemberStatus, MembersError> {
        let found = self.members().into_iter().find(|member| member.node == node);
        found.ok_or_else(|| MembersError::Refused(format!("there is no coordinator with number {node} in this group")))
    }

    fn must_lead(&self) -> Result<(), MembersError> {
        let leadership = self.leadership();
        match leadership.mine {
            true => Ok(()),
            false => Err(MembersError::NotLeader(
                leadership.leader.map_or("nobody does".into(), |(_, address)| format!("{address} does")),
            )),
        }
    }

    fn must_be_close(&self, node: u64) -> Result<(), MembersError> {
        let last = self.status().last_log;
        let lacks = last - self.member(node)?.matched.unwrap_or(0).min(last);
        match lacks > CLOSE {
            true => Err(MembersError::Refused(format!(
                "coordinator {node} lacks {lacks} entries yet; wait until it has caught up"
            ))),
            false => Ok(()),
        }
    }

    /// One change. Who loses a vote stays as a learner, and all others as they are.
    async fn change(&self, change: ChangeMembers<u64, Node>) -> Result<(), MembersError> {
        let raft = self.inner.raft.clone();
        let changed = unbroken(async move { raft.change_membership(change, true).await }).await;
        match changed.map_err(|lost| MembersError::Unfinished(lost.to_string()))? {
            Ok(changed) => {
                // Whoever lists the members next finds them changed.
                let seen = |now: &openraft::RaftMetrics<TypeConfig>| {
                    now.membership_config.log_id().as_ref() >= Some(&changed.log_id)
                };
                let waited = self.inner.raft.wait(Some(PATIENCE)).metrics(seen, "the change is seen here").await;
                waited.map(drop).map_err(|error| MembersError::Unfinished(error.to_string()))
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(elsewhere))) => {
                Err(MembersError::NotLeader(elsewhere.to_string()))
            }
            Err(RaftError::<TypeConfig, _>::APIError(ClientWriteError::ChangeMembershipError(why))) => {
                Err(MembersError::Refused(why.to_string()))
            }
            Err(error) => Err(MembersError::Unfinished(error.to_string())),
        }
    }

    fn not_changed(&self, error: &ProposeError) -> MembersError {
        match error {
            ProposeError::Unavailable(why) => MembersError::NotLeader(why.clone()),
            other => MembersError::Unfinished(other.to_string()),
        }
    }
}
