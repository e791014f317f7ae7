//! The coordinator's parts, and how they start and stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use api::admin::GcReport;
use api::{Clock, Entropy, MetaError};
use consensus::{Group, ProposeError, Snapshot};
use datapath::Connect;
use domain::NodeId;
use domain::urlkey::UrlKey;
use domain::view::{ClusterView, Health, NodeView};
use meta::{Command, Reply, StorageError, query};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::backup::Backups;
use crate::experience::Experience;
use crate::probes::Probe;
use crate::schedule::{self, BackupSchedule};
use crate::seal::Sealer;
use crate::{gc, reign};

/// What a coordinator may be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Nodes to register at the start, by address.
    pub nodes: Vec<String>,
    /// The first URL key, if the registry has none yet.
    pub url_key: Option<UrlKey>,
    /// What seals secrets before they go into the tables.
    pub sealer: Sealer,
    /// A lease that is not renewed for this long is removed.
    pub lease_timeout: Duration,
    /// Copies of each chunk that gateways make where nothing else is asked: so many nodes must always remain.
    pub copies: u8,
    /// How often nodes are probed.
    pub probe_every: Duration,
    /// How often a node's directory is handed a fresh witness.
    pub witness_every: Duration,
    /// How often garbage is collected.
    pub gc_every: Duration,
    /// How long garbage is kept for backups; not at all while a node is short of room.
    pub gc_delay: Duration,
    /// How often nodes are searched for chunks that no record knows.
    pub sweep_every: Duration,
    /// Free bytes below which what adds rows is refused.
    pub reserve_bytes: u64,
    /// Backups of the metadata that this coordinator writes by itself.
    pub backups: Option<BackupSchedule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            url_key: None,
            sealer: Sealer::default(),
            lease_timeout: Duration::from_secs(60),
            copies: 1,
            probe_every: Duration::from_secs(1),
            witness_every: Duration::from_secs(10),
            gc_every: Duration::from_secs(5),
            gc_delay: Duration::from_secs(3600),
            sweep_every: Duration::from_secs(600),
            reserve_bytes: 128 << 20,
            backups: None,
        }
    }
}

/// A running coordinator. Cheap to clone; its loops end when the last clone outside of them is dropped.
#[derive(Clone)]
pub struct Coordinator {
    pub(crate) core: Arc<Core>,
    _loops: Arc<JoinSet<()>>,
}

/// What requests and loops share.
pub(crate) struct Core {
    pub group: Group,
    pub connect: Arc<dyn Connect>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub settings: Settings,
    pub view: watch::Sender<ClusterView>,
    /// The term in which this coordinator leads; `None` while it does not, or has not begun.
    pub reign: watch::Sender<Option<u64>>,
    pub probes: Mutex<BTreeMap<NodeId, Probe>>,
    pub gc: Mutex<GcReport>,
    pub backups: Backups,
    /// The disk is nearly full: what adds rows is refused.
    pub full: AtomicBool,
    /// Rung when a node's row says that copies on a lost directory are still to be counted as missing.
    pub sweeps: Notify,
    /// How nodes look to gateways.
    pub experience: Experience,
}

impl Coordinator {
    /// Starts a coordinator over a group. Whenever it leads, it founds the cluster if that is new, registers the nodes of the settings,
    /// and runs its loops. At a group of one this returns once all that has begun.
    pub async fn start(
        group: Group,
        connect: Arc<dyn Connect>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        settings: Settings,
    ) -> Result<Self, MetaError> {
        let first = ClusterView { revision: entropy.u64() >> 20, ..ClusterView::default() };
        let core = Arc::new(Core {
            group,
            connect,
            clock,
            entropy,
            settings,
            view: watch::Sender::new(first),
            reign: watch::Sender::new(None),
            probes: Mutex::default(),
            gc: Mutex::default(),
            backups: Backups::default(),
            full: AtomicBool::new(false),
            sweeps: Notify::new(),
            experience: Experience::default(),
        });
        if core.group.is_alone() {
            reign::begin(&core, core.group.leadership().term).await?;
        }
        let mut loops = JoinSet::new();
        loops.spawn(reign::run(core.clone()));
        loops.spawn(schedule::run(core.clone()));
        Ok(Self { core, _loops: Arc::new(loops) })
    }

    /// The consensus group beneath.
    pub fn group(&self) -> &Group {
        &self.core.group
    }

    /// Who leads, by address: `None` if it is this coordinator, and `Some(None)` if nobody is known to.
    pub fn elsewhere(&self) -> Option<Option<String>> {
        match *self.core.reign.borrow() {
            Some(_) => None,
            None => Some(self.core.other_leader()),
        }
    }

    /// Collects garbage now, and says what was done.
    pub async fn collect_garbage(&self) -> GcReport {
        gc::pass(&self.core, true).await;
        self.core.gc.lock().clone()
    }
}

