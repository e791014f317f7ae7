//! A reply whose body is taken piece by piece, because nobody wants all of it in memory.

use std::time::Duration;

use ::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::ask::{Ask, HttpError};
use crate::http::Http;

/// The body of a reply, on its way.
pub struct Download {
    /// The reply's status.
    pub status: StatusCode,
    body: Incoming,
    address: String,
    patience: Duration,
}

impl Http {
    /// Sends `ask` once, and gives its reply as soon as that begins.
    pub async fn download(&self, address: &str, ask: &Ask) -> Result<Download, HttpError> {
        let (status, body) = self.begin(address, ask).await?;
        Ok(Download { status, body, address: address.to_owned(), patience: ask.patience })
    }
}

impl Download {
    /// The next bytes; `None` at the end. A body that stops coming, or breaks off, is an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let frame = tokio::time::timeout(self.patience, self.body.frame()).await;
            let silent = |_| HttpError::Silent { address: self.address.clone(), waited: self.patience };
            match frame.map_err(silent)? {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(HttpError::Broken { address: self.address.clone(), reason: error.to_string() });
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    /// At most `limit` bytes of the body, for a message.
    pub async fn text(mut self, limit: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while let Ok(Some(piece)) = self.next().await {
            text.extend_from_slice(&piece[..piece.len().min(limit - text.len())]);
            if text.len() == limit {
                break;
            }
        }
        text
    }
}
