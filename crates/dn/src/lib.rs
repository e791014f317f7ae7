//! The data node: one directory of chunks, what memory knows of it, and the HTTP in front.
//!
//! A data node calls nobody. It makes chunks durable, gives them back verified, and removes one only for a caller who names its
//! present token. Who should hold what is decided elsewhere, from what nodes say when asked.
//!
//! | Module | Question it answers |
//! |---|---|
//! | [`layout`] | Where does a chunk lie, and in which order must the disk be told things? |
//! | [`store`] | What may be believed of a chunk, and what follows from an error? (synchronous, one directory) |
//! | [`node`] | Who waits for whom, and how much may be on its way? (the `ChunkStore` seam over a store) |
//! | [`http`], [`wire`] | How does that look on the wire? |
//! | [`poison`], [`room`], [`budget`] | When must a store stop writing: a failed sync, a full disk, too much at once? |

pub mod budget;
#[cfg(test)]
mod fuzz;
pub mod http;
pub mod layout;
pub mod node;
pub mod poison;
pub mod room;
pub mod store;
pub mod wire;

pub use node::{Node, Options};
pub use store::{FilesStore, OpenError};
