//! Garbage collection: the one way in which bytes leave a node.
//!
//! A chunk may go only if no record places it there **and nothing that could still rely on it can commit or read**. Five steps,
//! for thousands of chunks at a time:
//!
//! 1. ask the nodes for the chunks' *tokens*;
//! 2. commit a *barrier*, at log index *b*;
//! 3. wait until every lease's *floor* is at least *b*;
//! 4. remove the records whose count is still 0, in one command;
//! 5. delete on the nodes, by token, what no other record places there: a shard of a stripe is stored as a chunk, and may be a shard of
//!    another stripe or a copy of a chunk as well.
//!
//! A put that a commit may still rely on either began before its edge knew of *b* (then its floor is below *b*, and step 3
//! waits until it has committed, which step 4 sees) or later (then it drew a new token after step 1, and step 5 is
//! refused). Tokens never come back, so a delayed delete is harmless for ever. Leave one step out, or change two
//! around, and there is a history that loses a chunk.
//!
//! Before step 4 a *mark pass* looks through all references once more. If it meets a chunk that the counts call
//! garbage, the counts are wrong: deletes are put on hold, and somebody must look.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::{ChunkError, MetaError};
use domain::stripe::Unit;
use domain::{ChunkId, ClassId, LogPosition, NodeId, Token};
use futures_util::StreamExt;
use futures_util::stream;
use meta::{Command, Reply, Tables, query};

use crate::service::{Core, storage};
use crate::sweep;

/// Chunks in one pass: one barrier serves them all.
const PASS_CHUNKS: usize = 8192;

/// Copies in one pass, of which a stripe may have hundreds; about: a chunk's or stripe's are taken together.
const PASS_COPIES: usize = 1 << 16;

/// Records that one command removes: chunks, and stripes, of which those of up to 16 shards all fit.
const FORGET_CHUNKS: usize = 256;
const FORGET_STRIPES: usize = 64;

/// Bodies emptied in one pass, and in one log entry.
const PASS_BODIES: usize = 4096;
const ENTRY_BODIES: usize = 8;

/// Extents read in one page of a mark pass.
const MARK_PAGE: usize = 1000;

/// Deletes under way at once.
const DELETES: usize = 16;

/// How long floors may take to pass the barrier: a few renewals, or a lease's end.
const FLOORS_WITHIN: Duration = Duration::from_secs(75);

/// How often floors are looked at meanwhile.
const FLOORS_EVERY: Duration = Duration::from_millis(100);

/// Tokens of chunks, as the nodes told them.
pub(crate) type Tokens = BTreeMap<(NodeId, ChunkId), Token>;

/// Collects for ever.
pub(crate) async fn run(core: Arc<Core>) {
    let mut last_sweep = core.clock.monotonic();
    // What was applied when: garbage is old enough if it was there at the newest of these that is.
    let mut applied = VecDeque::new();
    loop {
        tokio::time::sleep(core.settings.gc_every).await;
        let now = core.clock.monotonic();
        applied.push_back((now, *core.group.applied().borrow()));
        while applied.len() > 1 && applied.get(1).is_some_and(|(then, _)| now - *then >= core.settings.gc_delay) {
            applied.pop_front();
        }
        let old =
            applied.front().filter(|(then, _)| now - *then >= core.settings.gc_delay).map_or(0, |(_, index)| *index);
        let tight = short_of_room(&core);
        let until = if tight { u64::MAX >> 16 } else { old + 1 };
        collect(&core, until).await;
        if tight || now - last_sweep >= core.settings.sweep_every {
            last_sweep = now;
            note(&core, sweep::sweep(&core).await);
        }
    }
}

/// One pass over all garbage, whatever its age; with a sweep if `sweep_too`.
pub(crate) async fn pass(core: &Arc<Core>, sweep_too: bool) {
    collect(core, u64::MAX >> 16).await;
    if sweep_too {
        note(core, sweep::sweep(core).await);
    }
}

async fn collect(core: &Arc<Core>, until: u64) {
    let outcome = async {
        empty_trash(core).await?;
        collect_garbage(core, until).await
    };
    note(core, outcome.await);
    core.gc.lock().passes += 1;
}

fn note(core: &Core, outcome: Result<(), MetaError>) {
    if let Err(error) = &outcome {
        tracing::warn!(%error, "garbage collection");
    }
    core.gc.lock().note = outcome.err().map(|error| error.to_string());
}

/// Whether some node has less than twice its reserve left: then nothing is kept for later.
fn short_of_room(core: &Core) -> bool {
    let probes = core.probes.lock();
    let short = |status: &api::NodeStatus| status.free_bytes < status.reserve_bytes.saturating_mul(2);
    probes.values().filter_map(|probe| probe.status.as_ref()).any(short)
}

