//! The admin seam behind HTTP.

use std::time::Duration;

use ::http::{Method, StatusCode};
use api::admin::{Admin, AdminError, ClusterStatus, CoordChange, CoordInfo, MetaInfo, NodeInfo};
use api::bucket_policy::PolicyJson;
use api::insight::{Heartbeat, ObjectRecord, RoleInfo};
use api::keys::{Rotation, UrlKeyInfo};
use api::routes;
use async_trait::async_trait;
use domain::BucketName;
use domain::policy::BucketPolicy;
use domain::record::ObjectName;
use domain::registry::NodeLabels;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ask::{Ask, HttpError, Reply};
use crate::download::Download;
use crate::http::Http;
use crate::metadata::leader_named;

/// How long the admin API may be silent: it commits to a log and asks nodes, on machines that may be in trouble.
const PATIENCE: Duration = Duration::from_secs(10);

/// Administration through the admin API at any of some addresses.
#[derive(Clone)]
pub struct HttpAdmin {
    http: Http,
    addresses: Vec<String>,
    token: String,
}

impl HttpAdmin {
    /// The admin API at `addresses` (`host:port`), for the holder of `token`.
    pub fn new(http: Http, addresses: Vec<String>, token: impl Into<String>) -> Self {
        Self { http, addresses, token: token.into() }
    }

