//! Log lines on stderr, filtered by `KVFS_LOG`.
//!
//! Stdout belongs to what a command prints. The filter has tracing's form, `info`, or `info,dn=debug`. A program that reads the lines
//! asks for JSON: one object a line, with time, level, target, message and fields.

use tracing_subscriber::EnvFilter;

/// The variable that holds the filter.
pub const LOG_VARIABLE: &str = "KVFS_LOG";

/// Libraries that say much at `info`; a filter that names them is obeyed.
const QUIET: &str = "openraft=warn,raft_log=warn,chunked_wal=warn";

/// Starts logging for this process, as lines of text or, with `json`, as an object a line. A second call changes nothing, so tests may
/// call it too.
///
/// A filter that cannot be parsed is an error with what is wrong in it; an empty or absent one means `info`.
pub fn start(filter: Option<&str>, json: bool) -> Result<(), String> {
    let text = filter.filter(|text| !text.trim().is_empty()).unwrap_or("info");
    let parsed = EnvFilter::try_new(format!("{QUIET},{text}")).map_err(|error| {
        format!("{LOG_VARIABLE}={text:?} is no log filter such as \"info\" or \"info,dn=debug\": {error}")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_target(true);
    // Somebody else may have been first: in a test, or in a process with several roles.
    let _ = match json {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.try_init(),
    };
    Ok(())
}
