//! What a request means: what it says itself, then what its bucket says, then how this service is configured.

use domain::policy::{BucketPolicy, Keep};
use domain::quorum::{self, QuorumError};
use domain::{BucketName, Scheme};

use crate::error::ObjectError;
use crate::service::Objects;

/// How an object is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// In stripes of this scheme, if in stripes.
    pub scheme: Option<Scheme>,
    /// Copies of each chunk, if in copies.
    pub copies: u8,
    /// How many of them must be durable: W.
    pub quorum: u8,
}

impl Objects {
    /// What a bucket says of its objects, as far as is known here.
    pub fn policy(&self, bucket: &BucketName) -> BucketPolicy {
        self.view().policy(bucket)
    }

    /// How a new object of `bucket` is kept if its request says `keep` and `write_quorum`.
    pub fn way(&self, bucket: &BucketName, keep: Keep, write_quorum: Option<u8>) -> Result<Way, ObjectError> {
        let (policy, settings) = (self.policy(bucket), self.settings());
        let keep = if keep == Keep::AsConfigured { policy.keep } else { keep };
        let (scheme, copies) = match keep {
            Keep::AsConfigured => (None, settings.copies),
            Keep::Copies(copies) => (None, copies),
            Keep::Stripes(scheme) => (Some(scheme), settings.copies),
        };
        let usual = if copies == settings.copies { settings.write_quorum } else { quorum::default_write(copies) };
        let quorum = match (scheme, write_quorum) {
            (None, None) => policy.write_quorum.unwrap_or(usual),
            (None, Some(wanted)) => wanted,
            (Some(_), _) => usual,
        };
        if !(1..=copies).contains(&quorum) {
            let (header, found) = ("W", i64::from(quorum));
            return Err(QuorumError::TooLarge { header, found, replicas: copies }.into());
        }
        Ok(Way { scheme, copies, quorum })
    }
}
