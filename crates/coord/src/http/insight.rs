//! What operators may look into, over HTTP.

use std::sync::Arc;

use api::admin::{Admin, AdminError, MetaInfo};
use api::routes;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use domain::record::ObjectName;
use domain::{BucketName, ObjectKey};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::render;

type Shared = State<Arc<dyn Admin>>;

/// The routes.
pub(super) fn router() -> Router<Arc<dyn Admin>> {
    Router::new()
        .route(routes::ADMIN_META_INFO, get(meta_info))
        .route(routes::ADMIN_HEARTBEAT, get(heartbeat))
        .route(routes::ADMIN_ROLE, get(role))
        .route(routes::ADMIN_OBJECT, get(object))
}

/// Our counts, and the reference's names for those that it has too.
async fn meta_info(State(admin): Shared) -> Response {
    let both = |info: MetaInfo| {
        let mut reply = serde_json::to_value(&info).unwrap_or_default();
        let names: [(&str, Value); 8] = [
            ("objects", json!(info.objects)),
            // Not known without reading all bodies.
            ("ec_objects", Value::Null),
            ("chunk_count", json!(info.chunks)),
            ("stripe_count", json!(info.stripes)),
            ("shard_count", json!(info.shards)),
            ("dns", json!(info.nodes)),
            ("runtime_dns", json!(info.nodes)),
            ("bbolt_size_bytes", json!(info.file_bytes)),
        ];
        names.into_iter().for_each(|(name, value)| reply[name] = value);
        reply
    };
    render(admin.meta_info().await.map(both))
}

async fn heartbeat(State(admin): Shared) -> Response {
    render(admin.heartbeat().await)
}

async fn role(State(admin): Shared) -> Response {
    render(admin.role().await)
}

async fn object(State(admin): Shared, RawQuery(query): RawQuery) -> Response {
    let object = async {
        let name = parse_name(&query.unwrap_or_default()).map_err(AdminError::Invalid)?;
        admin.inspect(&name).await
    };
    render(object.await)
}

/// `bucket=…&key=…`, each the bytes after one percent-decoding.
fn parse_name(query: &str) -> Result<ObjectName, String> {
    let find = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let value = value.ok_or_else(|| format!("missing {name}; expected ?bucket=BUCKET&key=KEY"))?;
        Ok::<Vec<u8>, String>(percent_decode_str(value).collect())
    };
    let bucket = String::from_utf8(find("bucket")?).map_err(|_| "a bucket's name is text".to_string())?;
    let bucket = BucketName::parse(&bucket).map_err(|error| error.to_string())?;
    let key = ObjectKey::parse(&find("key")?).map_err(|error| error.to_string())?;
    Ok(ObjectName { bucket, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_once() {
        let name = parse_name("bucket=b&key=a%2Fb%2525%00").expect("a name");
        assert_eq!((name.bucket.as_str(), name.key.as_bytes()), ("b", &b"a/b%25\0"[..]));
        for bad in ["", "bucket=b", "key=k", "bucket=%ff&key=k", "bucket=a/b&key=k", "bucket=b&key="] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
