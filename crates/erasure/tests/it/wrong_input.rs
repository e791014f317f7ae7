//! Each mistake of a caller has its error, and changes nothing.

use erasure::{Codec, Error, ShardSet};

fn codec() -> Codec {
    Codec::new(2, 2).unwrap()
}

#[test]
fn shapes_that_do_not_exist() {
    for (k, m) in [(0, 1), (1, 0), (0, 0), (255, 1), (1, 255), (128, 128), (usize::MAX, 1), (usize::MAX, usize::MAX)] {
        assert_eq!(Codec::new(k, m).unwrap_err(), Error::Shape { k, m });
    }
    for (k, m) in [(1, 1), (254, 1), (1, 254), (128, 127)] {
        assert!(Codec::new(k, m).is_ok(), "{k}+{m}");
    }
    let message = Codec::new(200, 56).unwrap_err().to_string();
    assert!(message.contains("200") && message.contains("56"), "{message}");
}

#[test]
fn lists_of_the_wrong_length() {
    let count = |kind, found| Err(Error::Count { kind, expected: 2, found });
    let mut parity = [[9; 4]; 2];
    assert_eq!(codec().encode(&[[0; 4]; 3], &mut parity), count("data", 3));
    assert_eq!(codec().encode(&[[0; 4]; 2], &mut parity[..1]), count("parity", 1));
    assert_eq!(codec().verify(&[[0; 4]; 1], &parity).map(|_| ()), count("data", 1));
    assert_eq!(codec().verify(&[[0; 4]; 2], &[[0; 4]; 300]).map(|_| ()), count("parity", 300));
    let rebuild = codec().rebuild(ShardSet::all(4), ShardSet::all(2)).unwrap();
    assert_eq!(rebuild.run(&[[0; 4]; 1], &mut parity), count("source", 1));
    assert_eq!(rebuild.run(&[[0; 4]; 2], &mut parity[..0]), count("wanted", 0));
    assert_eq!(parity, [[9; 4]; 2]);
    let found = codec().reconstruct(&mut [None, None, None]);
    assert_eq!(found, Err(Error::Count { kind: "data and parity", expected: 4, found: 3 }));
}

#[test]
fn shards_of_different_lengths() {
    let length = |kind, index, found| Err(Error::Length { kind, index, expected: 4, found });
    let (whole, short) = (vec![0_u8; 4], vec![0_u8; 3]);
    let (mut whole_out, mut short_out) = (vec![9_u8; 4], vec![9_u8; 3]);
    assert_eq!(codec().encode(&[&whole, &short], &mut [&mut whole_out]), length("data", 1, 3));
    let mut outputs = [&mut whole_out[..], &mut short_out[..]];
    assert_eq!(codec().encode(&[&whole, &whole], &mut outputs), length("parity", 1, 3));
    assert_eq!(codec().verify(&[&whole, &whole], &[&short, &short]).map(|_| ()), length("parity", 0, 3));
    assert_eq!(codec().verify(&[&whole, &whole], &[&whole, &short]).map(|_| ()), length("parity", 1, 3));
    let rebuild = codec().rebuild(ShardSet::all(4), ShardSet::all(2)).unwrap();
    assert_eq!(rebuild.run(&[&whole, &short], &mut outputs), length("source", 1, 3));
    assert_eq!(rebuild.run(&[&whole, &whole], &mut outputs), length("wanted", 1, 3));
    assert!(whole_out.iter().chain(&short_out).all(|&byte| byte == 9));
    let mut shards = [Some(whole.clone()), None, Some(short), Some(whole)];
    assert_eq!(codec().reconstruct(&mut shards), length("present", 1, 3));
    assert_eq!(shards[1], None);
}

#[test]
fn shards_that_the_code_does_not_have() {
    let no_such = |index| Error::NoSuchShard { index, shards: 4 };
    let set = |indexes: [u8; 3]| ShardSet::from_iter(indexes);
    assert_eq!(codec().rebuild(set([0, 1, 4]), ShardSet::default()).unwrap_err(), no_such(4));
    assert_eq!(codec().rebuild(set([0, 1, 2]), set([3, 255, 0])).unwrap_err(), no_such(255));
}

#[test]
fn nothing_is_left() {
    assert_eq!(codec().reconstruct(&mut [None, None, None, None]), Err(Error::TooFew { needed: 2, present: 0 }));
}
