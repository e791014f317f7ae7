//! What a bucket says about its objects where a request does not.
//!
//! A request's headers come first, then its bucket's policy, then how the gateway is configured. A policy is data of the metadata: gateways are told
//! of it with the view of the cluster, so that no request has to ask.

use serde::{Deserialize, Serialize};

use crate::Scheme;

/// The most copies that may be asked for.
pub const MAX_COPIES: u8 = 16;

/// The most buckets with a policy: all policies are part of the view that gateways watch.
pub const MAX_POLICIES: usize = 1000;

/// How the bytes of an object are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// As the next one who may say so says.
    #[default]
    AsConfigured,
    /// This many whole copies of each chunk.
    Copies(u8),
    /// Stripes of shards.
    Stripes(Scheme),
}

/// What requests about a bucket's objects mean where they do not say it themselves. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketPolicy {
    /// How objects are kept.
    pub keep: Keep,
    /// W: durable copies before a write is acknowledged. Stripes have their own rule.
    pub write_quorum: Option<u8>,
    /// R: copies that must agree before a read is answered. Stripes have none.
    pub read_quorum: Option<u8>,
}

impl BucketPolicy {
    /// What is wrong with it; `None` if nothing is.
    pub fn problem(&self) -> Option<String> {
        let copies = match self.keep {
            Keep::Copies(copies) if !(1..=MAX_COPIES).contains(&copies) => {
                return Some(format!("{copies} copies; expected 1 to {MAX_COPIES}"));
            }
            Keep::Copies(copies) => copies,
            Keep::AsConfigured | Keep::Stripes(_) => MAX_COPIES,
        };
        let wrong = |name: &str, quorum: Option<u8>| {
            let quorum = quorum.filter(|quorum| !(1..=copies).contains(quorum))?;
            Some(format!("{name}={quorum}; expected 1 to {copies}, the number of copies"))
        };
        wrong("W", self.write_quorum).or_else(|| wrong("R", self.read_quorum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_that_cannot_be() {
        let table = [
            (Keep::AsConfigured, None, None, ""),
            (Keep::Copies(2), Some(2), Some(1), ""),
            (Keep::Stripes("4+2".parse().unwrap()), Some(16), None, ""),
            (Keep::Copies(0), None, None, "0 copies; expected 1 to 16"),
            (Keep::Copies(17), None, None, "17 copies"),
            (Keep::Copies(2), Some(3), None, "W=3; expected 1 to 2"),
            (Keep::AsConfigured, Some(0), None, "W=0; expected 1 to 16"),
            (Keep::Copies(3), None, Some(4), "R=4; expected 1 to 3"),
        ];
        for (keep, write_quorum, read_quorum, expected) in table {
            let policy = BucketPolicy { keep, write_quorum, read_quorum };
            let found = policy.problem();
            assert_eq!(found.is_some(), !expected.is_empty(), "{policy:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(expected), "{policy:?}");
        }
    }
}
