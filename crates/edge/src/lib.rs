//! The gateway: the native object API.
//!
//! A handler here parses, calls the object service and renders; what a bucket or a key means is decided in `objects`. Keys
//! are the bytes of the path after exactly one percent-decoding, never cleaned: `//` and `..` are ordinary bytes.
//! The signature is checked before the path is looked up.

mod auth;
mod buckets;
mod conditional;
#[cfg(test)]
mod fuzz;
mod get;
mod list;
mod path;
mod put;
mod reply;
mod router;

pub use auth::{Auth, UrlKeys};
pub use router::{Counts, Edge, ROUTES, router};
