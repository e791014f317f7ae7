//! Requests between processes of one cluster: signed, pooled, and given up after a silence.
//!
//! - **Silence, not duration, ends a request.** Every piece of body that leaves and every piece that comes starts the clock anew, so a large
//!   body over a slow line succeeds, and a stopped process is noticed once the ask's patience is over.
//! - **A pooled connection may have died** since its last use. A request whose connection breaks is sent once more, on a fresh one. That is
//!   right only for what may happen twice; [`Ask::once`] says of a request that it must not.
//! - **Clocks may differ.** A refusal for the time of a request carries the other's time, signed for this very request; the difference is kept
//!   for that address, and the request sent again.
//! - Replies are read to their end, so that their connection can be used again.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use api::routes::{HEADER_AUTH, HEADER_CRC, HEADER_REQUEST_ID, HEADER_TIME};
use api::{Clock, request_id};
use domain::Crc32c;
use domain::peer_auth::{self, Signed};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;

use crate::ask::{Ask, HttpError, Reply};
use crate::connect::{Connecting, Connector};
use crate::pieces::{Lost, Pieces, collect, patiently};
use crate::tls;

/// Idle connections kept for each address. A guess: what an edge with two dozen uploads at once uses.
const IDLE_PER_HOST: usize = 64;

/// The most that is read from a connection at a time: few system calls for a shard, and little memory for many connections.
const READ_BYTES: usize = 128 << 10;

/// How long an idle connection is kept: less than our servers keep it (10 s), so that it is rarely they who close it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// Carries requests; clones share connections.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    pooled: Client<Connecting, Pieces>,
    fresh: Client<Connecting, Pieces>,
    clock: Arc<dyn Clock>,
    secret: Option<Arc<[u8]>>,
    /// By address, how many milliseconds its clock is ahead of ours, where that matters.
    offsets: Mutex<HashMap<String, i64>>,
}

/// When, the proof of who, and the checksum of what: the headers of a signed request.
struct Signature {
    time_ms: u64,
    auth: String,
    /// Of the body, or of what a read expects; empty if there is neither.
    crc: String,
}

impl Http {
    /// A client that signs with `secret`, if there is one.
    pub fn new(connector: Arc<dyn Connector>, clock: Arc<dyn Clock>, secret: Option<Arc<[u8]>>) -> Self {
        let client = |idle| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(idle)
                .retry_canceled_requests(false)
                .http1_writev(true)
                .http1_max_buf_size(READ_BYTES)
                .build(Connecting(connector.clone()))
        };
        let (pooled, fresh) = (client(IDLE_PER_HOST), client(0));
        Self(Arc::new(Inner { pooled, fresh, clock, secret, offsets: Mutex::default() }))
    }

    /// Sends `ask` to `address` (`host:port`) and reads the whole reply, whatever its status.
    pub async fn send(&self, address: &str, ask: &Ask) -> Result<Reply, HttpError> {
        let signature = self.sign(address, ask);
        let reply = self.send_signed(address, ask, signature.as_ref()).await?;
        match signature.is_some_and(|signature| self.learn_offset(address, ask, &signature, &reply)) {
            true => self.send_signed(address, ask, self.sign(address, ask).as_ref()).await,
            false => Ok(reply),
        }
    }

    /// Sends `ask` once, and gives status and body of the reply when its head is there.
    pub(crate) async fn begin(&self, address: &str, ask: &Ask) -> Result<(StatusCode, Incoming), HttpError> {
        let signature = self.sign(address, ask);
        let (head, body) = answer(&self.0.fresh, address, ask, signature.as_ref()).await?.into_parts();
        Ok((head.status, body))
    }

    async fn send_signed(&self, address: &str, ask: &Ask, signature: Option<&Signature>) -> Result<Reply, HttpError> {
        match exchange(&self.0.pooled, address, ask, signature).await {
            Err(HttpError::Broken { .. }) if ask.repeatable => exchange(&self.0.fresh, address, ask, signature).await,
            ended => ended,
        }
    }

    fn sign(&self, address: &str, ask: &Ask) -> Option<Signature> {
        let secret = self.0.secret.as_ref()?;
        let offset = self.0.offsets.lock().get(address).copied().unwrap_or(0);
        let time_ms = self.0.clock.wall_ms().saturating_add_signed(offset);
        let given = ask.headers.get(HEADER_CRC).and_then(|value| value.to_str().ok());
        let crc = match given {
            Some(given) => given.to_owned(),
            None if ask.body.is_empty() => String::new(),
            None => Crc32c::of(&ask.body).to_string(),
        };
        let length = announced_length(ask);
        let what = Signed { method: ask.method.as_str(), target: &ask.target, time_ms, length: &length, crc: &crc };
        Some(Signature { time_ms, auth: peer_auth::sign(secret, &what), crc })
    }

    /// Whether `reply` refuses the request for its time, and proves the other's: then the offset is kept and another try can succeed.
    fn learn_offset(&self, address: &str, ask: &Ask, sent: &Signature, reply: &Reply) -> bool {
        let (Some(secret), Ok(theirs)) = (&self.0.secret, reply.header(HEADER_TIME).parse::<u64>()) else {
            return false;
        };
        let what = peer_auth::time_reply(&ask.target, theirs, &sent.auth);
        // `now` is the very time that was signed: what is checked here is who says it.
        if reply.status != StatusCode::UNAUTHORIZED
            || peer_auth::verify(secret, &what, reply.header(HEADER_AUTH), theirs).is_err()
        {
            return false;
        }
        let offset = theirs as i64 - self.0.clock.wall_ms() as i64;
        self.0.offsets.lock().insert(address.to_owned(), offset);
        true
    }
}

