//! Requests and replies as values, and why there may be none.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use bytes::Bytes;

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) patience: Duration,
    pub(crate) max_reply_bytes: usize,
    pub(crate) repeatable: bool,
}

impl Ask {
    /// A request for `target`, a path with query as it goes over the wire, that bears 2 s of silence and takes replies of up to 32 MiB.
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            patience: api::chunk_store::CHUNK_TIMEOUT,
            max_reply_bytes: 32 << 20,
            repeatable: true,
        }
    }

    /// With a header more. A value that no header can hold is left out; ours are hex, numbers and constants.
    pub fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// With a body, which is sent from where it lies.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With another bound on silence: a long poll is silent on purpose.
    pub fn patience(mut self, silence: Duration) -> Self {
        self.patience = silence;
        self
    }

    /// With another bound on the reply.
    pub fn max_reply_bytes(mut self, bytes: usize) -> Self {
        self.max_reply_bytes = bytes;
        self
    }

    /// Must not be sent twice: a connection that breaks in the middle is left to the caller.
    pub fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }
}

/// A whole reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, complete.
    pub body: Bytes,
}

impl Reply {
    /// A header's value as text; `""` where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The start of the body, in one line, for a message.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(300)]).trim().replace('\n', " ")
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection: the request was not sent.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Who was asked.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Silence: the request may have been carried out or not.
    #[error("{address} was silent for {waited:?}")]
    Silent {
        /// Who was asked.
        address: String,
        /// How long.
        waited: Duration,
    },
    /// The connection broke: the request may have been carried out or not.
    #[error("the connection to {address} broke: {reason}")]
    Broken {
        /// Who was asked.
        address: String,
        /// How.
        reason: String,
    },
    /// A request or reply that is none: a bad address, or a reply beyond the bound.
    #[error("{address}: {reason}")]
    Invalid {
        /// Who was asked.
        address: String,
        /// What is wrong.
        reason: String,
    },
}
