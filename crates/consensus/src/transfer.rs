//! A snapshot on its way from the leader to a member that is too far behind for the log.
//!
//! The stream of [`crate::snapshot`] is cut into parts of about 1 MiB, each a question of its own that is answered when the part lies in
//! the receiver's new file. One transfer at a time at either end. Nothing of it counts before the last part has come, the stream has
//! proved itself, and the file is durable; then openraft is told, and the tables go over to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::disk::Disk;
use bytes::{Bytes, BytesMut};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::StreamingError;
use openraft::raft::SnapshotResponse;
use parking_lot::Mutex;

use crate::blocking;
use crate::failure::Failure;
use crate::network::Peer;
use crate::record::{Ballot, Position};
use crate::snapshot::{Header, Installer, Ready, Writer};
use crate::tables::Store;
use crate::types::{Raft, Recipe, Snapshot, SnapshotMeta, TypeConfig, Vote};
use crate::wire::{Answer, Ask, ClusterKey};

/// Bytes in a part, give or take a block.
const PART_BYTES: usize = 1 << 20;

/// How long a receiver may take to put one part into its file: progress, or the transfer is given up and begun anew.
const PART_PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to verify the whole and make it durable.
const INSTALL_PATIENCE: Duration = Duration::from_secs(600);

/// The sending end.
pub(crate) struct Sender {
    store: Arc<Store>,
    disk: Arc<dyn Disk>,
    transfers: AtomicU64,
    turn: tokio::sync::Mutex<()>,
}

impl Sender {
    pub(crate) fn new(store: Arc<Store>, disk: Arc<dyn Disk>) -> Self {
        Self { store, disk, transfers: AtomicU64::new(1), turn: tokio::sync::Mutex::default() }
    }

    /// The next part of the stream; empty at its end.
    async fn part(&self, mut writer: Writer) -> io::Result<(Writer, Bytes)> {
        let read = move || {
            let mut part = BytesMut::new();
            while part.len() < PART_BYTES
                && let Some(block) = writer.next_block()?
            {
                part.extend_from_slice(&block);
            }
            Ok((writer, part.freeze()))
        };
        blocking::run(&self.disk, read).await
    }
}

/// Streams the tables as they are now to `peer`, as the leader that `vote` says.
pub(crate) async fn send(
    sender: &Sender,
    peer: &Peer,
    vote: Vote,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
    let _turn = sender.turn.lock().await;
    let unreachable = |error: &dyn std::error::Error| {
        StreamingError::Unreachable(openraft::errors::Unreachable::from_string(error.to_string()))
    };
    let broken = |error: io::Error| unreachable(&error);
    let transfer = sender.transfers.fetch_add(1, Ordering::Relaxed);
    let writer = sender.store.snapshot().and_then(|rows| Writer::new(rows, 0)).map_err(broken)?;
    let at = writer.header().index();
    tracing::info!(to = peer.address(), at, "sending a snapshot");
    let (mut writer, mut part) = sender.part(writer).await.map_err(broken)?;
    let mut offset = 0;
    loop {
        let (next_writer, next) = sender.part(writer).await.map_err(broken)?;
        writer = next_writer;
        let (last, length) = (next.is_empty(), part.len() as u64);
        let ask = Ask::Snapshot { ballot: Ballot::of(&vote), transfer, offset, bytes: part, last };
        let patience = if last { INSTALL_PATIENCE } else { PART_PATIENCE };
        let ballot = match peer.ask(ask, patience).await.map_err(|error| unreachable(&error))? {
            Answer::Snapshot { ballot } => ballot,
            other => return Err(unreachable(&peer.confused(&other))),
        };
        offset += length;
        if last || ballot > Ballot::of(&vote) {
            tracing::info!(to = peer.address(), at, bytes = offset, whole = last, "snapshot sent");
            return Ok(SnapshotResponse::new(ballot.to_raft()));
        }
        part = next;
    }
}

/// A part of a stream, as it arrives.
pub(crate) struct Part {
    pub(crate) from: u64,
    pub(crate) transfer: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
    pub(crate) last: bool,
}

