//! The code for one K and M: encode, verify, rebuild.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::kernel::Kernel;
use crate::matrix::Matrix;
use crate::rebuild::{Cache, Rebuild};
use crate::rows::Rows;
use crate::shards::{self, MAX_SHARDS, Slices};
use crate::{Error, ShardSet};

/// A Reed–Solomon code of `k` data and `m` parity shards: any `k` of the `k + m` give all others back.
///
/// Made once and shared: it is a few KiB, and remembers the last 64 patterns of loss that it was asked to undo. Shards may have any
/// length and lie at any address; multiples of 64 bytes are fastest.
///
/// ```
/// use erasure::{Codec, ShardSet};
///
/// let codec = Codec::new(4, 2)?;
/// let data = [b"Any four", b" of six ", b"shards a", b"re it   "];
/// let mut parity = [[0; 8]; 2];
/// codec.encode(&data, &mut parity)?;
/// assert!(codec.verify(&data, &parity)?);
///
/// // Shards 0 and 3 are lost. Ask what is needed to get shard 3 back, and get it back.
/// let rebuild = codec.rebuild(ShardSet::from_iter([1, 2, 4, 5]), ShardSet::from_iter([3]))?;
/// let sources = [data[1], data[2], &parity[0], &parity[1]];
/// let mut lost = [[0; 8]; 1];
/// rebuild.run(&sources, &mut lost)?;
/// assert_eq!(&lost[0], data[3]);
///
/// // The same in two stretches, with half the memory.
/// for stretch in [0..4, 4..8] {
///     rebuild.run(&sources.map(|shard| &shard[stretch.clone()]), &mut [&mut lost[0][stretch.clone()]])?;
/// }
/// assert_eq!(&lost[0], data[3]);
/// # Ok::<_, erasure::Error>(())
/// ```
#[derive(Debug)]
pub struct Codec {
    k: usize,
    m: usize,
    kernel: Kernel,
    matrix: Matrix,
    parity: Rows,
    cache: Cache,
}

impl Codec {
    /// The code of `k` data and `m` parity shards, with the fastest kernel of this CPU.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] unless both are at least 1, and at most 255 together.
    pub fn new(k: usize, m: usize) -> Result<Self, Error> {
        Self::with_kernel(k, m, Kernel::best())
    }

    /// The same with a kernel of one's own choice; what it computes is the same.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_kernel(k: usize, m: usize, kernel: Kernel) -> Result<Self, Error> {
        if k == 0 || m == 0 || k.saturating_add(m) > MAX_SHARDS {
            return Err(Error::Shape { k, m });
        }
        let matrix = Matrix::encoding(k, m);
        let rows: Vec<_> = (k..k + m).map(|r| matrix.row(r)).collect();
        let parity = Rows::new(kernel, &rows);
        Ok(Self { k, m, kernel, matrix, parity, cache: Cache::default() })
    }

    /// K: how many shards the data are cut into, and how many any rebuild needs.
    pub fn data_shards(&self) -> usize {
        self.k
    }

    /// M: how many shards may be lost.
    pub fn parity_shards(&self) -> usize {
        self.m
    }

    /// What multiplies.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Computes `m` parity shards from `k` data shards, all of one length, 0 included. Overwrites `parity`, allocates nothing.
    ///
    /// May be called stretch by stretch: bytes at an offset depend only on bytes at the same offset.
    ///
    /// # Errors
    ///
    /// [`Error::Count`] or [`Error::Length`] if slices are missing or differ in length; then nothing is written.
    pub fn encode(&self, data: &[impl AsRef<[u8]>], parity: &mut [impl AsMut<[u8]>]) -> Result<(), Error> {
        let data = Slices::of("data", data, self.k)?;
        shards::check_outputs("parity", parity, self.m, data.bytes())?;
        self.parity.multiply(data.list(), parity);
        Ok(())
    }

    /// Whether `parity` is what [`encode`](Self::encode) would make of `data`. Stops soon after the first difference.
    ///
    /// It finds that something is wrong, not what: which shard is at fault takes its checksum.
    ///
    /// # Errors
    ///
    /// As for [`encode`](Self::encode).
    pub fn verify(&self, data: &[impl AsRef<[u8]>], parity: &[impl AsRef<[u8]>]) -> Result<bool, Error> {
        let data = Slices::of("data", data, self.k)?;
        let parity = Slices::of("parity", parity, self.m)?;
        shards::check_length("parity", 0, data.bytes(), parity.bytes())?;
        Ok(self.parity.matches(data.list(), parity.list()))
    }

    /// How the shards in `wanted` are made from the first `k` of those in `present`, in ascending order.
    ///
    /// The result says which `k` these are, so nothing else needs to be read; hand in fewer to choose them oneself. Shards that are
    /// wanted though present are made as well. Inverts a matrix (`k`³ products) unless that pattern was met lately.
    ///
    /// # Errors
    ///
    /// [`Error::TooFew`] if less than `k` are present; [`Error::NoSuchShard`] if the code has no shard of some index.
    pub fn rebuild(&self, present: ShardSet, wanted: ShardSet) -> Result<Arc<Rebuild>, Error> {
        let shards = self.k + self.m;
        let known = ShardSet::all(shards);
        if let Some(index) = present.without(known).iter().chain(wanted.without(known).iter()).next() {
            return Err(Error::NoSuchShard { index: usize::from(index), shards });
        }
        if present.len() < self.k {
            return Err(Error::TooFew { needed: self.k, present: present.len() });
        }
        let sources = present.iter().take(self.k).collect();
        self.cache.get(sources, wanted, || Rebuild::new(self.kernel, &self.matrix, sources, wanted))
    }

    /// Puts all that is `None` back, whole and in memory: `shards` are the `k` data and then the `m` parity shards.
    ///
    /// A convenience that allocates what it fills in. Whoever has many or long shards takes [`rebuild`](Self::rebuild).
    ///
    /// # Errors
    ///
    /// [`Error::Count`] if `shards` are not `k + m`, [`Error::TooFew`] if less than `k` are there, [`Error::Length`] if they differ in
    /// length (`index` counts those that are there). Then nothing is changed.
    pub fn reconstruct(&self, shards: &mut [Option<Vec<u8>>]) -> Result<(), Error> {
        if shards.len() != self.k + self.m {
            return Err(Error::Count { kind: "data and parity", expected: self.k + self.m, found: shards.len() });
        }
        let present: ShardSet =
            (0..).zip(&*shards).filter_map(|(index, shard)| shard.as_ref().map(|_| index)).collect();
        let there: Vec<_> = shards.iter().flatten().collect();
        let bytes = Slices::of("present", &there, there.len())?.bytes();
        let missing = ShardSet::all(shards.len()).without(present);
        if missing.is_empty() {
            return Ok(());
        }
        let rebuild = self.rebuild(present, missing)?;
        let mut made = vec![vec![0; bytes]; missing.len()];
        rebuild.run(&there[..self.k], &mut made)?;
        shards.iter_mut().filter(|shard| shard.is_none()).zip(made).for_each(|(shard, made)| *shard = Some(made));
        Ok(())
    }
}
