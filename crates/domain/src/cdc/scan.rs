//! Looking for a cut, as fast as one core goes without vector instructions.
//!
//! Each step needs the one before it, so a core that could do several things at once waits for one addition after the other. But the
//! hash forgets: what it is behind a byte depends on the last 64 bytes alone. So three places of the body are scanned in the same loop,
//! three chains of additions that do not wait for each other; the second and third begin by hashing the 64 bytes before their first. When any
//! of them finds zeros, the block is gone through once more from its start for the first such place. That is rare: a block has 12 KiB, and a
//! cut comes every few megabytes. It nearly doubles the speed of the plain loop.

use super::gear::GEAR;

/// Steps after which nothing is left of a byte in the hash, which has as many bits.
pub(super) const WINDOW: u32 = u64::BITS;

/// Bytes of one lane of a block. Longer ones would waste more at a cut and at the end of what arrived, shorter ones more on their beginnings.
const LANE: usize = 4096;

#[inline(always)]
fn step(hash: u64, byte: u8) -> u64 {
    (hash << 1).wrapping_add(GEAR[usize::from(byte)])
}

/// The hash after `bytes`.
pub(super) fn rolled(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| step(hash, *byte))
}

/// How many of `bytes` there are up to and including the first behind which the hash has zeros under `mask`. If there is none, `hash` is the
/// hash behind the last one.
pub(super) fn first_zero(hash: &mut u64, bytes: &[u8], mask: u64) -> Option<usize> {
    let blocks = bytes.chunks_exact(3 * LANE);
    let (mut done, rest) = (0, blocks.remainder());
    for block in blocks {
        match hash_without_zeros(*hash, block, mask) {
            Some(behind) => *hash = behind,
            None => return plainly(hash, block, mask).map(|found| done + found),
        }
        done += block.len();
    }
    plainly(hash, rest, mask).map(|found| done + found)
}

/// The hash behind a block of three lanes; `None` if there are zeros somewhere in it.
fn hash_without_zeros(hash: u64, block: &[u8], mask: u64) -> Option<u64> {
    let (one, rest) = block.split_at(LANE);
    let (two, three) = rest.split_at(LANE);
    let beginning = |before: &[u8]| rolled(0, &before[LANE - WINDOW as usize..]);
    let (mut a, mut b, mut c) = (hash, beginning(one), beginning(two));
    let eights = one.as_chunks::<8>().0.iter().zip(two.as_chunks::<8>().0).zip(three.as_chunks::<8>().0);
    for ((one, two), three) in eights {
        for i in 0..8 {
            a = step(a, one[i]);
            b = step(b, two[i]);
            c = step(c, three[i]);
            if a & mask == 0 || b & mask == 0 || c & mask == 0 {
                return None;
            }
        }
    }
    Some(c)
}

/// [`first_zero`], one byte after the other.
pub(super) fn plainly(hash: &mut u64, bytes: &[u8], mask: u64) -> Option<usize> {
    for (i, byte) in bytes.iter().enumerate() {
        *hash = step(*hash, *byte);
        if *hash & mask == 0 {
            return Some(i + 1);
        }
    }
    None
}
