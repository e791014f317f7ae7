//! Vectors that were computed elsewhere: parity is the same for everybody, for ever, or stored stripes could not be rebuilt.

use erasure::{Codec, Kernel};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn parity_of_known_shards() {
    // (data shards, parity shards), in hex.
    let table: [(&[&str], &[&str]); 4] = [
        (&["0001", "0203", "0405", "0607"], &["0809", "0a0b"]),
        (&["01", "02", "04"], &["07"]),
        (&["01", "00"], &["03"]),
        (&["00", "01"], &["02"]),
    ];
    for kernel in Kernel::available() {
        for (data, expected) in table {
            let data: Vec<_> = data.iter().map(|shard| bytes(shard)).collect();
            let mut parity = vec![vec![0xEE; data[0].len()]; expected.len()];
            Codec::with_kernel(data.len(), expected.len(), *kernel).unwrap().encode(&data, &mut parity).unwrap();
            assert_eq!(parity.iter().map(|shard| hex(shard)).collect::<Vec<_>>(), expected, "{kernel:?}");
        }
    }
}

/// data\[i]\[j] = 131·i + 17·j + 1 modulo 256, at 4+2. Sixteen bytes as in the vector, and so often that vector registers are filled:
/// the parity of shards that repeat every 16 bytes repeats with them.
#[test]
fn parity_of_a_known_stripe() {
    let expected = ["e932432cdd961aac3c1aab99e8c47288", "5cadc6b76031f71de9852e0225f38f23"];
    for kernel in Kernel::available() {
        for times in [1, 2, 4, 5, 64, 1000] {
            let shard = |i: usize| (0..16).map(|j| (131 * i + 17 * j + 1) as u8).collect::<Vec<_>>().repeat(times);
            let data: Vec<_> = (0..4).map(shard).collect();
            let mut parity = vec![vec![0xEE; 16 * times]; 2];
            Codec::with_kernel(4, 2, *kernel).unwrap().encode(&data, &mut parity).unwrap();
            for (parity, expected) in parity.iter().zip(expected) {
                assert_eq!(hex(parity), expected.repeat(times), "{kernel:?} {times}");
            }
        }
    }
}
