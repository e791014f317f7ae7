//! Policies of buckets over HTTP.

use std::sync::Arc;

use api::admin::{Admin, AdminError};
use api::bucket_policy::PolicyJson;
use api::routes;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use domain::BucketName;
use serde::Deserialize;

use super::nodes::parse;
use super::render;

type Shared = State<Arc<dyn Admin>>;

/// The routes.
pub(super) fn router() -> Router<Arc<dyn Admin>> {
    Router::new().route(routes::ADMIN_BUCKET_POLICY, get(show).put(set))
}

/// Which bucket.
#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    bucket: String,
}

impl Which {
    fn name(&self) -> Result<BucketName, AdminError> {
        BucketName::parse(&self.bucket).map_err(|error| AdminError::Invalid(format!("bucket: {error}")))
    }
}

async fn show(State(admin): Shared, Query(which): Query<Which>) -> Response {
    let show = async { admin.bucket_policy(&which.name()?).await.map(PolicyJson::from) };
    render(show.await)
}

async fn set(State(admin): Shared, Query(which): Query<Which>, body: Bytes) -> Response {
    let set = async {
        let json: PolicyJson = parse(&body, "{\"ec\": \"4+2\", \"write_quorum\": 2}")?;
        let policy = json.policy().map_err(AdminError::Invalid)?;
        admin.set_bucket_policy(&which.name()?, &policy).await?;
        Ok(PolicyJson::from(policy))
    };
    render(set.await)
}
