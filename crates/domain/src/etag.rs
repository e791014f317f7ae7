//! The entity tag of an object, from the names of its chunks.
//!
//! Of an object of one chunk it is that chunk's SHA-256; of several, the SHA-256 over theirs, one after the other, and their number:
//! `<64 hex digits>-<n>`. An empty object has the SHA-256 of nothing. It costs nothing: the names are known anyway. Whoever has the bytes and
//! knows how they are cut can compute it too, which is how a copy finds out that a file need not be sent again.
//!
//! Of an object in stripes, each stripe counts as a chunk, named by the SHA-256 of its id and of how many bytes of it are the object's.

use sha2::{Digest, Sha256};

use crate::ChunkId;
use crate::id::hex;
use crate::stripe::StripeRef;

/// An entity tag in the making.
#[derive(Clone, Default)]
pub struct EtagHasher {
    first: Option<ChunkId>,
    over: Sha256,
    chunks: u64,
}

impl EtagHasher {
    /// Takes in the next chunk's name.
    pub fn add(&mut self, id: &ChunkId) {
        self.first.get_or_insert(*id);
        self.over.update(id.as_bytes());
        self.chunks += 1;
    }

    /// Takes in the next stripe: its name, and how much of it is the object's, since zeros that follow are in the name too.
    pub fn add_stripe(&mut self, stripe: &StripeRef) {
        let named = Sha256::new().chain_update(stripe.id.as_bytes()).chain_update(stripe.length.to_be_bytes());
        self.add(&ChunkId::from_digest(named));
    }

    /// The tag, without quotes.
    pub fn finish(self) -> String {
        match (self.chunks, self.first) {
            (0 | 1, first) => first.unwrap_or_else(|| ChunkId::of(b"")).to_hex(),
            (chunks, _) => format!("{}-{chunks}", hex(&self.over.finalize())),
        }
    }
}

/// How many chunks a tag speaks of.
pub fn chunks_of(etag: &str) -> u64 {
    etag.rsplit_once('-').and_then(|(_, chunks)| chunks.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let tag = |chunks: &[&[u8]]| {
            let mut hasher = EtagHasher::default();
            chunks.iter().for_each(|chunk| hasher.add(&ChunkId::of(chunk)));
            hasher.finish()
        };
        assert_eq!(tag(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(tag(&[b"hello"]), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        // printf of both digests | xxd -r -p | sha256sum
        let two = tag(&[b"hello", b""]);
        assert!(two.ends_with("-2") && two.len() == 66, "{two}");
        assert_ne!(tag(&[b"hello", b""]), tag(&[b"", b"hello"]));
        assert_eq!((chunks_of(&two), chunks_of(&tag(&[b"x"]))), (2, 1));
    }
}
