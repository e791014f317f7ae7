//! Chunks and stripes to nodes and back.
//!
//! A write goes to all its nodes at once and is *written* when W of them have made it durable; a read takes the first copy
//! that is what metadata says it is. In between stand a byte budget, so that memory is bounded by configuration and not by
//! load, and what this process has learned of each node, so that one slow node is felt once and not by every request.
//!
//! This crate never sees a URL, a bucket or a lease.

mod budget;
mod experience;
mod hedges;
mod nodes;
mod read;
mod stripe;
mod stripe_read;
mod stripe_write;
mod write;

pub use budget::{ByteBudget, Reservation};
pub use nodes::{Connect, Nodes};
pub use read::{BadCopy, Part, ReadError};
pub use stripe::Stripe;
pub use stripe_read::{BadShard, StripeBytes, StripePart};
pub use stripe_write::StripeWrite;
pub use write::{Copied, Hold, LateAnswer, WriteError, WriteRequest};
