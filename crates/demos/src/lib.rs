//! Demos: each shows one principle of the store at work, and fails if it does not hold.
//!
//! A demo is a script (`demos/*.demo`) that a reader follows without knowing Rust: lines of a small, closed vocabulary, each with the
//! answer that must come. The comparison is the assertion; there is no other, but for the oracles at the end of every demo.
//!
//! ```text
//! cluster nodes=3
//!   -> 3 data nodes and a gateway
//! put photo size=100KiB
//!   -> 201
//! let holder holder photo 1
//! kill $holder
//!   -> is dead
//! get photo   [break]
//!   -> 200, 102400 bytes, equal
//! ```
//!
//! **A demo that cannot fail shows nothing.** So every script names a sabotage, `kvfs demo NAME --break` plants it, and the line marked
//! `[break]` must then be the one that deviates. A test does that for all of them.
//!
//! What a script runs on is behind a seam, [`Cluster`]. [`Processes`] is the implementation with real processes of the `kvfs` binary, in
//! a temporary directory of its own, all of which go away with the value. Demos use what a user has: the binary, the public APIs, and the
//! files in a node's directory; they know nothing of how the store is built.
//!
//! Left out: branches, arithmetic and functions. A principle that needs them needs a test, not a demo.

mod catalog;
mod cluster;
mod content;
mod disks;
mod environment;
mod group;
pub mod hrw;
mod metadata;
pub mod net;
mod objects;
mod oracles;
mod process;
mod processes;
mod report;
mod runner;
pub mod script;
mod shards;
mod shell;
mod stage;
mod urls;
mod verbs;
pub mod vocabulary;
pub mod words;

pub use catalog::{all, find};
pub use cluster::{Cluster, Condition, DemoError, GatewaySettings, Link, Ran, Shape, Signal, Who};
pub use oracles::Verdict;
pub use processes::Processes;
pub use report::{Audience, Done, Report};
pub use runner::run;
