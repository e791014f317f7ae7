//! Rows of a matrix, ready to be multiplied by shards: encoding, rebuilding and checking are all this.
//!
//! Rows are split into groups of as many as a kernel computes in one pass. Several groups read the same sources several times, so
//! shards are then taken in pieces of [`PIECE`] bytes, all groups over one piece before the next: the second pass finds its sources
//! in the cache. With a single group, as at 4+2 and 10+4, shards are gone through in one go.
//!
//! Costs rows × columns products a byte of a shard. Allocates when it is made and never again.
#![forbid(unsafe_code)]

use crate::kernel::{GROUP, Group, Kernel};

/// Bytes of each shard that all groups go over before the next are touched: a page, so that 10 sources are 40 KiB, about what the
/// first cache holds, and 200 still fit the second one.
const PIECE: usize = 4096;

/// Rows of a matrix in the form that a kernel wants.
#[derive(Debug)]
pub(crate) struct Rows {
    kernel: Kernel,
    groups: Vec<Group>,
}

impl Rows {
    /// The rows of a matrix, top down; of one length, which is the number of sources.
    pub(crate) fn new(kernel: Kernel, rows: &[&[u8]]) -> Self {
        // Groups of nearly equal size: five rows are 3 + 2 and not 4 + 1, since a row alone needs almost as many loads as four.
        let groups = rows.len().div_ceil(GROUP).max(1);
        let size = rows.len().div_ceil(groups).max(1);
        Self { kernel, groups: rows.chunks(size).map(|rows| kernel.group(rows)).collect() }
    }

    /// Sets each output to its row times the sources. All of them have one length; there are as many as rows and columns.
    pub(crate) fn multiply(&self, sources: &[&[u8]], outputs: &mut [impl AsMut<[u8]>]) {
        let bytes = sources.first().map_or(0, |source| source.len());
        let piece = if self.groups.len() == 1 { bytes.max(1) } else { PIECE };
        for from in (0..bytes).step_by(piece) {
            let to = bytes.min(from + piece);
            let mut outputs = outputs.iter_mut();
            for group in &self.groups {
                let mut pieces: [&mut [u8]; GROUP] = Default::default();
                let pieces = &mut pieces[..group.rows()];
                for (piece, output) in pieces.iter_mut().zip(&mut outputs) {
                    *piece = &mut output.as_mut()[from..to];
                }
                self.kernel.multiply(group, sources, from, pieces);
            }
        }
    }

    /// Whether each of `expected` is its row times the sources. Stops at the first piece that differs.
    pub(crate) fn matches(&self, sources: &[&[u8]], expected: &[impl AsRef<[u8]>]) -> bool {
        let bytes = sources.first().map_or(0, |source| source.len());
        let mut computed = [[0; PIECE]; GROUP];
        (0..bytes).step_by(PIECE).all(|from| {
            let to = bytes.min(from + PIECE);
            let mut expected = expected.iter();
            self.groups.iter().all(|group| {
                let mut pieces = computed.each_mut().map(|buffer| &mut buffer[..to - from]);
                let pieces = &mut pieces[..group.rows()];
                self.kernel.multiply(group, sources, from, pieces);
                pieces.iter().zip(&mut expected).all(|(piece, expected)| **piece == expected.as_ref()[from..to])
            })
        })
    }
}
