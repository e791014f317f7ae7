//! The metadata seam behind HTTP: questions to the coordinator that leads.
//!
//! All coordinators are known, and one of them is believed to lead. One that does not says who does (503 with
//! [`routes::HEADER_LEADER`]), and is left for that one; one that is silent or gone is left for the next. A question goes once around at most,
//! and what then has no answer comes back: as *unavailable* if nothing was done, as *outcome unknown* if it may have been carried out when its
//! answer was lost. Its number makes asking again safe, and whether to is the caller's to decide.

use std::time::Duration;

use ::http::{Method, StatusCode};
use api::metadata::{MetaError, VIEW_POLL};
use api::routes;
use api::rpc::{Carry, MetaReply, MetaRequest, Remote};
use async_trait::async_trait;
use domain::codec;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::ask::{Ask, HttpError, Reply};
use crate::http::Http;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(1);

/// The most addresses that are remembered: those of the settings, and those of leaders that others named.
const MAX_KNOWN: usize = 32;

/// The metadata of a cluster, by way of its coordinators' addresses.
pub type HttpMetadata = Remote<Coordinators>;

/// The coordinators' addresses, and which of them leads.
pub struct Coordinators {
    http: Http,
    known: Mutex<Vec<String>>,
    leader: watch::Sender<String>,
}

/// The metadata behind the coordinators at `addresses` (`host:port`, at least one), asked through `http`.
pub fn http_metadata(http: Http, addresses: Vec<String>) -> HttpMetadata {
    let leader = watch::Sender::new(addresses.first().cloned().unwrap_or_default());
    Remote(Coordinators { http, known: Mutex::new(addresses), leader })
}

#[async_trait]
impl Carry for Coordinators {
    async fn carry(&self, request: MetaRequest) -> Result<MetaReply, MetaError> {
        let body = codec::encode(&request);
        let patience = if request.is_watch() { VIEW_POLL + TRY } else { TRY };
        let ask = Ask::new(Method::POST, routes::COORD_RPC).body(body).patience(patience);
        // Sent again unasked, a change whose first try got through could end as "nothing was done": the second finds nobody.
        let ask = if request.changes() { ask.once() } else { ask };
        let (mut asked, mut reasons) = (Vec::new(), Vec::new());
        let mut next = Some(self.leader.borrow().clone());
        while let Some(address) = next {
            let answer = match request.is_watch() {
                true => self.ask_while_it_leads(&address, &ask, &request).await,
                false => self.ask(&address, &ask, &request).await,
            };
            asked.push(address.clone());
            next = match answer {
                Err(MetaError::NotLeader { leader }) => {
                    reasons.push(format!("{address} does not lead"));
                    leader.filter(|leader| !asked.contains(leader)).or_else(|| self.another_than(&asked))
                }
                Err(MetaError::Unavailable { reason }) => {
                    reasons.push(reason);
                    self.another_than(&asked)
                }
                Err(error @ MetaError::OutcomeUnknown { .. }) => {
                    if let Some(another) = self.another_than(&asked) {
                        self.leads(&another);
                    }
                    return Err(error);
                }
                answer => {
                    self.leads(&address);
                    return answer;
                }
            };
        }
        Err(MetaError::Unavailable { reason: reasons.join("; ") })
    }
}

impl Coordinators {
    /// A known address that was not asked yet.
    fn another_than(&self, asked: &[String]) -> Option<String> {
        self.known.lock().iter().find(|known| !asked.contains(known)).cloned()
    }

    /// Asks this one first from now on.
    fn leads(&self, address: &str) {
        let changed = self.leader.send_if_modified(|leader| {
            let changed = leader != address;
            if changed {
                *leader = address.into();
            }
            changed
        });
        if changed {
            let mut known = self.known.lock();
            if !known.iter().any(|known| known == address) && known.len() < MAX_KNOWN {
                known.push(address.into());
            }
        }
    }

    /// A question that may stay open for long is given up as soon as somebody else is known to lead.
    async fn ask_while_it_leads(
        &self,
        address: &str,
        ask: &Ask,
        request: &MetaRequest,
    ) -> Result<MetaReply, MetaError> {
        let mut leader = self.leader.subscribe();
        let believed = leader.borrow_and_update().clone();
        let deposed = async {
            leader.wait_for(|leader| believed == address && leader != address).await.map(drop).ok();
        };
        tokio::select! {
            answer = self.ask(address, ask, request) => answer,
            () = deposed => Err(MetaError::Unavailable { reason: format!("{address} was left for another") }),
        }
    }

    async fn ask(&self, address: &str, ask: &Ask, request: &MetaRequest) -> Result<MetaReply, MetaError> {
        let reply = self.http.send(address, ask).await.map_err(|error| lost(&error, request))?;
        match reply.status {
            StatusCode::OK => codec::decode::<Result<MetaReply, MetaError>>(&reply.body).unwrap_or_else(|error| {
                Err(MetaError::Failed {
                    reason: format!("{address} does not answer as a coordinator of kvfs: {error}"),
                })
            }),
            StatusCode::UNAUTHORIZED => Err(MetaError::Refused { reason: reply.text() }),
            StatusCode::SERVICE_UNAVAILABLE if let Some(leader) = leader_named(&reply) => {
                Err(MetaError::NotLeader { leader: Some(leader) })
            }
            status => Err(MetaError::Unavailable { reason: format!("{address}: {status}: {}", reply.text()) }),
        }
    }
}

/// The address of the leader, if a refusal names one.
pub(crate) fn leader_named(reply: &Reply) -> Option<String> {
    let leader = reply.header(routes::HEADER_LEADER);
    let leader = leader.split_once("://").map_or(leader, |(_, address)| address).trim_end_matches('/');
    (!leader.is_empty()).then(|| leader.to_string())
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
