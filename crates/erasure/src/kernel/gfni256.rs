//! AVX2 with GFNI: as [`gfni512`](super::gfni512), with registers of half the width.
//!
//! For CPUs that have GFNI and no AVX-512, which are most of Intel's since 2021 that are not for servers. The code differs from its sibling in width
//! and in the names of the instructions alone; having both beats a macro that would hide what either does.
#![allow(unsafe_code, reason = "vector loads and stores through pointers, and functions that need AVX2 and GFNI")]

use core::arch::x86_64::*;

use super::{Entry, Group, scalar, tables};

pub(super) static ENTRY: Entry = Entry {
    name: "avx2-gfni",
    table_bytes: 8,
    write_table: |c, tables| tables.extend_from_slice(&tables::MATRICES[usize::from(c)].to_le_bytes()),
    multiply,
};

/// Bytes of a register.
const WIDTH: usize = 32;

/// See [`Multiply`](super::Multiply), also for what a caller must guarantee; the CPU must have AVX2 and GFNI.
#[target_feature(enable = "avx2,gfni")]
unsafe fn multiply(group: &Group, sources: &[&[u8]], from: usize, outputs: &mut [&mut [u8]]) {
    if outputs[0].len() < WIDTH {
        return scalar::multiply(group, sources, from, outputs);
    }
    // SAFETY: outputs have at least `WIDTH` bytes, there are as many as the group has rows, and the rest is what our caller guarantees.
    unsafe {
        match outputs {
            [a] => rows::<1, 4>(group, sources, from, [a]),
            [a, b] => rows::<2, 4>(group, sources, from, [a, b]),
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
#[target_feature(enable = "avx2,gfni")]
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
/// The CPU must have AVX2 and GFNI. `N * WIDTH` bytes after `at` must be there in every output, and after `from + at` in every source;
/// `group` must have `R` rows, a column for each source, and a matrix of 8 bytes for each coefficient.
#[inline]
#[target_feature(enable = "avx2,gfni")]
unsafe fn columns<const R: usize, const N: usize>(
    group: &Group,
    sources: &[&[u8]],
    from: usize,
    outputs: [*mut u8; R],
    at: usize,
) {
    let mut sums = [[_mm256_setzero_si256(); N]; R];
    for (j, source) in sources.iter().enumerate() {
        let mut bytes = [_mm256_setzero_si256(); N];
        for (n, bytes) in bytes.iter_mut().enumerate() {
            // SAFETY: `WIDTH` bytes after `from + at + n * WIDTH` are in the source, by the contract above.
            *bytes = unsafe { _mm256_loadu_si256(source.as_ptr().add(from + at + n * WIDTH).cast()) };
        }
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the group has 8 bytes for each of `R` coefficients of each source, and `j` is a source, `r` below `R`.
            let matrix = unsafe { group.tables.as_ptr().add((j * R + r) * 8).cast::<i64>().read_unaligned() };
            let matrix = _mm256_set1_epi64x(matrix);
            for n in 0..N {
                sum[n] = _mm256_xor_si256(sum[n], _mm256_gf2p8affine_epi64_epi8::<0>(bytes[n], matrix));
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
