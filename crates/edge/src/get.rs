//! GET and HEAD of an object.

use api::{Situation, routes};
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::quorum;
use domain::record::ObjectName;
use objects::{GetRequest, ReadPart};

use crate::conditional::{self, ReadVerdict};
use crate::put::{bad_argument, text};
use crate::reply::{Failure, describe};
use crate::router::Edge;

/// `GET` and `HEAD /v1/o/{bucket}/{key}`: the object's bytes, or a range of them; or only what is known of it.
pub(crate) async fn get(edge: &Edge, name: ObjectName, parts: &Parts) -> Result<Response, Failure> {
    let wanted = text(&parts.headers, routes::HEADER_R)?.unwrap_or_default();
    let usual = edge.objects.policy(&name.bucket).read_quorum.unwrap_or(1);
    let read_quorum =
        quorum::parse("X-KVFS-R", wanted, u8::MAX, usual).map_err(|error| bad_argument(error.to_string()))?;
    let reader = edge.objects.open(GetRequest { name, read_quorum }).await?;
    let head = reader.head();
    if usize::from(read_quorum) > head.fewest_copies {
        let copies = head.fewest_copies;
        if wanted.trim().is_empty() {
            let message = format!("the bucket's policy wants R={read_quorum}, and only {copies} copies are known");
            return Err(Failure::new(Situation::DataUnavailable, message));
        }
        return Err(bad_argument(format!("X-KVFS-R={read_quorum}: exceeds available replicas {copies}")));
    }
    match conditional::evaluate(&parts.headers, &head.row.etag, head.row.created_ms).map_err(bad_argument)? {
        ReadVerdict::Send => {}
        ReadVerdict::NotModified => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            describe(&mut response, &head);
            return Ok(response);
        }
        ReadVerdict::Failed => {
            return Err(Failure::new(Situation::PreconditionFailed, "the object's entity tag or date is another"));
        }
    }
    edge.counts.get(head.scheme.is_some(), read_quorum);
    let size = head.row.size;
    let part = conditional::part(&parts.headers, &head.row.etag, head.row.created_ms);
    let Some(range) = part.of(size) else { return Ok(unsatisfiable(size)) };
    let length = range.end - range.start;
    let mut response = match parts.method == Method::HEAD {
        true => Response::new(Body::empty()),
        false => Response::new(Body::from_stream(reader.read(range.clone()).await?)),
    };
    describe(&mut response, &head);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if part != ReadPart::Whole {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        content_range(&mut response, &format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    Ok(response)
}

fn unsatisfiable(size: u64) -> Response {
    let message = format!("no byte of the range is in the object, which has {size} bytes");
    let mut response = Failure::new(Situation::BadRange, message).into_response();
    content_range(&mut response, &format!("bytes */{size}"));
    response
}

fn content_range(response: &mut Response, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
}
