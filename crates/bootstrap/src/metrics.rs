//! What a process counts and measures, for Prometheus: `GET /metrics`.
//!
//! One registry for each process. Requests are measured here, by operation and class of status; what a role counts besides it
//! registers itself. Gauges are read when somebody asks: [`Metrics::before_each_scrape`] takes the function that does it, so that
//! nothing is kept up to date for nobody.
//!
//! The format is OpenMetrics text 1.0, which every Prometheus since 2.5 asks for; names of counters end in `_total`. Labels come from small closed
//! sets: a path or a key is never one, or strangers could make series without end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode, header};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge as Inner;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the latency histograms' buckets in seconds: the reference's.
const SECONDS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

type Labels = Vec<(&'static str, String)>;
type Sampler = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The metrics of a process. Clones are the same.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    registry: Mutex<Registry>,
    samplers: Mutex<Vec<Arc<Sampler>>>,
    requests: Family<Labels, Histogram, fn() -> Histogram>,
    in_flight: Inner,
}

/// A family of counters, one for each combination of label values.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    labels: Vec<&'static str>,
    family: Family<Labels, Counter>,
}

impl Counters {
    /// Counts one more. `values` are in the order of the labels given at registration.
    pub fn count(&self, values: &[&str]) {
        self.add(values, 1);
    }

    /// Counts `more`.
    pub fn add(&self, values: &[&str], more: u64) {
        let labels = self.labels.iter().copied().zip(values.iter().map(|value| value.to_string())).collect();
        self.family.get_or_create(&labels).inc_by(more);
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Inner);

impl Gauge {
    /// Sets it. What is beyond `i64` is shown as its end.
    pub fn set(&self, value: u64) {
        self.0.set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Says that the value could not be had: -1, as in the reference.
    pub fn unknown(&self) {
        self.0.set(-1);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of a process: its requests, its memory and its open files.
    pub fn new() -> Self {
        let requests = Family::new_with_constructor(latencies as fn() -> Histogram);
        let in_flight = Inner::default();
        let mut registry = Registry::default();
        registry.register(
            "kvfs_request_duration_seconds",
            "Time from a request's header to its reply's, by operation and class of status",
            requests.clone(),
        );
        registry.register("kvfs_requests_in_flight", "Requests whose reply has not begun", in_flight.clone());
        let shared = Shared { registry: Mutex::new(registry), samplers: Mutex::default(), requests, in_flight };
        let metrics = Self(Arc::new(shared));
        metrics.watch_process();
        metrics
    }

    /// Registers counters under `name`, without its `_total`.
    pub fn counters(&self, name: &str, help: &str, labels: &[&'static str]) -> Counters {
        let counters = Counters { labels: labels.into(), family: Family::default() };
        self.0.registry.lock().register(name, help, counters.family.clone());
        if labels.is_empty() {
            counters.add(&[], 0);
        }
        counters
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.registry.lock().register(name, help, gauge.0.clone());
        gauge
    }

    /// Has `sample` run before each answer to `/metrics`.
    pub fn before_each_scrape<F: Future<Output = ()> + Send + 'static>(
        &self,
        sample: impl Fn() -> F + Send + Sync + 'static,
    ) {
        let sampler: Sampler = Box::new(move || Box::pin(sample()));
        self.0.samplers.lock().push(Arc::new(sampler));
    }

    /// All of them as text.
    pub async fn render(&self) -> String {
        let samplers = self.0.samplers.lock().clone();
        futures_util::future::join_all(samplers.iter().map(|sample| sample())).await;
        let mut text = String::new();
        // Writing to a string does not fail.
        encode(&mut text, &self.0.registry.lock()).unwrap_or_default();
        text
    }

    /// `inner` with `/metrics` beside it, which says 503 if it is not to be `shown`.
    pub fn serve(&self, inner: Router, shown: bool) -> Router {
        let metrics = self.clone();
        let show = move || async move {
            if !shown {
                return (StatusCode::SERVICE_UNAVAILABLE, "metrics not enabled\n").into_response();
            }
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], metrics.render().await).into_response()
        };
        Router::new().route("/metrics", get(show)).fallback_service(inner)
    }

