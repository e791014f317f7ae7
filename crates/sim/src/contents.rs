//! Contents of objects, few enough that objects share chunks.
//!
//! A content is a row of whole chunks and a tail, each in one of a few *letters*. So chunks come back in other objects, are garbage
//! for a while and are wanted again: where deduplication, counts and deletes meet.

use bytes::Bytes;

use crate::random::Random;

/// The most whole chunks in a content.
const MAX_WHOLE: u64 = 5;

/// An alphabet of chunks.
#[derive(Clone, Debug)]
pub struct Contents {
    letters: Vec<Bytes>,
    chunk_bytes: usize,
}

impl Contents {
    /// So many letters, for chunks of so many bytes.
    pub fn new(letters: u64, chunk_bytes: usize) -> Self {
        let letter = |nth| {
            let mut random = Random::new(nth);
            Bytes::from_iter((0..chunk_bytes).map(|_| random.number() as u8))
        };
        Self { letters: (0..letters).map(letter).collect(), chunk_bytes }
    }

    /// The length of a whole chunk.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// A content: from nothing to a few chunks.
    pub fn draw(&self, random: &mut Random) -> Bytes {
        let whole = if random.chance(450) { 0 } else { 1 + random.below(MAX_WHOLE).min(random.below(MAX_WHOLE)) };
        let tails = [0, 0, 1, self.chunk_bytes / 3, self.chunk_bytes - 1];
        let tail = *random.pick(&tails);
        let mut bytes = Vec::with_capacity(whole as usize * self.chunk_bytes + tail);
        (0..whole).for_each(|_| bytes.extend(random.pick(&self.letters)));
        bytes.extend_from_slice(&random.pick(&self.letters)[..tail]);
        bytes.into()
    }
}
