//! The way to other members: a seam that speaks bytes, and what openraft sees of it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{RaftNetworkFactory, RaftNetworkV2};

use crate::record::Position;
use crate::transfer::{self, Sender};
use crate::types::{Node, Recipe, Snapshot, TypeConfig, Vote};
use crate::wire::{self, Answer, Append, Ask, Candidacy, ClusterKey, Message};

/// How long a member that did not answer is left alone. Short: a restarted one should follow again at once.
const RETRY: Duration = Duration::from_millis(100);

/// A member did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("coordinator {to} cannot be reached: {why}")]
pub struct Unreachable {
    /// Its address.
    pub to: String,
    /// What stood in the way.
    pub why: String,
}

/// Carries one request to a coordinator, and its answer back. Requests may be lost, repeated and reordered; bytes may not change.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to whoever is at `address`, and waits for the answer, but not longer than `patience`.
    async fn call(&self, address: &str, request: Bytes, patience: Duration) -> Result<Bytes, Unreachable>;
}

/// The transport of a group of one: nobody is out there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

#[async_trait]
impl Transport for Alone {
    async fn call(&self, address: &str, _: Bytes, _: Duration) -> Result<Bytes, Unreachable> {
        Err(Unreachable { to: address.into(), why: "this is a group of one".into() })
    }
}

/// Sends a message and decodes its answer; a refusal is as good as none.
pub(crate) async fn ask(
    transport: &dyn Transport,
    address: &str,
    message: &Message,
    patience: Duration,
) -> Result<Answer, Unreachable> {
    let lost = |why: String| Unreachable { to: address.into(), why };
    let bytes = transport.call(address, wire::encode(message), patience).await?;
    match wire::decode(&bytes).map_err(lost)? {
        Answer::Refused(why) => Err(lost(why)),
        answer => Ok(answer),
    }
}

/// Makes a [`Peer`] for each other member.
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) key: ClusterKey,
    pub(crate) me: u64,
}

/// One other member.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) key: ClusterKey,
    pub(crate) me: u64,
    pub(crate) id: u64,
    pub(crate) address: String,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Node) -> Peer {
        Peer {
            transport: self.transport.clone(),
            sender: self.sender.clone(),
            key: self.key,
            me: self.me,
            id: target,
            address: node.addr.clone(),
        }
    }
}

impl Peer {
    /// Asks the member.
    pub(crate) async fn ask(&self, ask: Ask, patience: Duration) -> Result<Answer, Unreachable> {
        let message = Message::Member { key: self.key, from: self.me, to: self.id, ask };
        self::ask(self.transport.as_ref(), &self.address, &message, patience).await
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn confused(&self, answer: &Answer) -> Unreachable {
        Unreachable { to: self.address.clone(), why: format!("it answered another question: {answer:?}") }
    }

    async fn candidacy(&self, ask: Ask, patience: Duration) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(ask, patience).await.map_err(unreachable)? {
            Answer::Vote { ballot, granted, last } => {
                Ok(VoteResponse::new(ballot.to_raft(), last.map(Position::to_raft), granted))
            }
            other => Err(unreachable(self.confused(&other))),
        }
    }
}

fn unreachable(error: Unreachable) -> RPCError<TypeConfig> {
    RPCError::Unreachable(openraft::errors::Unreachable::new(&error))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Recipe;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ask = Ask::Append(Append::of(request));
        match self.ask(ask, option.hard_ttl()).await.map_err(unreachable)? {
            Answer::Append(appended) => Ok(appended.into_raft()),
            other => Err(unreachable(self.confused(&other))),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.candidacy(Ask::Vote(Candidacy::of(&request)), option.hard_ttl()).await
    }

    /// Never granted unasked: openraft's default would.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.candidacy(Ask::PreVote(Candidacy::of(&request)), option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sender = self.sender.clone();
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = transfer::send(&sender, self, vote) => sent,
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY)))
    }
}
