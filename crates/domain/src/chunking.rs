//! Cutting a body into chunks.
//!
//! Fixed cutting: chunk *i* holds bytes [i·S, (i+1)·S), the last one what is left. Equal prefixes share
//! chunks; one byte inserted at the front shifts every cut and shares nothing, which content-defined cutting
//! ([`crate::cdc`]) exists to mend. Either way cuts depend on the body alone, never on how it arrived.

use std::ops::Range;

/// How a body is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkMode {
    /// Into pieces of one length.
    #[default]
    Fixed,
    /// Where its content says, by [`crate::cdc::Profile::DEFAULT`].
    ContentDefined,
}

impl ChunkMode {
    /// The mode of this name, as settings and requests have it: `fixed` or `cdc`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "fixed" => Some(Self::Fixed),
            "cdc" => Some(Self::ContentDefined),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::ContentDefined => "cdc",
        }
    }
}

/// The default size of a fixed chunk: 4 MiB.
pub const DEFAULT_CHUNK_BYTES: u32 = 4 << 20;

/// The largest chunk anything in the system accepts: 16 MiB, the cap of content-defined chunks.
pub const MAX_CHUNK_BYTES: u32 = 16 << 20;

/// The cuts of a body of `body_bytes` into chunks of `chunk_bytes`: no cut for an empty body.
///
/// # Panics
/// If `chunk_bytes` is 0, which settings refuse.
pub fn fixed(body_bytes: u64, chunk_bytes: u32) -> impl Iterator<Item = Range<u64>> {
    let step = u64::from(chunk_bytes);
    (0..body_bytes.div_ceil(step)).map(move |i| i * step..((i + 1) * step).min(body_bytes))
}

/// Which chunks, of these lengths and in order, hold bytes of `wanted`, and which part of each.
///
/// Yields the chunk's index and the range within it; nothing for an empty range. `from` is the offset of the
/// first chunk in the body.
pub fn covering(lengths: &[u32], from: u64, wanted: Range<u64>) -> Vec<(usize, Range<u32>)> {
    let mut parts = Vec::new();
    let mut start = from;
    for (index, &length) in lengths.iter().enumerate() {
        let end = start + u64::from(length);
        let (first, last) = (wanted.start.max(start), wanted.end.min(end));
        if first < last {
            parts.push((index, (first - start) as u32..(last - start) as u32));
        }
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fixed_cuts() {
        let cuts = |body, chunk| fixed(body, chunk).map(|cut| (cut.start, cut.end)).collect::<Vec<_>>();
        assert_eq!(cuts(0, 4), []);
        assert_eq!(cuts(4, 4), [(0, 4)]);
        assert_eq!(cuts(9, 4), [(0, 4), (4, 8), (8, 9)]);
    }

    proptest! {
        /// Chunks follow each other without gap or overlap, are full but for the last, and give the body back.
        #[test]
        fn cuts_partition_the_body(body in 0u64..100_000, chunk in 1u32..5_000) {
            let cuts: Vec<_> = fixed(body, chunk).collect();
            let ends = cuts.iter().fold(0, |at, cut| { assert_eq!(cut.start, at); cut.end });
            prop_assert_eq!(ends, body);
            for cut in cuts.iter().rev().skip(1) {
                prop_assert_eq!(cut.end - cut.start, u64::from(chunk));
            }
            prop_assert!(cuts.iter().all(|cut| cut.start < cut.end));
        }

        /// The parts that cover a range add up to exactly that range of the body.
        #[test]
        fn covering_parts_are_the_range(lengths in proptest::collection::vec(1u32..50, 0..20), a in 0u64..600, b in 0u64..600) {
            let body: Vec<u64> = (0..lengths.iter().map(|&l| u64::from(l)).sum()).collect();
            let wanted = a.min(b).min(body.len() as u64)..a.max(b).min(body.len() as u64);
            let starts: Vec<u64> = lengths.iter().scan(0, |at, &l| { let s = *at; *at += u64::from(l); Some(s) }).collect();
            let got: Vec<u64> = covering(&lengths, 0, wanted.clone()).into_iter()
                .flat_map(|(i, part)| (starts[i] + u64::from(part.start))..(starts[i] + u64::from(part.end)))
                .collect();
            prop_assert_eq!(&got[..], &body[wanted.start as usize..wanted.end as usize]);
        }
    }
}
