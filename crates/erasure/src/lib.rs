//! Reed–Solomon erasure coding over GF(2⁸): data in K shards, M more computed from them, and any K of the K + M are enough.
//!
//! Three copies survive two losses and cost three times the space. With K = 4 and M = 2 two losses cost one and a half times the
//! space: each shard is a quarter of the data, and there are six.
//!
//! **The idea with one parity shard.** Keep a + b beside a and b. Lose any one of the three, and the others give it back.
//! RAID-5 does this with XOR.
//!
//! **With more.** Two unknowns take two equations: keep, say, a + b and a + 2b. Lose both a and b, and school algebra gets
//! them back. In general the data shards are K unknowns, every shard that is kept is an equation in them, and the code is good if *any*
//! K of these equations have one solution. What numbers to take, so that sums and quotients of bytes are bytes, is in [`gf`]; which
//! equations, so that any K have a solution, in [`matrix`]; how they are solved for what was lost in [`Rebuild`]; and how
//! that is done to tens of gigabytes a second in [`kernel`]. Read them in this order; [`Codec`] puts them together.
//!
//! ```text
//!              K = 2, M = 2
//!    a  ──┬───────────────────────  shard 0   1·a + 0·b
//!    b  ──┼──┬────────────────────  shard 1   0·a + 1·b       lose any two:
//!         └──┼─ 3·a + 2·b  ───────  shard 2   3·a + 2·b       two equations are left, for a and b
//!            └─ 2·a + 3·b  ───────  shard 3   2·a + 3·b
//! ```
//!
//! The shards of a *stripe* have one length, and the bytes at one offset form a code word of their own. So all functions work on
//! any stretch of the shards as well as on the whole, in as little memory as one likes.
//!
//! Invariants: parity depends on data, K and M alone, not on the CPU; it equals that of the Vandermonde codes of Backblaze,
//! klauspost and others. What an erasure code cannot do is find out *which* shard is wrong: it needs to be told which are missing, so
//! shards carry checksums. Costs: K·M products a byte of a shard to encode, K for each shard that is rebuilt, and K shards must be read to
//! rebuild even one, which is what is paid for the space that is saved.
//!
//! Left out: codes that read less for one loss (local reconstruction codes), and those with thousands of shards (FFT-based, in
//! GF(2¹⁶)). This crate does not know what is in a shard, where it is kept, or how shards are padded to one length.
//!
//! All of the project's `unsafe` is in the vector kernels here: see [`kernel`] for why they are safe to call.

mod codec;
mod error;
pub mod gf;
pub mod kernel;
pub mod matrix;
mod rebuild;
mod rows;
mod set;
mod shards;

pub use codec::Codec;
pub use error::Error;
pub use kernel::Kernel;
pub use rebuild::Rebuild;
pub use set::ShardSet;
