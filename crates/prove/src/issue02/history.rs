//! What must be there: per key the last acknowledged state, and those whose outcome is unknown.
//!
//! A write that was not answered before a crash may have happened or not; never half. So a key may be in one of several states
//! until it is read, and is in that one from then on.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use client::{Native, NativeError};
use http::{HeaderMap, StatusCode};

use crate::content::Content;

/// What a key holds; `None` means nothing.
pub type State = Option<Content>;

/// The keys of one writer: nobody else touches them.
#[derive(Default)]
pub struct History {
    keys: BTreeMap<String, Vec<State>>,
}

impl History {
    /// How many keys are known.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.keys.keys()
    }

    /// What may be in a key.
    pub fn states(&self, key: &str) -> Vec<State> {
        self.keys.get(key).cloned().unwrap_or_else(|| vec![None])
    }

    /// A write is sent: from now on it may have happened.
    pub fn sent(&mut self, key: &str, state: State) {
        self.keys.entry(key.to_string()).or_insert_with(|| vec![None]).push(state);
    }

    /// A write was acknowledged: nothing else may be there.
    pub fn acknowledged(&mut self, key: &str, state: State) {
        self.keys.insert(key.to_string(), vec![state]);
    }

    /// A read has shown what is there.
    pub fn resolved(&mut self, key: &str, state: State) {
        self.acknowledged(key, state);
    }
}

/// Reads a key and says which of `states` is there; anything else is a violation.
pub async fn resolve(native: &Native, bucket: &str, key: &str, states: &[State]) -> Result<State> {
    let head = match native.head(bucket, key.as_bytes()).await {
        Ok(headers) => headers,
        Err(NativeError::Refused { status: StatusCode::NOT_FOUND, .. }) => {
            ensure!(states.contains(&None), "{key} is gone, and was acknowledged");
            return Ok(None);
        }
        Err(error) => anyhow::bail!("{key} cannot be looked up: {error}"),
    };
    let size: u64 = head.get("content-length").and_then(|size| size.to_str().ok()?.parse().ok()).unwrap_or(u64::MAX);
    for content in states.iter().flatten().filter(|content| content.size == size) {
        let found = native.get(bucket, key.as_bytes(), HeaderMap::new()).await;
        let found = found.map_err(|error| anyhow::anyhow!("{key} is listed and cannot be read: {error}"))?;
        if content.same(found).await.map_err(|error| anyhow::anyhow!("{key} broke off: {error}"))? {
            return Ok(Some(*content));
        }
    }
    anyhow::bail!("{key} has {size} bytes that are none of the {} states it may be in", states.len())
}
