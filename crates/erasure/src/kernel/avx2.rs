//! AVX2: 32 products at a time, by two look-ups of half bytes each (see [`tables`](super::tables)).
//!
//! `vpshufb` looks each byte of one register up in a table of 16 that another one holds, in both 16-byte halves apart, so both
//! halves hold the same table. Indexes must be below 16: the low halves of the source bytes are masked out, the high ones shifted
//! down (as 16-bit numbers, since there is no shift of bytes, and masked as well). That is done once for a source, for all rows.
//!
//! Costs a coefficient and 32 bytes: two look-ups, two XORs. A CPU that does two of each a cycle makes 32 products a cycle.
#![allow(unsafe_code, reason = "vector loads and stores through pointers, and functions that need AVX2")]

use core::arch::x86_64::*;

use super::{Entry, Group, scalar, tables};

pub(super) static ENTRY: Entry = Entry {
    name: "avx2",
    table_bytes: 32,
    write_table: |c, tables| tables.extend_from_slice(&tables::NIBBLES[usize::from(c)]),
    multiply,
};

/// Bytes of a register.
const WIDTH: usize = 32;

/// See [`Multiply`](super::Multiply), also for what a caller must guarantee; the CPU must have AVX2.
#[target_feature(enable = "avx2")]
unsafe fn multiply(group: &Group, sources: &[&[u8]], from: usize, outputs: &mut [&mut [u8]]) {
    if outputs[0].len() < WIDTH {
        return scalar::multiply(group, sources, from, outputs);
    }
    // SAFETY: outputs have at least `WIDTH` bytes, there are as many as the group has rows, and the rest is what our caller guarantees.
    unsafe {
        match outputs {
            [a] => rows::<1, 4>(group, sources, from, [a]),
            [a, b] => rows::<2, 2>(group, sources, from, [a, b]),
            [a, b, c] => rows::<3, 2>(group, sources, from, [a, b, c]),
            [a, b, c, d] => rows::<4, 2>(group, sources, from, [a, b, c, d]),
            _ => unreachable!("a group has at most four rows"),
        }
    }
}

/// `R` rows, `WIDE` registers of each at once as long as that many are left.
///
/// # Safety
///
/// As for [`multiply`]; besides, the outputs must have at least [`WIDTH`] bytes.
#[target_feature(enable = "avx2")]
unsafe fn rows<const R: usize, const WIDE: usize>(
    group: &Group,
    sources: &[&[u8]],
    from: usize,
    outputs: [&mut [u8]; R],
) {
    let bytes = outputs[0].len();
    let outputs = outputs.map(|output| output.as_mut_ptr());
    // Where the first output begins a register's worth of aligned memory; outputs allocated alike are aligned alike.
    let mut at = outputs[0].addr().wrapping_neg() % WIDTH;
    // SAFETY: each call touches the bytes from its offset to `WIDE * WIDTH`, or `WIDTH`, further. The conditions of the loops keep that
    // within `bytes`, and as `bytes` is at least `WIDTH`, so do the first and the last call.
    unsafe {
        if at > 0 {
            columns::<R, 1>(group, sources, from, outputs, 0);
        }
        while at + WIDE * WIDTH <= bytes {
            columns::<R, WIDE>(group, sources, from, outputs, at);
            at += WIDE * WIDTH;
        }
        while at + WIDTH <= bytes {
            columns::<R, 1>(group, sources, from, outputs, at);
            at += WIDTH;
        }
        if at < bytes {
            columns::<R, 1>(group, sources, from, outputs, bytes - WIDTH);
        }
    }
}

/// `N` registers of each row, at offset `at` of the outputs.
///
/// # Safety
///
/// The CPU must have AVX2. `N * WIDTH` bytes after `at` must be there in every output, and after `from + at` in every source;
/// `group` must have `R` rows, a column for each source, and a table of 32 bytes for each coefficient.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn columns<const R: usize, const N: usize>(
    group: &Group,
    sources: &[&[u8]],
    from: usize,
    outputs: [*mut u8; R],
    at: usize,
) {
    let low_half = _mm256_set1_epi8(0x0f);
    let mut sums = [[_mm256_setzero_si256(); N]; R];
    for (j, source) in sources.iter().enumerate() {
        let (mut low, mut high) = ([low_half; N], [low_half; N]);
        for n in 0..N {
            // SAFETY: `WIDTH` bytes after `from + at + n * WIDTH` are in the source, by the contract above.
            let bytes = unsafe { _mm256_loadu_si256(source.as_ptr().add(from + at + n * WIDTH).cast()) };
            low[n] = _mm256_and_si256(bytes, low_half);
            high[n] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low_half);
        }
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the group has 32 bytes for each of `R` coefficients of each source, and `j` is a source, `r` below `R`.
            let (of_low, of_high) = unsafe {
                let table: *const __m128i = group.tables.as_ptr().add((j * R + r) * 32).cast();
                (_mm_loadu_si128(table), _mm_loadu_si128(table.add(1)))
            };
            let (of_low, of_high) = (_mm256_broadcastsi128_si256(of_low), _mm256_broadcastsi128_si256(of_high));
            for n in 0..N {
                let product =
                    _mm256_xor_si256(_mm256_shuffle_epi8(of_low, low[n]), _mm256_shuffle_epi8(of_high, high[n]));
                sum[n] = _mm256_xor_si256(sum[n], product);
            }
        }
    }
    for (output, sum) in outputs.iter().zip(sums) {
        for (n, bytes) in sum.into_iter().enumerate() {
            // SAFETY: `WIDTH` bytes after `at + n * WIDTH` are in the output, by the contract above.
            unsafe { _mm256_storeu_si256(output.add(at + n * WIDTH).cast(), bytes) };
        }
    }
}
