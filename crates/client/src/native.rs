//! The native object API, as a user speaks it: signed URLs, bodies streamed both ways.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use api::{Clock, routes};
use bytes::Bytes;
use domain::BucketName;
use domain::urlkey;
use futures_util::Stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::connect::{Connecting, Connector};
use crate::http::causes;

/// What stays as it is in a path: unreserved characters, and the slashes of a key.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A gateway that neither takes nor gives anything for this long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a signature of ours is good.
const GOOD_FOR_S: i64 = 900;

type Body = BoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A client of a gateway, for the holder of a URL key.
#[derive(Clone)]
pub struct Native {
    client: Client<Connecting, Body>,
    address: String,
    kid: String,
    secret: Arc<[u8]>,
    clock: Arc<dyn Clock>,
}

/// Why a request to a gateway failed.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// There was no answer.
    #[error("no answer from {address}: {reason}")]
    Unreachable {
        /// The gateway.
        address: String,
        /// Why.
        reason: String,
    },
    /// The gateway said no.
    #[error("{message}")]
    Refused {
        /// With which status.
        status: StatusCode,
        /// What it said.
        message: String,
    },
    /// The answer broke off or is not what a gateway says.
    #[error("the answer from {address} cannot be used: {reason}")]
    Broken {
        /// The gateway.
        address: String,
        /// How.
        reason: String,
    },
}

/// What a put did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PutAnswer {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Bytes stored.
    pub size: u64,
    /// The version's number.
    pub version: u64,
    /// The entity tag, without quotes.
    pub etag: String,
    /// Its chunks in order; of very long objects only the last ones.
    #[serde(default)]
    pub chunks: Vec<PutChunk>,
    /// Its stripes in order, if it is kept so; of very long objects only the last ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stripes: Vec<PutStripe>,
}

/// A stripe of a stored object, as the gateway tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PutStripe {
    /// Its name, in hex.
    pub stripe_id: String,
    /// Bytes of the object in it.
    pub data_len: u32,
    /// Its shards, data first; one without replicas is a gap, to be filled later.
    pub shards: Vec<PutChunk>,
}

/// A chunk of a stored object, as the gateway tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PutChunk {
    /// Its name: the SHA-256 of its bytes, in hex.
    pub chunk_id: String,
    /// Its bytes.
    pub size: u32,
    /// Addresses of the nodes that had made it durable when the object was acknowledged.
    pub replicas: Vec<String>,
}

/// One object of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedObject {
    /// Its key, as text.
    pub key: String,
    /// Its key's bytes in hex, where they are no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hex: Option<String>,
    /// Its bytes.
    pub size: u64,
    /// Its version's number.
    pub version: u64,
    /// Its media type.
    pub content_type: String,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// When it was written.
    pub created_at: String,
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct ListAnswer {
    /// The objects, in byte order.
    pub objects: Vec<ListedObject>,
    /// What to ask for the next page with, percent-encoded; `None` at the end.
    pub next: Option<String>,
}

/// One bucket of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedBucket {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: String,
}

/// A page of buckets.
#[derive(Clone, Debug, Deserialize)]
pub struct BucketsAnswer {
    /// The buckets, by name.
    pub buckets: Vec<ListedBucket>,
    /// The next page's `after`; `None` at the end.
    pub next: Option<String>,
}

/// An object's bytes on their way.
pub struct Download {
    /// The answer's headers.
    pub headers: HeaderMap,
    /// How many bytes will come.
    pub length: Option<u64>,
    body: Incoming,
    address: String,
}

