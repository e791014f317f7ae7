//! The coordinator: the only one who changes metadata, and the loops that keep the cluster in order.
//!
//! It maps requests to commands of the state machine and answers questions from linearizable reads. Beside that run the
//! heartbeat (which node answers, as whom), lease expiry, and garbage collection. A library: the standalone daemon
//! hosts it, and so does an edge that has no coordinator to go to; there is one control plane, hosted twice.

mod admin;
mod backup;
mod backup_http;
mod experience;
mod gc;
mod heartbeat;
mod hold;
pub mod http;
mod insight;
mod keys;
mod leases;
mod losses;
mod members;
mod metadata;
mod policies;
mod probes;
mod registry;
mod reign;
mod schedule;
pub mod seal;
mod service;
mod stamps;
mod sweep;
mod transport;

pub use schedule::BackupSchedule;
pub use service::{Coordinator, Settings};
pub use transport::HttpTransport;
