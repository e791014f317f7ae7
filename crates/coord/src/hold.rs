//! The end of a hold on deletes: first every record is compared with every node.
//!
//! After a restore the tables are older than the nodes. Some chunks that they name were deleted since, and nodes hold others that they do
//! not know. Both are harmless as long as nothing is deleted; and lifting the hold cannot be taken back, because sweeps then delete what no
//! record knows. So it is lifted only by somebody who was shown what an audit found:
//!
//! 1. each record of a chunk or stripe, page by page: do the nodes that it relies on have it, in that length? A copy that is not there is
//!    noted in the record, as a reader would note it. A stripe is lost when fewer than K of its shards are left;
//! 2. each node's inventory: how many copies does no record name?
//! 3. if chunks are lost: which objects refer to them? Their names are told. Reading them answers an error that names the chunk.
//!
//! The scan rests as long as it works, so that it takes half of what it could at most. It goes by what nodes list, without reading their
//! chunks: a scrub finds damage, this finds absence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::meta_admin::{AuditState, HoldAudit, HurtObject};
use api::{AdminError, MetaError};
use domain::change::{Change, Session, ShardAt};
use domain::record::{ChunkRow, DegradedCause, ObjectName, ObjectRow, Replica, ReplicaState};
use domain::stripe::{StripeRow, Unit};
use domain::{ChunkId, ClassId, LogPosition, NodeId, StripeId};
use meta::{Command, Reply, Table, Tables, query};

use crate::service::{Core, storage};
use crate::sweep::is_known;

/// Chunk records looked at together; a node may be asked for so many ids at once.
const PAGE_CHUNKS: usize = 1024;

/// Stripe records looked at together: with 255 shards each, 16 times as many ids.
const PAGE_STRIPES: usize = 64;

/// Objects looked at together.
const PAGE_OBJECTS: usize = 256;

/// Names that are kept.
const MAX_NAMES: usize = 1000;

/// Lost chunks that are kept in memory, 32 MiB of ids. Where more are lost, these are not the nodes that the records are about.
const MAX_LOST: usize = 1 << 20;

/// What the audit needs besides the report.
struct Audit<'a> {
    core: &'a Core,
    lease: LogPosition,
    request: u64,
    silent: BTreeMap<NodeId, String>,
    lost: BTreeSet<(ClassId, Unit)>,
}

/// What is known now.
pub(crate) async fn report(core: &Core) -> Result<HoldAudit, AdminError> {
    let hold = present_hold(core).await?;
    let mut report = core.backups.audit.lock().clone();
    report.hold = hold;
    Ok(report)
}

/// Begins an audit in the background, unless one is running.
pub(crate) async fn begin(core: &Arc<Core>) -> Result<HoldAudit, AdminError> {
    let hold = present_hold(core).await?;
    let index = *core.group.applied().borrow();
    {
        let mut report = core.backups.audit.lock();
        if report.state != AuditState::Running {
            *report = HoldAudit { state: AuditState::Running, audited_hold: hold, index, ..HoldAudit::default() };
            let core = core.clone();
            tokio::spawn(async move { run(&core).await });
        }
    }
    self::report(core).await
}

/// Lifts the hold, if the audit allows it.
pub(crate) async fn release(core: &Core, force: bool) -> Result<HoldAudit, AdminError> {
    let report = report(core).await?;
    let Some(hold) = &report.hold else {
        return Err(AdminError::Conflict("deletes are not on hold".into()));
    };
    if let Some(why) = objection(&report, hold, force) {
        return Err(AdminError::Conflict(why));
    }
    core.plan(Command::HoldDeletes { reason: None }).await.map_err(unavailable)?;
    tracing::warn!(hold, force, objects_hurt = report.objects_hurt, "the hold on deletes is lifted");
    self::report(core).await
}

/// Why the hold must stay.
fn objection(report: &HoldAudit, hold: &str, force: bool) -> Option<String> {
    match report.state {
        AuditState::Running => return Some("the audit is not over: wait for it".into()),
        AuditState::Done if report.audited_hold.as_deref() == Some(hold) => {}
        AuditState::Failed => {
            return Some(format!("the audit broke off: {}", report.failure.as_deref().unwrap_or("begin it again")));
        }
        _ => return Some("no audit was made for this hold: begin one first".into()),
    }
    if force {
        return None;
    }
    if report.objects_hurt > 0 {
        return Some(format!(
            "{} objects lack chunks that no node has. Restore a later backup, or remove them; --force lifts the hold all the same: they stay \
             unreadable, and chunks that no record knows are then deleted for good",
            report.objects_hurt
        ));
    }
    (!report.silent_nodes.is_empty()).then(|| {
        format!(
            "{} nodes did not answer: {}. Bring them back and audit again; --force lifts the hold without knowing what they have",
            report.silent_nodes.len(),
            report.silent_nodes.join(", ")
        )
    })
}

