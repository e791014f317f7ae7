//! The admin seam behind HTTP.

use std::time::Duration;

use ::http::{Method, StatusCode};
use api::admin::{Admin, AdminError, ClusterStatus, MetaInfo, NodeInfo};
use api::routes;
use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::ask::Ask;
use crate::http::Http;

/// How long the admin API may be silent: it commits to a log and asks nodes, on machines that may be in trouble.
const PATIENCE: Duration = Duration::from_secs(10);

/// Administration through the admin API at one address.
pub struct HttpAdmin {
    http: Http,
    address: String,
    token: String,
}

impl HttpAdmin {
    /// The admin API at `address` (`host:port`), for the holder of `token`.
    pub fn new(http: Http, address: impl Into<String>, token: impl Into<String>) -> Self {
        Self { http, address: address.into(), token: token.into() }
    }

    async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, AdminError> {
        let ask = ask.header("authorization", format!("Bearer {}", self.token)).patience(PATIENCE);
        let reply = self.http.send(&self.address, &ask).await;
        let reply = reply.map_err(|error| AdminError::Unavailable(error.to_string()))?;
        let said = || {
            let error = serde_json::from_slice::<serde_json::Value>(&reply.body).ok();
            error.and_then(|json| json["error"].as_str().map(str::to_string)).unwrap_or_else(|| reply.text())
        };
        match reply.status {
            status if status.is_success() => serde_json::from_slice(&reply.body)
                .map_err(|error| AdminError::Unavailable(format!("{}: a strange answer: {error}", self.address))),
            StatusCode::NOT_FOUND => Err(AdminError::NotFound(said())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(AdminError::Refused(said())),
            StatusCode::CONFLICT => Err(AdminError::Conflict(said())),
            status if status.is_client_error() => Err(AdminError::Invalid(said())),
            _ => Err(AdminError::Unavailable(said())),
        }
    }
}

#[async_trait]
impl Admin for HttpAdmin {
    async fn status(&self) -> Result<ClusterStatus, AdminError> {
        self.ask(Ask::new(Method::GET, routes::ADMIN_STATUS)).await
    }

    async fn meta_info(&self) -> Result<MetaInfo, AdminError> {
        self.ask(Ask::new(Method::GET, routes::ADMIN_META_INFO)).await
    }

    async fn add_node(&self, addr: &str) -> Result<NodeInfo, AdminError> {
        let body = serde_json::json!({ "addr": addr }).to_string();
        self.ask(Ask::new(Method::POST, routes::ADMIN_NODES).body(body)).await
    }

    async fn remove_node(&self, addr: &str) -> Result<(), AdminError> {
        let addr = percent_encoding::utf8_percent_encode(addr, percent_encoding::NON_ALPHANUMERIC);
        let ask = Ask::new(Method::DELETE, format!("{}?addr={addr}", routes::ADMIN_NODES));
        self.ask::<serde_json::Value>(ask).await.map(drop)
    }
}
