//! The verbs of the command line, as functions over a client: what a person types, and what a demo's script says.
//!
//! Every verb writes either text for people or one JSON value for programs, on the writer it is handed; progress and
//! warnings are not its business. It returns only when the last byte is acknowledged or verified.

pub mod admin;
pub mod buckets;
pub mod client_file;
pub mod objects;
pub mod output;
pub mod target;

pub use client_file::ClientFile;
pub use output::Output;
pub use target::Target;
