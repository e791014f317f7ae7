//! The metadata state machine: what the cluster knows, and the only ways to change it.
//!
//! [`apply`] is a pure function of (tables, log entry). Coordinators that apply the same log hold the same tables, which is all
//! that replication is; this crate does not know how a log comes to be agreed on. An error of a *command* is a
//! reply, equal everywhere; an error of *storage* stops the process, because a copy that went on alone would differ.
//!
//! The shape of things: `objects` point at `bodies`, bodies are cut into `extents` of references to chunks or stripes, and each chunk's
//! copies stand once in `chunks`, each stripe's shards once in `stripes`, with a count of references. Deleting an object drops a pointer; what nothing
//! points at any more flows through `trash` (bodies) and `garbage` (chunks) until the delete protocol has proved that nobody can
//! rely on it (see [`gc`]).
//!
//! Wall time is data; ticks drive time-outs; neither decides anything that must be right.

mod apply;
pub mod audit;
mod chunks;
pub mod command;
pub mod gc;
pub mod keys;
mod machine;
pub mod objects;
mod policies;
pub mod query;
mod registry;
mod restore;
mod secrets;
mod stamps;
mod stripes;
pub mod tables;
pub mod totals;

pub use apply::apply;
pub use command::{Batch, Command, Reply};
pub use restore::{Restored, restore};
pub use stamps::MAX_SWEEP;
pub use tables::{Row, StorageError, Table, Tables, TablesMut};