    /// Notes that a request began; dropping what this gives says that it ended.
    pub fn begin(&self) -> InFlight {
        self.0.in_flight.inc();
        InFlight(self.0.in_flight.clone())
    }

    /// Notes how long a request took.
    pub fn took(&self, operation: &'static str, status: u16, time: Duration) {
        let class = ["1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(status / 100).clamp(1, 5) - 1];
        let labels = vec![("operation", operation.to_string()), ("status", class.to_string())];
        self.0.requests.get_or_create(&labels).observe(time.as_secs_f64());
    }

    fn watch_process(&self) {
        let memory = self.gauge("process_resident_memory_bytes", "Memory that the process has");
        let files = self.gauge("process_open_fds", "Files and sockets that are open");
        self.before_each_scrape(move || {
            match crate::system::resident_bytes() {
                Some(bytes) => memory.set(bytes),
                None => memory.unknown(),
            }
            match crate::system::open_files() {
                Some(count) => files.set(count),
                None => files.unknown(),
            }
            std::future::ready(())
        });
    }
}

fn latencies() -> Histogram {
    Histogram::new(SECONDS)
}

/// A request that is being answered.
pub struct InFlight(Inner);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The operation of a request, from a closed set.
pub fn operation(method: &Method, path: &str) -> &'static str {
    let by_method = |put, get, head, delete| match method.as_str() {
        "PUT" | "POST" => put,
        "GET" => get,
        "HEAD" => head,
        "DELETE" => delete,
        _ => "other",
    };
    let surfaces: [(&str, &'static str); 9] = [
        (api::routes::OBJECT_PREFIX, by_method("object.put", "object.get", "object.head", "object.delete")),
        (api::routes::LIST_PREFIX, "object.list"),
        (api::routes::BUCKETS, by_method("bucket.put", "bucket.get", "bucket.get", "bucket.delete")),
        ("/v1/admin/", "admin"),
        ("/v1/coord/", "metadata"),
        ("/chunks", "inventory"),
        ("/chunk/", by_method("chunk.put", "chunk.get", "chunk.head", "chunk.delete")),
        ("/node", "node"),
        ("/", if path.ends_with("z") { "health" } else { "other" }),
    ];
    surfaces.into_iter().find(|(prefix, _)| path.starts_with(prefix)).map_or("other", |(_, operation)| operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        let puts = metrics.counters("kvfs_put", "Puts", &["mode"]);
        puts.count(&["replication"]);
        puts.add(&["replication"], 2);
        let gauge = metrics.gauge("kvfs_dns_runtime", "Nodes");
        metrics.before_each_scrape(move || {
            gauge.set(3);
            std::future::ready(())
        });
        metrics.took("object.put", 201, Duration::from_millis(3));
        let busy = metrics.begin();
        let text = metrics.render().await;
        for line in [
            "kvfs_put_total{mode=\"replication\"} 3",
            "kvfs_dns_runtime 3",
            "kvfs_request_duration_seconds_bucket{le=\"0.005\",operation=\"object.put\",status=\"2xx\"} 1",
            "kvfs_request_duration_seconds_count{operation=\"object.put\",status=\"2xx\"} 1",
            "kvfs_requests_in_flight 1",
            "# TYPE kvfs_put counter",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        drop(busy);
        assert!(metrics.render().await.contains("kvfs_requests_in_flight 0\n"));
    }

    #[test]
    fn operations_come_from_a_closed_set() {
        let table = [
            ("PUT", "/v1/o/b/k", "object.put"),
            ("HEAD", "/v1/o/b/k", "object.head"),
            ("BREW", "/v1/o/b/k", "other"),
            ("GET", "/v1/list/b", "object.list"),
            ("GET", "/v1/b", "bucket.get"),
            ("DELETE", "/chunk/x", "chunk.delete"),
            ("GET", "/chunks/merkle", "inventory"),
            ("GET", "/readyz", "health"),
            ("GET", "/x", "other"),
            ("GET", "*", "other"),
        ];
        for (method, path, expected) in table {
            assert_eq!(operation(&method.parse().unwrap(), path), expected, "{method} {path}");
        }
    }
}
