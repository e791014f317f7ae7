//! No kernel touches a byte outside of what it was given: shards lie against pages that may not be touched, on either side.
//!
//! A stray read of a vector's worth would go unnoticed nearly everywhere else. Here it ends the process with SIGSEGV.
#![allow(unsafe_code, reason = "pages without access can only be had from the system")]

use std::ffi::c_void;

use erasure::{Codec, Kernel, ShardSet};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::noise;

/// Bytes of memory with a page on each side that may not be touched.
struct Guarded {
    base: *mut c_void,
    page: usize,
    bytes: usize,
}

impl Guarded {
    /// `pages` pages to use.
    fn new(pages: usize) -> Self {
        let page = rustix::param::page_size();
        let bytes = pages * page;
        // SAFETY: a new mapping at an address that the system chooses overlaps nothing.
        let base = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes + 2 * page, ProtFlags::empty(), MapFlags::PRIVATE).unwrap()
        };
        // SAFETY: these pages are inside of the mapping, and nobody has a reference to them yet.
        unsafe { mprotect(base.byte_add(page), bytes, MprotectFlags::READ | MprotectFlags::WRITE).unwrap() };
        Self { base, page, bytes }
    }

    fn usable(&mut self) -> &mut [u8] {
        // SAFETY: these bytes can be read and written, are zero at first, belong to this value alone and live as long as it does.
        unsafe { std::slice::from_raw_parts_mut(self.base.byte_add(self.page).cast(), self.bytes) }
    }

    /// The first `bytes`, right behind a guard, or the last, right before one.
    fn slice(&mut self, bytes: usize, at_end: bool) -> &mut [u8] {
        let usable = self.usable();
        let start = if at_end { usable.len() - bytes } else { 0 };
        &mut usable[start..start + bytes]
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody refers to it any more.
        unsafe { munmap(self.base, self.bytes + 2 * self.page).unwrap() };
    }
}

fn guarded(count: usize, pages: usize) -> Vec<Guarded> {
    (0..count).map(|_| Guarded::new(pages)).collect()
}

#[test]
fn kernels_stay_within_their_slices() {
    for (k, m) in [(1, 1), (4, 2), (5, 3), (10, 4), (3, 6)] {
        let (mut data, mut parity, mut lost) = (guarded(k, 3), guarded(m, 3), guarded(1, 3));
        for &kernel in Kernel::available() {
            let codec = Codec::with_kernel(k, m, kernel).unwrap();
            let rebuild = codec.rebuild(ShardSet::all(k + m).without(ShardSet::all(1)), ShardSet::all(1)).unwrap();
            for bytes in (0..=300).chain([511, 512, 513, 4095, 4096, 4097, 3 * 4096 - 1, 3 * 4096]) {
                for at_end in [false, true] {
                    let content = noise(k, bytes, bytes as u64);
                    let mut sources: Vec<_> = data.iter_mut().map(|shard| shard.slice(bytes, at_end)).collect();
                    sources.iter_mut().zip(&content).for_each(|(source, content)| source.copy_from_slice(content));
                    let mut outputs: Vec<_> = parity.iter_mut().map(|shard| shard.slice(bytes, at_end)).collect();
                    codec.encode(&sources, &mut outputs).unwrap();
                    assert!(codec.verify(&sources, &outputs).unwrap());
                    let left: Vec<_> = sources.iter().skip(1).chain(&outputs).take(k).collect();
                    let mut rebuilt = [lost[0].slice(bytes, at_end)];
                    rebuild.run(&left, &mut rebuilt).unwrap();
                    assert!(rebuilt[0] == content[0], "{kernel:?} {k}+{m} {bytes} bytes");
                }
            }
        }
    }
}
