//! Once a codec and a pattern of loss are prepared, no stripe takes memory from the heap.
#![allow(unsafe_code, reason = "an allocator that counts can only be written with the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use erasure::{Codec, Kernel, ShardSet};

use crate::noise;

thread_local! {
    /// How often this thread has asked for memory.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counted.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it came, and what it returns is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: our caller keeps to the contract of `alloc`, which is that of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: our caller keeps to the contract of `dealloc`, and `memory` came from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[test]
fn no_stripe_allocates() {
    for (k, m) in [(4, 2), (10, 4), (20, 9)] {
        for &kernel in Kernel::available() {
            let codec = Codec::with_kernel(k, m, kernel).unwrap();
            let data = noise(k, 10_000, 8);
            let mut parity = vec![vec![0; 10_000]; m];
            let (wanted, mut rebuilt) = (ShardSet::all(1), [vec![0; 10_000]]);
            let present = ShardSet::all(k + m).without(wanted);
            let mut sources = data[1..].to_vec();
            sources.push(Vec::new());
            for stripe in 0..3 {
                let before = ASKED.get();
                codec.encode(&data, &mut parity).unwrap();
                assert!(codec.verify(&data, &parity).unwrap());
                sources[k - 1].clone_from(&parity[0]);
                let (before_rebuild, rebuild) = (ASKED.get(), codec.rebuild(present, wanted).unwrap());
                rebuild.run(&sources, &mut rebuilt).unwrap();
                if stripe > 0 {
                    assert_eq!((before, before_rebuild), (before_rebuild, ASKED.get()), "{kernel:?} {k}+{m}");
                }
                assert!(rebuilt[0] == data[0]);
            }
        }
    }
}
