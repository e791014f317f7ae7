//! Bytes that can be made again from a seed: what was written need not be kept to know what must come back.

use bytes::Bytes;
use client::NativeError;
use client::native::Download;
use sha2::{Digest, Sha256};

/// Bytes in one piece of a stream.
const PIECE: usize = 64 << 10;

/// `size` bytes that nothing compresses, given by a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// What it is made from.
    pub seed: u64,
    /// How many bytes.
    pub size: u64,
}

impl Content {
    /// The pieces, in order.
    pub fn pieces(self) -> impl Iterator<Item = Bytes> + Send + Sync + 'static {
        let mut state = self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let count = self.size.div_ceil(PIECE as u64);
        (0..count).map(move |piece| {
            let length = (self.size - piece * PIECE as u64).min(PIECE as u64) as usize;
            let mut bytes = Vec::with_capacity(length + 8);
            while bytes.len() < length {
                bytes.extend_from_slice(&next(&mut state).to_le_bytes());
            }
            bytes.truncate(length);
            Bytes::from(bytes)
        })
    }

    /// The pieces as a body.
    pub fn body(self) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static {
        futures_util::stream::iter(self.pieces().map(Ok))
    }

    /// All bytes at once.
    pub fn bytes(self) -> Vec<u8> {
        self.pieces().flatten().collect()
    }

    /// Compares a download with this, piece by piece, as it comes.
    pub async fn same(self, mut download: Download) -> Result<bool, NativeError> {
        let mut expected = self.pieces();
        let mut have = Bytes::new();
        while let Some(mut found) = download.next().await? {
            while !found.is_empty() {
                if have.is_empty() {
                    match expected.next() {
                        Some(piece) => have = piece,
                        None => return Ok(false),
                    }
                }
                let length = found.len().min(have.len());
                if found.split_to(length) != have.split_to(length) {
                    return Ok(false);
                }
            }
        }
        Ok(have.is_empty() && expected.next().is_none())
    }
}

/// xorshift64*: the next number.
pub fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

/// The SHA-256 of a download, as it comes.
pub async fn digest(mut download: Download) -> Result<[u8; 32], NativeError> {
    let mut hasher = Sha256::new();
    while let Some(piece) = download.next().await? {
        hasher.update(&piece);
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_again_it_is_the_same_and_another_seed_is_not() {
        let content = Content { seed: 7, size: 200_001 };
        assert_eq!(content.bytes().len(), 200_001);
        assert_eq!(content.bytes(), content.bytes());
        assert_ne!(content.bytes(), Content { seed: 8, ..content }.bytes());
    }
}
