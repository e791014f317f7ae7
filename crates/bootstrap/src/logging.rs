//! Log lines on stderr, filtered by `KVFS_LOG`.
//!
//! Stdout belongs to what a command prints. The filter has tracing's form, `info`, or `info,dn=debug`. A program that reads the lines
//! asks for JSON: one object a line, with time, level, target, message and fields.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// The target of requests' spans: they are there for traces, and to put a request's id on the lines that are logged for it.
pub const REQUESTS: &str = "request";

/// The variable that holds the filter.
pub const LOG_VARIABLE: &str = "KVFS_LOG";

/// Libraries that say much at `info`; a filter that names them is obeyed.
const QUIET: &str = "openraft=error,raft_log=warn,chunked_wal=warn";

/// Starts logging for this process, whose `role` traces name, as lines of text or, with `json`, as an object a line. A second call changes nothing, so tests may
/// call it too.
///
/// A filter that cannot be parsed is an error with what is wrong in it; an empty or absent one means `info`.
pub fn start(filter: Option<&str>, json: bool, role: &str) -> Result<Logging, String> {
    let text = filter.filter(|text| !text.trim().is_empty()).unwrap_or("info");
    let parsed = EnvFilter::try_new(format!("{QUIET},{text}")).map_err(|error| {
        format!("{LOG_VARIABLE}={text:?} is no log filter such as \"info\" or \"info,dn=debug\": {error}")
    })?;
    // Colours are for people who watch, not for files that are searched; NO_COLOR turns them off for people too.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(true);
    let lines = match json {
        true => lines.json().flatten_event(true).boxed(),
        false => lines.boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(parsed));
    // Somebody else may have been first: in a test, or in a process with several roles.
    #[cfg(feature = "otlp")]
    {
        let (layer, traces) = crate::traces::layer(role)?.unzip();
        let requests = tracing_subscriber::filter::Targets::new().with_target(REQUESTS, tracing::Level::INFO);
        registry.with(layer.with_filter(requests)).try_init().ok();
        Ok(Logging { traces })
    }
    #[cfg(not(feature = "otlp"))]
    {
        let _ = role;
        registry.try_init().ok();
        Ok(Logging {})
    }
}

/// Logging that goes on. Its end must be waited for, or the last spans are lost.
pub struct Logging {
    #[cfg(feature = "otlp")]
    traces: Option<crate::traces::Traces>,
}

impl Logging {
    /// Sends what was not sent yet. Takes two seconds at most.
    pub async fn close(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            // The job cannot be cancelled, and how it ends changes nothing.
            tokio::task::spawn_blocking(move || traces.close()).await.ok();
        }
    }
}
