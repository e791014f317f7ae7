//! The replicated log of commands: openraft behind our own types, over a log and tables of ours.
//!
//! # The idea
//!
//! A command is *committed* once its entry is durable in the log of a majority, and *applied* once the state machine (the
//! crate `meta`) has carried it out on its tables. Everybody applies the same entries in the same order with a pure function, so
//! everybody's tables become equal. A group of one is the same thing with a majority of one: no special path, no special bugs.
//!
//! ```text
//! propose(commands) ─► openraft ─► log: append, one fdatasync for all that wait ─► committed
//!                         ▲                                                            │
//!            replies ─────┴───────── tables: one redb transaction per apply call ◄─────┘
//!                                        │ every 32 MiB or 2 s
//!                                        └──► checkpoint: one durable redb transaction
//! ```
//!
//! # Who promises what
//!
//! | Promise | Kept by |
//! |---|---|
//! | what was answered survives | the log is synced before openraft hears of it (`log`) |
//! | a log id is never used twice | opening syncs before it reads; a restarted leader stands for election again ([`Settings::leader_restore`]) |
//! | the tables match the log | every transaction carries the index it reached (`tables`) |
//! | reads see all that was answered | read index: a majority confirms the leader, then applied ≥ that index ([`Group::read`]) |
//! | a restored life never meets the lost one's numbers | log indexes skip far ahead, and the generation is another (`restore`) |
//! | a broken disk acknowledges nothing | the first failure closes every door (`failure`) |
//!
//! # Two homes
//!
//! In a real process the log is the `raft-log` crate with its flush thread, and redb's work is done on pool threads. In the
//! simulator one thread does everything: the log is a small one of our own over [`api::disk::Disk`], and redb runs over that
//! seam too. No code here reads a clock or starts a thread; time comes from tokio's timers and [`api::clock::Clock`].
//!
//! # Several members
//!
//! A group of three goes on when one of them is lost. How it comes to be without ever being two is told in `seat`, how a member that
//! lags gets the tables in `transfer`, what members say to each other in `wire`. A group of one has [`Alone`] for a [`Transport`].
//!
//! Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm", ATC 2014;
//! read index: Ongaro's dissertation, §6.4.

mod audit_log;
mod ballast;
mod blocking;
mod checkpoints;
mod entries;
mod error;
mod failure;
#[cfg(test)]
mod fuzz;
mod group;
mod identity;
mod leadership;
mod log;
mod machine;
mod members;
mod network;
mod opening;
mod proposals;
mod record;
mod recover;
mod restore;
mod running;
mod seat;
mod serve;
mod settings;
pub mod snapshot;
mod tables;
mod transfer;
mod types;
mod watched;
mod wire;

pub use audit_log::{Replayed, replay};
pub use error::{ConsensusError, ProposeError, ReadError};
pub use group::{Group, Proposed, Status};
pub use identity::Identity;
pub use leadership::Leadership;
pub use log::Commits;
pub use members::{MemberStatus, MembersError};
pub use network::{Alone, Transport, Unreachable};
pub use recover::recover;
pub use restore::{Restore, RestoreError, Restored, restore};
pub use seat::{Place, Seat, init};
pub use settings::{LogKind, Settings};
pub use tables::Snapshot;
pub use wire::{ClusterKey, Standing};

/// The largest log entry, in bytes: 4 MiB, so that one entry never holds up the others for long.
pub const MAX_ENTRY_BYTES: usize = 4 << 20;
