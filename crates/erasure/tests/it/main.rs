//! What the whole crate must do, seen from outside: golden vectors, kernels against the definition, memory that may not be touched,
//! random losses, an implementation by others, and how often memory is asked for.

mod allocations;
mod golden;
mod guard_pages;
mod kernels;
mod losses;
mod peer;
mod wrong_input;

use erasure::{gf, matrix::Matrix};

/// `count` shards of `bytes` each that look like noise, others for another `seed`.
fn noise(count: usize, bytes: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        // A linear congruence by Knuth; its top bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| (0..bytes).map(|_| next()).collect()).collect()
}

/// The parity of `data`, as the definition has it: sums of products of single bytes.
fn parity_by_definition(data: &[Vec<u8>], m: usize) -> Vec<Vec<u8>> {
    let (k, bytes) = (data.len(), data[0].len());
    let matrix = Matrix::encoding(k, m);
    let sum = |p: usize, i: usize| {
        let products = matrix.row(k + p).iter().zip(data).map(|(&coefficient, shard)| gf::mul(coefficient, shard[i]));
        products.fold(0, gf::add)
    };
    (0..m).map(|p| (0..bytes).map(|i| sum(p, i)).collect()).collect()
}
