//! Cuts against golden vectors, against the rule as it is written, and however a body arrives.

use proptest::prelude::*;

use super::scan::{first_zero, plainly};
use super::*;
use crate::ChunkId;

/// The body of the reference's vectors: xorshift64*.
fn body(bytes: usize) -> Vec<u8> {
    let mut x: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut next = || {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        x.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

fn small() -> Profile {
    Profile::new(1024, 4096, 16_384, 12, 10).unwrap()
}

fn lengths(body: &[u8], profile: Profile) -> Vec<usize> {
    cuts(body, profile).map(|cut| cut.len()).collect()
}

#[test]
fn golden_cuts_of_the_reference() {
    let body = body(64 << 20);
    assert_eq!(ChunkId::of(&body).to_hex(), "422d9d650a18c97e1bfca0cf437e317804e4480c10376a5dd2c39d2fac1957e6");
    let found: Vec<_> = cuts(&body, Profile::DEFAULT).collect();
    let expected = [
        3_909_362, 4_382_925, 1_052_554, 1_867_325, 2_470_485, 2_811_068, 4_742_861, 1_154_619, 4_650_255, 4_329_608,
        5_965_893, 4_983_765, 4_799_611, 3_207_474, 4_615_016, 4_517_687, 4_240_182, 2_261_686, 1_058_416, 88_072,
    ];
    assert_eq!(found.iter().map(|cut| cut.len()).collect::<Vec<_>>(), expected);
    let id = |cut: &Range<usize>| ChunkId::of(&body[cut.clone()]).to_hex();
    assert!(id(&found[0]).starts_with("00b5922ebed18caa"));
    assert!(id(&found[19]).starts_with("d8417a271b298b0f"));
    let expected =
        [6356, 5395, 3339, 2600, 5473, 6042, 2378, 3257, 5813, 1248, 2870, 3450, 4466, 3718, 1443, 1768, 5920];
    assert_eq!(lengths(&body[..65_536], small()), expected);
}

#[test]
fn one_byte_in_front_costs_one_chunk() {
    let old = body(4 << 20);
    let new = [&[0xAA], &old[..]].concat();
    let ids = |body: &[u8]| cuts(body, small()).map(|cut| ChunkId::of(&body[cut])).collect::<Vec<_>>();
    let (old, new) = (ids(&old), ids(&new));
    assert!(old.len() > 500, "{} chunks", old.len());
    assert_eq!(new.len(), old.len());
    assert_eq!(new.iter().filter(|id| !old.contains(id)).count(), 1);
}

#[test]
fn a_third_region_forces_fewer_cuts() {
    let body = body(1 << 20);
    let profile = Profile::new(512, 1024, 2048, 12, 11).unwrap();
    let forced = |profile| lengths(&body, profile).into_iter().filter(|length| *length == 2048).count();
    let (without, with) = (forced(profile), forced(profile.relaxed(8).unwrap()));
    assert!(without > 50 && with < without / 2, "{without} forced cuts, {with} with a third region");
}

#[test]
fn profiles_that_cannot_be() {
    for (min, normal, max, strict, loose) in
        [(0, 1, 2, 5, 5), (3, 2, 4, 5, 5), (1, 5, 4, 5, 5), (1, 2, 3, 0, 5), (1, 2, 3, 5, 64), (1, 2, u32::MAX, 5, 5)]
    {
        assert_eq!(Profile::new(min, normal, max, strict, loose), None);
    }
    assert_eq!(small().relaxed(0), None);
    assert_eq!((Profile::DEFAULT.min(), Profile::DEFAULT.max()), (1 << 20, 16 << 20));
}

#[test]
fn an_empty_body_has_no_chunks_and_a_short_one_has_one() {
    assert_eq!(lengths(&[], small()), [0; 0]);
    assert_eq!(lengths(&[7; 1024], small()), [1024]);
    assert_eq!(lengths(&[7; 1], small()), [1]);
}

/// The rule as it stands in the specification, without any of what makes it fast.
fn by_the_book(body: &[u8], (min, normal, max): (usize, usize, usize), bits: (u32, u32, Option<u32>)) -> Vec<usize> {
    let mask = |bits: u32| (1_u64 << bits) - 1;
    let (mut cuts, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let limit = rest.len().min(max);
        let mut hash = 0_u64;
        let zeros = |i: usize, hash: u64| match bits.2 {
            _ if i < min => false,
            _ if i < normal => hash & mask(bits.0) == 0,
            Some(relaxed) if i >= (normal + max) / 2 => hash & mask(relaxed) == 0,
            _ => hash & mask(bits.1) == 0,
        };
        let cut = (0..limit).find(|&i| {
            hash = (hash << 1).wrapping_add(super::gear::GEAR[usize::from(rest[i])]);
            zeros(i, hash)
        });
        let length = cut.map_or(limit, |i| i + 1);
        cuts.push(length);
        rest = &rest[length..];
    }
    cuts
}

proptest! {
    /// Fast cuts are those of the rule, whatever the profile; they add up to the body and keep to its bounds.
    #[test]
    fn cuts_are_by_the_book(
        seed in 0usize..64,
        length in 0usize..60_000,
        (min, more, most) in (1u32..3000, 0u32..3000, 0u32..9000),
        (strict, loose) in (1u32..16, 1u32..14),
        relaxed in proptest::option::of(1u32..12),
    ) {
        let body = &body(60_064)[seed..seed + length];
        let profile = Profile::new(min, min + more, min + more + most, strict, loose).unwrap();
        let profile = relaxed.map_or(profile, |bits| profile.relaxed(bits).unwrap());
        let found = lengths(body, profile);
        let sizes = (min as usize, (min + more) as usize, (min + more + most) as usize);
        prop_assert_eq!(&found, &by_the_book(body, sizes, (strict, loose, relaxed)));
        prop_assert_eq!(found.iter().sum::<usize>(), length);
        prop_assert!(found.iter().all(|length| *length <= sizes.2));
        prop_assert!(found.iter().rev().skip(1).all(|length| *length >= sizes.0));
    }

    /// Cuts are the same however the body arrives.
    #[test]
    fn cuts_do_not_depend_on_the_feeding(
        length in 0usize..60_000,
        pieces in proptest::collection::vec(prop_oneof![Just(1usize), Just(7), 1usize..300, 1usize..70_000], 1..20),
    ) {
        let body = body(length);
        let (mut cutter, mut found, mut rest) = (Cutter::new(small()), Vec::new(), &body[..]);
        let (mut pieces, mut chunk) = (pieces.into_iter().cycle(), 0);
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(pieces.next().unwrap())];
            let cut = cutter.feed(piece);
            let taken = cut.unwrap_or(piece.len());
            chunk += taken;
            if cut.is_some() {
                found.push(std::mem::take(&mut chunk));
            }
            prop_assert_eq!(cutter.pending() as usize, chunk);
            rest = &rest[taken..];
        }
        found.extend(Some(chunk).filter(|chunk| *chunk > 0));
        prop_assert_eq!(found, lengths(&body, small()));
    }

    /// Three lanes find what one finds, wherever it lies in the block and whatever was hashed before.
    #[test]
    fn lanes_agree_with_the_plain_scan(seed in 0usize..5000, before in any::<u64>(), bits in 8u32..20, length in 0usize..40_000) {
        let bytes = &body(45_000)[seed..seed + length];
        let mask = (1 << bits) - 1;
        let (mut a, mut b) = (before, before);
        prop_assert_eq!(first_zero(&mut a, bytes, mask), plainly(&mut b, bytes, mask));
        prop_assert_eq!(a, b);
    }

    /// After a change, cuts agree again soon: what is new lies around it.
    #[test]
    fn an_insertion_moves_few_cuts(at in 0usize..1_000_000, inserted in proptest::collection::vec(any::<u8>(), 1..40)) {
        let old = body(1_000_000);
        let new = [&old[..at], &inserted[..], &old[at..]].concat();
        let ids = |body: &[u8]| cuts(body, small()).map(|cut| ChunkId::of(&body[cut])).collect::<Vec<_>>();
        let (old, new) = (ids(&old), ids(&new));
        let fresh = new.iter().filter(|id| !old.contains(id)).count();
        prop_assert!(fresh <= 8, "{fresh} new chunks");
    }
}
