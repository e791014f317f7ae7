//! Data nodes over HTTP.

use std::sync::Arc;

use api::admin::{Admin, AdminError, NodeInfo};
use api::routes;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post, put};
use domain::registry::NodeLabels;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::render;

type Shared = State<Arc<dyn Admin>>;

/// The routes about nodes, in both shapes.
pub(super) fn router() -> Router<Arc<dyn Admin>> {
    Router::new()
        .route(routes::ADMIN_NODES, get(list).post(add).delete(remove))
        .route(routes::ADMIN_NODE_CLASS, put(class))
        .route(routes::ADMIN_NODE_LABELS, put(label))
        .route(routes::ADMIN_NODE_REPLACE, post(replace))
        .route(routes::ADMIN_NODE_MOVE, post(relocate))
        .route(routes::COORD_NODES, get(coord_list).post(coord_add).delete(coord_remove))
        .route(routes::COORD_NODE_CLASS, put(class))
        .route(routes::COORD_NODE_DOMAIN, put(domain))
}

/// Which node, and what else a request about one may say.
#[derive(Deserialize)]
pub(super) struct Wish {
    #[serde(default)]
    addr: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    class: String,
    #[serde(default)]
    domain: String,
    #[serde(default)]
    detailed: String,
}

impl Wish {
    /// The address, or the refusal of a request without one.
    fn addr(&self) -> Result<&str, AdminError> {
        match self.addr.is_empty() {
            true => Err(AdminError::Invalid("missing addr".into())),
            false => Ok(&self.addr),
        }
    }
}

/// A JSON body, or why it is none.
pub(super) fn parse<T: DeserializeOwned>(body: &Bytes, expected: &str) -> Result<T, AdminError> {
    serde_json::from_slice(body)
        .map_err(|error| AdminError::Invalid(format!("expected a JSON body like {expected}: {error}")))
}

async fn list(State(admin): Shared) -> Response {
    render(admin.status().await.map(|status| json!({ "dns": addresses(&status.nodes), "nodes": status.nodes })))
}

async fn add(State(admin): Shared, body: Bytes) -> Response {
    let add = async {
        let wish: Wish = parse(&body, "{\"addr\": \"host:port\"}")?;
        let node = admin.add_node(wish.addr()?).await?;
        acted(&*admin, "add", &node).await
    };
    render(add.await)
}

async fn remove(State(admin): Shared, Query(wish): Query<Wish>) -> Response {
    let remove = async {
        admin.remove_node(wish.addr()?).await?;
        let status = admin.status().await?;
        Ok(json!({ "action": "remove", "addr": wish.addr, "dns": addresses(&status.nodes) }))
    };
    render(remove.await)
}

async fn class(State(admin): Shared, Query(wish): Query<Wish>) -> Response {
    let labels = NodeLabels { class: Some(wish.class.clone()), ..NodeLabels::default() };
    let label = async {
        admin.label_node(wish.addr()?, &labels).await?;
        Ok(json!({ "addr": wish.addr, "class": wish.class }))
    };
    render(label.await)
}

async fn domain(State(admin): Shared, Query(wish): Query<Wish>) -> Response {
    let labels = NodeLabels { domain: Some(wish.domain.clone()), ..NodeLabels::default() };
    let label = async {
        admin.label_node(wish.addr()?, &labels).await?;
        Ok(json!({ "addr": wish.addr, "domain": wish.domain }))
    };
    render(label.await)
}

async fn label(State(admin): Shared, Query(wish): Query<Wish>, body: Bytes) -> Response {
    let label = async {
        let labels: NodeLabels = parse(&body, "{\"class\": \"ssd\", \"domain\": \"rack-1\", \"weight\": 2}")?;
        admin.label_node(wish.addr()?, &labels).await
    };
    render(label.await)
}

async fn replace(State(admin): Shared, body: Bytes) -> Response {
    let replace = async {
        let wish: Wish = parse(&body, "{\"addr\": \"host:port\"}")?;
        admin.replace_node(wish.addr()?).await
    };
    render(replace.await)
}

async fn relocate(State(admin): Shared, body: Bytes) -> Response {
    let relocate = async {
        let wish: Wish = parse(&body, "{\"addr\": \"host:port\", \"to\": \"host:port\"}")?;
        if wish.to.is_empty() {
            return Err(AdminError::Invalid("missing to: where the node is now".into()));
        }
        admin.move_node(wish.addr()?, &wish.to).await
    };
    render(relocate.await)
}

async fn coord_list(State(admin): Shared, Query(wish): Query<Wish>) -> Response {
    let list = admin.status().await.map(|mut status| {
        status.nodes.sort_by(|a, b| a.addr.cmp(&b.addr));
        match wish.detailed == "1" {
            true => status.nodes.iter().map(|node| json!({ "addr": node.addr, "domain": node.domain })).collect(),
            false => json!(addresses(&status.nodes)),
        }
    });
    render::<Value>(list)
}

async fn coord_add(State(admin): Shared, Query(wish): Query<Wish>) -> Response {
    let add = async {
        admin.add_node(wish.addr()?).await?;
        Ok(json!({ "added": wish.addr }))
    };
    render(add.await)
}

/// Also fine where nobody is registered.
async fn coord_remove(State(admin): Shared, Query(wish): Query<Wish>) -> Response {
    let remove = async {
        match admin.remove_node(wish.addr()?).await {
            Ok(()) | Err(AdminError::NotFound(_)) => Ok(json!({ "removed": wish.addr })),
            Err(error) => Err(error),
        }
    };
    render(remove.await)
}

/// What was done to a node, the node, and the nodes that there are then.
async fn acted(admin: &dyn Admin, action: &str, node: &NodeInfo) -> Result<Value, AdminError> {
    let mut reply = serde_json::to_value(node).map_err(|error| AdminError::Unavailable(error.to_string()))?;
    reply["action"] = json!(action);
    reply["dns"] = json!(addresses(&admin.status().await?.nodes));
    Ok(reply)
}

fn addresses(nodes: &[NodeInfo]) -> Vec<&str> {
    nodes.iter().map(|node| node.addr.as_str()).collect()
}
