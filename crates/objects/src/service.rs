//! The service: its parts, its settings, and the requests that need no body.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use api::metadata::{ListPage, ListQuery};
use api::{MetaError, Metadata, pace};
use datapath::{ByteBudget, Connect, LateAnswer, Nodes};
use domain::change::{Change, Outcome, Precondition, Refusal};
use domain::chunking::ChunkMode;
use domain::record::{BucketRow, ObjectName};
use domain::view::{ClusterView, Health, NodeView};
use domain::{BucketName, ClassId, quorum};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::error::ObjectError;
use crate::follow::{self, BadReport};
use crate::lease::{LeaseKeeper, Work};
use crate::lookups::Lookups;

/// How many late answers and bad reports may wait to be told.
const NOTES: usize = 4096;

/// A try that found the metadata unavailable is repeated after this long, until the deadline.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// The slowest that a body may come or go while somebody waits for room, in bytes a second: it holds a chunk's worth that another could use.
pub(crate) const SLOWEST_WHEN_SHORT: u64 = 64 << 10;

/// What the object service may be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A name for people, beside the lease.
    pub holder: String,
    /// Copies of each chunk: R.
    pub copies: u8,
    /// Durable copies before a write is acknowledged: W.
    pub write_quorum: u8,
    /// Length of a fixed chunk, in bytes.
    pub chunk_bytes: u32,
    /// How bodies are cut, where the request does not say.
    pub chunk_mode: ChunkMode,
    /// The storage class whose nodes new objects prefer, by name.
    pub prefer: Option<String>,
    /// Length of each shard of a full stripe, in bytes; as `domain::stripe` says if it is not set.
    pub shard_bytes: Option<u32>,
    /// Payload bytes held at once, in all requests together.
    pub budget_bytes: usize,
    /// The deadline of a lookup or commit, retries included.
    pub deadline: Duration,
    /// How long a body may wait for room in the budget, or make no progress.
    pub patience: Duration,
    /// How long a reader keeps deletes waiting before it looks its object up again.
    pub hold_floor: Duration,
    /// How old a remembered lookup may be when an object is read; zero asks the coordinators each time.
    pub lookup_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            holder: "edge".into(),
            copies: 3,
            write_quorum: quorum::default_write(3),
            chunk_bytes: domain::chunking::DEFAULT_CHUNK_BYTES,
            chunk_mode: ChunkMode::Fixed,
            prefer: None,
            shard_bytes: None,
            budget_bytes: 256 << 20,
            deadline: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            hold_floor: Duration::from_secs(3600),
            lookup_ttl: Duration::ZERO,
        }
    }
}

/// The object service. Cheap to clone; its background work ends when the last clone is dropped.
#[derive(Clone)]
pub struct Objects {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub meta: Arc<dyn Metadata>,
    pub nodes: Nodes,
    pub budget: ByteBudget,
    pub keeper: LeaseKeeper,
    pub lookups: Lookups,
    pub settings: Settings,
    pub late: mpsc::Sender<LateAnswer>,
    pub bad: mpsc::Sender<BadReport>,
    /// Parts of stripes that were read with shards missing.
    pub degraded: AtomicU64,
    view: watch::Receiver<Arc<ClusterView>>,
    _background: JoinSet<()>,
}

