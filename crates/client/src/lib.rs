//! The seams of kvfs over HTTP: what is behind a URL behaves as if it were in this process, or says why not.
//!
//! [`Http`] carries requests: pooled connections, the cluster's signature, an end to silence. [`HttpChunkStore`] is a data node at an
//! address. Neither knows what it is used for.

pub mod admin;
pub mod ask;
pub mod chunk_store;
pub mod connect;
mod download;
pub mod http;
mod meta_admin;
pub mod metadata;
pub mod native;
mod pieces;
mod tls;

pub use admin::HttpAdmin;
pub use ask::{Ask, HttpError, Reply};
pub use chunk_store::HttpChunkStore;
pub use connect::{Connector, Stream, TcpConnector};
pub use download::Download;
pub use http::Http;
pub use metadata::{HttpMetadata, http_metadata};
pub use native::{Native, NativeError};
pub use tls::TlsConnector;
