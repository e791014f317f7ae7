//! Every kernel computes what the definition says, for every length and wherever the shards lie.

use erasure::{Codec, Kernel, ShardSet};

use crate::{noise, parity_by_definition};

/// Shapes with one to four rows in a group, with several groups, with more parity than data, and with a single shard of either kind.
const SHAPES: [(usize, usize); 14] = [
    (1, 1),
    (2, 1),
    (1, 4),
    (3, 2),
    (4, 2),
    (5, 3),
    (6, 3),
    (10, 4),
    (8, 5),
    (2, 7),
    (3, 9),
    (17, 3),
    (32, 8),
    (60, 2),
];

/// A byte that no test expects where it must not be written.
const UNTOUCHED: u8 = 0xEE;

/// `shard` in a buffer in which it begins `offset` bytes behind a multiple of 64; with its start.
fn placed(shard: &[u8], offset: usize) -> (Vec<u8>, usize) {
    let mut buffer = vec![UNTOUCHED; shard.len() + 192];
    let start = buffer.as_ptr().align_offset(64) + offset;
    buffer[start..start + shard.len()].copy_from_slice(shard);
    (buffer, start)
}

/// Encodes the first `bytes` of `data`, sources and outputs at `offset` and the like, and compares with `expected`.
fn check(codec: &Codec, data: &[Vec<u8>], expected: &[Vec<u8>], bytes: usize, offset: usize) {
    let what = || format!("{:?} {}+{} {bytes} bytes at {offset}", codec.kernel(), data.len(), expected.len());
    let sources: Vec<_> = (offset..).step_by(5).zip(data).map(|(at, shard)| placed(&shard[..bytes], at % 64)).collect();
    let sources: Vec<_> = sources.iter().map(|(buffer, start)| &buffer[*start..start + bytes]).collect();
    let empty = vec![UNTOUCHED; bytes];
    let mut outputs: Vec<_> = (offset..).step_by(3).take(expected.len()).map(|at| placed(&empty, at % 64)).collect();
    let mut slices: Vec<_> = outputs.iter_mut().map(|(buffer, start)| &mut buffer[*start..*start + bytes]).collect();
    codec.encode(&sources, &mut slices).unwrap();
    assert!(codec.verify(&sources, &slices).unwrap(), "{}", what());
    for ((buffer, start), expected) in outputs.iter().zip(expected) {
        let (before, rest) = buffer.split_at(*start);
        let (made, after) = rest.split_at(bytes);
        assert!(made == &expected[..bytes], "{}", what());
        assert!(before.iter().chain(after).all(|&byte| byte == UNTOUCHED), "{} wrote beside", what());
    }
}

#[test]
fn all_lengths_at_all_addresses() {
    for (k, m) in SHAPES {
        let data = noise(k, 200, 1);
        let expected = parity_by_definition(&data, m);
        for &kernel in Kernel::available() {
            let codec = Codec::with_kernel(k, m, kernel).unwrap();
            for bytes in 0..=200 {
                // All addresses for the shapes that matter, a few for the others.
                let step = if [(4, 2), (10, 4)].contains(&(k, m)) { 1 } else { 13 };
                for offset in (0..64).step_by(step) {
                    check(&codec, &data, &expected, bytes, offset);
                }
            }
        }
    }
}

#[test]
fn shards_of_several_pieces() {
    for (k, m) in SHAPES {
        let data = noise(k, 3 * 4096 + 77, 2);
        let expected = parity_by_definition(&data, m);
        for &kernel in Kernel::available() {
            let codec = Codec::with_kernel(k, m, kernel).unwrap();
            for bytes in [255, 256, 257, 1023, 4095, 4096, 4097, 4096 + 31, 8192, 3 * 4096 + 77] {
                check(&codec, &data, &expected, bytes, bytes % 64);
            }
        }
    }
}

/// One coefficient after the other: a code of one data shard and 254 parity shards has all ones, so take rows that rebuild instead.
#[test]
fn all_coefficients_are_multiplied_right() {
    let (k, m) = (2, 253);
    let data = noise(k, 97, 3);
    let parity = parity_by_definition(&data, m);
    for &kernel in Kernel::available() {
        let codec = Codec::with_kernel(k, m, kernel).unwrap();
        let mut made = vec![vec![0; 97]; m];
        codec.encode(&data, &mut made).unwrap();
        assert!(made == parity, "{kernel:?}");
        // Both data shards from each pair of neighbours among the parity shards.
        for p in 0..m - 1 {
            let present = ShardSet::from_iter([2 + p as u8, 3 + p as u8]);
            let mut rebuilt = vec![vec![0; 97]; k];
            codec.rebuild(present, ShardSet::all(k)).unwrap().run(&parity[p..p + 2], &mut rebuilt).unwrap();
            assert!(rebuilt == data, "{kernel:?} from {present:?}");
        }
    }
}

#[test]
fn scalar_is_always_there_and_comes_first() {
    let names: Vec<_> = Kernel::available().iter().map(|kernel| kernel.name()).collect();
    assert_eq!(names[0], Kernel::scalar().name());
    assert_eq!(names.last(), Some(&Kernel::best().name()));
    let known = ["scalar", "avx2", "avx2-gfni", "avx512-gfni"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
}