async fn present_hold(core: &Core) -> Result<Option<String>, AdminError> {
    let tables = core.read().await.map_err(unavailable)?;
    let cluster = query::cluster(&tables).map_err(storage).map_err(unavailable)?;
    Ok(cluster.and_then(|cluster| cluster.hold_deletes))
}

async fn run(core: &Core) {
    let outcome = audit(core).await;
    let mut report = core.backups.audit.lock();
    match outcome {
        Ok(()) => report.state = AuditState::Done,
        Err(error) => {
            tracing::warn!(%error, "the audit before the end of a hold broke off");
            (report.state, report.failure) = (AuditState::Failed, Some(error.to_string()));
        }
    }
}

async fn audit(core: &Core) -> Result<(), MetaError> {
    let known = *core.group.applied().borrow();
    let lease = match core.plan(Command::OpenLease { holder: "audit".into(), known }).await? {
        (_, Reply::Lease(lease)) => lease,
        (_, other) => return Err(MetaError::Failed { reason: format!("a lease was answered with {other:?}") }),
    };
    let mut audit = Audit { core, lease, request: 0, silent: BTreeMap::new(), lost: BTreeSet::new() };
    let outcome = async {
        audit.records().await?;
        audit.inventories().await?;
        audit.objects().await
    };
    let outcome = outcome.await;
    // If this fails, the lease expires by itself.
    let _ = core.plan(Command::CloseLease { lease }).await;
    outcome
}

