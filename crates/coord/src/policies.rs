//! Policies of buckets, for operators.

use api::AdminError;
use domain::BucketName;
use domain::policy::BucketPolicy;
use meta::{Command, query};

use crate::admin::unavailable;
use crate::service::{Core, storage};

impl Core {
    /// What a bucket says of its objects.
    pub async fn bucket_policy(&self, bucket: &BucketName) -> Result<BucketPolicy, AdminError> {
        let tables = self.read().await.map_err(unavailable)?;
        let row = query::bucket(&tables, bucket).map_err(storage).map_err(unavailable)?;
        let row = row.ok_or_else(|| AdminError::NotFound(format!("bucket {bucket} is not there; make it first")))?;
        Ok(row.policy.unwrap_or_default())
    }

    /// Sets it, and tells the gateways.
    pub async fn set_bucket_policy(&self, bucket: &BucketName, policy: &BucketPolicy) -> Result<(), AdminError> {
        let command = Command::SetBucketPolicy { bucket: bucket.clone(), policy: *policy };
        self.decide(command).await?;
        self.refresh_view().await.map_err(unavailable)
    }
}