/// Gives the references of bodies in the trash back.
async fn empty_trash(core: &Core) -> Result<(), MetaError> {
    let mut bodies: VecDeque<_> = query::trash(&core.read().await?, PASS_BODIES).map_err(storage)?.into();
    while !bodies.is_empty() {
        let few: Vec<_> = bodies.drain(..bodies.len().min(ENTRY_BODIES)).collect();
        let commands = few.iter().map(|&body| Command::EmptyTrash { body }).collect();
        let replies = core.plan_all(commands).await?;
        for (body, reply) in few.into_iter().zip(replies) {
            match reply {
                Reply::More => bodies.push_back(body),
                _ => core.gc.lock().bodies += 1,
            }
        }
    }
    Ok(())
}

/// The five steps, for chunks whose count fell to 0 before log index `until`.
async fn collect_garbage(core: &Arc<Core>, until: u64) -> Result<(), MetaError> {
    let tables = core.read().await?;
    if query::cluster(&tables).map_err(storage)?.is_some_and(|cluster| cluster.hold_deletes.is_some()) {
        return Ok(());
    }
    let mut garbage = query::garbage(&tables, until, PASS_CHUNKS).map_err(storage)?;
    if garbage.is_empty() {
        return Ok(());
    }
    let mut holders: BTreeMap<NodeId, Vec<ChunkId>> = BTreeMap::new();
    let (mut units, mut found) = (0, 0);
    while units < garbage.len() && found < PASS_COPIES {
        let (_, class, unit) = garbage[units];
        for (id, node) in copies(&tables, class, &unit)? {
            holders.entry(node).or_default().push(id);
            found += 1;
        }
        units += 1;
    }
    garbage.truncate(units);
    drop(tables);
    let tokens = ask_tokens(core, &holders).await;
    mark(core, &garbage).await?;
    let barrier = commit_barrier(core).await?;
    wait_for_floors(core, barrier).await?;
    let forgotten = forget(core, barrier, &garbage).await?;
    let doomed = forgotten.into_iter().filter_map(|copy| tokens.get(&copy).map(|token| (copy.0, copy.1, *token)));
    delete(core, doomed.collect()).await;
    Ok(())
}

/// Every copy that the record of a chunk or stripe names.
fn copies(tables: &dyn Tables, class: ClassId, unit: &Unit) -> Result<Vec<(ChunkId, NodeId)>, MetaError> {
    Ok(match unit {
        Unit::Chunk(id) => {
            let row = query::chunk(tables, class, id).map_err(storage)?;
            row.iter().flat_map(|row| &row.replicas).map(|copy| (*id, copy.node)).collect()
        }
        Unit::Stripe(id) => {
            let row = query::stripe(tables, class, id).map_err(storage)?;
            let shards = row.iter().flat_map(|row| &row.shards);
            shards.flat_map(|shard| shard.replicas.iter().map(|copy| (shard.id, copy.node))).collect()
        }
    })
}

/// Step 1. A node that does not answer keeps its copies; a sweep finds them when it is back.
pub(crate) async fn ask_tokens(core: &Core, holders: &BTreeMap<NodeId, Vec<ChunkId>>) -> Tokens {
    let mut tokens = Tokens::new();
    for (&node, ids) in holders {
        let Some(store) = core.store(node) else { continue };
        for page in ids.chunks(1024) {
            match store.stat(page).await {
                Ok(held) => tokens.extend(held.into_iter().map(|held| ((node, held.id), held.token))),
                Err(error) => {
                    tracing::info!(%node, %error, "no tokens; its copies stay until it is back");
                    break;
                }
            }
        }
    }
    tokens
}

/// The mark pass: no reference may name what the counts call garbage.
async fn mark(core: &Core, garbage: &[(LogPosition, ClassId, Unit)]) -> Result<(), MetaError> {
    let doomed: BTreeSet<(ClassId, Unit)> = garbage.iter().map(|(_, class, unit)| (*class, *unit)).collect();
    let tables = core.read().await?;
    let mut next = None;
    loop {
        let (units, resume) = query::mark_page(&tables, next.as_deref(), MARK_PAGE).map_err(storage)?;
        let met: BTreeSet<_> = units.into_iter().filter(|unit| doomed.contains(unit)).collect();
        for (class, unit) in met {
            // Referenced again since the garbage was listed: then it is no garbage any more, and all is well.
            if references(&tables, class, &unit)? == 0 {
                return hold(core, &unit).await;
            }
        }
        match resume {
            Some(key) => next = Some(key),
            None => return Ok(()),
        }
        tokio::task::yield_now().await;
    }
}

