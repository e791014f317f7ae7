//! A stripe in memory: bytes cut into data shards, with parity, names and checksums.
//!
//! One buffer holds the whole stripe, data shards first, so that cutting copies nothing: the bytes stay where they were received, zeros
//! follow up to the end of the last data shard, and parity is computed behind them. Hashing and encoding take some milliseconds in all; they
//! are done in steps of a shard or less with a yield between, so that a core that serves other requests is never held for longer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use domain::stripe::StripeRef;
use domain::{ChunkId, Crc32c, Scheme, StripeId};
use erasure::{Codec, Rebuild};
use parking_lot::Mutex;

/// How much of each shard is encoded at a time: K + M such pieces fit into a second-level cache.
const STRETCH: usize = 32 << 10;

/// Codes kept ready: schemes in use at once, by guess.
const CODECS: usize = 16;

/// The codes used lately. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Codecs(Arc<Mutex<Recent>>);

/// Codes, the one used last in front.
type Recent = Vec<(Scheme, Arc<Codec>)>;

impl Codecs {
    /// The code of `scheme`.
    pub fn get(&self, scheme: Scheme) -> Result<Arc<Codec>, erasure::Error> {
        let mut kept = self.0.lock();
        if let Some(at) = kept.iter().position(|(known, _)| *known == scheme) {
            kept[..=at].rotate_right(1);
            return Ok(kept[0].1.clone());
        }
        let codec = Arc::new(Codec::new(scheme.data(), scheme.parity())?);
        kept.truncate(CODECS - 1);
        kept.insert(0, (scheme, codec.clone()));
        Ok(codec)
    }
}

/// A stripe, ready to be written.
pub struct Stripe {
    /// Its name, and how many bytes of a body are in it.
    pub stripe: StripeRef,
    /// K + M.
    pub scheme: Scheme,
    /// Length of each shard in bytes.
    pub shard_bytes: u32,
    pub(crate) shards: Vec<Shard>,
}

/// One shard with its bytes.
pub(crate) struct Shard {
    pub id: ChunkId,
    pub crc: Crc32c,
    pub bytes: Bytes,
}

/// Makes a stripe of `payload`: 1 to K × `shard_bytes` bytes, in a buffer that should have room for K + M shards.
pub(crate) async fn cut(
    codec: &Codec,
    scheme: Scheme,
    mut payload: Vec<u8>,
    shard_bytes: u32,
) -> Result<Stripe, erasure::Error> {
    let (length, shard) = (payload.len(), shard_bytes as usize);
    payload.resize(scheme.shards() * shard, 0);
    let (data, parity) = payload.split_at_mut(scheme.data() * shard);
    let data: Vec<&[u8]> = data.chunks_exact(shard).collect();
    let mut parity: Vec<&mut [u8]> = parity.chunks_exact_mut(shard).collect();
    for from in (0..shard).step_by(STRETCH) {
        let within = from..(from + STRETCH).min(shard);
        let data: Vec<_> = data.iter().map(|shard| &shard[within.clone()]).collect();
        let mut parity: Vec<_> = parity.iter_mut().map(|shard| &mut shard[within.clone()]).collect();
        codec.encode(&data, &mut parity)?;
        tokio::task::yield_now().await;
    }
    let whole = Bytes::from(payload);
    let mut shards = Vec::with_capacity(scheme.shards());
    for from in (0..whole.len()).step_by(shard) {
        let bytes = whole.slice(from..from + shard);
        shards.push(Shard { id: ChunkId::of(&bytes), crc: Crc32c::of(&bytes), bytes });
        tokio::task::yield_now().await;
    }
    let id = StripeId::of(scheme, shards.iter().map(|shard| &shard.id));
    Ok(Stripe { stripe: StripeRef { id, length: length as u32 }, scheme, shard_bytes, shards })
}

/// Makes the shards that `rebuild` was prepared for from its sources, all of one length.
pub(crate) async fn rebuild(rebuild: &Rebuild, sources: &[Bytes]) -> Result<Vec<Bytes>, erasure::Error> {
    let length = sources.first().map_or(0, Bytes::len);
    let mut made: Vec<BytesMut> = rebuild.wanted().iter().map(|_| BytesMut::zeroed(length)).collect();
    for from in (0..length).step_by(STRETCH) {
        let within = from..(from + STRETCH).min(length);
        let sources: Vec<_> = sources.iter().map(|shard| &shard[within.clone()]).collect();
        let mut outputs: Vec<_> = made.iter_mut().map(|shard| &mut shard[within.clone()]).collect();
        rebuild.run(&sources, &mut outputs)?;
        tokio::task::yield_now().await;
    }
    Ok(made.into_iter().map(BytesMut::freeze).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parity vector of the format: 4+2 with shards of 16 bytes, here repeated to 64.
    #[tokio::test]
    async fn a_stripe_has_the_parity_of_the_format() {
        let scheme: Scheme = "4+2".parse().unwrap();
        let codec = Codecs::default().get(scheme).unwrap();
        let byte = |i: usize, j: usize| ((131 * i + 17 * j + 1) % 256) as u8;
        let data: Vec<u8> = (0..4).flat_map(|i| (0..64).map(move |j| byte(i, j % 16))).collect();
        let stripe = cut(&codec, scheme, data.clone(), 64).await.unwrap();
        let hex = |bytes: &[u8]| domain::id::hex(&bytes[..16]);
        assert_eq!(hex(&stripe.shards[4].bytes), "e932432cdd961aac3c1aab99e8c47288");
        assert_eq!(hex(&stripe.shards[5].bytes), "5cadc6b76031f71de9852e0225f38f23");
        assert_eq!((stripe.stripe.length, stripe.shards.len()), (256, 6));

        let short = cut(&codec, scheme, data[..200].to_vec(), 64).await.unwrap();
        assert_eq!((short.stripe.length, &short.shards[3].bytes[8..]), (200, &[0u8; 56][..]), "zeros follow");
        assert!(short.shards.iter().all(|shard| shard.id.names(&shard.bytes) && shard.crc == Crc32c::of(&shard.bytes)));
    }

    #[test]
    fn codes_are_kept_and_no_more_than_so_many() {
        let codecs = Codecs::default();
        for k in 1..=40 {
            codecs.get(Scheme::new(k, 1).unwrap()).unwrap();
        }
        let kept = codecs.get(Scheme::new(40, 1).unwrap()).unwrap();
        assert!(Arc::ptr_eq(&kept, &codecs.get(Scheme::new(40, 1).unwrap()).unwrap()));
        assert_eq!(codecs.0.lock().len(), CODECS);
    }
}
