//! Kernels: the loop in which all time goes, once for each kind of CPU.
//!
//! A kernel gets up to four rows of a matrix and the source shards, and writes one output shard a row:
//!
//! ```text
//! output[r][i] = Σ  coefficient(r, j) · source[j][i]          for every byte i
//! ```
//!
//! | Kernel | Multiplies by | Bytes a step | Needs |
//! |---|---|---|---|
//! | `scalar` | doubling and adding, block-wise | what the compiler finds | nothing |
//! | `avx2` | two look-ups of 16 bytes (`vpshufb`) | 32 | AVX2 |
//! | `avx2-gfni` | a matrix of bits (`vgf2p8affineqb`) | 32 | AVX2, GFNI |
//! | `avx512-gfni` | the same | 64 | AVX-512F, GFNI |
//!
//! Why several rows at once: with one row at a time every source byte is loaded once for each row, and at these speeds loads are what
//! there is too little of. With four, a load serves four products. More than four sums would not fit the 16 registers of AVX2.
//!
//! **Which one runs** is found out once, by asking the CPU. A [`Kernel`] cannot be made any other way, so whoever holds one has the
//! proof that its instructions exist. That is one half of why calling it is safe; the other half is `Kernel::multiply`, which checks
//! every length before the first byte is touched. The kernels themselves only have to stay within these lengths.
//!
//! Ends of shards: a vector kernel whose last step would not be whole steps back, and computes the last vector's worth again:
//! outputs depend on sources only, so bytes that are written twice get the same value twice. In the same way it makes up for outputs that
//! begin anywhere: one step at their start, and from the next multiple of the vector's width on no store crosses a cache line, which
//! makes half as much again at 64 bytes a vector. Shards shorter than a vector go through `scalar`.
//!
//! Left out: SSSE3 (every server CPU since 2013 has AVX2), NEON and SVE (Arm takes `scalar`, whose loops its compiler vectorises), and
//! stores past the cache, since whoever encodes sends the shards next. Sources: ISA-L, <https://github.com/intel/isa-l>, `erasure_code/`,
//! for the several rows at once; klauspost/reedsolomon for GFNI through bit matrices.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod gfni256;
#[cfg(target_arch = "x86_64")]
mod gfni512;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod tables;

use std::fmt;
use std::sync::OnceLock;

/// The most rows that a kernel computes in one pass over the sources.
pub(crate) const GROUP: usize = 4;

/// Up to [`GROUP`] rows of a matrix, with whatever a kernel wants to know about their coefficients.
#[derive(Debug)]
pub(crate) struct Group {
    rows: usize,
    /// Column by column, since a pass takes up one source after the other: those of source 0 first, a byte for each row.
    coefficients: Vec<u8>,
    /// In the same order, [`Kernel::table_bytes`] for each coefficient.
    tables: Vec<u8>,
}

impl Group {
    /// How many outputs it makes.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// How many sources it takes.
    fn columns(&self) -> usize {
        self.coefficients.len() / self.rows
    }

    /// What source `j` is multiplied by for output `r`.
    fn coefficient(&self, r: usize, j: usize) -> u8 {
        self.coefficients[j * self.rows + r]
    }
}

/// A way to multiply that this CPU has. See the [module](self).
#[derive(Clone, Copy)]
pub struct Kernel(&'static Entry);

/// A row of the table of functions.
struct Entry {
    name: &'static str,
    /// Bytes that [`Entry::write_table`] appends.
    table_bytes: usize,
    /// Appends what the kernel wants to know about a coefficient.
    write_table: fn(u8, &mut Vec<u8>),
    multiply: Multiply,
}

/// The loop itself: sets `outputs[r][i]` to the sum over j of coefficient (r, j) × `sources[j][from + i]`.
///
/// # Safety
///
/// The CPU must have the instructions, the tables must be the kernel's own, and all of this must hold (see [`Kernel::multiply`]):
/// one source a column and one output a row; all outputs of one length; in each source at least that many bytes after the first `from`.
type Multiply = unsafe fn(&Group, &[&[u8]], usize, &mut [&mut [u8]]);

impl Kernel {
    /// The one that works on every CPU, and that defines what the others compute.
    pub fn scalar() -> Self {
        static SCALAR: Entry =
            Entry { name: "scalar", table_bytes: 0, write_table: |_, _| (), multiply: scalar::multiply };
        Self(&SCALAR)
    }

    /// The fastest that this CPU has.
    pub fn best() -> Self {
        *Self::available().last().expect("scalar is always there")
    }

    /// All that this CPU has, from slow to fast: `scalar` first.
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Kernel>> = OnceLock::new();
        AVAILABLE.get_or_init(detect)
    }

    /// `scalar`, `avx2`, `avx2-gfni` or `avx512-gfni`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The group of these rows, at most [`GROUP`], each with a coefficient for every source.
    pub(crate) fn group(self, rows: &[&[u8]]) -> Group {
        assert!((1..=GROUP).contains(&rows.len()) && rows.iter().all(|row| row.len() == rows[0].len()));
        let coefficients: Vec<u8> = (0..rows[0].len()).flat_map(|j| rows.iter().map(move |row| row[j])).collect();
        let mut tables = Vec::with_capacity(coefficients.len() * self.0.table_bytes);
        coefficients.iter().for_each(|&c| (self.0.write_table)(c, &mut tables));
        Group { rows: rows.len(), coefficients, tables }
    }

    /// Sets `outputs[r][i]` to the sum over j of coefficient (r, j) × `sources[j][from + i]`, for all i that outputs have.
    ///
    /// `group` must have been made by this kernel.
    ///
    /// # Panics
    ///
    /// If counts or lengths do not fit: then there is a bug in this crate, which has checked what callers gave.
    pub(crate) fn multiply(self, group: &Group, sources: &[&[u8]], from: usize, outputs: &mut [&mut [u8]]) {
        assert_eq!((sources.len(), outputs.len()), (group.columns(), group.rows));
        assert_eq!(group.tables.len(), group.coefficients.len() * self.0.table_bytes);
        let bytes = outputs[0].len();
        assert!(outputs.iter().all(|output| output.len() == bytes));
        assert!(sources.iter().all(|source| source.len().checked_sub(from).is_some_and(|rest| rest >= bytes)));
        // SAFETY: the CPU has the instructions, or `detect`, which alone makes kernels, would not have made this one. The lines above
        // have checked what the type `Multiply` demands of counts, lengths and tables.
        #[allow(unsafe_code, reason = "a function of a CPU that has its instructions; the only call")]
        unsafe {
            (self.0.multiply)(group, sources, from, outputs);
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

/// Asks the CPU what it has.
#[cfg(target_arch = "x86_64")]
fn detect() -> Vec<Kernel> {
    let has_avx2 = is_x86_feature_detected!("avx2");
    let has_gfni = is_x86_feature_detected!("gfni");
    let has_avx512 = is_x86_feature_detected!("avx512f");
    let mut found = vec![Kernel::scalar()];
    found.extend(has_avx2.then_some(Kernel(&avx2::ENTRY)));
    found.extend((has_avx2 && has_gfni).then_some(Kernel(&gfni256::ENTRY)));
    found.extend((has_avx512 && has_gfni).then_some(Kernel(&gfni512::ENTRY)));
    found
}

/// Other CPUs have no kernel of their own.
#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Vec<Kernel> {
    vec![Kernel::scalar()]
}