async fn exchange(
    client: &Client<Connecting, Pieces>,
    address: &str,
    ask: &Ask,
    signature: Option<&Signature>,
) -> Result<Reply, HttpError> {
    let (head, body) = answer(client, address, ask, signature).await?.into_parts();
    let silent = || HttpError::Silent { address: address.to_owned(), waited: ask.patience };
    let body = collect(body, ask.max_reply_bytes, ask.patience).await.map_err(|lost| match lost {
        Lost::Silent => silent(),
        Lost::TooLong => invalid(address, format!("the reply is longer than {} bytes", ask.max_reply_bytes)),
        Lost::Broken(error) => HttpError::Broken { address: address.to_owned(), reason: causes(&error) },
    })?;
    Ok(Reply { status: head.status, headers: head.headers, body })
}

/// The reply's head, with its body still to come.
async fn answer(
    client: &Client<Connecting, Pieces>,
    address: &str,
    ask: &Ask,
    signature: Option<&Signature>,
) -> Result<Response<Incoming>, HttpError> {
    let silent = || HttpError::Silent { address: address.to_owned(), waited: ask.patience };
    let (pieces, progress) = Pieces::of(ask.body.clone());
    let request = build(address, ask, signature, pieces)?;
    let answered = patiently(ask.patience, progress, client.request(request)).await.ok_or_else(silent)?;
    answered.map_err(|error| explain(address, &error))
}

fn build(
    address: &str,
    ask: &Ask,
    signature: Option<&Signature>,
    pieces: Pieces,
) -> Result<Request<Pieces>, HttpError> {
    let uri: Uri =
        format!("http://{address}{}", ask.target).parse().map_err(|error| invalid(address, format!("{error}")))?;
    let mut request = Request::new(pieces);
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = ask.headers.clone();
    let mut header = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().insert(name, value);
        }
    };
    let length = announced_length(ask);
    if !length.is_empty() {
        header(header::CONTENT_LENGTH, &length);
    }
    if let Some(id) = request_id::current() {
        header(HeaderName::from_static(HEADER_REQUEST_ID), &id);
    }
    if let Some(signature) = signature {
        header(HeaderName::from_static(HEADER_TIME), &signature.time_ms.to_string());
        header(HeaderName::from_static(HEADER_AUTH), &signature.auth);
        if !signature.crc.is_empty() {
            header(HeaderName::from_static(HEADER_CRC), &signature.crc);
        }
    }
    Ok(request)
}

/// `Content-Length` as it is sent and signed: POST and PUT always have one, others only with a body.
fn announced_length(ask: &Ask) -> String {
    match ask.body.is_empty() && !matches!(ask.method, Method::POST | Method::PUT) {
        true => String::new(),
        false => ask.body.len().to_string(),
    }
}

fn invalid(address: &str, reason: String) -> HttpError {
    HttpError::Invalid { address: address.to_owned(), reason }
}

fn explain(address: &str, error: &legacy::Error) -> HttpError {
    let (address, reason) = (address.to_owned(), causes(error));
    match error.is_connect() {
        true => HttpError::Connect { address, reason },
        false => HttpError::Broken { address, reason },
    }
}

/// The innermost cause: hyper's outer ones only say that something failed.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.downcast_ref::<std::io::Error>().map_or_else(|| innermost.to_string(), tls::said)
}
