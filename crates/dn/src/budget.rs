//! Bytes in flight: a bound on memory that does not depend on how many callers there are.
//!
//! A put takes its share before its body is read and gives it back when its bytes are on the disk, whether or not the caller still
//! waits. Who finds nothing left is told so at once, `Busy`, and comes back in a second: a queue here would only hide the
//! same wait, and hold the caller's memory besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::ChunkError;
use domain::chunking::MAX_CHUNK_BYTES;

/// A number of bytes that are lent out and come back.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    limit: u64,
}

impl Budget {
    /// A budget of `limit` bytes, at least one chunk of the largest size.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), limit: limit.max(u64::from(MAX_CHUNK_BYTES)) })
    }

    /// Takes `bytes` until the share is dropped, or [`ChunkError::Busy`].
    pub fn take(self: &Arc<Self>, bytes: u64) -> Result<Share, ChunkError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Share { budget: self.clone(), bytes }),
            Err(_) => Err(ChunkError::Busy),
        }
    }

    /// Bytes lent out.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes taken from a [`Budget`]; they go back when this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back() {
        let limit = u64::from(MAX_CHUNK_BYTES);
        let budget = Budget::new(1);
        let most = budget.take(limit - 1).unwrap();
        assert_eq!(budget.take(2).map(drop), Err(ChunkError::Busy));
        assert_eq!(budget.take(u64::MAX).map(drop), Err(ChunkError::Busy));
        drop(most);
        assert_eq!(budget.used(), 0);
        assert!(budget.take(limit).is_ok());
    }
}
