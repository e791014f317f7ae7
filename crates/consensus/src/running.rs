//! openraft's tasks: asked without being broken off, and stopped for good when storage fails.

use openraft::errors::Fatal;
use tokio::task::JoinError;

use crate::failure::Failure;
use crate::types::Raft;

/// Stops openraft when storage failed, and notes a failure that openraft found out about by itself.
pub(crate) async fn stop_on_failure(raft: Raft, failure: Failure) {
    let waiter = raft.wait(None);
    let stopped = waiter.metrics(|metrics| metrics.running_state.is_err(), "consensus stopped");
    tokio::select! {
        _ = failure.wait() => {}
        stopped = stopped => match stopped.map(|metrics| metrics.running_state) {
            Ok(Err(Fatal::Stopped)) | Ok(Ok(())) => return,
            Ok(Err(fatal)) => failure.note(fatal.to_string()),
            Err(error) => failure.note(error.to_string()),
        },
    }
    if let Err(error) = stop(&raft).await {
        tracing::warn!(%error, "consensus did not stop in order");
    }
}

/// Ends openraft's tasks and waits for them.
pub(crate) async fn stop(raft: &Raft) -> Result<(), JoinError> {
    let raft = raft.clone();
    unbroken(async move { raft.shutdown().await }).await?
}

/// Runs a question to openraft in a task of its own, so that it goes on to its end when whoever waits for it is dropped.
///
/// A question that finds openraft's core ended takes the core's handle out to await it. If that await is cancelled, everybody
/// else who asks how the core ended meets a panic.
pub(crate) async fn unbroken<T: Send + 'static>(
    question: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    tokio::spawn(question).await
}