impl Audit<'_> {
    /// Step 1.
    async fn records(&mut self) -> Result<(), MetaError> {
        let tables = self.core.read().await?;
        let (chunks, stripes) = (tables.count(Table::Chunks), tables.count(Table::Stripes));
        self.core.backups.audit.lock().chunks = chunks.map_err(storage)? + stripes.map_err(storage)?;
        drop(tables);
        self.chunk_records().await?;
        self.stripe_records().await
    }

    async fn chunk_records(&mut self) -> Result<(), MetaError> {
        let mut after = None;
        loop {
            let began = self.core.clock.monotonic();
            let (page, next) =
                query::chunk_page(&self.core.read().await?, after.as_deref(), PAGE_CHUNKS).map_err(storage)?;
            self.page(&page).await?;
            match next {
                Some(key) => after = Some(key),
                None => return Ok(()),
            }
            tokio::time::sleep(self.core.clock.monotonic().saturating_sub(began)).await;
        }
    }

    async fn stripe_records(&mut self) -> Result<(), MetaError> {
        let mut after = None;
        loop {
            let began = self.core.clock.monotonic();
            let (page, next) =
                query::stripe_page(&self.core.read().await?, after.as_deref(), PAGE_STRIPES).map_err(storage)?;
            self.stripe_page(&page).await?;
            match next {
                Some(key) => after = Some(key),
                None => return Ok(()),
            }
            tokio::time::sleep(self.core.clock.monotonic().saturating_sub(began)).await;
        }
    }

    /// A stripe is lost if fewer than K shards are on any node, and unseen if only silent nodes could tell.
    async fn stripe_page(&mut self, page: &[(ClassId, StripeId, StripeRow)]) -> Result<(), MetaError> {
        let shards = page.iter().flat_map(|(_, _, row)| &row.shards);
        let found = self.ask(shards.map(|shard| (shard.id, shard.replicas.as_slice()))).await;
        let mut reports = Vec::new();
        let mut tally = Tally::default();
        for (class, id, row) in page {
            let (mut good, mut doubtful) = (0, 0);
            for (index, shard) in (0..=u8::MAX).zip(&row.shards) {
                let bytes = row.shard_bytes;
                let look = self.look(shard.id, bytes, &shard.replicas, &found);
                tally.missing += look.missing;
                good += usize::from(look.good > 0);
                doubtful += usize::from(look.good == 0 && look.doubtful > 0);
                let at = ShardAt { class: *class, stripe: *id, index };
                reports.extend(look.absent.into_iter().map(|(copy, cause)| Change::ReportShard {
                    shard: at,
                    node: copy.node,
                    incarnation: copy.incarnation,
                    cause,
                }));
            }
            let needed = row.scheme.data();
            if row.count > 0 && good < needed {
                match good + doubtful < needed {
                    true => self.lose((*class, Unit::Stripe(*id)), &mut tally),
                    false => tally.unseen += 1,
                }
            }
        }
        self.tell(page.len(), tally)?;
        for few in reports.chunks(PAGE_CHUNKS) {
            self.note(few.to_vec()).await?;
        }
        Ok(())
    }

    async fn page(&mut self, page: &[(ClassId, ChunkId, ChunkRow)]) -> Result<(), MetaError> {
        let found = self.ask(page.iter().map(|(_, id, row)| (*id, row.replicas.as_slice()))).await;
        let mut reports = Vec::new();
        let mut tally = Tally::default();
        for (class, id, row) in page {
            let look = self.look(*id, row.length, &row.replicas, &found);
            tally.missing += look.missing;
            reports.extend(look.absent.into_iter().map(|(copy, cause)| Change::Report {
                class: *class,
                chunk: *id,
                node: copy.node,
                incarnation: copy.incarnation,
                cause,
            }));
            match (row.count, look.good, look.doubtful) {
                (0, ..) | (_, 1.., _) => {}
                (_, 0, 1..) => tally.unseen += 1,
                _ => self.lose((*class, Unit::Chunk(*id)), &mut tally),
            }
        }
        self.tell(page.len(), tally)?;
        self.note(reports).await
    }

    fn lose(&mut self, unit: (ClassId, Unit), tally: &mut Tally) {
        tally.lost += 1;
        self.lost.insert(unit);
    }

    /// Adds what was found of `records` records to the report.
    fn tell(&self, records: usize, tally: Tally) -> Result<(), MetaError> {
        let mut report = self.core.backups.audit.lock();
        report.chunks_done += records as u64;
        report.copies_missing += tally.missing;
        report.chunks_lost += tally.lost;
        report.chunks_unseen += tally.unseen;
        report.silent_nodes = self.silent.values().cloned().collect();
        if self.lost.len() > MAX_LOST {
            let reason = format!("more than {MAX_LOST} chunks are on no node: these are not the nodes of this backup");
            return Err(MetaError::Failed { reason });
        }
        Ok(())
    }

    /// Asks each node for the lengths of those of these chunks that it may have.
    async fn ask<'r>(&mut self, chunks: impl Iterator<Item = (ChunkId, &'r [Replica])>) -> Lengths {
        let mut wanted: BTreeMap<NodeId, Vec<ChunkId>> = BTreeMap::new();
        for (id, replicas) in chunks {
            for copy in copies(replicas) {
                wanted.entry(copy.node).or_default().push(id);
            }
        }
        let mut found = Lengths::new();
        for (node, ids) in wanted {
            for few in ids.chunks(PAGE_CHUNKS) {
                let Some(held) = self.stat(node, few).await else { break };
                found.extend(held.into_iter().map(|(id, length)| ((node, id), length)));
            }
        }
        found
    }

    /// What the nodes have of one chunk or shard.
    fn look(&self, id: ChunkId, length: u32, replicas: &[Replica], found: &Lengths) -> Look {
        let mut look = Look::default();
        for copy in copies(replicas) {
            match (self.verdict(copy, found.get(&(copy.node, id)), length), copy.state) {
                (Verdict::There, _) => look.good += 1,
                (Verdict::Unknown, _) => look.doubtful += 1,
                (Verdict::Bad(cause), state) => {
                    look.missing += 1;
                    if state == ReplicaState::Held {
                        look.absent.push((*copy, cause));
                    }
                }
            }
        }
        look
    }

    /// Length of those of `ids` that the node has; `None` if it does not answer, now or before.
    async fn stat(&mut self, node: NodeId, ids: &[ChunkId]) -> Option<Vec<(ChunkId, u64)>> {
        if self.silent.contains_key(&node) {
            return None;
        }
        let Some(store) = self.core.store(node) else {
            self.silent.insert(node, format!("{node}: it is not registered"));
            return None;
        };
        match store.stat(ids).await {
            Ok(held) => Some(held.into_iter().map(|held| (held.id, held.length)).collect()),
            Err(error) => {
                self.silent.insert(node, format!("{node}: {error}"));
                None
            }
        }
    }

    fn verdict(&self, copy: &Replica, found: Option<&u64>, length: u32) -> Verdict {
        let incarnation = self.core.view.borrow().node(copy.node).and_then(|node| node.incarnation);
        match found {
            _ if self.silent.contains_key(&copy.node) => Verdict::Unknown,
            // Another formatting of the directory: whatever it has, it is not this copy.
            _ if incarnation != Some(copy.incarnation) => Verdict::Bad(DegradedCause::Absent),
            None => Verdict::Bad(DegradedCause::Absent),
            Some(found) if *found != u64::from(length) => Verdict::Bad(DegradedCause::Damaged),
            Some(_) => Verdict::There,
        }
    }

    /// Notes what is not there, as a reader would; and keeps the lease.
    async fn note(&mut self, reports: Vec<Change>) -> Result<(), MetaError> {
        let floor = *self.core.group.applied().borrow();
        let mut commands = vec![Command::RenewLease { lease: self.lease, floor }];
        for change in reports {
            self.request += 1;
            let session = Session { lease: self.lease, request: self.request, lowest: self.request };
            commands.push(Command::Change { session, change });
        }
        self.core.plan_all(commands).await.map(drop)
    }

    /// Step 2.
    async fn inventories(&mut self) -> Result<(), MetaError> {
        let nodes: Vec<_> = self.core.view.borrow().nodes.iter().map(|node| node.id).collect();
        for node in nodes {
            let Some(store) = self.core.store(node) else { continue };
            let mut after = None;
            loop {
                let began = self.core.clock.monotonic();
                let page = match store.inventory(after, PAGE_CHUNKS).await {
                    Ok(page) => page,
                    Err(error) => {
                        self.silent.insert(node, format!("{node}: {error}"));
                        self.core.backups.audit.lock().silent_nodes = self.silent.values().cloned().collect();
                        break;
                    }
                };
                let Some(last) = page.last() else { break };
                after = Some(*last);
                let tables = self.core.read().await?;
                let classes = query::cluster(&tables).map_err(storage)?.map_or(0, |row| row.classes.len());
                let mut unknown = 0;
                for id in &page {
                    unknown += u64::from(!is_known(&tables, classes, id)?);
                }
                drop(tables);
                self.core.backups.audit.lock().copies_unknown += unknown;
                self.note(Vec::new()).await?;
                tokio::time::sleep(self.core.clock.monotonic().saturating_sub(began)).await;
            }
        }
        Ok(())
    }

    /// Step 3.
    async fn objects(&mut self) -> Result<(), MetaError> {
        if self.lost.is_empty() {
            return Ok(());
        }
        let mut after: Option<String> = None;
        loop {
            let buckets = query::buckets(&self.core.read().await?, after.as_deref(), PAGE_OBJECTS).map_err(storage)?;
            let Some((last, _)) = buckets.last() else { return Ok(()) };
            after = Some(last.as_str().to_string());
            for (bucket, _) in buckets {
                let mut key: Option<Vec<u8>> = None;
                loop {
                    let began = self.core.clock.monotonic();
                    let tables = self.core.read().await?;
                    let (page, more) =
                        query::list(&tables, &bucket, b"", key.as_deref(), PAGE_OBJECTS).map_err(storage)?;
                    key = page.last().map(|(name, _)| name.key.as_bytes().to_vec());
                    for (name, row) in page {
                        self.object(&tables, &name, &row)?;
                    }
                    drop(tables);
                    self.note(Vec::new()).await?;
                    if !more {
                        break;
                    }
                    tokio::time::sleep(self.core.clock.monotonic().saturating_sub(began)).await;
                }
            }
        }
    }

    fn object(&self, tables: &dyn Tables, name: &ObjectName, row: &ObjectRow) -> Result<(), MetaError> {
        let Some(body) = query::body(tables, row.body).map_err(storage)? else { return Ok(()) };
        let (mut first, mut missing) = (None, 0);
        for index in 0..body.extents {
            for unit in query::units(tables, row.body, &body, index).map_err(storage)? {
                if self.lost.contains(&(body.class, unit)) {
                    missing += 1;
                    first.get_or_insert(unit);
                }
            }
        }
        if let Some(unit) = first {
            let chunk = match unit {
                Unit::Chunk(id) => id.to_hex(),
                Unit::Stripe(id) => id.to_hex(),
            };
            let mut report = self.core.backups.audit.lock();
            report.objects_hurt += 1;
            if report.hurt.len() < MAX_NAMES {
                let hurt = HurtObject { name: name.to_string(), chunks_missing: missing, chunk };
                report.hurt.push(hurt);
            }
        }
        Ok(())
    }
}

/// Length of a chunk on a node.
type Lengths = BTreeMap<(NodeId, ChunkId), u64>;

/// What was found of some records.
#[derive(Default)]
struct Tally {
    missing: u64,
    lost: u64,
    unseen: u64,
}

/// What was found of one chunk or shard: copies that are there, that nobody could ask for, that are not there; and those that were relied on.
#[derive(Default)]
struct Look {
    good: usize,
    doubtful: usize,
    missing: u64,
    absent: Vec<(Replica, DegradedCause)>,
}

enum Verdict {
    There,
    Bad(DegradedCause),
    Unknown,
}

/// Copies that may be there: those relied on, and those that were reported bad and may be back.
fn copies(replicas: &[Replica]) -> impl Iterator<Item = &Replica> {
    replicas.iter().filter(|copy| matches!(copy.state, ReplicaState::Held | ReplicaState::Missing { .. }))
}

fn unavailable(error: MetaError) -> AdminError {
    AdminError::Unavailable(error.to_string())
}