/// The receiving end.
pub(crate) struct Receiver {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    failure: Failure,
    key: ClusterKey,
    incoming: tokio::sync::Mutex<Option<Incoming>>,
}

/// A transfer under way.
struct Incoming {
    from: u64,
    transfer: u64,
    offset: u64,
    installer: Installer,
}

impl Receiver {
    pub(crate) fn new(dir: &Path, disk: Arc<dyn Disk>, failure: Failure, key: ClusterKey) -> Self {
        Self { dir: dir.to_owned(), disk, failure, key, incoming: tokio::sync::Mutex::default() }
    }

    /// Takes a part in, and after the last one has openraft install the whole. The vote that this member knows then.
    pub(crate) async fn take_in(&self, raft: &Raft, ballot: Ballot, part: Part) -> Result<Ballot, String> {
        let known = Ballot::of(&raft.metrics().borrow_watched().vote);
        if ballot < known {
            return Ok(known);
        }
        let mut slot = self.incoming.lock().await;
        let last = part.last;
        let incoming = self.next(slot.take(), part).await?;
        if !last {
            *slot = Some(incoming);
            return Ok(ballot);
        }
        let ready = blocking::run(&self.disk, move || incoming.installer.finish().map_err(io::Error::other)).await;
        let ready = ready.map_err(|error| error.to_string())?;
        let (ready, summary) = ready;
        self.install(raft, ballot, ready, &summary.header).await
    }

    /// The transfer with `part` in it. Parts come in order; one that does not fit ends the transfer.
    async fn next(&self, current: Option<Incoming>, part: Part) -> Result<Incoming, String> {
        let Part { from, transfer, offset, bytes, .. } = part;
        let (dir, disk, failure) = (self.dir.clone(), self.disk.clone(), self.failure.clone());
        let fits = |now: &Incoming| (now.from, now.transfer, now.offset) == (from, transfer, offset);
        let current = current.filter(|now| offset > 0 && fits(now));
        if current.is_none() && offset > 0 {
            return Err(format!("part {offset} of snapshot {transfer} does not follow what came before; send it anew"));
        }
        let write = move || {
            let mut incoming = match current {
                Some(incoming) => incoming,
                None => Incoming { from, transfer, offset, installer: Installer::begin(&dir, disk, failure)? },
            };
            incoming.installer.push(&bytes).map_err(io::Error::other)?;
            incoming.offset += bytes.len() as u64;
            Ok(incoming)
        };
        blocking::run(&self.disk, write).await.map_err(|error| error.to_string())
    }

    /// Hands a whole snapshot to openraft, unless it is one that no leader of this cluster could have sent: openraft panics at those.
    async fn install(&self, raft: &Raft, ballot: Ballot, ready: Ready, header: &Header) -> Result<Ballot, String> {
        let (cluster, generation) = (header.cluster_id, header.generation);
        if cluster != 0 && (ClusterKey { cluster, generation }) != self.key {
            return Err("the snapshot is of another cluster or generation".into());
        }
        let last = ready.applied.last.ok_or("the snapshot is empty")?;
        let committed = raft.metrics().borrow_watched().local_committed.as_ref().map(Position::of);
        let newer = committed.is_none_or(|known| last > known);
        if !ballot.granted
            || last.term > ballot.term
            || (newer && committed.is_some_and(|known| last.index <= known.index))
        {
            return Err(format!("entry {} of term {} cannot be in a snapshot of this leader", last.index, last.term));
        }
        let membership = ready.applied.membership().map_err(|error| error.to_string())?;
        let meta = SnapshotMeta { last_log_id: Some(last.to_raft()), last_membership: membership };
        let snapshot = Snapshot { meta, snapshot: Recipe::Received(Arc::new(Mutex::new(Some(ready)))) };
        let installed = raft.install_full_snapshot(ballot.to_raft(), snapshot).await;
        let response = installed.map_err(|error| error.to_string())?;
        tracing::info!(at = last.index, "snapshot installed");
        Ok(Ballot::of(&response.vote))
    }
}
