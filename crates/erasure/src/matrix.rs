//! Matrices over GF(2⁸): the one that makes parity, and the inverses that undo what was lost.
//!
//! Write the data shards as a column **d** of K unknowns (one byte of each, at the same offset). A code is a matrix E with K + M rows:
//! the shards are E·**d**, one row each. Its top is the identity, so the first K shards are the data themselves
//! (*systematic*: a read needs no arithmetic unless something is lost); the M rows below make the parity.
//!
//! Losing shards is losing rows. What is left is still a set of equations, shards = E'·**d**; if E' has K independent rows, its inverse
//! gives **d** back. The code survives *any* M losses if and only if *any* K rows of E are independent (a code with that property is
//! called MDS: nothing does better with M extra shards).
//!
//! **How to get such a matrix.** A Vandermonde matrix V has the powers of a number in each row: V\[r]\[c] = rᶜ. Take any K rows of it, and
//! suppose a combination of their columns is zero: then a polynomial of degree below K has K different roots, the r's, so it is the zero
//! polynomial. So any K rows of V are independent. But its top is not the identity. Multiply by the inverse of the top square T:
//!
//! ```text
//! E = V · T⁻¹        top:  T · T⁻¹ = 1        any K rows:  V' · T⁻¹, a product of two invertible matrices
//! ```
//!
//! Example: K = 4, M = 2 gives two parity rows, and the identity above them. (Appending such powers to an identity *without* the
//! multiplication is a well-known mistake: the result is not MDS for all K and M.)
//!
//! ```
//! use erasure::matrix::Matrix;
//!
//! let e = Matrix::encoding(4, 2);
//! assert_eq!(e.row(0), [1, 0, 0, 0]);
//! assert_eq!(e.row(4), [0x1b, 0x1c, 0x12, 0x14]);
//! assert_eq!(e.row(5), [0x1c, 0x1b, 0x14, 0x12]);
//! ```
//!
//! Costs: an inverse takes K³ products, about a microsecond for K = 10 and milliseconds for K = 200, which is why
//! [`Codec`](crate::Codec) keeps what it has inverted. Left out: Cauchy matrices, which are MDS without any inversion, because the
//! parity must equal that of everybody who ports Backblaze's or klauspost's code. Sources: Plank's tutorial and its correction, which
//! is this construction; <https://github.com/klauspost/reedsolomon>.
#![forbid(unsafe_code)]

use crate::Error;
use crate::gf;

/// A matrix of bytes, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    columns: usize,
    cells: Vec<u8>,
}

impl Matrix {
    /// The (`k` + `m`) × `k` matrix of the code: the identity above `m` rows of parity.
    ///
    /// # Panics
    ///
    /// If `k` is 0 or `k` + `m` is above 256: a Vandermonde matrix needs a number of its own for each row.
    pub fn encoding(k: usize, m: usize) -> Self {
        assert!(k > 0 && k + m <= 256, "no matrix has {k} + {m} rows of different numbers");
        let vandermonde = Self::filled(k + m, k, |r, c| gf::pow(r as u8, c));
        let top = vandermonde.select(0..k);
        let undo_top = top.inverse().expect("the numbers of the rows differ, so they are independent");
        vandermonde.times(&undo_top)
    }

    /// The `n` × `n` matrix that changes nothing.
    pub fn identity(n: usize) -> Self {
        Self::filled(n, n, |r, c| u8::from(r == c))
    }

    /// The matrix with these cells, `columns` to a row.
    ///
    /// # Panics
    ///
    /// If `cells` is not whole rows.
    pub fn of(columns: usize, cells: &[u8]) -> Self {
        assert!(columns > 0 && cells.len().is_multiple_of(columns), "rows have {columns} cells");
        Self { columns, cells: cells.to_vec() }
    }

    /// Row `r`, from the top, counted from 0.
    pub fn row(&self, r: usize) -> &[u8] {
        &self.cells[r * self.columns..(r + 1) * self.columns]
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.cells.len() / self.columns
    }

