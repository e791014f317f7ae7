//! Parity and rebuilt shards are byte for byte those of an implementation by others, in pure Rust, with the same matrix.

use erasure::{Codec, Kernel};
use rustfs_erasure_codec::galois_8::ReedSolomon;

use crate::noise;

/// All small shapes, and some wide ones up to the limit.
fn shapes() -> Vec<(usize, usize)> {
    let small = (1..=12).flat_map(|k| (1..=6).map(move |m| (k, m)));
    small.chain([(16, 4), (17, 3), (20, 20), (32, 8), (100, 50), (128, 127), (254, 1), (1, 254)]).collect()
}

#[test]
fn others_make_the_same_parity() {
    for (k, m) in shapes() {
        let data = noise(k, 131, 6);
        let mut theirs = vec![vec![0; 131]; m];
        ReedSolomon::new(k, m).unwrap().encode_sep(&data, &mut theirs).unwrap();
        for &kernel in Kernel::available() {
            let mut ours = vec![vec![0; 131]; m];
            Codec::with_kernel(k, m, kernel).unwrap().encode(&data, &mut ours).unwrap();
            assert!(ours == theirs, "{kernel:?} {k}+{m}");
        }
    }
}

#[test]
fn others_rebuild_our_shards_and_we_theirs() {
    for (k, m) in shapes() {
        let mut whole = noise(k, 131, 7);
        let mut parity = vec![vec![0; 131]; m];
        let (ours, theirs) = (Codec::new(k, m).unwrap(), ReedSolomon::new(k, m).unwrap());
        ours.encode(&whole, &mut parity).unwrap();
        whole.append(&mut parity);
        // Every second shard is lost, from the front, as long as there is parity for it.
        let mut left: Vec<_> = whole.iter().cloned().map(Some).collect();
        left.iter_mut().step_by(2).take(m).for_each(|shard| *shard = None);
        let mut right = left.clone();
        ours.reconstruct(&mut left).unwrap();
        theirs.reconstruct(&mut right).unwrap();
        assert!(left.iter().flatten().eq(&whole), "{k}+{m} by us");
        assert!(left == right, "{k}+{m} by them");
    }
}
