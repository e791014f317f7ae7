//! A coordinator that this process hosts: the only one, or a member of a group, which may have to wait for its seat.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use bootstrap::Secret;
use consensus::{Group, Place, Seat};
use coord::HttpTransport;
use coord::http::{AskHealth, Health, raft_router};

use crate::settings::{GroupLog, Member};
use crate::wiring::{World, group_settings, open_group};

/// The coordinator's part of the log.
#[derive(Clone)]
pub enum Hosting {
    /// A group of one.
    Alone(Group),
    /// One of several.
    Member(Seat),
}

impl Hosting {
    /// Opens what `dir` holds, with its log kept as `log` says. A group of one is recovered before this returns.
    pub async fn open(
        world: &World,
        (dir, log): (&Path, &GroupLog),
        member: Option<&Member>,
        secret: Option<&Secret>,
    ) -> Result<Self> {
        let Some(member) = member else { return Ok(Self::Alone(open_group(world, dir, log).await?)) };
        let place = Place {
            settings: group_settings(dir, log),
            own: member.own.clone(),
            peers: member.peers.clone(),
            transport: Arc::new(HttpTransport(world.http_to_coords(secret))),
            disk: world.disk.clone(),
            clock: world.clock.clone(),
            entropy: world.entropy.clone(),
        };
        let seat = Seat::take(place).await.with_context(|| format!("opening the metadata in {}", dir.display()))?;
        Ok(Self::Member(seat))
    }

    /// The group, once this process is part of one.
    pub async fn group(&self) -> Result<Group> {
        match self {
            Self::Alone(group) => Ok(group.clone()),
            Self::Member(seat) => Ok(seat.seated().await?),
        }
    }

    /// The group, if this process is part of one by now.
    pub fn present(&self) -> Option<Group> {
        match self {
            Self::Alone(group) => Some(group.clone()),
            Self::Member(seat) => seat.group(),
        }
    }

    /// How it is, for the open routes.
    pub fn health(&self) -> AskHealth {
        let hosting = self.clone();
        Arc::new(move || {
            let waiting = match &hosting {
                Self::Alone(_) => None,
                Self::Member(seat) => seat.waiting(),
            };
            let group = hosting.present();
            let leadership = group.as_ref().map(|group| group.leadership()).unwrap_or_default();
            let leads = group.is_some_and(|group| group.leads_a_majority());
            // Of an earlier lead that nobody confirms any more nothing is told.
            let other = leadership.leader.map(|(_, address)| address).filter(|address| !address.is_empty());
            let leader = other.filter(|_| leads || !leadership.mine);
            let known = leads || leader.is_some();
            let not_ready = waiting.or_else(|| (!known).then(|| "no coordinator leads at present".into()));
            Health { leads, leader, not_ready }
        })
    }

    /// What answers the other coordinators; a group of one has none.
    pub fn raft(&self) -> Option<Router> {
        match self {
            Self::Alone(_) => None,
            Self::Member(seat) => Some(raft_router(seat.clone())),
        }
    }

    /// Resolves when storage failed, with the reason.
    pub async fn failed(&self) -> String {
        match self.group().await {
            Ok(group) => group.failed().await,
            Err(error) => error.to_string(),
        }
    }

    /// Whether the process must not start again before a person has looked.
    pub fn is_poisoned(&self) -> bool {
        self.present().is_some_and(|group| group.is_poisoned())
    }

    /// Saves the metadata and lets go of it.
    pub async fn close(&self) {
        let closed = match self {
            Self::Alone(group) => group.shutdown().await,
            Self::Member(seat) => seat.leave().await,
        };
        if let Err(error) = closed {
            tracing::warn!(%error, "the metadata was not saved on the way out");
        }
    }
}
