//! Traces, for a collector that speaks OTLP: a span for each request, in every process that it touched.
//!
//! Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector (`http://127.0.0.1:4318`), and left out altogether without the cargo feature
//! `otlp`. Spans are sent in batches over HTTP as protobuf; what the collector does not take is dropped and counted by the library,
//! because tracing must never slow down or stop what it watches.
//!
//! Nothing has to be passed on between processes for it: the id of a request goes along anyway, and the trace's id is made
//! of it ([`adopt`]). So a put through a gateway, three nodes and a coordinator is one trace, and its log lines have the same id.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use sha2::{Digest, Sha256};
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

/// The variable that names the collector: OpenTelemetry's own.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How long the last batch may take when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What sends spans; to be closed before the process ends.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what is left. Blocks for two seconds at most.
    pub fn close(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_WORDS) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// The layer, and what has to be closed.
pub type Tracing<S> = (OpenTelemetryLayer<S, Tracer>, Traces);

/// The layer that makes spans of requests and has them sent, if a collector is named. `service` is the role's name.
///
/// Must be called inside a tokio runtime.
pub fn layer<S>(service: &str) -> Result<Option<Tracing<S>>, String>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let Some(endpoint) = std::env::var(ENDPOINT).ok().filter(|text| !text.is_empty()) else { return Ok(None) };
    let poster = Poster {
        runtime: tokio::runtime::Handle::current(),
        client: Client::builder(TokioExecutor::new()).build_http(),
    };
    let exporter = SpanExporter::builder().with_http().with_http_client(poster).build();
    let exporter = exporter.map_err(|error| {
        format!("{ENDPOINT}={endpoint:?}: expected a collector's address such as http://127.0.0.1:4318: {error}")
    })?;
    let resource = Resource::builder().with_service_name(format!("kvfs-{service}")).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("kvfs"));
    Ok(Some((layer, Traces(provider))))
}

/// Makes `span` part of the trace of the request `id`: the trace's id is the beginning of the id's SHA-256.
pub fn adopt(span: &Span, id: &str) {
    let digest = Sha256::digest(id.as_bytes());
    let (mut trace, mut parent) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&digest[..16]);
    parent.copy_from_slice(&digest[16..24]);
    let (trace, parent) = (TraceId::from_bytes(trace), SpanId::from_bytes(parent));
    let context = SpanContext::new(trace, parent, TraceFlags::SAMPLED, true, TraceState::default());
    // Without a collector there is no layer, and nothing to adopt into.
    span.set_parent(Context::new().with_remote_span_context(context)).ok();
}

/// Sends batches on the process's own runtime; the library asks from a thread that has none.
#[derive(Debug)]
struct Poster {
    runtime: tokio::runtime::Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[async_trait]
impl HttpClient for Poster {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        });
        sending.await?
    }
}
