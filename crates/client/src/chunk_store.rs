//! A data node at an address, as a `ChunkStore`.
//!
//! Every operation may happen twice, so all are repeated on a fresh connection where one breaks: a put finds its own chunk present, a
//! delete that got through finds it missing. What comes back is checked here as well, since the way back is one more
//! place where bytes can be damaged: chunks by the CRC-32C that the caller knows, parts by the one that the node sends along.

use std::ops::Range;

use ::http::{Method, StatusCode};
use api::chunk_store::{Held, MerkleSummary, NodeIdentity, Restamp, Stored};
use api::routes::{HEADER_CRC, HEADER_INCARNATION, HEADER_TOKEN, MEDIA_RECORD, QUERY_GENERATION};
use api::{ChunkError, ChunkStore, NodeStatus};
use async_trait::async_trait;
use bytes::Bytes;
use domain::chunking::MAX_CHUNK_BYTES;
use domain::{ChunkId, Crc32c, NodeId, Token, codec};
use serde::de::DeserializeOwned;

use crate::ask::{Ask, HttpError, Reply};
use crate::http::Http;

/// The data node at one address.
#[derive(Clone)]
pub struct HttpChunkStore {
    http: Http,
    address: String,
    /// What puts, touches and deletes say by which metadata they go: empty, or `generation=N`.
    named: String,
}

impl HttpChunkStore {
    /// The node at `address` (`host:port`), asked through `http`.
    pub fn new(http: Http, address: impl Into<String>) -> Self {
        Self { http, address: address.into(), named: String::new() }
    }

    /// The same node, for somebody who goes by this generation of the metadata.
    pub fn in_the_name_of(mut self, generation: u64) -> Self {
        self.named = format!("{QUERY_GENERATION}={generation}");
        self
    }

    /// `path`, which has a query or none, with the generation.
    fn named(&self, path: String) -> String {
        match (self.named.as_str(), path.contains('?')) {
            ("", _) => path,
            (named, true) => format!("{path}&{named}"),
            (named, false) => format!("{path}?{named}"),
        }
    }

    /// Where the node is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends `ask`; gives the reply if it is a success, else the node's own error.
    async fn send(&self, ask: Ask) -> Result<Reply, ChunkError> {
        match self.http.send(&self.address, &ask.header("accept", MEDIA_RECORD)).await {
            Ok(reply) if reply.status.is_success() => Ok(reply),
            Ok(reply) => Err(error_of(&self.address, &reply)),
            Err(error) => Err(unreachable(&error)),
        }
    }

    async fn record<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, ChunkError> {
        let reply = self.send(ask).await?;
        codec::decode(&reply.body).map_err(|error| self.strange(&error.to_string()))
    }

    async fn stored(&self, ask: Ask, present: impl Fn(StatusCode) -> bool) -> Result<Stored, ChunkError> {
        let reply = self.send(ask).await?;
        match (reply.header(HEADER_INCARNATION).parse(), reply.header(HEADER_TOKEN).parse()) {
            (Ok(incarnation), Ok(token)) => Ok(Stored { incarnation, token, present: present(reply.status) }),
            _ => Err(self.strange("it vouches for a chunk without incarnation or token")),
        }
    }

    /// Whoever answers there does not speak our protocol; it may be anybody, so it counts as no answer.
    fn strange(&self, what: &str) -> ChunkError {
        ChunkError::Unreachable { reason: format!("{} answers, but not as a data node of kvfs: {what}", self.address) }
    }
}

#[async_trait]
impl ChunkStore for HttpChunkStore {
    async fn put(&self, id: ChunkId, crc: Crc32c, bytes: Bytes) -> Result<Stored, ChunkError> {
        if bytes.len() > MAX_CHUNK_BYTES as usize {
            return Err(ChunkError::Mismatch { id, what: "length: a chunk has at most 16 MiB".into() });
        }
        let ask =
            Ask::new(Method::PUT, self.named(format!("/chunk/{id}"))).header(HEADER_CRC, crc.to_string()).body(bytes);
        self.stored(ask, |status| status == StatusCode::OK).await
    }

    async fn touch(&self, id: ChunkId) -> Result<Stored, ChunkError> {
        self.stored(Ask::new(Method::POST, self.named(format!("/chunk/{id}/touch"))), |_| true).await
    }

    async fn get(&self, id: ChunkId, crc: Option<Crc32c>) -> Result<Bytes, ChunkError> {
        let mut ask = Ask::new(Method::GET, format!("/chunk/{id}"));
        if let Some(crc) = crc {
            ask = ask.header(HEADER_CRC, crc.to_string());
        }
        let reply = self.send(ask).await?;
        let expected = crc.or_else(|| reply.header(HEADER_CRC).parse().ok());
        match expected == Some(Crc32c::of(&reply.body)) {
            true => Ok(reply.body),
            false => Err(ChunkError::Damaged { id }),
        }
    }

