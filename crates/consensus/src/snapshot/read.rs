//! The reading end: bytes in, as they come; rows out, a verified frame at a time.

use std::collections::BTreeMap;
use std::io;

use domain::codec;
use domain::record::ClusterRow;
use meta::{Table, keys};
use sha2::{Digest, Sha256};

use super::format::{
    DIGEST_BYTES, FrameKind, HEAD_BYTES, Header, MAGIC, MAX_PAYLOAD_BYTES, MAX_ROW_BYTES, PREAMBLE_BYTES,
    SnapshotError, Summary, Trailer, VERSION, checksum,
};

/// Rows of one table in key order, from a frame that was verified.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Their table.
    pub table: Table,
    rows: &'a [u8],
}

impl<'a> Block<'a> {
    /// Key and value of each.
    pub fn rows(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.rows;
        std::iter::from_fn(move || {
            let (key, value, after) = first_row(rest)?;
            rest = after;
            Some((key, value))
        })
    }
}

/// Verifies a stream that is handed to it in pieces of any size.
///
/// Rows come out before the stream's end is seen: whoever takes them must throw them away unless [`finish`](Self::finish) says
/// that the stream was whole.
pub struct Reader {
    expect: Expect,
    /// The item that is arriving, as far as it has.
    item: Vec<u8>,
    /// Where it begins.
    offset: u64,
    /// Where the frame begins that it belongs to, and which one that is.
    frame: u64,
    ordinal: u64,
    digest: Sha256,
    header: Option<Header>,
    cluster: Option<(u128, u64)>,
    rows: BTreeMap<Table, u64>,
    /// Table and key of the last row.
    last: Option<(usize, Vec<u8>)>,
    found: Option<[u8; DIGEST_BYTES]>,
}

