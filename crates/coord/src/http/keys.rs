//! URL keys over HTTP. No answer holds a secret.

use std::sync::Arc;

use api::admin::{Admin, AdminError};
use api::keys::{Rotation, UrlKeyInfo};
use api::routes;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::nodes::parse;
use super::render;

type Shared = State<Arc<dyn Admin>>;

/// What a rotation looks like.
const EXPECTED: &str = "{\"kid\": \"v2\", \"secret_hex\": \"...\"}";

/// The routes about keys, in both shapes.
pub(super) fn router() -> Router<Arc<dyn Admin>> {
    Router::new()
        .route(routes::ADMIN_URLKEYS, get(list).delete(remove))
        .route(routes::ADMIN_URLKEY_ROTATE, post(rotate))
        .route(routes::COORD_URLKEYS, get(coord_list).delete(coord_remove))
        .route(routes::COORD_URLKEY_ROTATE, post(coord_rotate))
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    kid: String,
}

async fn list(State(admin): Shared) -> Response {
    render(admin.list_url_keys().await.map(|keys| json!({ "kids": keys, "primary": primary(&keys) })))
}

async fn rotate(State(admin): Shared, body: Bytes) -> Response {
    let rotate = async {
        let wish: Rotation = parse(&body, EXPECTED)?;
        let keys = admin.rotate_url_key(&wish).await?;
        Ok(json!({ "action": "rotate", "primary": primary(&keys), "kids": names(&keys), "keys": keys }))
    };
    render(rotate.await)
}

async fn remove(State(admin): Shared, Query(Named { kid }): Query<Named>) -> Response {
    let remove = async {
        let keys = admin.remove_url_key(named(&kid)?).await?;
        Ok(json!({ "action": "remove", "kid": kid, "kids": names(&keys), "keys": keys }))
    };
    render(remove.await)
}

async fn coord_list(State(admin): Shared) -> Response {
    render(admin.list_url_keys().await)
}

async fn coord_rotate(State(admin): Shared, body: Bytes) -> Response {
    let rotate = async {
        let wish: Rotation = parse(&body, EXPECTED)?;
        let wish = Rotation { is_primary: Some(wish.is_primary.unwrap_or(false)), ..wish };
        let keys = admin.rotate_url_key(&wish).await?;
        let is_primary = keys.iter().any(|key| key.kid == wish.kid && key.is_primary);
        Ok(json!({ "kid": wish.kid, "is_primary": is_primary }))
    };
    render(rotate.await)
}

async fn coord_remove(State(admin): Shared, Query(Named { kid }): Query<Named>) -> Response {
    let remove = async {
        admin.remove_url_key(named(&kid)?).await?;
        Ok::<Value, AdminError>(json!({ "removed": kid }))
    };
    render(remove.await)
}

fn named(kid: &str) -> Result<&str, AdminError> {
    match kid.is_empty() {
        true => Err(AdminError::Invalid("missing kid".into())),
        false => Ok(kid),
    }
}

fn primary(keys: &[UrlKeyInfo]) -> &str {
    keys.iter().find(|key| key.is_primary).map_or("", |key| &key.kid)
}

fn names(keys: &[UrlKeyInfo]) -> Vec<&str> {
    keys.iter().map(|key| key.kid.as_str()).collect()
}
