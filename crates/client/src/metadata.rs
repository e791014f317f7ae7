//! The metadata seam behind HTTP: questions to whichever coordinator answers.
//!
//! The coordinators are asked in turn, beginning with the one that answered last. A question that may have been carried out when
//! its answer was lost comes back as *outcome unknown*: its number makes asking again safe, and whether to is the
//! caller's to decide.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{Method, StatusCode};
use api::metadata::{MetaError, VIEW_POLL};
use api::routes;
use api::rpc::{Carry, MetaReply, MetaRequest, Remote};
use async_trait::async_trait;
use domain::codec;

use crate::ask::{Ask, HttpError};
use crate::http::Http;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(2);

/// The metadata of a cluster, by way of its coordinators' addresses.
pub type HttpMetadata = Remote<Coordinators>;

/// The coordinators' addresses.
pub struct Coordinators {
    http: Http,
    addresses: Vec<String>,
    last_good: AtomicUsize,
}

/// The metadata behind the coordinators at `addresses` (`host:port`), asked through `http`.
pub fn http_metadata(http: Http, addresses: Vec<String>) -> HttpMetadata {
    Remote(Coordinators { http, addresses, last_good: AtomicUsize::new(0) })
}

#[async_trait]
impl Carry for Coordinators {
    async fn carry(&self, request: MetaRequest) -> Result<MetaReply, MetaError> {
        let body = codec::encode(&request);
        let patience = if request.is_watch() { VIEW_POLL + TRY } else { TRY };
        let ask = Ask::new(Method::POST, routes::COORD_RPC).body(body).patience(patience);
        // Sent again unasked, a change whose first try got through could end as "nothing was done": the second finds nobody.
        let ask = if request.changes() { ask.once() } else { ask };
        let first = self.last_good.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        for turn in 0..self.addresses.len() {
            let at = (first + turn) % self.addresses.len();
            match self.ask(&self.addresses[at], &ask, &request).await {
                Err(MetaError::Unavailable { reason }) => reasons.push(reason),
                answer => {
                    self.last_good.store(at, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(MetaError::Unavailable { reason: reasons.join("; ") })
    }
}

impl Coordinators {
    async fn ask(&self, address: &str, ask: &Ask, request: &MetaRequest) -> Result<MetaReply, MetaError> {
        let reply = self.http.send(address, ask).await.map_err(|error| lost(&error, request))?;
        match reply.status {
            StatusCode::OK => codec::decode::<Result<MetaReply, MetaError>>(&reply.body).unwrap_or_else(|error| {
                Err(MetaError::Failed {
                    reason: format!("{address} does not answer as a coordinator of kvfs: {error}"),
                })
            }),
            StatusCode::UNAUTHORIZED => Err(MetaError::Refused { reason: reply.text() }),
            status => Err(MetaError::Unavailable { reason: format!("{address}: {status}: {}", reply.text()) }),
        }
    }
}

fn lost(error: &HttpError, request: &MetaRequest) -> MetaError {
    let reason = error.to_string();
    match error {
        HttpError::Silent { .. } | HttpError::Broken { .. } if request.changes() => {
            MetaError::OutcomeUnknown { reason }
        }
        _ => MetaError::Unavailable { reason },
    }
}