    async fn get_range(&self, id: ChunkId, crc: Crc32c, range: Range<u32>) -> Result<(Bytes, Crc32c), ChunkError> {
        if range.is_empty() {
            return self.empty_range(id, crc, range).await; // HTTP cannot say it.
        }
        let place = format!("bytes={}-{}", range.start, range.end - 1);
        let ask =
            Ask::new(Method::GET, format!("/chunk/{id}")).header(HEADER_CRC, crc.to_string()).header("range", place);
        let reply = self.send(ask).await?;
        let part_crc = Crc32c::of(&reply.body);
        let whole = reply.status == StatusCode::PARTIAL_CONTENT && reply.body.len() == range.len();
        match whole && reply.header(HEADER_CRC).parse() == Ok(part_crc) {
            true => Ok((reply.body, part_crc)),
            false => Err(ChunkError::Damaged { id }),
        }
    }

    async fn stat(&self, ids: &[ChunkId]) -> Result<Vec<Held>, ChunkError> {
        let body = codec::encode(&ids);
        self.record(Ask::new(Method::POST, "/chunks/stat").body(body)).await
    }

    async fn delete(&self, id: ChunkId, token: Token) -> Result<(), ChunkError> {
        self.send(Ask::new(Method::DELETE, self.named(format!("/chunk/{id}?token={token}")))).await.map(drop)
    }

    async fn inventory(&self, after: Option<ChunkId>, limit: usize) -> Result<Vec<ChunkId>, ChunkError> {
        let after = after.map_or_else(String::new, |after| format!("&after={after}"));
        self.record(Ask::new(Method::GET, format!("/chunks?limit={limit}{after}"))).await
    }

    async fn merkle(&self) -> Result<MerkleSummary, ChunkError> {
        self.record(Ask::new(Method::GET, "/chunks/merkle")).await
    }

    async fn merkle_bucket(&self, bucket: u8) -> Result<Vec<ChunkId>, ChunkError> {
        self.record(Ask::new(Method::GET, format!("/chunks/merkle/bucket?idx={bucket}"))).await
    }

    async fn deep_scan(&self, bucket: u8) -> Result<Vec<Held>, ChunkError> {
        self.record(Ask::new(Method::GET, format!("/chunks/deep?idx={bucket}"))).await
    }

    async fn verify(&self, id: ChunkId) -> Result<(), ChunkError> {
        self.record(Ask::new(Method::POST, format!("/chunk/{id}/verify"))).await
    }

    async fn status(&self) -> Result<NodeStatus, ChunkError> {
        self.record(Ask::new(Method::GET, "/node")).await
    }

    async fn format(&self, cluster_id: u128, generation: u64, node: NodeId) -> Result<NodeIdentity, ChunkError> {
        let body = codec::encode(&(cluster_id, generation, node));
        // It makes and syncs 256 directories, and adopts what lies there: silent for longer than a chunk takes.
        let ask = Ask::new(Method::POST, "/node/format").body(body).patience(std::time::Duration::from_secs(60));
        self.record(ask).await
    }

    async fn witness(&self, witness: u64) -> Result<NodeIdentity, ChunkError> {
        self.record(Ask::new(Method::POST, "/node/witness").body(codec::encode(&witness))).await
    }

    async fn restamp(&self, stamp: Restamp) -> Result<NodeIdentity, ChunkError> {
        self.record(Ask::new(Method::POST, "/node/restamp").body(codec::encode(&stamp))).await
    }
}

impl HttpChunkStore {
    async fn empty_range(&self, id: ChunkId, crc: Crc32c, range: Range<u32>) -> Result<(Bytes, Crc32c), ChunkError> {
        let length = self.get(id, Some(crc)).await?.len() as u32;
        if range.start == range.end && range.end <= length {
            return Ok((Bytes::new(), Crc32c::of(&[])));
        }
        let what = format!("range: {}..{} of a chunk of {length} bytes", range.start, range.end);
        Err(ChunkError::Mismatch { id, what })
    }
}

/// The error that a reply stands for: the node's own where it sent a record.
fn error_of(address: &str, reply: &Reply) -> ChunkError {
    if reply.header("content-type") == MEDIA_RECORD
        && let Ok(error) = codec::decode(&reply.body)
    {
        return error;
    }
    let reason = format!("{address} answered {}: {}", reply.status, reply.text());
    match reply.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ChunkError::Refused { reason },
        _ => ChunkError::Unreachable { reason },
    }
}

fn unreachable(error: &HttpError) -> ChunkError {
    ChunkError::Unreachable { reason: error.to_string() }
}
