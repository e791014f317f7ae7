//! Storage policies of buckets.
//!
//! A policy stands in its bucket's row; the table `policies` lists the buckets that have one, so that whoever tells gateways of all policies does not
//! read all buckets.

use domain::BucketName;
use domain::policy::{BucketPolicy, MAX_POLICIES};
use domain::record::BucketRow;

use crate::command::Reply;
use crate::keys;
use crate::machine::Machine;
use crate::tables::{StorageError, Table};

impl Machine<'_> {
    /// Gives a bucket a policy; one that says nothing takes it away.
    pub fn set_bucket_policy(&mut self, bucket: &BucketName, policy: &BucketPolicy) -> Result<Reply, StorageError> {
        if let Some(problem) = policy.problem() {
            return Ok(Reply::Refused(problem));
        }
        let key = keys::bucket(bucket);
        let Some(row) = self.get::<BucketRow>(Table::Buckets, &key)? else {
            return Ok(Reply::NoSuch(format!("bucket {bucket} is not there; make it first")));
        };
        let policy = (*policy != BucketPolicy::default()).then_some(*policy);
        if policy == row.policy {
            return Ok(Reply::Done);
        }
        match policy {
            None => self.delete(Table::Policies, &key)?,
            Some(_) if row.policy.is_some() => {}
            Some(_) => {
                if self.tables.scan(Table::Policies, &[], &[], MAX_POLICIES)?.len() == MAX_POLICIES {
                    return Ok(Reply::Refused(format!("{MAX_POLICIES} buckets have a policy already")));
                }
                self.put(Table::Policies, &key, &())?;
            }
        }
        self.put(Table::Buckets, &key, &BucketRow { policy, ..row })?;
        Ok(Reply::Done)
    }
}
