//! Log lines on stderr, filtered by `KVFS_LOG`.
//!
//! Stdout belongs to what a command prints. The filter has tracing's form, `info`, or `info,dn=debug`.

use tracing_subscriber::EnvFilter;

/// The variable that holds the filter.
pub const LOG_VARIABLE: &str = "KVFS_LOG";

/// Libraries that say much at `info`; a filter that names them is obeyed.
const QUIET: &str = "openraft=warn,raft_log=warn,chunked_wal=warn";

/// Starts logging for this process. A second call changes nothing, so tests may call it too.
///
/// A filter that cannot be parsed is an error with what is wrong in it; an empty or absent one means `info`.
pub fn start(filter: Option<&str>) -> Result<(), String> {
    let text = filter.filter(|text| !text.trim().is_empty()).unwrap_or("info");
    let parsed = EnvFilter::try_new(format!("{QUIET},{text}")).map_err(|error| {
        format!("{LOG_VARIABLE}={text:?} is no log filter such as \"info\" or \"info,dn=debug\": {error}")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_target(true);
    let _ = lines.try_init(); // Somebody else was first: in a test, or in a process with several roles.
    Ok(())
}

/// Starts logging with the filter of the environment.
pub fn start_from_env() -> Result<(), String> {
    start(std::env::var(LOG_VARIABLE).ok().as_deref())
}
