//! The metadata seam as messages: what crosses the wire between an edge and a coordinator.
//!
//! One request and one reply type, encoded as records (see `domain::codec`). [`answer`] turns a request into a call on any
//! [`Metadata`]; [`Remote`] turns calls into requests over anything that carries bytes. Neither knows a socket.

use async_trait::async_trait;
use domain::change::{Change, Session};
use domain::record::{BucketRow, ObjectName};
use domain::urlkey::UrlKey;
use domain::view::ClusterView;
use domain::{BucketName, LogPosition, NodeId};
use serde::{Deserialize, Serialize};

use crate::metadata::{Changed, Found, Grant, ListPage, ListQuery, LocatedExtent, MetaError, Metadata, Seen};

/// A question to a coordinator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MetaRequest {
    /// [`Metadata::open_lease`].
    OpenLease(String),
    /// [`Metadata::renew_lease`].
    RenewLease(LogPosition, u64),
    /// [`Metadata::close_lease`].
    CloseLease(LogPosition),
    /// [`Metadata::change`].
    Change(Session, Box<Change>),
    /// [`Metadata::lookup`].
    Lookup(ObjectName),
    /// [`Metadata::extent`].
    Extent(LogPosition, u32),
    /// [`Metadata::list`].
    List(ListQuery),
    /// [`Metadata::buckets`].
    Buckets(Option<String>, usize),
    /// [`Metadata::view`].
    View(u64),
    /// [`Metadata::url_keys`].
    UrlKeys,
    /// [`Metadata::report_nodes`].
    ReportNodes(LogPosition, Vec<(NodeId, Seen)>),
}

impl MetaRequest {
    /// Whether it may have changed something when its answer was lost.
    pub fn changes(&self) -> bool {
        matches!(self, Self::OpenLease(_) | Self::RenewLease(..) | Self::CloseLease(_) | Self::Change(..))
    }

    /// Whether the coordinator may hold it open for [`crate::metadata::VIEW_POLL`].
    pub fn is_watch(&self) -> bool {
        matches!(self, Self::View(_))
    }
}

/// A coordinator's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MetaReply {
    /// To [`MetaRequest::OpenLease`].
    Grant(Grant),
    /// To [`MetaRequest::RenewLease`].
    Renewed(Option<u64>),
    /// To [`MetaRequest::CloseLease`].
    Closed,
    /// To [`MetaRequest::Change`].
    Changed(Changed),
    /// To [`MetaRequest::Lookup`].
    Found(Box<Found>),
    /// To [`MetaRequest::Extent`].
    Extent(LocatedExtent),
    /// To [`MetaRequest::List`].
    List(ListPage),
    /// To [`MetaRequest::Buckets`].
    Buckets(Vec<(BucketName, BucketRow)>),
    /// To [`MetaRequest::View`].
    View(ClusterView),
    /// To [`MetaRequest::UrlKeys`].
    UrlKeys(Vec<UrlKey>),
    /// To [`MetaRequest::ReportNodes`].
    Noted,
}

/// Puts a request to `meta`.
pub async fn answer(meta: &dyn Metadata, request: MetaRequest) -> Result<MetaReply, MetaError> {
    use MetaRequest as Ask;
    Ok(match request {
        Ask::OpenLease(holder) => MetaReply::Grant(meta.open_lease(&holder).await?),
        Ask::RenewLease(lease, floor) => MetaReply::Renewed(meta.renew_lease(lease, floor).await?),
        Ask::CloseLease(lease) => {
            meta.close_lease(lease).await?;
            MetaReply::Closed
        }
        Ask::Change(session, change) => MetaReply::Changed(meta.change(session, *change).await?),
        Ask::Lookup(name) => MetaReply::Found(Box::new(meta.lookup(&name).await?)),
        Ask::Extent(body, extent) => MetaReply::Extent(meta.extent(body, extent).await?),
        Ask::List(query) => MetaReply::List(meta.list(&query).await?),
        Ask::Buckets(after, limit) => MetaReply::Buckets(meta.buckets(after.as_deref(), limit).await?),
        Ask::View(known) => MetaReply::View(meta.view(known).await?),
        Ask::UrlKeys => MetaReply::UrlKeys(meta.url_keys().await?),
        Ask::ReportNodes(lease, seen) => {
            meta.report_nodes(lease, &seen).await?;
            MetaReply::Noted
        }
    })
}

/// Carries a request to a coordinator and its answer back.
#[async_trait]
pub trait Carry: Send + Sync + 'static {
    /// Sends `request`; what is lost on the way is told apart by whether it may have been carried out.
    async fn carry(&self, request: MetaRequest) -> Result<MetaReply, MetaError>;
}

/// The metadata behind a carrier.
pub struct Remote<C>(pub C);

macro_rules! ask {
    ($self:ident, $request:expr, $reply:pat => $value:expr) => {
        match $self.0.carry($request).await? {
            $reply => Ok($value),
            other => Err(MetaError::Failed { reason: format!("the coordinator answered another question: {other:?}") }),
        }
    };
}

#[async_trait]
impl<C: Carry> Metadata for Remote<C> {
    async fn open_lease(&self, holder: &str) -> Result<Grant, MetaError> {
        ask!(self, MetaRequest::OpenLease(holder.into()), MetaReply::Grant(grant) => grant)
    }

    async fn renew_lease(&self, lease: LogPosition, floor: u64) -> Result<Option<u64>, MetaError> {
        ask!(self, MetaRequest::RenewLease(lease, floor), MetaReply::Renewed(index) => index)
    }

    async fn close_lease(&self, lease: LogPosition) -> Result<(), MetaError> {
        ask!(self, MetaRequest::CloseLease(lease), MetaReply::Closed => ())
    }

    async fn change(&self, session: Session, change: Change) -> Result<Changed, MetaError> {
        ask!(self, MetaRequest::Change(session, Box::new(change)), MetaReply::Changed(changed) => changed)
    }

    async fn lookup(&self, name: &ObjectName) -> Result<Found, MetaError> {
        ask!(self, MetaRequest::Lookup(name.clone()), MetaReply::Found(found) => *found)
    }

    async fn extent(&self, body: LogPosition, extent: u32) -> Result<LocatedExtent, MetaError> {
        ask!(self, MetaRequest::Extent(body, extent), MetaReply::Extent(chunks) => chunks)
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, MetaError> {
        ask!(self, MetaRequest::List(query.clone()), MetaReply::List(page) => page)
    }

    async fn buckets(&self, after: Option<&str>, limit: usize) -> Result<Vec<(BucketName, BucketRow)>, MetaError> {
        ask!(self, MetaRequest::Buckets(after.map(str::to_string), limit), MetaReply::Buckets(page) => page)
    }

    async fn view(&self, known: u64) -> Result<ClusterView, MetaError> {
        ask!(self, MetaRequest::View(known), MetaReply::View(view) => view)
    }

    async fn report_nodes(&self, lease: LogPosition, seen: &[(NodeId, Seen)]) -> Result<(), MetaError> {
        ask!(self, MetaRequest::ReportNodes(lease, seen.to_vec()), MetaReply::Noted => ())
    }

    async fn url_keys(&self) -> Result<Vec<UrlKey>, MetaError> {
        ask!(self, MetaRequest::UrlKeys, MetaReply::UrlKeys(keys) => keys)
    }
}