/// How many references its record counts; none if it has no record.
fn references(tables: &dyn Tables, class: ClassId, unit: &Unit) -> Result<u64, MetaError> {
    Ok(match unit {
        Unit::Chunk(id) => query::chunk(tables, class, id).map_err(storage)?.map_or(0, |row| row.count),
        Unit::Stripe(id) => query::stripe(tables, class, id).map_err(storage)?.map_or(0, |row| row.count),
    })
}

async fn hold(core: &Core, unit: &Unit) -> Result<(), MetaError> {
    let what = match unit {
        Unit::Chunk(id) => format!("chunk {id}"),
        Unit::Stripe(id) => format!("stripe {id}"),
    };
    let reason = format!("{what} counts no references, and a mark pass met one: the counts are wrong");
    tracing::error!(reason, "deletes are on hold");
    core.plan(Command::HoldDeletes { reason: Some(reason.clone()) }).await?;
    Err(MetaError::Failed { reason })
}

/// Step 2.
pub(crate) async fn commit_barrier(core: &Core) -> Result<u64, MetaError> {
    core.plan(Command::Barrier).await.map(|(index, _)| index)
}

/// Step 3. A lease that does not move is removed after its minute, which ends the wait too.
pub(crate) async fn wait_for_floors(core: &Core, barrier: u64) -> Result<(), MetaError> {
    let deadline = core.clock.monotonic() + FLOORS_WITHIN;
    loop {
        let leases = query::leases(&core.read().await?).map_err(storage)?;
        let Some((_, lease)) = leases.into_iter().find(|(_, lease)| lease.floor < barrier) else { return Ok(()) };
        if core.clock.monotonic() >= deadline {
            let reason = format!("{} has relied on log index {} for {FLOORS_WITHIN:?}", lease.holder, lease.floor);
            return Err(MetaError::Unavailable { reason });
        }
        tokio::time::sleep(FLOORS_EVERY).await;
    }
}

/// Step 4. Returns the copies that no record places where they are any more.
async fn forget(
    core: &Core,
    barrier: u64,
    garbage: &[(LogPosition, ClassId, Unit)],
) -> Result<Vec<(NodeId, ChunkId)>, MetaError> {
    let (mut chunks, mut stripes) = (Vec::new(), Vec::new());
    for (since, class, unit) in garbage {
        match unit {
            Unit::Chunk(id) => chunks.push((*class, *id, *since)),
            Unit::Stripe(id) => stripes.push((*class, *id, *since)),
        }
    }
    let mut copies = Vec::new();
    for few in chunks.chunks(FORGET_CHUNKS) {
        match core.plan(Command::ForgetChunks { barrier, chunks: few.to_vec() }).await? {
            (_, Reply::Forgotten(forgotten)) => {
                core.gc.lock().records += forgotten.len() as u64;
                for (id, nodes) in forgotten {
                    copies.extend(nodes.into_iter().map(|node| (node, id)));
                }
            }
            (_, other) => return Err(not_forgotten(other)),
        }
    }
    // A command that would touch too many rows leaves its last stripes to the next pass.
    for few in stripes.chunks(FORGET_STRIPES) {
        match core.plan(Command::ForgetStripes { barrier, stripes: few.to_vec() }).await? {
            (_, Reply::Released { stripes, copies: released }) => {
                core.gc.lock().records += stripes;
                copies.extend(released);
            }
            (_, other) => return Err(not_forgotten(other)),
        }
    }
    Ok(copies)
}

fn not_forgotten(reply: Reply) -> MetaError {
    match reply {
        Reply::Refused(reason) => MetaError::Unavailable { reason },
        other => MetaError::Failed { reason: format!("forgetting was answered with {other:?}") },
    }
}

/// Step 5.
pub(crate) async fn delete(core: &Core, doomed: Vec<(NodeId, ChunkId, Token)>) {
    let delete = |(node, id, token): (NodeId, ChunkId, Token)| async move {
        let Some(store) = core.store(node) else { return };
        let outcome = store.delete(id, token).await;
        let mut gc = core.gc.lock();
        match outcome {
            Ok(()) => gc.copies += 1,
            Err(ChunkError::Touched { .. }) => gc.spared += 1,
            Err(ChunkError::Missing { .. }) => {}
            Err(error) => tracing::info!(%node, chunk = %id, %error, "not deleted; a sweep finds it"),
        }
    };
    stream::iter(doomed).map(delete).buffer_unordered(DELETES).collect::<()>().await;
}
