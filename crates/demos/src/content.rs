//! What a demo's objects hold: bytes that follow from a seed, made piece by piece and never held as a whole.
//!
//! Word `i` of the bytes is a hash of (seed, `i`), so any part can be made without what comes before it. A `period` makes
//! the bytes repeat, for showing that equal chunks are stored once.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::words::Words;

/// How much is made at once.
const PIECE_BYTES: u64 = 256 << 10;

/// An object's bytes, as a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These very bytes.
    Text(String),
    /// Bytes from a seed.
    Seeded {
        /// How many.
        size: u64,
        /// Which.
        seed: u64,
        /// After how many bytes they repeat.
        period: u64,
    },
    /// Other content, with bytes in front of it.
    Shifted {
        /// By how many.
        by: u64,
        /// What comes behind them.
        rest: Box<Content>,
    },
}

impl Content {
    /// What `text=`, or `size=`, `seed=` and `period=` ask for, with `in-front=` bytes before it.
    pub fn of(words: &Words) -> Result<Self, String> {
        let rest = Self::unshifted(words)?;
        match words.number("in-front", 0)? {
            0 => Ok(rest),
            by => Ok(Content::Shifted { by, rest: Box::new(rest) }),
        }
    }

    fn unshifted(words: &Words) -> Result<Self, String> {
        if let Some(text) = words.get("text") {
            return Ok(Content::Text(text.to_string()));
        }
        let period = words.number("period", u64::MAX)?.max(8);
        Ok(Content::Seeded { size: words.number("size", 100)?, seed: words.number("seed", 1)?, period })
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        match self {
            Content::Text(text) => text.len() as u64,
            Content::Seeded { size, .. } => *size,
            Content::Shifted { by, rest } => by + rest.size(),
        }
    }

    /// The bytes from `at` on, at most `most`; fewer at the end.
    pub fn part(&self, at: u64, most: u64) -> Bytes {
        let end = self.size().min(at.saturating_add(most));
        match self {
            Content::Text(text) => Bytes::copy_from_slice(&text.as_bytes()[at as usize..end as usize]),
            Content::Shifted { by, rest } => {
                let front = vec![0xAA; (end.min(*by).saturating_sub(at)) as usize];
                [&front[..], &rest.part(at.saturating_sub(*by), end.saturating_sub(at.max(*by)))].concat().into()
            }
            Content::Seeded { seed, period, .. } => {
                let mut bytes = Vec::with_capacity((end - at) as usize + 8);
                let mut place = at;
                while place < end {
                    let inside = place % period;
                    let skip = (inside % 8) as usize;
                    bytes.extend_from_slice(&word(*seed, inside / 8).to_le_bytes()[skip..]);
                    let made = (8 - skip as u64).min(period - inside);
                    bytes.truncate((place + made - at) as usize);
                    place += made;
                }
                bytes.truncate((end - at) as usize);
                bytes.into()
            }
        }
    }

    /// The first `bytes` bytes in pieces.
    pub fn pieces(&self, bytes: u64) -> impl Iterator<Item = Bytes> + Send + Sync + 'static {
        let content = self.clone();
        let end = bytes.min(self.size());
        (0..end.div_ceil(PIECE_BYTES)).map(move |piece| {
            let at = piece * PIECE_BYTES;
            content.part(at, PIECE_BYTES.min(end - at))
        })
    }

    /// The SHA-256 of the bytes of `range`.
    pub fn sha256(&self, range: std::ops::Range<u64>) -> [u8; 32] {
        let mut sha = Sha256::new();
        let mut at = range.start;
        while at < range.end {
            let piece = self.part(at, PIECE_BYTES.min(range.end - at));
            sha.update(&piece);
            at += piece.len() as u64;
        }
        sha.finalize().into()
    }
}

/// Word `index` of the bytes of `seed`: the finalizer of SplitMix64 over both (Steele, Lea, Flood, OOPSLA 2014).
fn word(seed: u64, index: u64) -> u64 {
    let mut z = (seed.wrapping_mul(0xD134_2543_DE82_EF95)).wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(line: &str) -> Content {
        Content::of(&Words::parse(line).unwrap()).unwrap()
    }

    #[test]
    fn parts_are_parts_of_the_whole() {
        for line in [
            "put a size=1000 seed=3",
            "put a size=1000 seed=3 period=100",
            "put a size=999 period=77",
            "put a size=990 in-front=10",
        ] {
            let content = content(line);
            let whole = content.part(0, u64::MAX);
            assert_eq!(whole.len() as u64, content.size(), "{line}");
            for (at, most) in [(0, 1), (3, 8), (13, 500), (98, 4), (990, 100), (999, 1)] {
                let end = whole.len().min(at + most);
                assert_eq!(content.part(at as u64, most as u64), whole[at.min(end)..end], "{line} {at} {most}");
            }
        }
    }

    #[test]
    fn pieces_make_the_whole_and_a_period_repeats() {
        let long = content("put a size=600000 seed=9");
        let pieces: Vec<u8> = long.pieces(u64::MAX).flatten().collect();
        assert_eq!(pieces, long.part(0, u64::MAX));
        assert_eq!(long.pieces(300_000).map(|piece| piece.len()).sum::<usize>(), 300_000);
        let repeats = content("put a size=256 seed=9 period=64").part(0, 256);
        assert_eq!(repeats[..64], repeats[64..128]);
        assert_ne!(repeats[..32], repeats[32..64]);
        assert_ne!(content("put a seed=1").part(0, 100), content("put a seed=2").part(0, 100));
    }
}