    /// Asks; whoever does not lead is left for the one it names, and whoever is gone for the next.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, AdminError> {
        let ask = self.signed(ask);
        let (mut asked, mut reasons) = (Vec::new(), Vec::new());
        let mut next = self.addresses.first().cloned();
        while let Some(address) = next {
            let reply = self.http.send(&address, &ask).await;
            asked.push(address.clone());
            let another = || self.addresses.iter().find(|known| !asked.contains(known)).cloned();
            next = match reply {
                Ok(reply) if reply.status == StatusCode::SERVICE_UNAVAILABLE => {
                    reasons.push(said(&reply));
                    leader_named(&reply).filter(|leader| !asked.contains(leader)).or_else(another)
                }
                Ok(reply) => return read(&address, &reply),
                Err(error @ HttpError::Connect { .. }) => {
                    reasons.push(error.to_string());
                    another()
                }
                // It may have been carried out: whoever asked must look.
                Err(error) => return Err(AdminError::Unavailable(error.to_string())),
            };
        }
        Err(AdminError::Unavailable(reasons.join("; ")))
    }

    /// Asks for a reply that is taken piece by piece: of the first who answers, whether or not it leads.
    pub(crate) async fn download(&self, ask: Ask) -> Result<Download, AdminError> {
        let (ask, mut reasons) = (self.signed(ask), Vec::new());
        for address in &self.addresses {
            match self.http.download(address, &ask).await {
                Ok(download) if download.status.is_success() => return Ok(download),
                Ok(download) => {
                    let status = download.status;
                    let refusal = refusal(status, &download.text(4096).await);
                    if status != StatusCode::SERVICE_UNAVAILABLE {
                        return Err(refusal);
                    }
                    reasons.push(refusal.to_string());
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(AdminError::Unavailable(reasons.join("; ")))
    }

    fn signed(&self, ask: Ask) -> Ask {
        let patience = ask.patience.max(PATIENCE);
        ask.header("authorization", format!("Bearer {}", self.token)).patience(patience)
    }
}

/// What a refusal says.
fn said(reply: &Reply) -> String {
    refusal(reply.status, &reply.body).to_string()
}

fn read<T: DeserializeOwned>(address: &str, reply: &Reply) -> Result<T, AdminError> {
    match reply.status.is_success() {
        true => serde_json::from_slice(&reply.body)
            .map_err(|error| AdminError::Unavailable(format!("{address}: a strange answer: {error}"))),
        false => Err(refusal(reply.status, &reply.body)),
    }
}

/// The error that a reply stands for.
fn refusal(status: StatusCode, body: &[u8]) -> AdminError {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let said = json.and_then(|json| json["error"].as_str().map(str::to_string));
    let text = || String::from_utf8_lossy(&body[..body.len().min(300)]).trim().replace('\n', " ");
    let said = said.unwrap_or_else(text);
    match status {
        StatusCode::NOT_FOUND => AdminError::NotFound(said),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AdminError::Refused(said),
        StatusCode::CONFLICT => AdminError::Conflict(said),
        status if status.is_client_error() => AdminError::Invalid(said),
        _ => AdminError::Unavailable(said),
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

    /// The leader's list; without a leader that of whoever answers.
    async fn coordinators(&self) -> Result<Vec<CoordInfo>, AdminError> {
        match self.ask(Ask::new(Method::GET, routes::ADMIN_MEMBERS)).await {
            Err(AdminError::Unavailable(why)) => {
                let here = Ask::new(Method::GET, format!("{}?{}", routes::ADMIN_MEMBERS, routes::ASK_HERE));
                self.ask(here).await.map_err(|_| AdminError::Unavailable(why))
            }
            answer => answer,
        }
    }

    async fn change_coordinators(&self, change: &CoordChange) -> Result<Vec<CoordInfo>, AdminError> {
        let body = serde_json::json!(change).to_string();
        self.ask(Ask::new(Method::POST, routes::ADMIN_MEMBERS).body(body)).await
    }

    async fn remove_node(&self, addr: &str) -> Result<(), AdminError> {
        let ask = Ask::new(Method::DELETE, format!("{}?addr={}", routes::ADMIN_NODES, escape(addr)));
        self.ask::<serde_json::Value>(ask).await.map(drop)
    }

    async fn replace_node(&self, addr: &str) -> Result<NodeInfo, AdminError> {
        let body = serde_json::json!({ "addr": addr }).to_string();
        // Stamping a directory takes longer than asking: 256 directories are made and synced.
        self.ask(Ask::new(Method::POST, routes::ADMIN_NODE_REPLACE).body(body)).await
    }

    async fn label_node(&self, addr: &str, labels: &NodeLabels) -> Result<NodeInfo, AdminError> {
        let path = format!("{}?addr={}", routes::ADMIN_NODE_LABELS, escape(addr));
        self.ask(Ask::new(Method::PUT, path).body(serde_json::json!(labels).to_string())).await
    }

    async fn move_node(&self, addr: &str, to: &str) -> Result<NodeInfo, AdminError> {
        let body = serde_json::json!({ "addr": addr, "to": to }).to_string();
        self.ask(Ask::new(Method::POST, routes::ADMIN_NODE_MOVE).body(body)).await
    }

    async fn heartbeat(&self) -> Result<Heartbeat, AdminError> {
        self.ask(Ask::new(Method::GET, routes::ADMIN_HEARTBEAT)).await
    }

    async fn role(&self) -> Result<RoleInfo, AdminError> {
        self.ask(Ask::new(Method::GET, routes::ADMIN_ROLE)).await
    }

    async fn inspect(&self, name: &ObjectName) -> Result<ObjectRecord, AdminError> {
        let key = percent_encoding::percent_encode(name.key.as_bytes(), percent_encoding::NON_ALPHANUMERIC);
        let path = format!("{}?bucket={}&key={key}", routes::ADMIN_OBJECT, escape(name.bucket.as_str()));
        self.ask(Ask::new(Method::GET, path)).await
    }

    async fn bucket_policy(&self, bucket: &BucketName) -> Result<BucketPolicy, AdminError> {
        let path = format!("{}?bucket={}", routes::ADMIN_BUCKET_POLICY, escape(bucket.as_str()));
        let found: PolicyJson = self.ask(Ask::new(Method::GET, path)).await?;
        found.policy().map_err(AdminError::Unavailable)
    }

    async fn set_bucket_policy(&self, bucket: &BucketName, policy: &BucketPolicy) -> Result<(), AdminError> {
        let path = format!("{}?bucket={}", routes::ADMIN_BUCKET_POLICY, escape(bucket.as_str()));
        let body = serde_json::json!(PolicyJson::from(*policy)).to_string();
        self.ask::<PolicyJson>(Ask::new(Method::PUT, path).body(body)).await.map(drop)
    }

    async fn list_url_keys(&self) -> Result<Vec<UrlKeyInfo>, AdminError> {
        self.ask::<KeyList>(Ask::new(Method::GET, routes::ADMIN_URLKEYS)).await.map(|list| list.kids)
    }

    async fn rotate_url_key(&self, wish: &Rotation) -> Result<Vec<UrlKeyInfo>, AdminError> {
        let ask = Ask::new(Method::POST, routes::ADMIN_URLKEY_ROTATE).body(serde_json::json!(wish).to_string());
        self.ask::<Keys>(ask).await.map(|answer| answer.keys)
    }

    async fn remove_url_key(&self, kid: &str) -> Result<Vec<UrlKeyInfo>, AdminError> {
        let ask = Ask::new(Method::DELETE, format!("{}?kid={}", routes::ADMIN_URLKEYS, escape(kid)));
        self.ask::<Keys>(ask).await.map(|answer| answer.keys)
    }
}

#[derive(Deserialize)]
struct KeyList {
    kids: Vec<UrlKeyInfo>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<UrlKeyInfo>,
}

fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
