//! A coordinator's seat: from "nobody yet" to "member number so-and-so", without ever making two groups out of one.
//!
//! # How a group is founded
//!
//! Every coordinator is started with the same list of addresses. A pristine one asks all others who they are. **Only if every one of
//! them answers "pristine, with this very list"** the one with the lowest address founds: it draws the cluster's id, writes down
//! that it is founding, tells each of the others its number, and hands openraft the first membership. Everybody else waits to be told.
//!
//! So a coordinator that is started on an empty directory while others have a cluster never founds a second one: the others answer that they
//! are members. It says so, and waits until somebody takes it in (`kvfs coord members add` or `replace`), under a number that nobody had before.
//! Should two of three lose their disks, the third still answers for the cluster, and the two found nothing.
//!
//! A founder that dies halfway finds its list when it starts again and goes on. One that loses its disk halfway leaves members without a group: they
//! hold nothing yet, and are emptied by hand.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Clock;
use api::disk::Disk;
use api::entropy::Entropy;
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::ConsensusError;
use crate::failure::Failure;
use crate::group::{Group, Member};
use crate::identity::Identity;
use crate::network::{self, Transport};
use crate::restore;
use crate::running::unbroken;
use crate::settings::Settings;
use crate::wire::{self, Answer, ClusterKey, Message, Standing};

/// How often a pristine coordinator asks the others who they are.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// How long one of them may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a seat needs to know and use.
pub struct Place {
    /// Where the group's files are, and how they are kept.
    pub settings: Settings,
    /// This coordinator's address, as the others reach it.
    pub own: String,
    /// All coordinators that the group is founded with, this one included. Empty: wait to be taken in.
    pub peers: Vec<String>,
    /// The way to the others.
    pub transport: Arc<dyn Transport>,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for the cluster's id.
    pub entropy: Arc<dyn Entropy>,
}

/// Prepares the directory `dir` so that the coordinator started on it, reached at `own`, founds a group of itself alone, whatever its list says.
/// Others are taken in later. Blocks.
///
/// Errs if the directory holds anything of a coordinator: a second group is not founded on top of a first.
pub fn init(dir: &Path, disk: &dyn Disk, own: &str, entropy: &dyn Entropy) -> Result<ClusterKey, ConsensusError> {
    let doing = || format!("preparing {}", dir.display());
    let prepare = || {
        disk.create_dir_all(dir)?;
        let _lock = disk.lock(dir)?;
        if disk.list(dir)?.iter().any(|name| ["identity", "tables.redb", "log"].contains(&name.as_str())) {
            return Err(io::Error::other("it holds the metadata of a coordinator already; choose an empty directory"));
        }
        let key = ClusterKey { cluster: entropy.u128().max(1), generation: 1 };
        Identity { key, node: 1, founding: vec![(1, own.to_string())] }.write(disk, dir)?;
        Ok(key)
    };
    prepare().map_err(ConsensusError::storage(doing()))
}

/// A coordinator, member of a group or not yet. Clones are handles to the same one.
#[derive(Clone)]
pub struct Seat {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    state: watch::Sender<State>,
    /// One change of state at a time.
    turn: tokio::sync::Mutex<()>,
    founder: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone)]
enum State {
    /// Nobody yet, and why that is so.
    Waiting(String),
    Seated(ClusterKey, u64, Group),
    Failed(String),
}

impl Seat {
    /// Takes the seat: a member's group is opened before this returns; whoever is nobody yet begins to ask around.
    pub async fn take(mut place: Place) -> Result<Self, ConsensusError> {
        place.peers.sort();
        place.peers.dedup();
        Failure::new(&place.settings.dir, place.disk.clone()).check_marker()?;
        let identity = Self::known(&place).map_err(ConsensusError::storage("reading who this coordinator is"))?;
        let waiting = State::Waiting("it has not heard from the other coordinators yet".into());
        let (state, turn, founder) = (watch::Sender::new(waiting), tokio::sync::Mutex::default(), Mutex::default());
        let seat = Self { inner: Arc::new(Inner { place, state, turn, founder }) };
        if let Some(identity) = identity {
            seat.open(identity).await?;
        }
        if seat.group().is_none_or(|group| !group.is_founded()) {
            let founder = tokio::spawn(seat.clone().found());
            seat.inner.founder.lock().replace(founder);
        }
        Ok(seat)
    }

