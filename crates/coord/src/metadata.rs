//! The metadata seam, answered: changes become commands, questions become linearizable reads.

use std::sync::atomic::Ordering;

use api::metadata::{
    Changed, Found, Grant, ListPage, ListQuery, Located, LocatedExtent, MAX_BUCKETS, MAX_LIST, MetaError, Metadata,
    Seen, VIEW_POLL,
};
use async_trait::async_trait;
use domain::change::{Change, Session};
use domain::record::{BucketRow, ObjectName};
use domain::urlkey::UrlKey;
use domain::view::ClusterView;
use domain::{BucketName, LogPosition, NodeId};
use meta::{Command, Reply, query};

use crate::service::{Coordinator, storage};

#[async_trait]
impl Metadata for Coordinator {
    async fn open_lease(&self, holder: &str) -> Result<Grant, MetaError> {
        let known = *self.core.group.applied().borrow();
        let holder = holder.chars().take(128).collect();
        match self.core.propose(Command::OpenLease { holder, known }).await? {
            (index, Reply::Lease(lease)) => Ok(Grant { lease, index }),
            (_, other) => Err(unexpected(&other)),
        }
    }

    async fn renew_lease(&self, lease: LogPosition, floor: u64) -> Result<Option<u64>, MetaError> {
        match self.core.propose(Command::RenewLease { lease, floor }).await? {
            (index, Reply::Done) => Ok(Some(index)),
            (_, Reply::LeaseGone) => Ok(None),
            (_, other) => Err(unexpected(&other)),
        }
    }

    async fn close_lease(&self, lease: LogPosition) -> Result<(), MetaError> {
        self.core.propose(Command::CloseLease { lease }).await.map(drop)
    }

    async fn change(&self, session: Session, change: Change) -> Result<Changed, MetaError> {
        if adds_rows(&change) && self.core.full.load(Ordering::Relaxed) {
            let reason = format!("less than {} MiB are free", self.core.settings.reserve_bytes >> 20);
            return Err(MetaError::Full { reason });
        }
        match self.core.propose(Command::Change { session, change }).await? {
            (index, Reply::Changed(outcome)) => Ok(Changed { index, outcome }),
            (_, other) => Err(unexpected(&other)),
        }
    }

    async fn lookup(&self, name: &ObjectName) -> Result<Found, MetaError> {
        let tables = self.core.read().await?;
        let (version, row) = query::object(&tables, name).map_err(storage)?.ok_or(MetaError::NotFound)?;
        let body = query::body(&tables, row.body).map_err(storage)?;
        let body = body.ok_or_else(|| MetaError::Failed { reason: format!("{name} points at no body") })?;
        let first = query::extent(&tables, row.body, 0).map_err(storage)?.map(locate).unwrap_or_default();
        let (extents, class) = (body.extents, body.class);
        Ok(Found { index: tables.index(), version, row, extents, class, first })
    }

    async fn extent(&self, body: LogPosition, extent: u32) -> Result<LocatedExtent, MetaError> {
        let tables = self.core.read().await?;
        query::extent(&tables, body, extent).map_err(storage)?.map(locate).ok_or(MetaError::NotFound)
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, MetaError> {
        let tables = self.core.read().await?;
        let ListQuery { bucket, prefix, after, limit } = query;
        let bucket_exists = query::bucket(&tables, bucket).map_err(storage)?.is_some();
        let page = query::list(&tables, bucket, prefix, after.as_deref(), (*limit).min(MAX_LIST));
        let (objects, more) = page.map_err(storage)?;
        Ok(ListPage { bucket_exists, objects, more })
    }

    async fn buckets(&self, after: Option<&str>, limit: usize) -> Result<Vec<(BucketName, BucketRow)>, MetaError> {
        query::buckets(&self.core.read().await?, after, limit.min(MAX_BUCKETS)).map_err(storage)
    }

    /// The leader's: it probes the nodes. One that is held open ends when the reign does.
    async fn view(&self, known: u64) -> Result<ClusterView, MetaError> {
        let (mut view, mut reign) = (self.core.view.subscribe(), self.core.reign.subscribe());
        self.core.in_reign()?;
        let changed = async {
            tokio::select! {
                _ = view.wait_for(|view| view.revision != known) => {}
                _ = reign.wait_for(Option::is_none) => {}
            }
        };
        // Nothing new within the time of a poll is an answer too.
        tokio::time::timeout(VIEW_POLL, changed).await.ok();
        self.core.in_reign()?;
        Ok(self.core.view.borrow().clone())
    }

    async fn report_nodes(&self, lease: LogPosition, seen: &[(NodeId, Seen)]) -> Result<(), MetaError> {
        self.core.in_reign()?;
        self.core.experience.note(lease, seen, self.core.clock.monotonic());
        Ok(())
    }

    async fn url_keys(&self) -> Result<Vec<UrlKey>, MetaError> {
        self.core.open_url_keys().await
    }
}

/// Whether a change needs room that a nearly full disk keeps for those that make some.
fn adds_rows(change: &Change) -> bool {
    matches!(
        change,
        Change::PutObject { .. }
            | Change::CreateBucket { .. }
            | Change::BeginBody { .. }
            | Change::Append { .. }
            | Change::BeginStripes { .. }
            | Change::AppendStripes { .. }
    )
}

fn locate(extent: query::LocatedExtent) -> LocatedExtent {
    match extent {
        query::LocatedExtent::Chunks(chunks) => {
            LocatedExtent::Chunks(chunks.into_iter().map(|(chunk, nodes)| Located { chunk, nodes }).collect())
        }
        query::LocatedExtent::Stripes(stripes) => LocatedExtent::Stripes(stripes),
    }
}

fn unexpected(reply: &Reply) -> MetaError {
    MetaError::Failed { reason: format!("the state machine answered {reply:?}") }
}
