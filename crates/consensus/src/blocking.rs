//! Work that blocks on the disk, away from the threads that must not block.

use std::io;
use std::sync::Arc;

use api::disk::Disk;
use tokio::sync::oneshot;

/// Runs `job` through [`Disk::spawn`] and waits for what it returns.
///
/// On a real disk that is a thread of a pool; on the simulated disk it runs here and now. Dropping the future does not stop
/// the job: what a disk was told, it does.
pub(crate) async fn run<T: Send + 'static>(
    disk: &Arc<dyn Disk>,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    disk.spawn(Box::new(move || {
        let _ = tell.send(job());
    }));
    told.await.unwrap_or_else(|_| {
        Err(io::Error::other("the job on the disk was abandoned (it panicked, or this is shutdown)"))
    })
}
