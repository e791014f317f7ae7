//! The way to other members: a seam that speaks bytes, and what openraft sees of it.
//!
//! A group of one has nobody to talk to, so the only [`Transport`] so far is [`Alone`], and nothing here puts openraft's
//! messages into bytes yet: an encoding that no peer reads could not be shown to be right. It belongs here once there are
//! several coordinators, and will be records of ours like those in the log.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{RaftNetworkFactory, RaftNetworkV2};

use crate::types::{Node, Recipe, Snapshot, TypeConfig, Vote};

/// A member did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("member {to} cannot be reached: {why}")]
pub struct Unreachable {
    /// The member's number.
    pub to: u64,
    /// What stood in the way.
    pub why: String,
}

/// Carries one request to a member, and its answer back. Requests may be lost, repeated and reordered; bytes may not change.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to member `to`, known to be at `address`, and waits for the answer.
    async fn call(&self, to: u64, address: &str, request: Bytes) -> Result<Bytes, Unreachable>;
}

/// The transport of a group of one: nobody is out there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

#[async_trait]
impl Transport for Alone {
    async fn call(&self, to: u64, _: &str, _: Bytes) -> Result<Bytes, Unreachable> {
        Err(Unreachable { to, why: "this is a group of one".into() })
    }
}

/// Makes a [`Peer`] for each other member.
pub(crate) struct Network(pub(crate) Arc<dyn Transport>);

/// One other member.
pub(crate) struct Peer {
    transport: Arc<dyn Transport>,
    id: u64,
    address: String,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Node) -> Peer {
        Peer { transport: self.0.clone(), id: target, address: node.addr.clone() }
    }
}

impl Peer {
    /// Why the member cannot be asked.
    async fn unreachable(&self) -> openraft::errors::Unreachable<TypeConfig> {
        let why = match self.transport.call(self.id, &self.address, Bytes::new()).await {
            Ok(_) => Unreachable { to: self.id, why: "this build has no encoding for messages between members".into() },
            Err(error) => error,
        };
        openraft::errors::Unreachable::new(&why)
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Recipe;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable().await))
    }

    async fn vote(
        &mut self,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable().await))
    }

    /// Never granted unasked: openraft's default would.
    async fn pre_vote(
        &mut self,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable().await))
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: Snapshot,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(self.unreachable().await))
    }
}
