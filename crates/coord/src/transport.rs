//! The way between coordinators: their messages in the bodies of requests that the cluster secret signs.

use std::time::Duration;

use ::http::{Method, StatusCode};
use api::routes;
use async_trait::async_trait;
use bytes::Bytes;
use client::{Ask, Http};
use consensus::{Transport, Unreachable};

/// Carries messages over HTTP.
pub struct HttpTransport(pub Http);

#[async_trait]
impl Transport for HttpTransport {
    async fn call(&self, address: &str, request: Bytes, patience: Duration) -> Result<Bytes, Unreachable> {
        let lost = |why: String| Unreachable { to: address.into(), why };
        let ask = Ask::new(Method::POST, routes::COORD_RAFT).body(request).patience(patience);
        let reply = self.0.send(address, &ask).await.map_err(|error| lost(error.to_string()))?;
        match reply.status {
            StatusCode::OK => Ok(reply.body),
            status => Err(lost(format!("{status}: {}", reply.text()))),
        }
    }
}
