//! Buckets, objects and the bodies they point at.
//!
//! Every change first checks all that can refuse it and only then writes, so a refused change leaves no trace but its reply.

use domain::change::{Change, NewBody, Outcome, Precondition, Refusal, Written, WrittenStripe};
use domain::record::{BodyKind, BodyRow, BucketRow, Extent, MAX_EXTENT_CHUNKS, ObjectName, ObjectRow};
use domain::stripe::{MAX_EXTENT_ROWS, StripeExtent, rows_of};
use domain::{BucketName, ClassId, LogPosition};

use crate::chunks::Verdict;
use crate::keys;
use crate::machine::{self, Machine};
use crate::tables::{StorageError, Table};

/// Bodies one lease may have under construction: what its removal must be able to clear in one command.
pub const MAX_UPLOADS: usize = 1024;

/// The most entries in one batch of late answers.
pub const MAX_CONFIRM: usize = 1024;

/// The same of shards, each of which may touch its stripe, its place on its node, and both queues.
pub const MAX_CONFIRM_SHARDS: usize = 512;

impl Machine<'_> {
    /// Carries out `change` for the holder of `lease`.
    pub fn change(&mut self, lease: LogPosition, change: &Change) -> Verdict<Outcome> {
        match change {
            Change::CreateBucket { bucket } => self.create_bucket(bucket),
            Change::DeleteBucket { bucket } => self.delete_bucket(bucket),
            Change::BeginBody { class } => self.begin_body(lease, *class, BodyKind::Chunks),
            Change::BeginStripes { class, scheme } => self.begin_body(lease, *class, BodyKind::Stripes(*scheme)),
            Change::Append { body, extent, chunks } => self.append(lease, *body, *extent, Pieces::Chunks(chunks)),
            Change::AppendStripes { body, extent, stripes } => {
                self.append(lease, *body, *extent, Pieces::Stripes(stripes))
            }
            Change::Abort { body } => self.abort(lease, *body),
            Change::PutObject { .. } => self.put_object(lease, change),
            Change::DeleteObject { name, when } => self.delete_object(name, when),
            Change::Confirm { late } => match within("late answers", late.len(), MAX_CONFIRM) {
                Ok(()) => self.confirm(late).map(|()| Ok(Outcome::Done)),
                Err(refusal) => Ok(Err(refusal)),
            },
            Change::Report { class, chunk, node, incarnation, cause } => {
                self.report(*class, chunk, (*node, *incarnation), *cause).map(|()| Ok(Outcome::Done))
            }
            Change::ConfirmShards { late } => match within("late answers", late.len(), MAX_CONFIRM_SHARDS) {
                Ok(()) => self.confirm_shards(late).map(|()| Ok(Outcome::Done)),
                Err(refusal) => Ok(Err(refusal)),
            },
            Change::ReportShard { shard, node, incarnation, cause } => {
                self.report_shard(*shard, (*node, *incarnation), *cause).map(|()| Ok(Outcome::Done))
            }
        }
    }

    fn create_bucket(&mut self, bucket: &BucketName) -> Verdict<Outcome> {
        if self.bucket_exists(bucket)? {
            return Ok(Err(Refusal::BucketExists { bucket: bucket.clone() }));
        }
        self.put_bucket(bucket)?;
        Ok(Ok(Outcome::Done))
    }

    fn delete_bucket(&mut self, bucket: &BucketName) -> Verdict<Outcome> {
        if !self.bucket_exists(bucket)? {
            return Ok(Err(Refusal::NoSuchBucket { bucket: bucket.clone() }));
        }
        if !machine::scan_prefix(&*self.tables, Table::Objects, &keys::objects_of(bucket), 1)?.is_empty() {
            return Ok(Err(Refusal::BucketNotEmpty { bucket: bucket.clone() }));
        }
        self.delete(Table::Policies, &keys::bucket(bucket))?;
        self.delete(Table::Buckets, &keys::bucket(bucket))?;
        Ok(Ok(Outcome::Done))
    }

    fn begin_body(&mut self, lease: LogPosition, class: ClassId, kind: BodyKind) -> Verdict<Outcome> {
        let open = machine::scan_prefix(&*self.tables, Table::Uploads, &keys::position(lease), MAX_UPLOADS)?.len();
        if let Err(refusal) = within("uploads", open + 1, MAX_UPLOADS) {
            return Ok(Err(refusal));
        }
        let row = BodyRow { kind, uses: 0, builder: Some(lease), class, size: 0, extents: 0 };
        self.put_body(self.at, &row)?;
        self.put(Table::Uploads, &keys::pair(lease, self.at.0), &())?;
        Ok(Ok(Outcome::Body(self.at)))
    }

    fn append(&mut self, lease: LogPosition, id: LogPosition, extent: u32, pieces: Pieces) -> Verdict<Outcome> {
        let mut body = match self.building(lease, id)? {
            Ok(body) => body,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if body.extents != extent {
            let (found, said) = (u64::from(body.extents), u64::from(extent));
            return Ok(Err(Refusal::BodyDiffers { body: id, found, said }));
        }
        if let Err(refusal) = self.check_extent(id, &body, pieces)? {
            return Ok(Err(refusal));
        }
        self.add_extent(id, &mut body, pieces)?;
        self.put_body(id, &body)?;
        Ok(Ok(Outcome::Done))
    }

    fn abort(&mut self, lease: LogPosition, id: LogPosition) -> Verdict<Outcome> {
        match self.building(lease, id)? {
            Ok(body) => self.discard_building(lease, id, body).map(|()| Ok(Outcome::Done)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Moves a body under construction to the trash.
    pub fn discard_building(
        &mut self,
        lease: LogPosition,
        id: LogPosition,
        mut body: BodyRow,
    ) -> Result<(), StorageError> {
        body.builder = None;
        self.put_body(id, &body)?;
        self.delete(Table::Uploads, &keys::pair(lease, id.0))?;
        self.put(Table::Trash, &keys::position(id), &())
    }

    fn put_object(&mut self, lease: LogPosition, change: &Change) -> Verdict<Outcome> {
        let Change::PutObject { name, make_bucket, when, body, class, size, etag, content_type, user_metadata } =
            change
        else {
            return Err(StorageError("put_object was handed another change".into()));
        };
        let bucket_exists = self.bucket_exists(&name.bucket)?;
        if !bucket_exists && !make_bucket {
            return Ok(Err(Refusal::NoSuchBucket { bucket: name.bucket.clone() }));
        }
        let replaced = match self.check_precondition(name, when)? {
            Ok(replaced) => replaced,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let body = match self.complete_body(lease, body, *class, *size)? {
            Ok(body) => body,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !bucket_exists {
            self.put_bucket(&name.bucket)?;
        }
        let revision = replaced.as_ref().map_or(0, |(_, old)| old.revision) + 1;
        if let Some((version, old)) = replaced {
            self.drop_version(name, version, &old)?;
        }
        let row = ObjectRow {
            size: *size,
            etag: etag.clone(),
            content_type: content_type.clone(),
            user_metadata: user_metadata.clone(),
            body,
            revision,
            created_ms: self.now_ms,
        };
        self.count_logical(signed(*size))?;
        self.put(Table::Objects, &keys::object(name, self.at), &row)?;
        Ok(Ok(Outcome::Put { version: self.at, revision, created_ms: self.now_ms }))
    }

    fn delete_object(&mut self, name: &ObjectName, when: &Precondition) -> Verdict<Outcome> {
        match self.check_precondition(name, when)? {
            Err(refusal) => Ok(Err(refusal)),
            Ok(None) => Ok(Err(Refusal::NoSuchObject)),
            Ok(Some((version, row))) => {
                self.drop_version(name, version, &row)?;
                Ok(Ok(Outcome::Done))
            }
        }
    }

    /// The current version, if the key is as `when` demands.
    fn check_precondition(
        &mut self,
        name: &ObjectName,
        when: &Precondition,
    ) -> Verdict<Option<(LogPosition, ObjectRow)>> {
        let current = machine::current(&*self.tables, name)?;
        let etag = current.as_ref().map(|(_, row)| row.etag.as_str());
        match when.holds(etag) {
            true => Ok(Ok(current)),
            false => Ok(Err(Refusal::Precondition { etag: etag.map(str::to_string) })),
        }
    }

    /// Checks and writes the body of a new version; it has one use afterwards. Writes nothing if it refuses.
    fn complete_body(&mut self, lease: LogPosition, body: &NewBody, class: ClassId, size: u64) -> Verdict<LogPosition> {
        let whole = |kind| BodyRow { kind, uses: 1, builder: None, class, size: 0, extents: 0 };
        let (known, fresh, last) = match body {
            NewBody::Whole(chunks) => (None, whole(BodyKind::Chunks), Pieces::Chunks(chunks)),
            NewBody::WholeStripes { scheme, stripes } => {
                (None, whole(BodyKind::Stripes(*scheme)), Pieces::Stripes(stripes))
            }
            NewBody::Finish { body, last } => (Some(*body), whole(BodyKind::Chunks), Pieces::Chunks(last)),
            NewBody::FinishStripes { body, last } => (Some(*body), whole(BodyKind::Chunks), Pieces::Stripes(last)),
        };
        let (id, mut row) = match known {
            None => (self.at, fresh),
            Some(body) => match self.building(lease, body)? {
                Ok(row) => (body, BodyRow { uses: 1, builder: None, ..row }),
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        if let Err(refusal) = self.check_extent(id, &row, last)? {
            return Ok(Err(refusal));
        }
        let found = row.size + last.bytes();
        if found != size {
            return Ok(Err(Refusal::BodyDiffers { body: id, found, said: size }));
        }
        if !last.is_empty() {
            self.add_extent(id, &mut row, last)?;
        }
        if id != self.at {
            self.delete(Table::Uploads, &keys::pair(lease, id.0))?;
        }
        self.put_body(id, &row)?;
        Ok(Ok(id))
    }

    fn check_extent(&mut self, id: LogPosition, body: &BodyRow, pieces: Pieces) -> Verdict<()> {
        let (what, found, limit) = match pieces {
            Pieces::Chunks(chunks) => ("chunks", chunks.len(), MAX_EXTENT_CHUNKS),
            Pieces::Stripes(stripes) => ("rows of stripes", stripes.iter().map(rows).sum(), MAX_EXTENT_ROWS),
        };
        if let Err(refusal) = within(what, found, limit) {
            return Ok(Err(refusal));
        }
        match (body.kind, pieces) {
            (BodyKind::Chunks, Pieces::Chunks(chunks)) => self.check_written(body.class, chunks),
            (BodyKind::Stripes(scheme), Pieces::Stripes(stripes)) => self.check_stripes(body.class, scheme, stripes),
            _ => Ok(Err(Refusal::BodyKind { body: id })),
        }
    }

    /// Adds an extent that [`Self::check_extent`] has found good.
    fn add_extent(&mut self, id: LogPosition, body: &mut BodyRow, pieces: Pieces) -> Result<(), StorageError> {
        let key = keys::pair(id, u64::from(body.extents));
        match (body.kind, pieces) {
            (BodyKind::Stripes(scheme), Pieces::Stripes(written)) => {
                self.reference_stripes(body.class, scheme, written)?;
                let stripes = written.iter().map(|write| write.stripe).collect();
                self.put(Table::Extents, &key, &StripeExtent { stripes })?;
            }
            (_, Pieces::Chunks(written)) => {
                self.reference(body.class, written)?;
                self.put(Table::Extents, &key, &Extent { chunks: written.iter().map(|write| write.chunk).collect() })?;
            }
            (BodyKind::Chunks, Pieces::Stripes(_)) => {
                return Err(StorageError(format!("stripes were added to body {id} of chunks")));
            }
        }
        body.extents += 1;
        body.size += pieces.bytes();
        Ok(())
    }

    /// Takes a version away; a body without versions goes to the trash.
    fn drop_version(&mut self, name: &ObjectName, version: LogPosition, row: &ObjectRow) -> Result<(), StorageError> {
        self.delete(Table::Objects, &keys::object(name, version))?;
        self.count_logical(-signed(row.size))?;
        let mut body =
            self.body(row.body)?.ok_or_else(|| StorageError(format!("body {} of {name} is missing", row.body)))?;
        body.uses = body.uses.saturating_sub(1);
        if body.uses == 0 {
            self.put(Table::Trash, &keys::position(row.body), &())?;
        }
        self.put_body(row.body, &body)
    }

    fn building(&mut self, lease: LogPosition, id: LogPosition) -> Verdict<BodyRow> {
        let own = self.body(id)?.filter(|body| body.builder == Some(lease));
        Ok(own.ok_or(Refusal::BodyGone { body: id }))
    }

    fn bucket_exists(&self, bucket: &BucketName) -> Result<bool, StorageError> {
        Ok(self.tables.get(Table::Buckets, &keys::bucket(bucket))?.is_some())
    }

    fn put_bucket(&mut self, bucket: &BucketName) -> Result<(), StorageError> {
        let row = BucketRow { created_ms: self.now_ms, policy: None };
        self.put(Table::Buckets, &keys::bucket(bucket), &row)
    }
}

/// Sizes are sums of lengths of chunks, of which no machine holds 2⁶³ bytes.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// What is added to a body.
#[derive(Clone, Copy)]
enum Pieces<'a> {
    Chunks(&'a [Written]),
    Stripes(&'a [WrittenStripe]),
}

impl Pieces<'_> {
    fn is_empty(self) -> bool {
        match self {
            Pieces::Chunks(chunks) => chunks.is_empty(),
            Pieces::Stripes(stripes) => stripes.is_empty(),
        }
    }

    /// Bytes of the body in them.
    fn bytes(self) -> u64 {
        match self {
            Pieces::Chunks(chunks) => chunks.iter().map(|write| u64::from(write.chunk.length)).sum(),
            Pieces::Stripes(stripes) => stripes.iter().map(|write| u64::from(write.stripe.length)).sum(),
        }
    }
}

fn within(what: &str, found: usize, limit: usize) -> Result<(), Refusal> {
    match found <= limit {
        true => Ok(()),
        false => Err(Refusal::TooMany { what: what.into(), found: found as u64, limit: limit as u64 }),
    }
}

/// Rows that a stripe of a command may touch.
fn rows(stripe: &WrittenStripe) -> usize {
    rows_of(stripe.shards.iter().map(|shard| shard.answers.len().max(1)).sum())
}