/// What the next item is.
#[derive(Clone, Copy)]
enum Expect {
    Preamble,
    Head,
    Payload {
        kind: FrameKind,
        length: usize,
        crc: u32,
    },
    Digest,
    Nothing,
    /// The stream was refused.
    Refused,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        Self {
            expect: Expect::Preamble,
            item: Vec::new(),
            offset: 0,
            frame: 0,
            ordinal: 0,
            digest: Sha256::new(),
            header: None,
            cluster: None,
            rows: Table::ALL.into_iter().map(|table| (table, 0)).collect(),
            last: None,
            found: None,
        }
    }

    /// What the stream says of itself, once that has arrived.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Bytes verified so far.
    pub fn verified_bytes(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes, and hands on the frames of rows that they complete.
    ///
    /// After an error the stream is refused for good.
    pub fn push(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(Block<'_>) -> io::Result<()>,
    ) -> Result<(), SnapshotError> {
        let taken = self.take(bytes, sink);
        if taken.is_err() {
            self.expect = Expect::Refused;
        }
        taken
    }

    /// The stream has ended; what it was, if it was whole.
    pub fn finish(self) -> Result<Summary, SnapshotError> {
        match (self.expect, self.header, self.found) {
            (Expect::Nothing, Some(header), Some(digest)) => {
                Ok(Summary { header, rows: self.rows, bytes: self.offset, digest })
            }
            _ => Err(SnapshotError::Cut { offset: self.offset + self.item.len() as u64, block: self.ordinal }),
        }
    }

    fn take(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(Block<'_>) -> io::Result<()>,
    ) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            let wanted = match self.expect {
                Expect::Preamble => PREAMBLE_BYTES,
                Expect::Head => HEAD_BYTES,
                Expect::Payload { length, .. } => length,
                Expect::Digest => DIGEST_BYTES,
                Expect::Nothing => return Err(self.damaged("bytes follow its end")),
                Expect::Refused => return Err(self.damaged("it was refused before")),
            };
            let (now, later) = bytes.split_at(bytes.len().min(wanted - self.item.len()));
            self.item.extend_from_slice(now);
            bytes = later;
            if self.item.len() == wanted {
                self.item_arrived(sink)?;
            }
        }
        Ok(())
    }

    fn item_arrived(&mut self, sink: &mut dyn FnMut(Block<'_>) -> io::Result<()>) -> Result<(), SnapshotError> {
        let item = std::mem::take(&mut self.item);
        self.expect = match self.expect {
            Expect::Preamble => preamble(&item)?,
            Expect::Head => self.head(&item)?,
            Expect::Payload { kind, crc, .. } => self.payload(kind, crc, &item, sink)?,
            Expect::Digest => self.digest(&item)?,
            Expect::Nothing | Expect::Refused => return Err(self.damaged("nothing was expected")),
        };
        self.digest.update(&item);
        self.offset += item.len() as u64;
        if !matches!(self.expect, Expect::Payload { .. }) {
            self.frame = self.offset;
        }
        // The room is used again, unless it was for a row that is an exception.
        self.item = item;
        self.item.clear();
        self.item.shrink_to(2 * super::format::BLOCK_BYTES);
        Ok(())
    }

    fn head(&self, item: &[u8]) -> Result<Expect, SnapshotError> {
        let &[kind, l0, l1, l2, l3, c0, c1, c2, c3] = item else {
            return Err(self.damaged("the head of a frame is incomplete"));
        };
        let kind = FrameKind::from_byte(kind).ok_or_else(|| self.damaged(format!("frame kind {kind} is unknown")))?;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length == 0 || length > MAX_PAYLOAD_BYTES {
            return Err(self.damaged(format!("a frame of {length} bytes, where 1 to {MAX_PAYLOAD_BYTES} are possible")));
        }
        Ok(Expect::Payload { kind, length, crc: u32::from_le_bytes([c0, c1, c2, c3]) })
    }

    fn payload(
        &mut self,
        kind: FrameKind,
        crc: u32,
        payload: &[u8],
        sink: &mut dyn FnMut(Block<'_>) -> io::Result<()>,
    ) -> Result<Expect, SnapshotError> {
        if checksum(self.ordinal, kind as u8, payload).0 != crc {
            return Err(self.damaged("its checksum does not match its bytes"));
        }
        match (kind, self.header.is_some()) {
            (FrameKind::Header, false) => self.header = Some(self.record(payload)?),
            (FrameKind::Rows, true) => {
                let block = self.block(payload)?;
                sink(block)?;
            }
            (FrameKind::Trailer, true) => {
                self.trailer(&self.record(payload)?)?;
                return Ok(Expect::Digest);
            }
            _ => return Err(self.damaged(format!("a frame of kind {kind:?} does not belong here"))),
        }
        self.ordinal += 1;
        Ok(Expect::Head)
    }

    /// The rows of a frame, each of them looked at: whole, in order, and of this cluster.
    fn block<'a>(&mut self, payload: &'a [u8]) -> Result<Block<'a>, SnapshotError> {
        let name = payload.split_first().and_then(|(&length, rest)| rest.split_at_checked(length.into()));
        let (name, rows) = name.ok_or_else(|| self.damaged("the table's name is cut short"))?;
        let place = Table::ALL.iter().position(|table| table.name().as_bytes() == name);
        let place = place.ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            self.damaged(format!("table {name:?} is unknown: this build is older than the one that wrote it"))
        })?;
        let (table, mut rest, mut count) = (Table::ALL[place], rows, 0);
        while !rest.is_empty() {
            let (key, value, after) = first_row(rest).ok_or_else(|| self.damaged("a row is cut short"))?;
            let in_order = self.last.as_ref().is_none_or(|(table, last)| (*table, last.as_slice()) < (place, key));
            if !in_order || key.len() + value.len() > MAX_ROW_BYTES {
                return Err(self.damaged(format!("a row of {} is out of order or too large", table.name())));
            }
            if (table, key) == (Table::Cluster, keys::CLUSTER) {
                let row: ClusterRow = self.record(value)?;
                self.cluster = Some((row.cluster_id, row.generation));
            }
            let last = self.last.get_or_insert_default();
            last.0 = place;
            last.1.clear();
            last.1.extend_from_slice(key);
            (rest, count) = (after, count + 1);
        }
        *self.rows.entry(table).or_default() += count;
        Ok(Block { table, rows })
    }

    fn trailer(&self, trailer: &Trailer) -> Result<(), SnapshotError> {
        let counted =
            |name: &str| self.rows.iter().find(|(table, _)| table.name() == name).map_or(0, |(_, count)| *count);
        let named = |table: &Table| trailer.rows.iter().any(|(name, _)| name == table.name());
        if let Some((name, count)) = trailer.rows.iter().find(|(name, count)| counted(name) != *count) {
            let found = counted(name);
            return Err(self.damaged(format!("it should have {count} rows of {name}, and {found} came")));
        }
        if let Some((table, count)) = self.rows.iter().find(|(table, count)| **count > 0 && !named(table)) {
            return Err(self.damaged(format!("{count} rows of {} came that it does not count", table.name())));
        }
        let header = self.header.as_ref();
        if header.map(|header| &header.applied) != Some(&trailer.applied) {
            return Err(self.damaged("header and trailer name different log positions or members"));
        }
        if header.map(|header| (header.cluster_id, header.generation)) != Some(self.cluster.unwrap_or_default()) {
            return Err(self.damaged("the header names another cluster or generation than the cluster's row"));
        }
        Ok(())
    }

    fn digest(&mut self, item: &[u8]) -> Result<Expect, SnapshotError> {
        let expected: [u8; DIGEST_BYTES] = self.digest.clone().finalize().into();
        if item != expected {
            return Err(self.damaged("the digest at the end does not match the bytes before it"));
        }
        self.found = Some(expected);
        Ok(Expect::Nothing)
    }

    fn record<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, SnapshotError> {
        codec::decode(bytes).map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, what: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged { offset: self.frame, block: self.ordinal, what: what.into() }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader at byte {}, block {}", self.offset, self.ordinal)
    }
}

fn preamble(item: &[u8]) -> Result<Expect, SnapshotError> {
    let version = item.strip_prefix(MAGIC.as_slice()).ok_or(SnapshotError::Foreign)?;
    match u32::from_le_bytes(version.try_into().map_err(|_| SnapshotError::Foreign)?) {
        VERSION => Ok(Expect::Head),
        found => Err(SnapshotError::Version { found }),
    }
}

/// Key and value of the first row in `bytes`, and the bytes after it; `None` if they end before it does.
fn first_row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_length, rest) = bytes.split_first_chunk::<4>()?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_length) as usize)?;
    Some((key, value, rest))
}
