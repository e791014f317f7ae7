//! One token that says "finish what you began", cancelled by ctrl-c or SIGTERM, or by the end of whoever supervises this process.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Set in a process that must not outlive the one that started it: it stops when its standard input ends.
pub const SUPERVISED: &str = "KVFS_SUPERVISED";

/// A token that the first SIGINT or SIGTERM cancels; a second one ends the process at once, with exit code 130.
///
/// Must be called inside a runtime. Errs if the system lets us watch no signals.
pub fn on_signals() -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(130);
            }
            tracing::info!("shutting down; a second signal ends the process at once");
            cancelled.cancel();
        }
    });
    if std::env::var_os(SUPERVISED).is_some() {
        let orphaned = token.clone();
        // A thread of its own: a blocking read cannot be taken back, and must not keep the runtime from ending.
        std::thread::spawn(move || {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
            orphaned.cancel();
        });
    }
    Ok(token)
}
