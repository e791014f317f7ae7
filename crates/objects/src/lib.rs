//! The object service: what a bucket and a key mean, made of chunks and metadata.
//!
//! A put cuts its body into chunks as it arrives, writes each to its nodes while the next one is received, and in the end commits one
//! command that points the key at them; until then nobody sees anything, and what breaks off leaves no trace but bytes that
//! garbage collection finds. A get looks the key up once and streams chunks, each verified before its first
//! byte leaves, one read ahead. Everything that is relied on meanwhile is kept by a lease and its floor
//! (see [`mod@lease`]), so that no delete can pull it away.
//!
//! The native API, the S3 front and the demos all stand on this crate; it knows no HTTP.

mod error;
mod follow;
mod get;
mod incoming;
pub mod lease;
mod lookups;
mod parts;
mod policy;
mod put;
mod put_stripes;
mod service;

pub use datapath::{Connect, ReadError, WriteError};
pub use error::{BodyError, ObjectError};
pub use get::{GetRequest, ObjectBody, ObjectHead, ObjectReader};
pub use parts::ReadPart;
pub use put::{Pieces, PutDone, PutRequest};
pub use service::{Objects, Settings};
