//! What a member answers to the others.

use crate::group::Group;
use crate::network::Peer;
use crate::wire::{Answer, Appended, Ask};

impl Group {
    /// Answers one question of member `from`.
    pub(crate) async fn answer(&self, from: u64, ask: Ask) -> Answer {
        if let Some(why) = self.inner.failure.get() {
            return Answer::Refused(format!("storage failed here: {why}"));
        }
        let group = self.clone();
        // In a task of its own: see `unbroken`.
        let answered = crate::running::unbroken(async move { group.take_up(from, ask).await }).await;
        answered.unwrap_or_else(|lost| Answer::Refused(lost.to_string()))
    }

    async fn take_up(&self, from: u64, ask: Ask) -> Answer {
        let raft = &self.inner.raft;
        let refused = |why: &dyn std::fmt::Display| Answer::Refused(why.to_string());
        match ask {
            Ask::Append(append) => match append.into_raft() {
                Ok(request) => match raft.append_entries(request).await {
                    Ok(response) => Answer::Append(Appended::of(&response)),
                    Err(error) => refused(&error),
                },
                Err(error) => refused(&error),
            },
            Ask::Vote(candidacy) => match raft.vote(candidacy.to_raft()).await {
                Ok(response) => Answer::vote(&response),
                Err(error) => refused(&error),
            },
            Ask::PreVote(candidacy) => match raft.pre_vote(candidacy.to_raft()).await {
                Ok(response) => Answer::vote(&response),
                Err(error) => refused(&error),
            },
            Ask::ReadIndex => match self.read_index().await {
                Ok(index) => Answer::ReadIndex(index),
                Err(error) => refused(&error),
            },
            Ask::Snapshot { ballot, transfer, offset, bytes, last } => {
                let part = crate::transfer::Part { from, transfer, offset, bytes, last };
                match self.inner.receiver.take_in(raft, ballot, part).await {
                    Ok(ballot) => Answer::Snapshot { ballot },
                    Err(why) => Answer::Refused(why),
                }
            }
        }
    }

    /// Another member, to ask.
    pub(crate) fn peer(&self, id: u64, address: String) -> Peer {
        let member = &self.inner.member;
        Peer {
            transport: member.transport.clone(),
            sender: self.inner.sender.clone(),
            key: member.identity.key,
            me: member.identity.node,
            id,
            address,
        }
    }
}
