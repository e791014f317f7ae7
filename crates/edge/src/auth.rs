//! UrlKey, checked before anything else: an unsigned request learns nothing, not even which paths exist.

use std::sync::Arc;
use std::time::Duration;

use api::{Clock, Metadata};
use axum::http::request::Parts;
use domain::urlkey::{self, Presented, UrlKey, UrlKeyError};
use domain::view::ClusterView;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

use crate::path;

/// How often the registry is asked for its keys, though nobody said that they changed.
const POLL_EVERY: Duration = Duration::from_secs(30);

/// After a failed poll, and until there is a first key.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// The live keys of the registry.
#[derive(Clone)]
pub struct UrlKeys(watch::Receiver<Arc<Vec<UrlKey>>>);

impl UrlKeys {
    /// Follows the registry's keys until the last clone is dropped: asks whenever `view` says that they changed, and from time to time.
    pub fn follow(meta: Arc<dyn Metadata>, mut view: watch::Receiver<Arc<ClusterView>>) -> Self {
        let (sender, receiver) = watch::channel(Arc::new(Vec::new()));
        tokio::spawn(async move {
            while !sender.is_closed() {
                let asked_at = view.borrow().keys_revision;
                let wait = match meta.url_keys().await {
                    Ok(keys) if !keys.is_empty() => {
                        sender.send_replace(Arc::new(keys));
                        POLL_EVERY
                    }
                    Ok(_) => RETRY_EVERY,
                    Err(error) => {
                        tracing::debug!(%error, "the URL keys could not be fetched");
                        RETRY_EVERY
                    }
                };
                let changed = view.wait_for(|view| view.keys_revision != asked_at);
                // A view that nobody keeps any more never changes: then this is a poll.
                let unkept = matches!(tokio::time::timeout(wait, changed).await, Ok(Err(_)));
                if unkept {
                    tokio::time::sleep(wait).await;
                }
            }
        });
        Self(receiver)
    }

    /// Whether there is a key yet: before that no request can be let in.
    pub fn ready(&self) -> bool {
        !self.0.borrow().is_empty()
    }

    /// Waits for the first key.
    pub async fn until_ready(&self) {
        // The sender lives as long as there is a receiver.
        self.0.clone().wait_for(|keys| !keys.is_empty()).await.ok();
    }
}

/// How requests are let in.
#[derive(Clone)]
pub enum Auth {
    /// By a signature under one of these keys.
    UrlKey(UrlKeys),
    /// All of them (`EDGE_SKIP_AUTH=1`).
    Skip,
}

impl Auth {
    /// What is missing before anybody can be let in.
    pub(crate) fn not_ready(&self) -> Option<&'static str> {
        match self {
            Auth::UrlKey(keys) if !keys.ready() => Some("no URL key is known yet"),
            Auth::UrlKey(_) | Auth::Skip => None,
        }
    }

    /// Checks the request's signature.
    pub(crate) fn check(&self, parts: &Parts, clock: &dyn Clock) -> Result<(), UrlKeyError> {
        let Auth::UrlKey(keys) = self else { return Ok(()) };
        let pairs: Vec<(String, String)> = query_pairs(parts.uri.query().unwrap_or_default()).collect();
        let first = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let presented = Presented { sig: first("sig"), exp: first("exp"), kid: first("kid") };
        let path = path::decode(parts.uri.path());
        let now = (clock.wall_ms() / 1000) as i64;
        urlkey::verify(&keys.0.borrow(), parts.method.as_str(), &path, &presented, now)
    }
}

/// The pairs of a query, form-decoded.
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    })
}
