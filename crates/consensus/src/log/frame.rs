//! Frames: how the inline log's writes look on disk, and how a torn end is told from damage.
//!
//! ```text
//! "kvlf" | length u32 | crc32c u32 | sequence u64 | operation (`length` bytes, postcard)      numbers little-endian
//! ```
//!
//! One write is one frame, synced before the next one is begun. So at most one frame of a log can be unfinished, and it is the
//! last one. A frame that does not check out is therefore a **torn tail** (nobody was ever told that it is durable) if no whole
//! frame with a later number follows anywhere, and **damage** to what somebody relied on if one does. The one thing that
//! cannot be told apart is damage to the very last frame; no log without a second copy can.

use std::io;

use bytes::Bytes;
use domain::codec;
use domain::id::{Crc32c, CrcStream};
use serde::{Deserialize, Serialize};

use crate::record::{Ballot, Kind, Position, Stored, damaged};

const MAGIC: &[u8; 4] = b"kvlf";
const HEADER: usize = 20;

/// One write to the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    Vote(Ballot),
    Append(Vec<(Position, Kind, Bytes)>),
    TruncateAfter(Option<Position>),
    /// Carries the vote along, so that files of older frames can go.
    Purge(Position, Option<Ballot>),
}

impl Operation {
    pub(crate) fn append(entries: &[Stored]) -> Self {
        Self::Append(entries.iter().map(|entry| (entry.at, entry.kind, entry.body.clone())).collect())
    }

    /// The frame numbered `sequence` that holds this.
    pub(crate) fn frame(&self, sequence: u64) -> Vec<u8> {
        let body = codec::encode(self);
        let mut frame = Vec::with_capacity(HEADER + body.len());
        frame.extend_from_slice(MAGIC);
        frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&sequence.to_le_bytes());
        frame.extend_from_slice(&body);
        let crc = checksum(&frame);
        frame[8..12].copy_from_slice(&crc.to_le_bytes());
        frame
    }
}

/// What a file of the log holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The operations, in order.
    pub(crate) operations: Vec<Operation>,
    /// Where they end.
    pub(crate) good_bytes: usize,
}

/// Reads the frames of one file, the first numbered `sequence`.
///
/// Errs on damage. Bytes after `good_bytes` are a torn tail, which only the log's last file may have.
pub(crate) fn scan(bytes: &[u8], mut sequence: u64) -> io::Result<Scan> {
    let mut found = Scan::default();
    while let Some((number, body, end)) = frame_at(bytes, found.good_bytes) {
        if number != sequence {
            return Err(damaged(format!("frame {number} stands where frame {sequence} belongs")));
        }
        found.operations.push(codec::decode(body).map_err(|error| damaged(error.to_string()))?);
        found.good_bytes = end;
        sequence += 1;
    }
    let after = found.good_bytes + 1..bytes.len();
    let later = after.filter_map(|at| frame_at(bytes, at)).map(|(number, ..)| number).find(|&number| number > sequence);
    match later {
        None => Ok(found),
        Some(later) => Err(damaged(format!(
            "frame {sequence} at byte {} is damaged: frame {later} after it is whole, so it was durable once",
            found.good_bytes
        ))),
    }
}

/// The whole frame that begins at `at`: its number, its body, and where it ends.
fn frame_at(bytes: &[u8], at: usize) -> Option<(u64, &[u8], usize)> {
    let rest = bytes.get(at..)?;
    if rest.len() < HEADER || &rest[..4] != MAGIC {
        return None;
    }
    let length = u32::from_le_bytes(rest[4..8].try_into().ok()?) as usize;
    let frame = rest.get(..HEADER.checked_add(length)?)?;
    let crc = u32::from_le_bytes(frame[8..12].try_into().ok()?);
    let number = u64::from_le_bytes(frame[12..20].try_into().ok()?);
    (checksum(frame) == crc).then(|| (number, &frame[HEADER..], at + frame.len()))
}

/// The checksum of a frame: all of it but the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    let mut crc = CrcStream::new();
    crc.update(&frame[..8]);
    crc.update(&frame[12..]);
    let Crc32c(sum) = crc.finish();
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_frames() -> (Vec<Vec<u8>>, Vec<u8>) {
        let frames: Vec<_> =
            (5..8).map(|n| Operation::Vote(Ballot { term: n, granted: true, node: 1 }).frame(n)).collect();
        let whole = frames.concat();
        (frames, whole)
    }

    #[test]
    fn a_cut_or_garbled_end_is_a_torn_tail() {
        let (frames, whole) = three_frames();
        let two = frames[0].len() + frames[1].len();
        for cut in two..whole.len() {
            let found = scan(&whole[..cut], 5).unwrap();
            assert_eq!((found.operations.len(), found.good_bytes), (2, two), "cut at {cut}");
        }
        for at in two..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0x40;
            assert_eq!(scan(&torn, 5).unwrap().good_bytes, two, "garbled at {at}");
        }
        assert_eq!(scan(&whole, 5).unwrap().operations.len(), 3);
    }

    #[test]
    fn damage_before_the_end_is_an_error() {
        let (frames, whole) = three_frames();
        for at in 0..frames[0].len() + frames[1].len() {
            let mut hurt = whole.clone();
            hurt[at] ^= 0x40;
            assert!(scan(&hurt, 5).is_err(), "garbled at {at}");
        }
        assert!(scan(&whole, 4).is_err(), "a frame is missing in front");
    }
}