    /// How many cells a row has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The rows with these indexes, in this order.
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let cells = rows.into_iter().flat_map(|r| self.row(r).iter().copied()).collect();
        Self { columns: self.columns, cells }
    }

    /// The product: cell (r, c) is row r of `self` times column c of `right`.
    ///
    /// # Panics
    ///
    /// If `right` does not have a row for each column of `self`.
    pub fn times(&self, right: &Self) -> Self {
        assert_eq!(self.columns, right.rows(), "a row of the left meets a column of the right");
        Self::filled(self.rows(), right.columns, |r, c| {
            let products = self.row(r).iter().enumerate().map(|(i, &cell)| gf::mul(cell, right.row(i)[c]));
            products.fold(0, gf::add)
        })
    }

    /// The matrix whose product with this one is the identity, by Gauss and Jordan: whatever turns this into the identity, row by
    /// row, turns an identity beside it into the inverse.
    ///
    /// # Errors
    ///
    /// [`Error::Singular`] if there is none: some row is a combination of others.
    ///
    /// # Panics
    ///
    /// If the matrix is not square.
    pub fn inverse(&self) -> Result<Self, Error> {
        let n = self.columns;
        assert_eq!(self.rows(), n, "only a square has an inverse");
        let (mut left, mut right) = (self.clone(), Self::identity(n));
        for c in 0..n {
            let pivot = (c..n).find(|&r| left.row(r)[c] != 0).ok_or(Error::Singular)?;
            let scale = gf::inverse(left.row(pivot)[c]).ok_or(Error::Singular)?;
            for side in [&mut left, &mut right] {
                side.swap_rows(c, pivot);
                side.scale_row(c, scale);
            }
            for r in (0..n).filter(|&r| r != c) {
                let times = left.row(r)[c];
                left.add_row(r, c, times);
                right.add_row(r, c, times);
            }
        }
        Ok(right)
    }

    fn filled(rows: usize, columns: usize, cell: impl Fn(usize, usize) -> u8) -> Self {
        let cell = &cell;
        Self { columns, cells: (0..rows).flat_map(|r| (0..columns).map(move |c| cell(r, c))).collect() }
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        for c in 0..self.columns {
            self.cells.swap(a * self.columns + c, b * self.columns + c);
        }
    }

    fn scale_row(&mut self, r: usize, times: u8) {
        for cell in &mut self.cells[r * self.columns..(r + 1) * self.columns] {
            *cell = gf::mul(*cell, times);
        }
    }

    /// Adds `times` × row `from` to row `to`, another one.
    fn add_row(&mut self, to: usize, from: usize, times: u8) {
        if times == 0 {
            return;
        }
        for c in 0..self.columns {
            let summand = gf::mul(self.cells[from * self.columns + c], times);
            self.cells[to * self.columns + c] ^= summand;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_parity_rows() {
        // (k, m, parity rows in hex), computed independently of this code.
        let table: [(usize, usize, &[&str]); 7] = [
            (1, 1, &["01"]),
            (2, 1, &["0302"]),
            (3, 1, &["010101"]),
            (3, 2, &["010101", "0f0806"]),
            (4, 2, &["1b1c1214", "1c1b1412"]),
            (6, 3, &["070605040302", "060704050203", "a0dfdfb7fee8"]),
            (10, 4, &["8196afb8d2c4fee80302", "9681b8afc4d2e8fe0203", "bfd6620a066fdfb70504", "d6bf0a626f06b7df0405"]),
        ];
        for (k, m, expected) in table {
            let e = Matrix::encoding(k, m);
            let hex = |r: usize| e.row(r).iter().map(|cell| format!("{cell:02x}")).collect::<String>();
            assert_eq!((k..k + m).map(hex).collect::<Vec<_>>(), expected, "{k}+{m}");
            assert_eq!(e.select(0..k), Matrix::identity(k));
        }
    }

    #[test]
    fn any_k_rows_are_independent() {
        for (k, m) in [(1, 3), (2, 2), (3, 3), (4, 2), (5, 4), (6, 3), (10, 4)] {
            let e = Matrix::encoding(k, m);
            for kept in (0_u32..1 << (k + m)).filter(|kept| kept.count_ones() as usize == k) {
                let rows = e.select((0..k + m).filter(|r| kept >> r & 1 == 1));
                let inverse = rows.inverse().unwrap_or_else(|_| panic!("{k}+{m} without all but {kept:b}"));
                assert_eq!(rows.times(&inverse), Matrix::identity(k));
            }
        }
    }

    #[test]
    fn dependent_rows_have_no_inverse() {
        for cells in [vec![0], vec![1, 2, 1, 2], vec![1, 0, 2, 0], vec![1, 2, 3, 4, 5, 6, 5, 7, 5]] {
            let n = cells.len().isqrt();
            assert!(matches!(Matrix::of(n, &cells).inverse(), Err(Error::Singular)), "{cells:?}");
        }
    }

    #[test]
    fn a_pivot_of_zero_is_swapped_away() {
        let swap = Matrix::of(2, &[0, 1, 1, 0]);
        assert_eq!(swap.inverse().unwrap(), swap);
    }

    proptest! {
        /// Whatever K shards of whatever code are left, their rows have an inverse.
        #[test]
        fn any_rows_of_any_code_can_be_inverted((k, m) in (1_usize..40, 1_usize..40), seed in any::<u64>()) {
            let e = Matrix::encoding(k, m);
            let mut rows: Vec<usize> = (0..k + m).collect();
            rows.sort_by_key(|&r| (r as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
            let kept = e.select(rows.into_iter().take(k));
            prop_assert_eq!(kept.inverse().unwrap().times(&kept), Matrix::identity(k));
        }
    }
}