impl Download {
    /// The next bytes; `None` at the end. An answer that breaks off before its announced end is an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, NativeError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| broken(&self.address, &error))?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

impl Native {
    /// A client of the gateway at `address` (`host:port`) that signs with the key `kid`.
    pub fn new(
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
        address: impl Into<String>,
        kid: impl Into<String>,
        secret: &[u8],
    ) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(8))
            .build(Connecting(connector));
        Self { client, address: address.into(), kid: kid.into(), secret: secret.into(), clock }
    }

    /// The path of an object, percent-encoded.
    pub fn object_path(bucket: &str, key: &[u8]) -> String {
        format!("{}{}/{}", routes::OBJECT_PREFIX, percent_encode(bucket.as_bytes(), PATH), percent_encode(key, PATH))
    }

    /// `path?query` that lets its holder do `method` to `path` (percent-encoded) for `ttl_s` seconds.
    pub fn sign(&self, method: &str, path: &str, ttl_s: i64) -> String {
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
        let exp = (self.clock.wall_ms() / 1000) as i64 + ttl_s;
        let sig = urlkey::sign(&self.secret, method, &decoded, exp);
        format!("{path}?kid={}&sig={sig}&exp={exp}", percent_encode(self.kid.as_bytes(), NON_ALPHANUMERIC))
    }

    /// Stores `body` as the object; `length` is its length, where that is known.
    pub async fn put<S, E>(
        &self,
        bucket: &str,
        key: &[u8],
        length: Option<u64>,
        headers: HeaderMap,
        body: S,
    ) -> Result<PutAnswer, NativeError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        use futures_util::StreamExt;
        let progress = Arc::new(Mutex::new(Instant::now()));
        let moved = progress.clone();
        let frames = body.map(move |bytes| {
            *moved.lock() = Instant::now();
            bytes.map(Frame::data).map_err(Into::into)
        });
        let mut headers = headers;
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let body = BoxBody::new(StreamBody::new(frames));
        let path = Self::object_path(bucket, key);
        let answer = self.json(Method::PUT, &path, "", headers, body);
        self.unless_silent(progress, answer).await
    }

    /// The object's bytes, or what `headers` ask for of them.
    pub async fn get(&self, bucket: &str, key: &[u8], headers: HeaderMap) -> Result<Download, NativeError> {
        let path = Self::object_path(bucket, key);
        let answer = self.send(Method::GET, &path, "", headers, empty()).await?;
        let (head, body) = answer.into_parts();
        let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Download { headers: head.headers, length, body, address: self.address.clone() })
    }

    /// The object's headers.
    pub async fn head(&self, bucket: &str, key: &[u8]) -> Result<HeaderMap, NativeError> {
        let path = Self::object_path(bucket, key);
        Ok(self.send(Method::HEAD, &path, "", HeaderMap::new(), empty()).await?.into_parts().0.headers)
    }

    /// Removes the object.
    pub async fn delete(&self, bucket: &str, key: &[u8]) -> Result<(), NativeError> {
        let path = Self::object_path(bucket, key);
        self.send(Method::DELETE, &path, "", HeaderMap::new(), empty()).await.map(drop)
    }

    /// A page of the bucket's objects; `after` as the page before gave it.
    pub async fn list(&self, bucket: &str, prefix: &[u8], after: Option<&str>) -> Result<ListAnswer, NativeError> {
        let path = format!("{}{}", routes::LIST_PREFIX, percent_encode(bucket.as_bytes(), PATH));
        let query = format!("&prefix={}&after={}", percent_encode(prefix, NON_ALPHANUMERIC), after.unwrap_or_default());
        self.json(Method::GET, &path, &query, HeaderMap::new(), empty()).await
    }

    /// A page of buckets.
    pub async fn buckets(&self, after: Option<&str>) -> Result<BucketsAnswer, NativeError> {
        let query = format!("&after={}", percent_encode(after.unwrap_or_default().as_bytes(), NON_ALPHANUMERIC));
        self.json(Method::GET, routes::BUCKETS, &query, HeaderMap::new(), empty()).await
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), NativeError> {
        let path = bucket_path(bucket);
        let answer = self.send(Method::PUT, &path, "", HeaderMap::new(), empty());
        self.unless_silent(Arc::new(Mutex::new(Instant::now())), answer).await.map(drop)
    }

    /// Removes an empty bucket.
    pub async fn delete_bucket(&self, bucket: &str) -> Result<(), NativeError> {
        self.send(Method::DELETE, &bucket_path(bucket), "", HeaderMap::new(), empty()).await.map(drop)
    }

    /// `answer`, unless nothing moves for too long: neither a piece of body taken, nor the answer.
    async fn unless_silent<T>(
        &self,
        progress: Arc<Mutex<Instant>>,
        answer: impl Future<Output = Result<T, NativeError>>,
    ) -> Result<T, NativeError> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let until = *progress.lock() + SILENCE;
            match tokio::time::timeout_at(until, answer.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) if *progress.lock() + SILENCE > Instant::now() => {}
                Err(_) => {
                    let reason = format!("it was silent for {} s", SILENCE.as_secs());
                    return Err(NativeError::Unreachable { address: self.address.clone(), reason });
                }
            }
        }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<T, NativeError> {
        let answer = self.send(method, path, query, headers, body).await?;
        let bytes = answer.into_body().collect().await.map_err(|error| broken(&self.address, &error))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| broken(&self.address, &error))
    }

    /// Sends a request. One that only reads is sent once more if its connection breaks: the gateway may just have closed it, as it does after
    /// it refused an upload whose body it did not read.
    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, NativeError> {
        let (reads, begun) = (matches!(method, Method::GET | Method::HEAD), Instant::now());
        match self.send_once(method.clone(), path, query, headers.clone(), body).await {
            Err(NativeError::Unreachable { .. }) if reads && begun.elapsed() < SILENCE => {
                self.send_once(method, path, query, headers, empty()).await
            }
            sent => sent,
        }
    }

    async fn send_once(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, NativeError> {
        let target = format!("http://{}{}{query}", self.address, self.sign(method.as_str(), path, GOOD_FOR_S));
        let unusable = |error: &(dyn Error + 'static)| NativeError::Unreachable {
            address: self.address.clone(),
            reason: causes(error),
        };
        let mut request =
            Request::builder().method(method.clone()).uri(target).body(body).map_err(|error| unusable(&error))?;
        *request.headers_mut() = headers;
        // A put's answer comes after its body, however long that is; its own watch ends it if nothing moves.
        let answering = self.client.request(request);
        let answer = match method == Method::PUT {
            true => answering.await,
            false => tokio::time::timeout(SILENCE, answering).await.map_err(|_| NativeError::Unreachable {
                address: self.address.clone(),
                reason: format!("it was silent for {} s", SILENCE.as_secs()),
            })?,
        };
        let answer = answer.map_err(|error| unusable(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(refused(status, answer).await),
        }
    }
}

async fn refused(status: StatusCode, answer: Response<Incoming>) -> NativeError {
    let body = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let said = serde_json::from_slice::<serde_json::Value>(&body).ok();
    let said = said.and_then(|json| json["error"].as_str().map(str::to_string));
    let message = said.unwrap_or_else(|| match status {
        StatusCode::NOT_FOUND => "object not found".to_string(),
        _ => format!("the gateway answered {status}"),
    });
    NativeError::Refused { status, message }
}

fn bucket_path(bucket: &str) -> String {
    format!("{}{}", routes::BUCKET_PREFIX, percent_encode(bucket.as_bytes(), PATH))
}

/// Whether `name` is a bucket's name, before anything is sent.
pub fn check_bucket(name: &str) -> Result<(), domain::id::ParseError> {
    BucketName::parse(name).map(drop)
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

fn broken(address: &str, error: &(dyn Error + 'static)) -> NativeError {
    NativeError::Broken { address: address.to_string(), reason: causes(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TcpConnector;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    struct Epoch;

    impl Clock for Epoch {
        fn wall_ms(&self) -> u64 {
            0
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// Once, whoever looked for an object right after its upload had been refused got "connection closed" instead of an answer.
    #[tokio::test]
    async fn a_question_is_asked_again_when_the_gateway_closes_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            let mut request = [0; 4096];
            // It reads the question and goes away.
            let (mut first, _) = listener.accept().await.unwrap();
            assert!(first.read(&mut request).await.unwrap() > 0);
            drop(first);
            let (mut second, _) = listener.accept().await.unwrap();
            assert!(second.read(&mut request).await.unwrap() > 0);
            second.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        });
        let native = Native::new(Arc::new(TcpConnector), Arc::new(Epoch), address, "v1", b"secret");
        let asked = native.head("bucket", b"key").await;
        assert!(matches!(asked, Err(NativeError::Refused { status: StatusCode::NOT_FOUND, .. })), "{asked:?}");
        serving.await.unwrap();
    }
}
