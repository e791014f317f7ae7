//! The door between the processes of one cluster: who does not know the secret gets no further, not even to learn which routes
//! there are.
//!
//! `domain::peer_auth` says what is signed. A request that is signed rightly, but at a time too far from ours, comes from one of us
//! with another clock: its refusal carries our time, signed and bound to the refused signature, and the caller tries again
//! with the difference. Its body is read to the end first, since a caller that is still sending might miss the answer.
//!
//! A body is covered by its length and its CRC-32C, which must be there, and [`CheckedBody`] holds it to that. A `PUT` is left to its handler: a chunk's
//! bytes are compared with the id in the signed path, and are too many to be read ahead of the node's budget.
//!
//! Without a secret everybody passes. Only a process on loopback may be started so, and its caller warns.

use std::sync::Arc;
use std::time::Duration;

use api::routes::{HEADER_AUTH, HEADER_CRC, HEADER_TIME};
use api::{Clock, routes};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use domain::Crc32c;
use domain::peer_auth::{self, PeerError, Signed};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;

use crate::Secret;
use crate::checked_body::CheckedBody;

/// `inner` behind the check of `secret`: what fails it never reaches a route, a fallback or a "wrong method".
pub fn guard(inner: Router, secret: Option<Secret>, clock: Arc<dyn Clock>) -> Router {
    let Some(secret) = secret else {
        return inner;
    };
    let door = Arc::new(Door { secret, clock });
    Router::new().fallback_service(inner).layer(from_fn_with_state(door, check))
}

struct Door {
    secret: Secret,
    clock: Arc<dyn Clock>,
}

async fn check(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let now_ms = door.clock.wall_ms();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let signature = text(request.headers(), HEADER_AUTH);
    match verify(&door.secret, &request, target, signature, now_ms) {
        Ok(()) => match with_checked_body(request) {
            Ok(request) => next.run(request).await,
            Err(reason) => (StatusCode::UNAUTHORIZED, format!("{reason}\n")).into_response(),
        },
        Err(error @ PeerError::Mismatch) => refusal(error),
        Err(error @ PeerError::Skewed) => {
            let ours = peer_auth::sign(door.secret.expose(), &peer_auth::time_reply(target, now_ms, signature));
            drain(request.into_body()).await;
            ([(HEADER_TIME, now_ms.to_string()), (HEADER_AUTH, ours)], refusal(error)).into_response()
        }
    }
}

fn verify(secret: &Secret, request: &Request, target: &str, signature: &str, now_ms: u64) -> Result<(), PeerError> {
    let headers = request.headers();
    let time_ms = text(headers, HEADER_TIME).parse().map_err(|_| PeerError::Mismatch)?;
    let length = text(headers, header::CONTENT_LENGTH.as_str());
    let what = Signed { method: request.method().as_str(), target, time_ms, length, crc: text(headers, HEADER_CRC) };
    peer_auth::verify(secret.expose(), &what, signature, now_ms)
}

/// The request with a body that must be the one that was signed.
fn with_checked_body(request: Request) -> Result<Request, &'static str> {
    let headers = request.headers();
    let length: Option<u64> = text(headers, header::CONTENT_LENGTH.as_str()).parse().ok();
    let comes = length.unwrap_or(0) > 0 || headers.contains_key(header::TRANSFER_ENCODING);
    if request.method() == Method::PUT || !comes {
        return Ok(request);
    }
    let crc: Crc32c = text(headers, HEADER_CRC)
        .parse()
        .map_err(|_| "the signature must cover the body: send its CRC-32C as X-KVFS-Crc32c (8 lowercase hex digits)")?;
    Ok(request.map(|body| CheckedBody::body(body, length, crc)))
}

fn refusal(error: PeerError) -> Response {
    (StatusCode::UNAUTHORIZED, format!("{error}; give all processes the same KVFS_CLUSTER_SECRET\n")).into_response()
}

/// The only value of a header; a header that came twice is none, since each reader might believe another one.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().unwrap_or(""),
        _ => "",
    }
}

/// Reads and forgets a body that is at most a chunk and keeps coming.
async fn drain(mut body: Body) {
    let mut left = domain::chunking::MAX_CHUNK_BYTES as usize;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(Duration::from_secs(2), body.frame()).await {
        match frame.data_ref().map_or(0, |data| data.len()) {
            more if more > left => return,
            more => left -= more,
        }
    }
}

/// The headers that sign a request under `secret` at `time_ms`, for callers and tests.
pub fn signed_headers(secret: &Secret, what: &Signed<'_>) -> [(&'static str, String); 2] {
    [(routes::HEADER_TIME, what.time_ms.to_string()), (routes::HEADER_AUTH, peer_auth::sign(secret.expose(), what))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tower::ServiceExt;

    struct At(u64);

    impl Clock for At {
        fn wall_ms(&self) -> u64 {
            self.0
        }
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    const NOW: u64 = 1_700_000_000_000;

    fn router(secret: Option<&Secret>) -> Router {
        let inner = Router::new().route("/known", get(|| async { "inside" }));
        guard(inner, secret.cloned(), Arc::new(At(NOW)))
    }

    async fn ask(router: Router, path: &str, signed: Option<(&Secret, u64)>) -> Response {
        let mut request = Request::get(path);
        if let Some((secret, time_ms)) = signed {
            let what = Signed { method: "GET", target: path, time_ms, length: "", crc: "" };
            for (name, value) in signed_headers(secret, &what) {
                request = request.header(name, value);
            }
        }
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn who_gets_in() {
        let (ours, other) =
            (Secret::new("sixteen bytes or more").unwrap(), Secret::new("quite another secret").unwrap());
        let cases = [
            ("signed", "/known?a=b", Some((&ours, NOW)), 200),
            ("unsigned", "/known", None, 401),
            ("under another secret", "/known", Some((&other, NOW)), 401),
            ("by a clock ten minutes behind", "/known", Some((&ours, NOW - 600_000)), 401),
            ("unknown path, signed", "/unknown", Some((&ours, NOW)), 404),
            ("unknown path, unsigned", "/unknown", None, 401),
        ];
        for (case, path, signed, status) in cases {
            assert_eq!(ask(router(Some(&ours)), path, signed).await.status(), status, "{case}");
        }
        assert_eq!(ask(router(None), "/known", None).await.status(), 200, "without a secret all pass");
    }

    #[tokio::test]
    async fn a_refusal_for_time_proves_our_time() {
        let secret = Secret::new("sixteen bytes or more").unwrap();
        let what = Signed { method: "GET", target: "/known", time_ms: 5, length: "", crc: "" };
        let asked = peer_auth::sign(secret.expose(), &what);
        let reply = ask(router(Some(&secret)), "/known", Some((&secret, 5))).await;
        assert_eq!(text(reply.headers(), HEADER_TIME), NOW.to_string());
        let expected = peer_auth::sign(secret.expose(), &peer_auth::time_reply("/known", NOW, &asked));
        assert_eq!(text(reply.headers(), HEADER_AUTH), expected);
    }

    #[tokio::test]
    async fn a_header_twice_is_no_header() {
        let secret = Secret::new("sixteen bytes or more").unwrap();
        let what = Signed { method: "GET", target: "/known", time_ms: NOW, length: "", crc: "" };
        let [time, auth] = signed_headers(&secret, &what);
        let request =
            Request::get("/known").header(time.0, time.1.clone()).header(time.0, time.1).header(auth.0, auth.1);
        let reply = router(Some(&secret)).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(reply.status(), 401);
    }
}
