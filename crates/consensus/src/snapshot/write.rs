//! The writing end: a read transaction in, frames out, one at a time.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use bytes::Bytes;
use domain::codec;
use domain::record::ClusterRow;
use meta::{Table, Tables, keys};
use sha2::{Digest, Sha256};

use super::format::{BLOCK_BYTES, FrameKind, HEAD_BYTES, Header, MAGIC, MAX_ROW_BYTES, Trailer, VERSION, checksum};
use crate::record::{damaged, decode};
use crate::tables::Snapshot;

/// Turns the tables at one moment into a stream.
///
/// Each call of [`next_block`](Self::next_block) reads as much as it returns, so whoever sends it decides the pace; the tables'
/// pages of that moment are kept until this is dropped. Blocks on the disk.
pub struct Writer {
    rows: Snapshot,
    header: Header,
    stage: Stage,
    ordinal: u64,
    digest: Sha256,
    counts: BTreeMap<Table, u64>,
    written_bytes: u64,
}

/// What comes next.
enum Stage {
    Header,
    /// Rows of the table with this place in [`Table::ALL`], after this key.
    Rows(usize, Option<Vec<u8>>),
    Done,
}

impl Writer {
    /// A stream of `rows`, which says that it was begun at `now_ms`.
    pub fn new(rows: Snapshot, now_ms: u64) -> io::Result<Self> {
        let cluster = rows.get(Table::Cluster, keys::CLUSTER).map_err(io::Error::other)?;
        let cluster = cluster.map(|row| decode::<ClusterRow>(&row)).transpose()?;
        let (cluster_id, generation) = cluster.map_or((0, 0), |row| (row.cluster_id, row.generation));
        let header = Header { cluster_id, generation, written_ms: now_ms, applied: rows.reflects().clone() };
        let (digest, counts) = (Sha256::new(), BTreeMap::new());
        Ok(Self { rows, header, stage: Stage::Header, ordinal: 0, digest, counts, written_bytes: 0 })
    }

    /// What the stream says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes returned so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// The next piece of the stream, at most a frame; `None` after the last.
    pub fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        let block = match &mut self.stage {
            Stage::Header => self.first(),
            Stage::Rows(table, after) => {
                let (table, after) = (*table, after.take());
                self.rows_from(table, after)?
            }
            Stage::Done => return Ok(None),
        };
        self.written_bytes += block.len() as u64;
        Ok(Some(block.into()))
    }

    fn first(&mut self) -> Vec<u8> {
        self.stage = Stage::Rows(0, None);
        let mut out = MAGIC.to_vec();
        out.extend(VERSION.to_le_bytes());
        let payload = codec::encode(&self.header);
        self.frame(out, FrameKind::Header, &payload)
    }

    /// A frame of rows of `table` or of the first one after it that has any; the trailer if none has.
    fn rows_from(&mut self, mut table: usize, mut after: Option<Vec<u8>>) -> io::Result<Vec<u8>> {
        while let Some(&name) = Table::ALL.get(table) {
            let (payload, last) = self.gather(name, after.as_deref())?;
            if last.is_some() {
                self.stage = Stage::Rows(table, last);
                return Ok(self.frame(Vec::new(), FrameKind::Rows, &payload));
            }
            (table, after) = (table + 1, None);
        }
        Ok(self.last())
    }

    /// As many rows of `table` after `after` as make a block, and the last one's key; none if there are no more.
    fn gather(&mut self, table: Table, after: Option<&[u8]>) -> io::Result<(Vec<u8>, Option<Vec<u8>>)> {
        let mut payload = vec![table.name().len() as u8];
        payload.extend(table.name().as_bytes());
        let (mut last, mut count, mut too_large) = (None, 0, None);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.rows.visit(table, from, &mut |key, value| {
            let bytes = key.len() + value.len();
            if bytes > MAX_ROW_BYTES {
                too_large = Some(bytes);
                return false;
            }
            if count > 0 && payload.len() + 8 + bytes > BLOCK_BYTES {
                return false;
            }
            payload.extend((key.len() as u32).to_le_bytes());
            payload.extend((value.len() as u32).to_le_bytes());
            payload.extend(key);
            payload.extend(value);
            last = Some(key.to_vec());
            count += 1;
            true
        })?;
        if let (Some(bytes), 0) = (too_large, count) {
            return Err(damaged(format!("a row of {} has {bytes} bytes, more than a log entry", table.name())));
        }
        *self.counts.entry(table).or_default() += count;
        Ok((payload, last))
    }

    /// The trailer and the digest.
    fn last(&mut self) -> Vec<u8> {
        self.stage = Stage::Done;
        let count = |table: &Table| (table.name().to_owned(), self.counts.get(table).copied().unwrap_or(0));
        let trailer = Trailer { rows: Table::ALL.iter().map(count).collect(), applied: self.header.applied.clone() };
        let mut out = self.frame(Vec::new(), FrameKind::Trailer, &codec::encode(&trailer));
        out.extend(self.digest.clone().finalize());
        out
    }

    /// `out`, followed by a frame.
    fn frame(&mut self, mut out: Vec<u8>, kind: FrameKind, payload: &[u8]) -> Vec<u8> {
        out.reserve_exact(HEAD_BYTES + payload.len() + 32);
        out.push(kind as u8);
        out.extend((payload.len() as u32).to_le_bytes());
        out.extend(checksum(self.ordinal, kind as u8, payload).0.to_le_bytes());
        out.extend(payload);
        self.ordinal += 1;
        self.digest.update(&out);
        out
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer of {:?}, {} bytes so far", self.rows, self.written_bytes)
    }
}
