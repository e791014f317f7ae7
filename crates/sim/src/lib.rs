//! The whole cluster on one thread, over simulated disks, and a model to compare it with.
//!
//! Data nodes, a coordinator and a gateway run as in production, down to the loops and, if asked for, the HTTP between them; only
//! disk, network, clock, entropy and the home of the log are swapped. One seed decides all of it: what users ask, when the
//! power goes, which unsynced write survives, which message is lost. Time is tokio's, paused: it moves when
//! everybody waits, so a minute of renewals costs milliseconds, and a timer never races with work.
//!
//! Example: seed 17. Three nodes, a put of 1,535 bytes, the power goes at the 29th change of any disk. After the restart the key is
//! listed and read; had the put been answered, its bytes must be there; had it not, they may be, all of them, or nothing.
//!
//! | Module | Question it answers |
//! |---|---|
//! | [`power`], [`network`], [`directory`] | What can go wrong with machines and messages? |
//! | [`cluster`] | How do the production parts hang together here? |
//! | [`model`] | Which answers are right? |
//! | [`contents`], [`requests`], [`faults`] | What is asked, and what goes wrong meanwhile? |
//! | [`checks`] | What must be true beneath, on the disks and in the tables? |
//! | [`tell`] | A story: all of that from one seed |
//! | [`plant`] | Would it notice? |
//!
//! Left out: several coordinators (there is one so far), and full repeatability. Requests, faults and crashes repeat exactly; over HTTP
//! the order in which tasks run may not, since hyper's connection pool looks at the real time.

pub mod checks;
pub mod cluster;
pub mod contents;
pub mod directory;
pub mod faults;
pub mod model;
pub mod network;
mod panics;
pub mod plant;
pub mod power;
pub mod random;
pub mod requests;
mod story;
pub mod tell;
