//! What the parts of kvfs say to each other: seams, wire types, routes and the one table of errors.
//!
//! A **seam** is a trait at which a test may stand in for the world. Machinery and processes know each other only
//! through these: an edge writes chunks through [`ChunkStore`] and commits through [`Metadata`], and cannot tell
//! whether they are in its own process, behind HTTP, or a simulation with faults. This crate knows no socket.

pub mod admin;
pub mod bucket_policy;
pub mod chunk_store;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod insight;
pub mod keys;
pub mod meta_admin;
pub mod metadata;
pub mod pace;
pub mod poison;
pub mod request_id;
pub mod routes;
pub mod rpc;
pub mod situation;

pub use admin::{Admin, AdminError};
pub use chunk_store::{ChunkError, ChunkStore, NodeStatus, Stored};
pub use clock::Clock;
pub use disk::{Disk, DiskFile};
pub use entropy::Entropy;
pub use meta_admin::MetaAdmin;
pub use metadata::{MetaError, Metadata};
pub use situation::Situation;
