//! What runs beside the requests: watching the view, confirming late answers, reporting bad copies.

use std::sync::Arc;
use std::time::Duration;

use api::Metadata;
use api::metadata::REPORT_EVERY;
use datapath::{BadCopy, Copied, LateAnswer, Nodes};
use domain::change::Change;
use domain::view::ClusterView;
use tokio::sync::{mpsc, watch};

use crate::lease::LeaseKeeper;

/// Late answers are confirmed this often.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// How many go into one command.
const CONFIRM_BATCH: usize = 512;

/// After a failed poll of the view, the next one waits this long.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// A copy that a read found bad, and what it is a copy of.
pub(crate) struct BadReport {
    pub of: Copied,
    pub copy: BadCopy,
}

/// Keeps `sender` at the newest view, for ever.
pub(crate) async fn watch_view(meta: Arc<dyn Metadata>, sender: watch::Sender<Arc<ClusterView>>) {
    let mut known = 0;
    loop {
        match meta.view(known).await {
            Ok(view) if view.revision != known => {
                known = view.revision;
                sender.send_replace(Arc::new(view));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the view could not be polled");
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }
}

/// Confirms late answers in batches, once a second. What gets lost here is found by repair.
pub(crate) async fn confirm_late(
    meta: Arc<dyn Metadata>,
    keeper: LeaseKeeper,
    mut answers: mpsc::Receiver<LateAnswer>,
) {
    let mut batch = Vec::new();
    while answers.recv_many(&mut batch, CONFIRM_BATCH).await > 0 {
        tokio::time::sleep(CONFIRM_EVERY).await;
        while batch.len() < CONFIRM_BATCH
            && let Ok(answer) = answers.try_recv()
        {
            batch.push(answer);
        }
        for change in confirmations(&batch) {
            tell(&*meta, &keeper, change).await;
        }
        // Only now may the floors under these puts move.
        batch.clear();
    }
}

/// Late answers as commands: one for chunks and one for shards, if there are any.
fn confirmations(batch: &[LateAnswer]) -> Vec<Change> {
    let (mut chunks, mut shards) = (Vec::new(), Vec::new());
    for late in batch {
        match late.of {
            Copied::Chunk(class, chunk) => chunks.push((class, chunk, late.node, late.incarnation)),
            Copied::Shard(shard) => shards.push((shard, late.node, late.incarnation)),
        }
    }
    let chunks = (!chunks.is_empty()).then_some(Change::Confirm { late: chunks });
    let shards = (!shards.is_empty()).then_some(Change::ConfirmShards { late: shards });
    chunks.into_iter().chain(shards).collect()
}

/// Tells the metadata of bad copies, one by one.
pub(crate) async fn report_bad(meta: Arc<dyn Metadata>, keeper: LeaseKeeper, mut reports: mpsc::Receiver<BadReport>) {
    while let Some(BadReport { of, copy }) = reports.recv().await {
        let BadCopy { node, incarnation, cause } = copy;
        tracing::warn!(?of, %node, ?cause, "a copy is bad; others were used");
        let report = match of {
            Copied::Chunk(class, chunk) => Change::Report { class, chunk, node, incarnation, cause },
            Copied::Shard(shard) => Change::ReportShard { shard, node, incarnation, cause },
        };
        tell(&*meta, &keeper, report).await;
    }
}

/// Reports how nodes in doubt look from here, once a second while there are any.
pub(crate) async fn report_nodes(meta: Arc<dyn Metadata>, keeper: LeaseKeeper, nodes: Nodes) {
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let seen = nodes.doubtful();
        let Some(lease) = keeper.lease().filter(|_| !seen.is_empty()) else { continue };
        if let Err(error) = meta.report_nodes(lease, &seen).await {
            tracing::debug!(%error, "a report on nodes was lost");
        }
    }
}

async fn tell(meta: &dyn Metadata, keeper: &LeaseKeeper, change: Change) {
    let Some(work) = keeper.begin() else { return };
    let request = work.request();
    if let Err(error) = meta.change(request.session(), change).await {
        tracing::debug!(%error, "a note to the metadata was lost");
    }
}
