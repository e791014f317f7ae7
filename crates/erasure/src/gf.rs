//! Arithmetic in GF(2⁸): 256 numbers, the bytes, with which one can add, subtract, multiply and divide without ever leaving them.
//!
//! Erasure codes solve linear equations. Over ordinary numbers that fails on a computer: sums overflow, and quotients get
//! rounded. A *field* is any set with an addition and a multiplication that keep the rules of school, division included, and
//! there is one with exactly 256 members, so shards can be taken as they are, byte by byte, and no result needs more room.
//!
//! **A byte is a polynomial** whose coefficients are bits: `0x13` = 0001_0011 is x⁴ + x + 1.
//!
//! **Adding is XOR.** Polynomials are added coefficient by coefficient, and bits are added modulo 2: 1 + 1 = 0. So `a + b` is
//! `a ^ b`, no carry runs from bit to bit, and each number is its own negative: subtracting is XOR as well.
//!
//! **Multiplying is multiplying polynomials**, and taking the remainder by a fixed one of degree 8, here x⁸ + x⁴ + x³ + x² + 1
//! ([`POLYNOMIAL`], `0x11D`), as one takes remainders by a prime. Multiplying by x ([`double`]) shifts the bits to the left; if one
//! falls out at the top, x⁸ is replaced by what it equals, x⁴ + x³ + x² + 1 = `0x1D`:
//!
//! ```
//! use erasure::gf;
//!
//! assert_eq!(gf::add(0x53, 0xCA), 0x99);
//! assert_eq!(gf::double(0x40), 0x80); // x · x⁶ = x⁷
//! assert_eq!(gf::double(0x80), 0x1D); // x · x⁷ = x⁸ = x⁴ + x³ + x² + 1
//! assert_eq!(gf::mul(0x80, 3), 0x1D ^ 0x80); // 3 = x + 1, so twice it plus once it
//! assert_eq!(gf::mul(0x53, gf::inverse(0x53).unwrap()), 1);
//! ```
//!
//! Why there is division: the polynomial cannot be factored, so a product is 0 only if a factor is; multiplying by `a` ≠ 0 then maps
//! the 255 other numbers one to one onto themselves, and one of them goes to 1. This polynomial has one more virtue: the powers
//! of x = 2 run through *all* 255 before they come back to 1. So each number but 0 is 2ⁿ for one n, its logarithm, and a product is
//! two look-ups and a sum, as with a slide rule: 2ᵃ · 2ᵇ = 2ᵃ⁺ᵇ.
//!
//! Costs: an XOR to add, three look-ups to multiply, in tables of 766 bytes made at compile time. That serves matrices; whole shards
//! go through [`kernel`](crate::kernel). Invariant: nothing here depends on the machine, so parity made anywhere is the same.
//!
//! Left out: other polynomials. AES and the instruction `gf2p8mulb` use `0x11B`, also a field, with other products. `0x11D` is what the
//! storage world uses (RAID-6, ISA-L, klauspost). Sources: Plank, "A Tutorial on Reed-Solomon Coding for Fault-Tolerance in
//! RAID-like Systems", Software: Practice & Experience 27(9), 1997, with the correction of 2003; Anvin, "The mathematics of RAID-6", 2004.
#![forbid(unsafe_code)]

/// What products are reduced by: x⁸ + x⁴ + x³ + x² + 1, bit 8 included.
pub const POLYNOMIAL: u16 = 0x11D;

/// `EXP[n]` is 2ⁿ, for n from 0 to 509: twice around, so that the sum of two logarithms needs no remainder.
static EXP: [u8; 510] = powers_of_two();

/// `LOG[a]` is the n below 255 with 2ⁿ = a. `LOG[0]` means nothing: no power of 2 is 0.
static LOG: [u8; 256] = logarithms();

/// The sum, which is also the difference.
pub const fn add(a: u8, b: u8) -> u8 {
    a ^ b
}

/// `a` times x: the step that everything else is made of.
pub const fn double(a: u8) -> u8 {
    let fell_out = a >> 7;
    (a << 1) ^ (fell_out * POLYNOMIAL as u8)
}

/// The product, by logarithms.
pub fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    EXP[usize::from(LOG[usize::from(a)]) + usize::from(LOG[usize::from(b)])]
}

/// The product as it is defined: `a` times x⁰, x¹, … x⁷, summed over the bits of `b`.
///
/// Slower than [`mul`], and independent of its tables: the kernels' tables are made of it, at compile time.
pub const fn mul_bitwise(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    product
}

/// The number whose product with `a` is 1; `None` for 0, which has none.
pub fn inverse(a: u8) -> Option<u8> {
    (a != 0).then(|| EXP[255 - usize::from(LOG[usize::from(a)])])
}

/// `a` to the power of `n`, where 0⁰ is 1, as in a Vandermonde matrix.
pub fn pow(a: u8, n: usize) -> u8 {
    match (a, n) {
        (_, 0) => 1,
        (0, _) => 0,
        // 2²⁵⁵ = 1, so exponents count modulo 255.
        _ => EXP[usize::from(LOG[usize::from(a)]) * (n % 255) % 255],
    }
}

const fn powers_of_two() -> [u8; 510] {
    let mut exp = [0; 510];
    let (mut n, mut power) = (0, 1);
    while n < 510 {
        exp[n] = power;
        power = double(power);
        n += 1;
    }
    exp
}

const fn logarithms() -> [u8; 256] {
    let (exp, mut log, mut n) = (powers_of_two(), [0; 256], 0);
    while n < 255 {
        log[exp[n] as usize] = n as u8;
        n += 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = u8> + Clone {
        0..=255
    }

    #[test]
    fn golden_powers_of_two() {
        let expected = "01020408102040801d3a74e8cd8713264c982d5ab475eac98f03060c183060c0";
        let found: String = (0..32).map(|n| format!("{:02x}", pow(2, n))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn logarithms_and_the_definition_agree_on_all_products() {
        for a in all() {
            assert!(all().all(|b| mul(a, b) == mul_bitwise(a, b)), "{a}");
        }
    }

    #[test]
    fn the_rules_of_school_hold() {
        for a in all() {
            assert_eq!((mul(a, 1), mul(a, 0), add(a, a)), (a, 0, 0));
            for b in all() {
                assert_eq!(mul(a, b), mul(b, a));
                let c = a.wrapping_mul(31) ^ b.rotate_left(3);
                assert_eq!(mul(a, mul(b, c)), mul(mul(a, b), c));
                assert_eq!(mul(a, add(b, c)), add(mul(a, b), mul(a, c)));
            }
        }
    }

    #[test]
    fn all_but_zero_have_an_inverse() {
        assert_eq!(inverse(0), None);
        assert!((1..=255).all(|a| mul(a, inverse(a).unwrap()) == 1));
    }

    #[test]
    fn powers_are_repeated_products() {
        for a in all() {
            let mut expected = 1;
            for n in 0..600 {
                assert_eq!(pow(a, n), expected, "{a}^{n}");
                expected = mul(expected, a);
            }
        }
    }
}