impl Objects {
    /// A service over `meta`, and nodes as the view shows them, reached as `connect` says.
    pub fn start(meta: Arc<dyn Metadata>, connect: Arc<dyn Connect>, settings: Settings) -> Self {
        let (view_sender, view) = watch::channel(Arc::new(ClusterView::default()));
        let (late, late_answers) = mpsc::channel(NOTES);
        let (bad, bad_reports) = mpsc::channel(NOTES);
        let keeper = LeaseKeeper::new();
        let mut background = JoinSet::new();
        background.spawn(follow::watch_view(meta.clone(), view_sender));
        background.spawn(follow::confirm_late(meta.clone(), keeper.clone(), late_answers));
        background.spawn(follow::report_bad(meta.clone(), keeper.clone(), bad_reports));
        let (kept, keeping_meta, holder) = (keeper.clone(), meta.clone(), settings.holder.clone());
        background.spawn(async move { kept.keep(keeping_meta, holder).await });
        let nodes = Nodes::new(view.clone(), connect);
        background.spawn(follow::report_nodes(meta.clone(), keeper.clone(), nodes.clone()));
        let budget = ByteBudget::new(settings.budget_bytes);
        let (lookups, degraded) = (Lookups::new(settings.lookup_ttl), AtomicU64::new(0));
        let inner = Inner {
            meta,
            nodes,
            budget,
            keeper,
            lookups,
            settings,
            late,
            bad,
            degraded,
            view,
            _background: background,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Why the service cannot take writes at present; `None` if it can.
    pub fn not_ready(&self) -> Option<String> {
        let view = self.inner.view.borrow();
        let takes = |node: &&NodeView| node.incarnation.is_some() && node.health != Health::Down;
        let takers = view.nodes.iter().filter(takes).count();
        let wanted = usize::from(self.inner.settings.write_quorum);
        if takers < wanted {
            return Some(format!("{takers} data nodes are known, formatted and up, {wanted} are needed"));
        }
        (!*self.inner.keeper.ready().borrow()).then(|| "no lease from a coordinator".to_string())
    }

    /// Waits until the service can take writes, with all R copies of each chunk if `all`.
    pub async fn until_ready(&self, all: bool) {
        let (mut view, mut lease) = (self.inner.view.clone(), self.inner.keeper.ready());
        let wanted = usize::from(if all { self.inner.settings.copies } else { self.inner.settings.write_quorum });
        let enough =
            |view: &Arc<ClusterView>| view.nodes.iter().filter(|node| node.incarnation.is_some()).count() >= wanted;
        // The senders live as long as `self`, so neither wait ends without its condition.
        view.wait_for(enough).await.ok();
        lease.wait_for(|ready| *ready).await.ok();
    }

    /// The view of the cluster, to watch.
    pub fn views(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.inner.view.clone()
    }

    /// The present view of the cluster.
    pub fn view(&self) -> Arc<ClusterView> {
        self.inner.view.borrow().clone()
    }

    /// The settings the service runs with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// How slow a sender or reader may be at present, in bytes a second: more must come while somebody waits for the room that it holds.
    pub fn slowest(&self) -> u64 {
        if self.inner.budget.waiting() > 0 { SLOWEST_WHEN_SHORT } else { pace::SLOWEST }
    }

    /// Bytes of the body budget that are taken, and how many requests wait for some.
    pub fn budget_use(&self) -> (usize, usize) {
        let budget = &self.inner.budget;
        (self.inner.settings.budget_bytes.saturating_sub(budget.free()), budget.waiting())
    }

    /// How many data nodes this service finds silent.
    pub fn silent_nodes(&self) -> usize {
        self.inner.nodes.silent()
    }

    /// How many reads of stripes had to compute what was missing, since the start.
    pub fn degraded_reads(&self) -> u64 {
        self.inner.degraded.load(Ordering::Relaxed)
    }

    /// Gives the lease back. Call last: no put or get works afterwards.
    pub async fn close(&self) {
        self.inner.keeper.close(&*self.inner.meta).await;
    }

    /// Removes an object if it is as `when` demands.
    pub async fn delete(&self, name: &ObjectName, when: Precondition) -> Result<(), ObjectError> {
        let work = self.begin()?;
        self.change(&work, Change::DeleteObject { name: name.clone(), when }).await.map(drop)
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, bucket: &BucketName) -> Result<(), ObjectError> {
        let work = self.begin()?;
        self.change(&work, Change::CreateBucket { bucket: bucket.clone() }).await.map(drop)
    }

    /// Removes an empty bucket.
    pub async fn delete_bucket(&self, bucket: &BucketName) -> Result<(), ObjectError> {
        let work = self.begin()?;
        self.change(&work, Change::DeleteBucket { bucket: bucket.clone() }).await.map(drop)
    }

    /// A page of a bucket's objects.
    pub async fn list(&self, query: &ListQuery) -> Result<ListPage, ObjectError> {
        self.retrying(|| self.inner.meta.list(query)).await
    }

    /// At most `limit` buckets after `after`.
    pub async fn buckets(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(BucketName, BucketRow)>, ObjectError> {
        self.retrying(|| self.inner.meta.buckets(after, limit)).await
    }

    /// Begins something that relies on the present state of the cluster.
    pub(crate) fn begin(&self) -> Result<Work, ObjectError> {
        self.inner.keeper.begin().ok_or_else(|| ObjectError::NotReady("no lease from a coordinator".into()))
    }

    /// Carries out a change, at most once, trying again under the same number until the deadline.
    pub(crate) async fn change(&self, work: &Work, change: Change) -> Result<Outcome, ObjectError> {
        let request = work.request();
        let _forget = self.inner.lookups.forget_after(change.object());
        let (meta, doubtful) = (&self.inner.meta, AtomicBool::new(false));
        let attempt = || async {
            let answer = meta.change(request.session(), change.clone()).await;
            doubtful.fetch_or(matches!(answer, Err(MetaError::OutcomeUnknown { .. })), Ordering::Relaxed);
            answer
        };
        let changed = self.retrying(attempt).await?;
        self.inner.keeper.learn(changed.index);
        match changed.outcome {
            // The lease took the record of an earlier try along: this refusal is of the last try only.
            Err(gone @ (Refusal::LeaseGone | Refusal::Forgotten { .. })) if doubtful.load(Ordering::Relaxed) => {
                Err(MetaError::OutcomeUnknown { reason: format!("an earlier try was not answered, and then {gone}") })?
            }
            outcome => Ok(outcome?),
        }
    }

    /// Repeats what found the metadata unavailable. A change of unknown outcome is repeated too: its number makes that safe.
    pub(crate) async fn retrying<T, F, A>(&self, attempt: A) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, MetaError>>,
        A: Fn() -> F,
    {
        let deadline = tokio::time::Instant::now() + self.inner.settings.deadline;
        let mut unknown = None;
        loop {
            let error = match tokio::time::timeout_at(deadline, attempt()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(
                    error @ (MetaError::Unavailable { .. }
                    | MetaError::NotLeader { .. }
                    | MetaError::OutcomeUnknown { .. }),
                )) => error,
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => MetaError::OutcomeUnknown { reason: "no answer within the deadline".into() },
            };
            if matches!(error, MetaError::OutcomeUnknown { .. }) {
                unknown = Some(error.clone());
            }
            if tokio::time::Instant::now() + RETRY_EVERY >= deadline {
                return Err(unknown.unwrap_or(error).into());
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// The storage class of new objects: the preferred one, if the cluster knows it.
    pub(crate) fn class(&self) -> ClassId {
        let preferred = self.inner.settings.prefer.as_deref();
        preferred.and_then(|class| self.inner.view.borrow().class(class)).unwrap_or_default()
    }
}