impl Core {
    pub async fn found(&self) -> Result<(), MetaError> {
        let founded = query::cluster(&self.read().await?).map_err(storage)?.is_some_and(|row| row.cluster_id != 0);
        let mut commands = Vec::new();
        if !founded {
            // A group of several drew its id when it was founded.
            let drawn = Some(self.group.key().cluster).filter(|cluster| *cluster != 0);
            commands.push(Command::Found { cluster_id: drawn.unwrap_or_else(|| self.entropy.u128().max(1)) });
        }
        commands.extend(self.first_url_key()?);
        commands.extend(self.settings.nodes.iter().map(|addr| Command::AddNode { addr: addr.clone() }));
        if commands.is_empty() {
            return Ok(());
        }
        let proposed = self.group.propose(commands).await.map_err(|error| self.proposal(error))?;
        for reply in proposed.replies {
            if let Reply::Refused(reason) = reply {
                tracing::warn!(reason, "a node of the settings was not registered");
            }
        }
        Ok(())
    }

    /// A linearizable read.
    pub async fn read(&self) -> Result<Snapshot, MetaError> {
        self.group.read().await.map_err(|error| MetaError::Unavailable { reason: error.to_string() })
    }

    /// Proposes one command that somebody asked for.
    pub async fn propose(&self, command: Command) -> Result<(u64, Reply), MetaError> {
        self.one(None, command).await
    }

    /// Proposes one command of this reign: later ones refuse it.
    pub async fn plan(&self, command: Command) -> Result<(u64, Reply), MetaError> {
        self.one(Some(self.in_reign()?), command).await
    }

    /// Proposes commands of this reign together: later ones refuse them.
    pub async fn plan_all(&self, commands: Vec<Command>) -> Result<Vec<Reply>, MetaError> {
        let proposed = self.group.propose_in(Some(self.in_reign()?), commands).await;
        Ok(proposed.map_err(|error| self.proposal(error))?.replies)
    }

    async fn one(&self, reign: Option<u64>, command: Command) -> Result<(u64, Reply), MetaError> {
        let proposed = self.group.propose_in(reign, vec![command]).await;
        let mut proposed = proposed.map_err(|error| self.proposal(error))?;
        let reply = proposed.replies.pop().ok_or_else(|| MetaError::Failed { reason: "a command had no reply".into() });
        Ok((proposed.index, reply?))
    }

    /// The term of this reign; an error that says who leads if it is not this coordinator.
    pub fn in_reign(&self) -> Result<u64, MetaError> {
        self.reign.borrow().ok_or_else(|| MetaError::NotLeader { leader: self.other_leader() })
    }

    /// The leader's address, if it is known and not this coordinator.
    fn other_leader(&self) -> Option<String> {
        let leadership = self.group.leadership();
        leadership.leader.filter(|_| !leadership.mine).map(|(_, address)| address)
    }

    /// A failed proposal, as the metadata's error.
    fn proposal(&self, error: ProposeError) -> MetaError {
        let reason = error.to_string();
        match error {
            ProposeError::Unavailable(_) if self.group.is_alone() => MetaError::Unavailable { reason },
            ProposeError::Unavailable(_) => MetaError::NotLeader { leader: self.other_leader() },
            ProposeError::OutcomeUnknown(_) => MetaError::OutcomeUnknown { reason },
            ProposeError::TooLarge { .. } | ProposeError::Failed(_) => MetaError::Failed { reason },
        }
    }

    /// Publishes the view if anything in it changed.
    pub async fn refresh_view(&self) -> Result<(), MetaError> {
        let tables = self.read().await?;
        let Some(cluster) = query::cluster(&tables).map_err(storage)? else { return Ok(()) };
        let rows = query::nodes(&tables).map_err(storage)?;
        let policies = query::policies(&tables).map_err(storage)?;
        let probes = self.probes.lock().clone();
        let health = |id: &NodeId| probes.get(id).and_then(|probe| probe.health).unwrap_or(Health::Suspect);
        let view =
            |(id, row): (NodeId, domain::record::NodeRow)| NodeView::of(id, row, health(&id), cluster.generation);
        let nodes: Vec<_> = rows.into_iter().map(view).collect();
        self.view.send_if_modified(|known| {
            let next = ClusterView {
                revision: known.revision,
                epoch: cluster.epoch,
                cluster_id: cluster.cluster_id,
                generation: cluster.generation,
                nodes,
                classes: cluster.classes,
                keys_revision: cluster.keys_revision,
                policies,
            };
            let changed = next != *known;
            *known = next;
            known.revision += u64::from(changed);
            changed
        });
        Ok(())
    }
}

/// Damaged or unreadable tables, as the metadata's error.
pub(crate) fn storage(error: StorageError) -> MetaError {
    MetaError::Failed { reason: error.to_string() }
}
