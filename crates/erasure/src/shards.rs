//! What callers hand in, checked once: as many slices as the code has shards, all of one length.
#![forbid(unsafe_code)]

use crate::Error;

/// The most shards that a stripe can have.
pub(crate) const MAX_SHARDS: usize = 255;

/// Shards of one length, as plain slices: a list on the stack, so that no call allocates.
pub(crate) struct Slices<'a> {
    list: [&'a [u8]; MAX_SHARDS],
    count: usize,
}

impl<'a> Slices<'a> {
    /// The `expected` shards of a `kind`, or what is wrong with them.
    pub(crate) fn of(kind: &'static str, shards: &'a [impl AsRef<[u8]>], expected: usize) -> Result<Self, Error> {
        if shards.len() != expected {
            return Err(Error::Count { kind, expected, found: shards.len() });
        }
        let mut slices = Self { list: [&[]; MAX_SHARDS], count: expected };
        for (slice, shard) in slices.list.iter_mut().zip(shards) {
            *slice = shard.as_ref();
        }
        let bytes = slices.bytes();
        slices
            .list()
            .iter()
            .enumerate()
            .try_for_each(|(index, slice)| check_length(kind, index, bytes, slice.len()))?;
        Ok(slices)
    }

    /// The shards.
    pub(crate) fn list(&self) -> &[&'a [u8]] {
        &self.list[..self.count]
    }

    /// The length of each, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.list[0].len()
    }
}

/// Whether `outputs` are `expected` slices of `bytes` each.
pub(crate) fn check_outputs(
    kind: &'static str,
    outputs: &mut [impl AsMut<[u8]>],
    expected: usize,
    bytes: usize,
) -> Result<(), Error> {
    if outputs.len() != expected {
        return Err(Error::Count { kind, expected, found: outputs.len() });
    }
    let mut lengths = outputs.iter_mut().map(|output| output.as_mut().len()).enumerate();
    lengths.try_for_each(|(index, found)| check_length(kind, index, bytes, found))
}

/// Whether a shard has the `expected` length.
pub(crate) fn check_length(kind: &'static str, index: usize, expected: usize, found: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Length { kind, index, expected, found }) }
}