    fn known(place: &Place) -> io::Result<Option<Identity>> {
        place.disk.create_dir_all(&place.settings.dir)?;
        restore::refuse_unfinished(&place.settings.dir, place.disk.as_ref())?;
        let known = Identity::read(place.disk.as_ref(), &place.settings.dir)?;
        let mut files = place.disk.list(&place.settings.dir)?.into_iter();
        if known.is_none() && files.any(|name| name == "tables.redb") {
            return Err(io::Error::other(
                "this directory holds the metadata of a coordinator without a group, or its file `identity` was lost: start it as it was \
                 started before, or begin with an empty directory",
            ));
        }
        Ok(known)
    }

    /// The group, once this coordinator is a member.
    pub fn group(&self) -> Option<Group> {
        match &*self.inner.state.borrow() {
            State::Seated(_, _, group) => Some(group.clone()),
            _ => None,
        }
    }

    /// Why this coordinator is no member yet; `None` once it is.
    pub fn waiting(&self) -> Option<String> {
        match &*self.inner.state.borrow() {
            State::Waiting(why) | State::Failed(why) => Some(why.clone()),
            State::Seated(..) => None,
        }
    }

    /// Waits until this coordinator is a member. Errs if its group could not be opened.
    pub async fn seated(&self) -> Result<Group, ConsensusError> {
        let mut state = self.inner.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Waiting(_))).await;
        match settled.as_deref() {
            Ok(State::Seated(_, _, group)) => Ok(group.clone()),
            Ok(State::Failed(why)) => Err(ConsensusError::Raft { doing: "taking the seat", why: why.clone() }),
            _ => Err(ConsensusError::Raft { doing: "taking the seat", why: "it was given up".into() }),
        }
    }

    /// Answers what another coordinator asks. Never fails: what cannot be answered is refused with a reason.
    pub async fn handle(&self, bytes: Bytes) -> Bytes {
        let answer = match wire::decode::<Message>(&bytes) {
            Ok(message) => self.answer(message).await,
            Err(why) => Answer::Refused(why),
        };
        wire::encode(&answer)
    }

    async fn answer(&self, message: Message) -> Answer {
        match message {
            Message::Who => Answer::Standing(self.standing()),
            Message::Sit(key, node) => {
                let seat = self.clone();
                // Files that are half open belong to nobody: who hangs up does not break this off.
                let sat = unbroken(async move { seat.sit(Identity { key, node, founding: Vec::new() }).await }).await;
                match sat {
                    Ok(Ok(())) => Answer::Seated,
                    Ok(Err(error)) => Answer::Refused(error.to_string()),
                    Err(error) => Answer::Refused(error.to_string()),
                }
            }
            Message::Member { key, from, to, ask } => {
                let state = self.inner.state.borrow().clone();
                match state {
                    State::Seated(mine, me, group) if mine == key && me == to => group.answer(from, ask).await,
                    State::Seated(mine, me, _) => Answer::Refused(format!(
                        "{} is coordinator {me} of cluster {:032x} in generation {}, not coordinator {to} of {:032x} in {}",
                        self.inner.place.own, mine.cluster, mine.generation, key.cluster, key.generation
                    )),
                    State::Waiting(_) | State::Failed(_) => Answer::Refused(format!(
                        "{} is no member: it is new, or it lost its disk; take it in with `kvfs coord members add` or `replace`",
                        self.inner.place.own
                    )),
                }
            }
        }
    }

    fn standing(&self) -> Standing {
        match &*self.inner.state.borrow() {
            State::Seated(key, node, _) => Standing::Seated(*key, *node),
            _ => Standing::Pristine(self.inner.place.peers.clone()),
        }
    }

    /// Becomes the member that `identity` says, for good. Being told again is fine.
    async fn sit(&self, identity: Identity) -> Result<(), ConsensusError> {
        let refused = |why: String| ConsensusError::Raft { doing: "taking the seat", why };
        let _turn = self.inner.turn.lock().await;
        if let State::Seated(key, node, _) = &*self.inner.state.borrow() {
            return match *key == identity.key && *node == identity.node {
                true => Ok(()),
                false => Err(refused(format!("{} is coordinator {node} already", self.inner.place.own))),
            };
        }
        let (disk, dir) = (self.inner.place.disk.clone(), self.inner.place.settings.dir.clone());
        let written = identity.clone();
        let write = crate::blocking::run(&self.inner.place.disk, move || written.write(disk.as_ref(), &dir));
        write.await.map_err(ConsensusError::storage("writing who this coordinator is"))?;
        self.open(identity).await
    }

    async fn open(&self, identity: Identity) -> Result<(), ConsensusError> {
        let place = &self.inner.place;
        let member = Member { identity: identity.clone(), transport: place.transport.clone() };
        let opened = Group::open_member(place.settings.clone(), member, place.disk.clone(), place.clock.clone()).await;
        let state = match &opened {
            Ok(group) => State::Seated(identity.key, identity.node, group.clone()),
            Err(error) => State::Failed(error.to_string()),
        };
        self.inner.state.send_replace(state);
        opened.map(drop)
    }

    /// Asks around until this coordinator is a member of a founded group.
    async fn found(self) {
        loop {
            let founded = match self.group() {
                Some(group) if group.is_founded() => return,
                Some(_) => self.finish_founding().await.is_ok(),
                None => self.try_to_found().await,
            };
            if !founded {
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }

    /// Founds if all others are pristine and this is the one to do it. Whether it did.
    async fn try_to_found(&self) -> bool {
        let place = &self.inner.place;
        let verdict = match place.peers.contains(&place.own) {
            true => self.may_found().await,
            false => {
                Err("it is on no list of founders; it waits until it is taken in (`kvfs coord members add`)".into())
            }
        };
        match verdict {
            Ok(()) => {}
            Err(why) => {
                self.inner.state.send_if_modified(|state| match state {
                    State::Waiting(known) if *known != why => {
                        tracing::info!(why, "this coordinator waits");
                        *known = why;
                        true
                    }
                    _ => false,
                });
                return false;
            }
        }
        let key = ClusterKey { cluster: place.entropy.u128().max(1), generation: 1 };
        let founding = (1..).zip(place.peers.iter().cloned()).collect();
        tracing::info!(cluster = format!("{:032x}", key.cluster), "founding the group of coordinators");
        self.sit(Identity { key, node: 1, founding }).await.is_ok() && self.finish_founding().await.is_ok()
    }

    /// Whether this coordinator is the one to found, and nobody belongs to a cluster yet; or why not.
    async fn may_found(&self) -> Result<(), String> {
        let place = &self.inner.place;
        let others: Vec<_> = place.peers.iter().filter(|peer| **peer != place.own).collect();
        let answers =
            join_all(others.iter().map(|peer| network::ask(place.transport.as_ref(), peer, &Message::Who, PATIENCE)));
        let mut problem = None;
        for (peer, answer) in others.iter().zip(answers.await) {
            match answer {
                Ok(Answer::Standing(Standing::Pristine(list))) if list == place.peers => {}
                Ok(Answer::Standing(Standing::Pristine(list))) => {
                    let other = format!("{peer} was given another list of coordinators: {}", list.join(", "));
                    problem.get_or_insert(other);
                }
                Ok(Answer::Standing(Standing::Seated(key, node))) => {
                    return Err(format!(
                        "{peer} is coordinator {node} of cluster {:032x}, so this one is new or has lost its disk; no second group is \
                         founded. Take it in with `kvfs coord members add {own}`, or in a dead member's place with `members replace`",
                        key.cluster,
                        own = place.own
                    ));
                }
                Ok(other) => _ = problem.get_or_insert(format!("{peer} does not answer as a coordinator: {other:?}")),
                Err(error) => _ = problem.get_or_insert(error.to_string()),
            }
        }
        match problem {
            Some(problem) => {
                Err(format!("the group is founded only when every coordinator of the list answers: {problem}"))
            }
            None if place.peers.first() != Some(&place.own) => {
                Err(format!("{} founds the group, being first in the list", place.peers[0]))
            }
            None => Ok(()),
        }
    }

    /// Tells the others their numbers, and begins. Done again after a crash in between.
    async fn finish_founding(&self) -> Result<(), ConsensusError> {
        let Some(group) = self.group() else { return Ok(()) };
        let place = &self.inner.place;
        let (key, members) = group.founding();
        for (node, address) in members.iter().filter(|(_, address)| *address != place.own) {
            let told = network::ask(place.transport.as_ref(), address, &Message::Sit(key, *node), PATIENCE).await;
            told.map_err(ConsensusError::raft("founding the group"))?;
        }
        group.found(&members).await
    }

    /// Gives the seat up: the group is shut down.
    pub async fn leave(&self) -> Result<(), ConsensusError> {
        if let Some(founder) = self.inner.founder.lock().take() {
            founder.abort();
        }
        match self.group() {
            Some(group) => group.shutdown().await,
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seat of {}: {:?}", self.inner.place.own, self.standing())
    }
}
