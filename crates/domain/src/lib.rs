//! The words of kvfs as values: ids, records, placement, chunking, inventory, quorum arithmetic, signed URLs.
//!
//! Everything here is pure: no runtime, socket, file, clock or random source. Whoever knows the same
//! facts computes the same answer, on every machine, which is what lets an edge place a chunk without
//! asking anybody and a coordinator check that it did so rightly.

pub mod cdc;
pub mod change;
pub mod chunking;
pub mod codec;
pub mod etag;
pub mod id;
pub mod merkle;
pub mod names;
pub mod peer_auth;
pub mod placement;
pub mod policy;
pub mod quorum;
pub mod record;
pub mod registry;
pub mod secret;
pub mod stripe;
pub mod timestamp;
pub mod urlkey;
pub mod view;

pub use id::{ChunkId, ClassId, Crc32c, Incarnation, LogPosition, NodeId, Token};
pub use names::{BucketName, ObjectKey};
pub use stripe::{Scheme, StripeId};
