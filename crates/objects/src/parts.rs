//! Which chunks, stripes and stretches of shards a range of an object covers.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use api::metadata::{Located, LocatedExtent};
use datapath::{Part, StripePart};
use domain::chunking;
use domain::stripe::LocatedStripe;

/// Which bytes of an object are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPart {
    /// All.
    Whole,
    /// From this offset to the end, or to this last byte.
    From(u64, Option<u64>),
    /// The last so many.
    Last(u64),
}

impl ReadPart {
    /// The bytes of an object of `size` that this means; `None` if there are none.
    pub fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            ReadPart::Whole => return Some(0..size),
            ReadPart::From(first, last) => first..last.map_or(size, |last| last.saturating_add(1)).min(size),
            ReadPart::Last(bytes) => size - bytes.min(size)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// A chunk or stripe of the object, and the part of it that is wanted.
#[derive(Clone)]
pub(crate) struct WantedPart {
    pub wanted: Wanted,
    /// Extent it is in, and index in that.
    pub fetched: (u32, usize),
}

#[derive(Clone)]
pub(crate) enum Wanted {
    Chunk(Located, Part),
    /// What is read may go on behind the object's bytes: so many of them are wanted.
    Stripe(Arc<LocatedStripe>, StripePart, usize),
}

impl WantedPart {
    /// The most that is in memory while it is read, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.wanted {
            Wanted::Chunk(chunk, Part::Whole) => chunk.chunk.length as usize,
            Wanted::Chunk(_, Part::Range(range)) => range.len(),
            Wanted::Stripe(stripe, part, _) => part.stretch.len() * stripe.scheme.shards(),
        }
    }

    /// The same part, located anew.
    pub fn located(self, again: &LocatedExtent) -> Self {
        let index = self.fetched.1;
        let wanted = match (self.wanted, again) {
            (Wanted::Chunk(_, part), LocatedExtent::Chunks(chunks)) if index < chunks.len() => {
                Wanted::Chunk(chunks[index].clone(), part)
            }
            (Wanted::Stripe(_, part, bytes), LocatedExtent::Stripes(stripes)) if index < stripes.len() => {
                Wanted::Stripe(Arc::new(stripes[index].clone()), part, bytes)
            }
            (wanted, _) => wanted,
        };
        Self { wanted, ..self }
    }
}

/// The parts of an extent that `range` of the object covers, where `offset` is that of the extent's first byte.
pub(crate) fn parts_of(located: &LocatedExtent, extent: u32, offset: u64, range: &Range<u64>) -> VecDeque<WantedPart> {
    let lengths = located.lengths();
    let covered = chunking::covering(&lengths, offset, range.clone());
    let parts = covered.into_iter().flat_map(|(index, within)| {
        let wanted = match located {
            LocatedExtent::Chunks(chunks) => {
                let part = if within.len() == lengths[index] as usize { Part::Whole } else { Part::Range(within) };
                vec![Wanted::Chunk(chunks[index].clone(), part)]
            }
            LocatedExtent::Stripes(stripes) => {
                let stripe = Arc::new(stripes[index].clone());
                let parts = stripe_parts(stripe.shard_bytes, stripe.stripe.length, within);
                parts.into_iter().map(|(part, bytes)| Wanted::Stripe(stripe.clone(), part, bytes)).collect()
            }
        };
        wanted.into_iter().map(move |wanted| WantedPart { wanted, fetched: (extent, index) })
    });
    parts.collect()
}

/// Bytes `within` of a stripe that has `length`, as parts of one stretch each, and how many bytes of each are wanted.
///
/// A stretch that reaches the end of the stripe's bytes goes on to the end of its shard, so that a whole stripe is one part.
fn stripe_parts(shard_bytes: u32, length: u32, within: Range<u32>) -> Vec<(StripePart, usize)> {
    let mut parts: Vec<(StripePart, usize)> = Vec::new();
    let shard = u64::from(shard_bytes.max(1));
    let (begin, end) = (u64::from(within.start), u64::from(within.end));
    for index in begin / shard..end.div_ceil(shard) {
        let (from, to) = (begin.max(index * shard), end.min((index + 1) * shard));
        let stop = if end == u64::from(length) && to == end { (index + 1) * shard } else { to };
        let stretch = (from - index * shard) as u32..(stop - index * shard) as u32;
        let (index, bytes) = (index as u8, (to - from) as usize);
        match parts.last_mut() {
            Some((part, all)) if part.stretch == stretch => {
                part.shards.end = index + 1;
                *all += bytes;
            }
            _ => parts.push((StripePart { shards: index..index + 1, stretch }, bytes)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_stripe() {
        let show = |within: Range<u32>| {
            let parts = stripe_parts(100, 350, within);
            let show = |(part, bytes): &(StripePart, usize)| format!("{:?}[{:?}]={bytes}", part.shards, part.stretch);
            parts.iter().map(show).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(show(0..350), "0..4[0..100]=350", "all of it is one part, zeros behind it included");
        assert_eq!(show(0..300), "0..3[0..100]=300");
        assert_eq!(show(10..20), "0..1[10..20]=10");
        assert_eq!(show(90..110), "0..1[90..100]=10 1..2[0..10]=10");
        assert_eq!(show(50..350), "0..1[50..100]=50 1..4[0..100]=250");
        assert_eq!(show(50..320), "0..1[50..100]=50 1..3[0..100]=200 3..4[0..20]=20");
        assert_eq!(show(340..350), "3..4[40..100]=10");
    }

    #[test]
    fn parts_of_an_object() {
        let table = [
            (ReadPart::Whole, 0, Some(0..0)),
            (ReadPart::Whole, 5, Some(0..5)),
            (ReadPart::From(0, Some(0)), 5, Some(0..1)),
            (ReadPart::From(2, None), 5, Some(2..5)),
            (ReadPart::From(2, Some(99)), 5, Some(2..5)),
            (ReadPart::From(2, Some(u64::MAX)), 5, Some(2..5)),
            (ReadPart::From(5, None), 5, None),
            (ReadPart::From(u64::MAX, None), 5, None),
            (ReadPart::From(3, Some(2)), 5, None),
            (ReadPart::Last(2), 5, Some(3..5)),
            (ReadPart::Last(9), 5, Some(0..5)),
            (ReadPart::Last(0), 5, None),
            (ReadPart::Last(1), 0, None),
        ];
        for (part, size, range) in table {
            assert_eq!(part.of(size), range, "{part:?} of {size}");
        }
    }

    /// Every range of stripes of every length: what the parts name is the range, in order, and nothing else is read but padding.
    #[test]
    fn parts_of_a_stripe_are_the_range() {
        let shard = 8_u32;
        for length in 1..=4 * shard {
            let whole: Vec<u8> = (0..4 * shard).map(|at| if at < length { at as u8 } else { 0xff }).collect();
            for (from, to) in (0..length).flat_map(|from| (from + 1..=length).map(move |to| (from, to))) {
                let mut found = Vec::new();
                for (part, wanted) in stripe_parts(shard, length, from..to) {
                    let shards = part.shards.flat_map(|index| {
                        let base = u32::from(index) * shard;
                        whole[(base + part.stretch.start) as usize..(base + part.stretch.end) as usize].to_vec()
                    });
                    found.extend(shards.take(wanted));
                }
                assert_eq!(found, whole[from as usize..to as usize], "{from}..{to} of {length}");
            }
            let all = stripe_parts(shard, length, 0..length);
            assert_eq!(all.len(), 1, "a whole stripe is read at once");
        }
    }
}
