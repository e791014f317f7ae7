//! Buckets, objects and the bodies they point at.
//!
//! Every change first checks all that can refuse it and only then writes, so a refused change leaves no trace but its reply.

use domain::change::{Change, NewBody, Outcome, Precondition, Refusal, Written};
use domain::record::{BodyRow, BucketRow, ChunkRef, Extent, MAX_EXTENT_CHUNKS, ObjectName, ObjectRow, StoragePolicy};
use domain::{BucketName, ClassId, LogPosition};

use crate::chunks::Verdict;
use crate::keys;
use crate::machine::{self, Machine};
use crate::tables::{StorageError, Table};

/// Bodies one lease may have under construction: what its removal must be able to clear in one command.
pub const MAX_UPLOADS: usize = 1024;

/// The most entries in one batch of late answers.
pub const MAX_CONFIRM: usize = 1024;

impl Machine<'_> {
    /// Carries out `change` for the holder of `lease`.
    pub fn change(&mut self, lease: LogPosition, change: &Change) -> Verdict<Outcome> {
        match change {
            Change::CreateBucket { bucket } => self.create_bucket(bucket),
            Change::DeleteBucket { bucket } => self.delete_bucket(bucket),
            Change::BeginBody { class } => self.begin_body(lease, *class),
            Change::Append { body, extent, chunks } => self.append(lease, *body, *extent, chunks),
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
        self.delete(Table::Buckets, &keys::bucket(bucket))?;
        Ok(Ok(Outcome::Done))
    }

    fn begin_body(&mut self, lease: LogPosition, class: ClassId) -> Verdict<Outcome> {
        let open = machine::scan_prefix(&*self.tables, Table::Uploads, &keys::position(lease), MAX_UPLOADS)?.len();
        if let Err(refusal) = within("uploads", open + 1, MAX_UPLOADS) {
            return Ok(Err(refusal));
        }
        let row = BodyRow { uses: 0, builder: Some(lease), class, size: 0, extents: 0 };
        self.put(Table::Bodies, &keys::position(self.at), &row)?;
        self.put(Table::Uploads, &keys::pair(lease, self.at.0), &())?;
        Ok(Ok(Outcome::Body(self.at)))
    }

    fn append(&mut self, lease: LogPosition, id: LogPosition, extent: u32, chunks: &[Written]) -> Verdict<Outcome> {
        let mut body = match self.building(lease, id)? {
            Ok(body) => body,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if body.extents != extent {
            let (found, said) = (u64::from(body.extents), u64::from(extent));
            return Ok(Err(Refusal::BodyDiffers { body: id, found, said }));
        }
        if let Err(refusal) = self.check_extent(body.class, chunks)? {
            return Ok(Err(refusal));
        }
        self.add_extent(id, &mut body, chunks)?;
        self.put(Table::Bodies, &keys::position(id), &body)?;
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
        self.put(Table::Bodies, &keys::position(id), &body)?;
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
        let (id, mut row, last) = match body {
            NewBody::Whole(chunks) => (self.at, BodyRow { uses: 1, builder: None, class, size: 0, extents: 0 }, chunks),
            NewBody::Finish { body, last } => match self.building(lease, *body)? {
                Ok(row) => (*body, BodyRow { uses: 1, builder: None, ..row }, last),
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        if let Err(refusal) = self.check_extent(row.class, last)? {
            return Ok(Err(refusal));
        }
        let found = row.size + length_of(last);
        if found != size {
            return Ok(Err(Refusal::BodyDiffers { body: id, found, said: size }));
        }
        if !last.is_empty() {
            self.add_extent(id, &mut row, last)?;
        }
        if id != self.at {
            self.delete(Table::Uploads, &keys::pair(lease, id.0))?;
        }
        self.put(Table::Bodies, &keys::position(id), &row)?;
        Ok(Ok(id))
    }

    fn check_extent(&mut self, class: ClassId, chunks: &[Written]) -> Verdict<()> {
        match within("chunks", chunks.len(), MAX_EXTENT_CHUNKS) {
            Ok(()) => self.check_written(class, chunks),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn add_extent(&mut self, id: LogPosition, body: &mut BodyRow, chunks: &[Written]) -> Result<(), StorageError> {
        self.reference(body.class, chunks)?;
        let extent = Extent { chunks: chunks.iter().map(|write| write.chunk).collect::<Vec<ChunkRef>>() };
        self.put(Table::Extents, &keys::pair(id, u64::from(body.extents)), &extent)?;
        body.extents += 1;
        body.size += length_of(chunks);
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
        self.put(Table::Bodies, &keys::position(row.body), &body)
    }

    fn building(&mut self, lease: LogPosition, id: LogPosition) -> Verdict<BodyRow> {
        let own = self.body(id)?.filter(|body| body.builder == Some(lease));
        Ok(own.ok_or(Refusal::BodyGone { body: id }))
    }

    fn bucket_exists(&self, bucket: &BucketName) -> Result<bool, StorageError> {
        Ok(self.tables.get(Table::Buckets, &keys::bucket(bucket))?.is_some())
    }

    fn put_bucket(&mut self, bucket: &BucketName) -> Result<(), StorageError> {
        let row = BucketRow { created_ms: self.now_ms, policy: StoragePolicy::Default };
        self.put(Table::Buckets, &keys::bucket(bucket), &row)
    }
}

/// Sizes are sums of lengths of chunks, of which no machine holds 2⁶³ bytes.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn length_of(chunks: &[Written]) -> u64 {
    chunks.iter().map(|write| u64::from(write.chunk.length)).sum()
}

fn within(what: &str, found: usize, limit: usize) -> Result<(), Refusal> {
    match found <= limit {
        true => Ok(()),
        false => Err(Refusal::TooMany { what: what.into(), found: found as u64, limit: limit as u64 }),
    }
}
