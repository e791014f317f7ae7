//! The seam to backups, behind HTTP.

use std::time::Duration;

use ::http::Method;
use api::meta_admin::{BackupHistory, BackupStream, HoldAudit, MetaAdmin, StateHash};
use api::{AdminError, routes};
use async_trait::async_trait;
use bytes::Bytes;

use crate::admin::HttpAdmin;
use crate::ask::Ask;
use crate::download::Download;

/// How long a question may take that reads everything.
const LONG: Duration = Duration::from_secs(600);

#[async_trait]
impl BackupStream for Download {
    async fn next(&mut self) -> Result<Option<Bytes>, AdminError> {
        Download::next(self).await.map_err(|error| AdminError::Unavailable(error.to_string()))
    }
}

#[async_trait]
impl MetaAdmin for HttpAdmin {
    async fn backup(&self) -> Result<Box<dyn BackupStream>, AdminError> {
        let ask = Ask::new(Method::GET, routes::ADMIN_META_SNAPSHOT).patience(Duration::from_secs(60));
        Ok(Box::new(self.download(ask).await?))
    }

    async fn backup_history(&self) -> Result<BackupHistory, AdminError> {
        self.ask(Ask::new(Method::GET, routes::ADMIN_SNAPSHOT_HISTORY)).await
    }

    async fn hold(&self) -> Result<HoldAudit, AdminError> {
        self.ask(Ask::new(Method::GET, routes::ADMIN_META_HOLD)).await
    }

    async fn audit_hold(&self) -> Result<HoldAudit, AdminError> {
        self.ask(Ask::new(Method::POST, routes::ADMIN_META_HOLD_AUDIT)).await
    }

    async fn release_hold(&self, force: bool) -> Result<HoldAudit, AdminError> {
        let force = u8::from(force);
        self.ask(Ask::new(Method::POST, format!("{}?force={force}", routes::ADMIN_META_HOLD_RELEASE))).await
    }

    async fn state_hash(&self) -> Result<StateHash, AdminError> {
        self.ask(Ask::new(Method::GET, routes::ADMIN_META_HASH).patience(LONG)).await
    }
}
