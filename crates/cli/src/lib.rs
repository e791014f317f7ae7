//! The verbs of the command line, as functions over a client: what a person types, and what a demo's script says.
//!
//! Every verb writes either text for people or one JSON value for programs, on the writer it is handed; how far it has come stands
//! on stderr ([`progress`]). It returns only when the last byte is acknowledged or verified.

pub mod admin;
pub mod bench;
pub mod bench_meta;
pub mod buckets;
pub mod client_file;
pub mod copy;
pub mod insight;
pub mod keys;
pub mod members;
pub mod meta;
pub mod objects;
pub mod output;
pub mod placement_sim;
pub mod progress;
pub mod target;

pub use client_file::ClientFile;
pub use output::Output;
pub use target::Target;
