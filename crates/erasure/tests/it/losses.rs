//! Whatever is lost, up to M shards, comes back; what is damaged is noticed.

use erasure::{Codec, Error, Kernel, ShardSet};
use proptest::prelude::*;

use crate::noise;

/// Data, then parity.
fn stripe(codec: &Codec, bytes: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut shards = noise(codec.data_shards(), bytes, seed);
    let mut parity = vec![vec![0; bytes]; codec.parity_shards()];
    codec.encode(&shards, &mut parity).unwrap();
    shards.append(&mut parity);
    shards
}

/// `count` of the shards 0 to `shards` - 1, others for another `seed`.
fn some(shards: usize, count: usize, seed: u64) -> ShardSet {
    let mut all: Vec<u8> = ShardSet::all(shards).iter().collect();
    all.sort_by_key(|&index| (u64::from(index) + 1).wrapping_mul(seed | 1).rotate_left(23));
    all.into_iter().take(count).collect()
}

#[test]
fn every_loss_of_small_codes_is_made_good() {
    for (k, m) in [(1, 1), (1, 3), (2, 2), (3, 2), (4, 2), (6, 3), (10, 4)] {
        let codec = Codec::new(k, m).unwrap();
        let whole = stripe(&codec, 71, 4);
        for lost in (1_u32..1 << (k + m)).filter(|lost| lost.count_ones() as usize <= m) {
            let mut shards: Vec<_> = whole.iter().cloned().map(Some).collect();
            (0..k + m).filter(|i| lost >> i & 1 == 1).for_each(|i| shards[i] = None);
            codec.reconstruct(&mut shards).unwrap();
            assert!(shards.iter().flatten().eq(&whole), "{k}+{m} without {lost:b}");
        }
    }
}

#[test]
fn nothing_lost_is_nothing_done() {
    let codec = Codec::new(4, 2).unwrap();
    let whole = stripe(&codec, 10, 5);
    let mut shards: Vec<_> = whole.iter().cloned().map(Some).collect();
    codec.reconstruct(&mut shards).unwrap();
    assert!(shards.iter().flatten().eq(&whole));
}

#[test]
fn sources_are_the_first_that_are_there() {
    let codec = Codec::new(4, 2).unwrap();
    let rebuild = codec.rebuild(ShardSet::from_iter([5, 0, 2, 3, 4]), ShardSet::from_iter([1])).unwrap();
    assert_eq!(rebuild.sources(), ShardSet::from_iter([0, 2, 3, 4]));
    assert_eq!(rebuild.wanted(), ShardSet::from_iter([1]));
}

proptest! {
    /// Up to M shards of a stripe are lost, some of them are wanted back, and what is left is read stretch by stretch.
    #[test]
    fn what_is_wanted_of_what_was_lost_comes_back(
        (k, m) in prop_oneof![9 => (1_usize..20, 1_usize..12), 1 => (20_usize..128, 1_usize..127)],
        bytes in 0_usize..300,
        stretch in 1_usize..300,
        (lost, wanted) in (0.0..1.0, 0.0..1.0),
        seed in any::<u64>(),
        kernel in prop::sample::select(Kernel::available()),
    ) {
        let codec = Codec::with_kernel(k, m, kernel).unwrap();
        let whole = stripe(&codec, bytes, seed);
        let lost = some(k + m, (lost * (m + 1) as f64) as usize, seed);
        let wanted = lost.iter().take((wanted * (lost.len() + 1) as f64) as usize).collect::<ShardSet>();
        let rebuild = codec.rebuild(ShardSet::all(k + m).without(lost), wanted).unwrap();
        prop_assert!(rebuild.sources().iter().all(|index| !lost.contains(index)));
        let mut made = vec![vec![0xEE; bytes]; wanted.len()];
        for from in (0..bytes).step_by(stretch) {
            let range = from..bytes.min(from + stretch);
            let sources: Vec<_> = rebuild.sources().iter().map(|i| &whole[usize::from(i)][range.clone()]).collect();
            let mut outputs: Vec<_> = made.iter_mut().map(|shard| &mut shard[range.clone()]).collect();
            rebuild.run(&sources, &mut outputs).unwrap();
        }
        prop_assert!(wanted.iter().zip(&made).all(|(index, made)| whole[usize::from(index)] == *made));
    }

    /// One shard too many is lost: that is an error, and not wrong bytes.
    #[test]
    fn losing_more_than_m_is_an_error((k, m) in (1_usize..20, 1_usize..12), more in 1_usize..5, seed in any::<u64>()) {
        let codec = Codec::new(k, m).unwrap();
        let lost = some(k + m, (m + more).min(k + m), seed);
        let too_few = Error::TooFew { needed: k, present: k + m - lost.len() };
        let present = ShardSet::all(k + m).without(lost);
        prop_assert_eq!(codec.rebuild(present, lost).unwrap_err(), too_few);
        let shard = |index| present.contains(index).then(|| vec![index; 8]);
        let mut shards: Vec<_> = (0..=u8::MAX).take(k + m).map(shard).collect();
        let before = shards.clone();
        prop_assert_eq!(codec.reconstruct(&mut shards).unwrap_err(), too_few);
        prop_assert_eq!(shards, before);
    }

    /// One bit of one shard is flipped, and verifying notices.
    #[test]
    fn a_flipped_bit_is_noticed(
        (k, m) in (1_usize..20, 1_usize..12),
        bytes in prop_oneof![1_usize..300, Just(9000)],
        (shard, at, bit) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8),
        seed in any::<u64>(),
        kernel in prop::sample::select(Kernel::available()),
    ) {
        let codec = Codec::with_kernel(k, m, kernel).unwrap();
        let mut shards = stripe(&codec, bytes, seed);
        prop_assert!(codec.verify(&shards[..k], &shards[k..]).unwrap());
        shards[shard.index(k + m)][at.index(bytes)] ^= 1_u8 << bit;
        prop_assert!(!codec.verify(&shards[..k], &shards[k..]).unwrap());
    }
}
