//! Content-defined chunking: cuts that move along with the content.
//!
//! Cut a body every 4 MiB and insert one byte at its front: every cut now falls one byte earlier in the content, every chunk has another
//! hash, and nothing is shared with the version before. Let instead the *content* say where to cut (after these bytes, wherever they
//! stand) and the same bytes give the same cuts again: one chunk is new, the others are found present.
//!
//! **The rule that says where.** A rolling hash looks at the last few bytes: `fp = fp · 2 + GEAR[byte]`, modulo 2⁶⁴, where `GEAR` holds a random
//! number for each byte value. Each step shifts what older bytes left one bit up, so the lowest *b* bits depend on the last *b* bytes and
//! nothing before them. A cut falls behind a byte where the lowest *b* bits are all 0, which random content does once in 2ᵇ bytes. With
//! *b* = 2 and the bytes `x y z`: the lowest two bits after `z` are those of `GEAR[y]·2 + GEAR[z]`, whatever `x` was.
//!
//! **What FastCDC adds.** Plain cuts come at exponentially distributed distances: many tiny chunks, some huge ones. So, counted from a
//! chunk's start ([`Profile`]; the default's numbers in brackets):
//!
//! ```text
//! 0 ......... min (1 MiB) .......... normal (4 MiB) ........ relax ......... max (16 MiB)
//!   no cut        strict: 22 bits         loose: 20 bits       relaxed bits    cut
//! ```
//!
//! Below `min` nothing is tested, between `min` and `normal` a cut is rare, behind it four times as likely: sizes gather around `normal`
//! (*normalised chunking*). At `max` the chunk ends anyway. Such a forced cut is the one that content did not choose, and would go on shifting, so a
//! third region with fewer bits still can make it rarer; it is off by default. Which numbers were used decides which chunks exist,
//! so they are a **profile** with a name, not knobs.
//!
//! **Invariants.** Chunks follow each other without gap and give the body back; all but the last have `min` to `max` bytes; cuts depend on the body
//! alone, never on how it arrived ([`Cutter`] is fed whatever came); what a cut depends on lies behind the cut before it, so after a change
//! cuts agree again as soon as one falls on the same content in both versions.
//!
//! **Cost.** One shift, one look-up, one add and one test a byte, and no byte is copied. The first `min - 64` bytes of a chunk are not even
//! looked at: 64 shifts push a byte out of the hash, so nothing before them can matter to the first test.
//!
//! **Left out.** Testing the *lowest* bits gives a window of only 20 to 22 bytes; masks spread over the word would look at up to 64 and
//! judge structured content better. They would also give other cuts than the reference, so they belong into another profile.
//!
//! Source: Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication", USENIX ATC 2016; the hash is
//! from Xia et al., "Ddelta: A Deduplication-Inspired Fast Delta Compression Approach", Performance Evaluation 79, 2014.

mod gear;
mod scan;

use std::ops::Range;

use self::scan::{WINDOW, first_zero, rolled};

/// Where a chunk may end: lengths in bytes, and how many low bits of the hash must be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    min: u32,
    normal: u32,
    max: u32,
    strict: u64,
    loose: u64,
    relaxed: Option<u64>,
}

impl Profile {
    /// The reference's: 1, 4 and 16 MiB, 22 and 20 bits, no third region. Random content gives chunks of 3.3 MiB on average.
    pub const DEFAULT: Self = match Self::new(1 << 20, 4 << 20, 16 << 20, 22, 20) {
        Some(profile) => profile,
        None => panic!("the default is in order"),
    };

    /// A profile of these lengths and bits; `None` unless 0 < min ≤ normal ≤ max ≤ 2³⁰ and all bits are 1 to 63.
    pub const fn new(min: u32, normal: u32, max: u32, strict_bits: u32, loose_bits: u32) -> Option<Self> {
        let lengths = 0 < min && min <= normal && normal <= max && max <= 1 << 30;
        if !lengths || !possible(strict_bits) || !possible(loose_bits) {
            return None;
        }
        Some(Self { min, normal, max, strict: mask(strict_bits), loose: mask(loose_bits), relaxed: None })
    }

    /// This profile with a third region, from halfway between normal and max: there `bits` zeros are enough. `None` unless 1 to 63.
    pub const fn relaxed(self, bits: u32) -> Option<Self> {
        match possible(bits) {
            true => Some(Self { relaxed: Some(mask(bits)), ..self }),
            false => None,
        }
    }

    /// The shortest chunk but the last, in bytes.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The longest chunk, in bytes.
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// The part of a chunk that `at` is in: where it ends, and what is done with its bytes.
    fn region(&self, at: u32) -> (u32, Region) {
        let first_test = self.min.saturating_sub(WINDOW);
        let relax = self.normal.midpoint(self.max);
        match self.relaxed {
            _ if at < first_test => (first_test, Region::Skip),
            _ if at < self.min => (self.min, Region::Warm),
            _ if at < self.normal => (self.normal, Region::Test(self.strict)),
            Some(mask) if at >= relax => (self.max, Region::Test(mask)),
            Some(_) => (relax, Region::Test(self.loose)),
            None => (self.max, Region::Test(self.loose)),
        }
    }
}

const fn possible(bits: u32) -> bool {
    0 < bits && bits < u64::BITS
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// What is done with the bytes of a part of a chunk.
enum Region {
    /// They cannot matter.
    Skip,
    /// They are hashed, and no cut falls behind them.
    Warm,
    /// They are hashed, and a cut falls where the bits of this mask are 0.
    Test(u64),
}

/// Cuts a body that arrives bit by bit: keeps 8 bytes of hash and a position, and none of the body.
#[derive(Clone, Debug)]
pub struct Cutter {
    profile: Profile,
    /// Bytes of the present chunk so far.
    at: u32,
    hash: u64,
}

impl Cutter {
    /// A cutter at the start of a body.
    pub fn new(profile: Profile) -> Self {
        Self { profile, at: 0, hash: 0 }
    }

    /// Looks at the body's next bytes. `Some(n)`: the chunk ends behind the first `n` of them (n ≥ 1), and the rest is still to be fed, as the
    /// beginning of the next chunk. `None`: all of them belong to this chunk, and more may.
    ///
    /// When the body ends, what was fed since the last cut is its last chunk.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let (end, region) = self.profile.region(self.at);
            let part = &bytes[done..bytes.len().min(done + (end - self.at) as usize)];
            let cut = match region {
                Region::Skip => None,
                Region::Warm => {
                    self.hash = rolled(self.hash, part);
                    None
                }
                Region::Test(mask) => first_zero(&mut self.hash, part, mask),
            };
            let taken = cut.unwrap_or(part.len());
            done += taken;
            self.at += taken as u32;
            if cut.is_some() || self.at == self.profile.max {
                (self.at, self.hash) = (0, 0);
                return Some(done);
            }
        }
        None
    }

    /// Bytes of the present chunk so far: at most the profile's `max` less one.
    pub fn pending(&self) -> u32 {
        self.at
    }
}

/// The chunks of a whole body, as ranges of it: none of an empty one.
pub fn cuts(body: &[u8], profile: Profile) -> impl Iterator<Item = Range<usize>> {
    let (mut cutter, mut start) = (Cutter::new(profile), 0);
    std::iter::from_fn(move || {
        let rest = &body[start..];
        let length = cutter.feed(rest).unwrap_or(rest.len());
        let cut = start..start + length;
        start = cut.end;
        (length > 0).then_some(cut)
    })
}

#[cfg(test)]
mod tests;
