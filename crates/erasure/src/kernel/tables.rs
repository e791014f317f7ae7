//! What the kernels know about each of the 256 numbers, computed at compile time: two 16-byte tables, or one 8 × 8 matrix of bits.
//!
//! Both rest on multiplication by a constant c being *linear over bits*: c·(a + b) = c·a + c·b, and + is XOR. So c·x can be put together
//! from what c does to parts of x.
//!
//! **Nibbles** ([`NIBBLES`]). x = high·16 + low, so c·x = c·(high·16) + c·low: one look-up in a table of 16 products for each half byte,
//! and an XOR. 16 bytes are one vector register, and `pshufb` looks up 16 bytes at once (32 with AVX2): it takes a register as the
//! table and another one as the indexes. Example, c = 2: low half `0 2 4 … 1e`, high half `0 20 40 … 1d^e0`.
//!
//! **Bits** ([`MATRICES`]). x is the sum of 2ʲ over its bits j, so c·x is the sum of the columns c·2ʲ for these j: a matrix of 8 × 8 bits times
//! a vector of 8 bits. `gf2p8affineqb` does just that for each byte of a register. (Its sibling `gf2p8mulb` multiplies in one
//! step, but in the field of AES, `0x11B`; as a matrix, any field will do.) It wants row i, which makes bit i of the result, in byte
//! 7 − i. Example, c = 1, the identity: row i is 2ⁱ, so the bytes from lowest to highest are `80 40 20 10 08 04 02 01`.
//!
//! Costs: 8 KiB and 2 KiB of constants. Sources: Plank, Greenan & Miller, "Screaming Fast Galois Field Arithmetic Using Intel SIMD
//! Instructions", FAST 2013; Intel's "Galois Field New Instructions (GFNI)" technology guide, 2018.
#![forbid(unsafe_code)]

use crate::gf;

/// For each c: the products of c with 0, 1, … 15, then with 0, 16, … 240.
pub(super) static NIBBLES: [[u8; 32]; 256] = nibbles();

/// For each c: the matrix of bits that multiplies by c, as `gf2p8affineqb` wants it.
pub(super) static MATRICES: [u64; 256] = matrices();

const fn nibbles() -> [[u8; 32]; 256] {
    let (mut all, mut c) = ([[0; 32]; 256], 0);
    while c < 256 {
        let mut x = 0;
        while x < 16 {
            all[c][x] = gf::mul_bitwise(c as u8, x as u8);
            all[c][16 + x] = gf::mul_bitwise(c as u8, (x as u8) << 4);
            x += 1;
        }
        c += 1;
    }
    all
}

const fn matrices() -> [u64; 256] {
    let (mut all, mut c) = ([0; 256], 0);
    while c < 256 {
        let mut j = 0;
        while j < 8 {
            // Column j: its bit i belongs to row i, at bit j of byte 7 - i.
            let (column, mut i) = (gf::mul_bitwise(c as u8, 1 << j), 0);
            while i < 8 {
                all[c] |= ((column >> i & 1) as u64) << (8 * (7 - i) + j);
                i += 1;
            }
            j += 1;
        }
        c += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_multiply() {
        for (c, table) in NIBBLES.iter().enumerate() {
            for x in 0..=255_u8 {
                let (low, high) = (table[usize::from(x & 15)], table[16 + usize::from(x >> 4)]);
                assert_eq!(low ^ high, gf::mul(c as u8, x), "{c} {x}");
            }
        }
    }

    #[test]
    fn matrices_multiply() {
        assert_eq!(MATRICES[1].to_le_bytes(), [0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1]);
        for (c, matrix) in MATRICES.iter().enumerate() {
            let rows = matrix.to_be_bytes();
            for x in 0..=255_u8 {
                // As the instruction is defined: bit i is the parity of row i AND x.
                let product = (0..8).fold(0, |sum, i| sum | ((rows[i] & x).count_ones() as u8 & 1) << i);
                assert_eq!(product, gf::mul(c as u8, x), "{c} {x}");
            }
        }
    }
}
