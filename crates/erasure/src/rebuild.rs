//! Rebuilding lost shards from those that are left, any stretch of them at a time.
//!
//! K shards that are left are K rows of the encoding matrix times the data. The inverse of these rows turns them back into the data,
//! and a row of the encoding matrix turns the data into any shard. Both are constants, so their product is one too: a lost shard,
//! data or parity, is *one* row of K coefficients times the K sources. It costs what a parity shard costs to make, and nothing is
//! computed that was not asked for.
//!
//! Byte i of a lost shard depends on the bytes i of the sources alone. So a shard of any length is rebuilt a stretch at a time, in
//! memory of K + (number wanted) stretches, and a range of a lost shard can be read without the rest of it.
//!
//! Inverting costs K³ products, so what was prepared is kept for the next stripe, [`CACHED`] patterns of loss at most: a
//! dead node means the same few patterns for thousands of stripes.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use crate::kernel::Kernel;
use crate::matrix::Matrix;
use crate::rows::Rows;
use crate::shards::{self, Slices};
use crate::{Error, ShardSet};

/// How certain shards are made from K others. From [`Codec::rebuild`](crate::Codec::rebuild), which has an example.
#[derive(Debug)]
pub struct Rebuild {
    sources: ShardSet,
    wanted: ShardSet,
    rows: Rows,
}

impl Rebuild {
    /// Prepares to make `wanted` from the rows `sources` of `matrix`, as many as it has columns.
    pub(crate) fn new(kernel: Kernel, matrix: &Matrix, sources: ShardSet, wanted: ShardSet) -> Result<Self, Error> {
        let data = matrix.select(sources.iter().map(usize::from)).inverse()?;
        let made = matrix.select(wanted.iter().map(usize::from)).times(&data);
        let rows: Vec<_> = (0..made.rows()).map(|r| made.row(r)).collect();
        Ok(Self { sources, wanted, rows: Rows::new(kernel, &rows) })
    }

    /// The K shards that it needs, to be handed to [`run`](Self::run) in ascending order.
    pub fn sources(&self) -> ShardSet {
        self.sources
    }

    /// The shards that it makes, in ascending order.
    pub fn wanted(&self) -> ShardSet {
        self.wanted
    }

    /// Makes a stretch of each wanted shard from the same stretch of each source, all of one length, 0 included. Overwrites `outputs`.
    ///
    /// # Errors
    ///
    /// [`Error::Count`] or [`Error::Length`] if slices are missing or differ in length; then nothing is written.
    pub fn run(&self, sources: &[impl AsRef<[u8]>], outputs: &mut [impl AsMut<[u8]>]) -> Result<(), Error> {
        let sources = Slices::of("source", sources, self.sources.len())?;
        shards::check_outputs("wanted", outputs, self.wanted.len(), sources.bytes())?;
        self.rows.multiply(sources.list(), outputs);
        Ok(())
    }
}

/// How many patterns of loss are kept: four nodes lost out of 14 in any combination that a cluster of a few racks meets at once, by
/// guess. Each takes up to 32 bytes × K × wanted: 1.3 KiB at 10+4, and 500 KiB at the widest.
pub(crate) const CACHED: usize = 64;

/// What was prepared lately, newest first.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Vec<Arc<Rebuild>>>);

impl Cache {
    /// What makes `wanted` of `sources`: kept, or else made by `make`. The lock is not held meanwhile, so two threads may make the same.
    pub(crate) fn get(
        &self,
        sources: ShardSet,
        wanted: ShardSet,
        make: impl FnOnce() -> Result<Rebuild, Error>,
    ) -> Result<Arc<Rebuild>, Error> {
        if let Some(known) = self.find(sources, wanted) {
            return Ok(known);
        }
        let made = Arc::new(make()?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(CACHED - 1);
        kept.insert(0, made.clone());
        Ok(made)
    }

    fn find(&self, sources: ShardSet, wanted: ShardSet) -> Option<Arc<Rebuild>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|known| known.sources == sources && known.wanted == wanted)?;
        kept[..=at].rotate_right(1);
        Some(kept[0].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(wanted: u8) -> (ShardSet, ShardSet) {
        (ShardSet::all(4), ShardSet::from_iter([wanted]))
    }

    fn get(cache: &Cache, wanted: u8, made: &mut usize) {
        let matrix = Matrix::encoding(4, 200);
        let (sources, wanted) = pattern(wanted);
        let make = || {
            *made += 1;
            Rebuild::new(Kernel::scalar(), &matrix, sources, wanted)
        };
        let got = cache.get(sources, wanted, make).unwrap();
        assert_eq!((got.sources(), got.wanted()), (sources, wanted));
    }

    #[test]
    fn what_was_used_lately_is_kept_and_no_more() {
        let (cache, mut made) = (Cache::default(), 0);
        let all = CACHED as u8;
        (0..all).for_each(|wanted| get(&cache, wanted, &mut made));
        (0..all).for_each(|wanted| get(&cache, wanted, &mut made));
        assert_eq!(made, CACHED, "all of them are kept");
        get(&cache, 0, &mut made);
        get(&cache, all, &mut made);
        assert_eq!(cache.0.lock().unwrap().len(), CACHED);
        get(&cache, 0, &mut made);
        assert_eq!(made, CACHED + 1, "what was used lately stays");
        get(&cache, 1, &mut made);
        assert_eq!(made, CACHED + 2, "what was used longest ago went");
    }
}
