//! Why the object service refused, split by what the caller should do.

use api::MetaError;
use api::pace::TooSlow;
use datapath::{ReadError, WriteError};
use domain::change::Refusal;
use domain::quorum::QuorumError;

/// Why a body does not go on.
#[derive(Clone, Debug, PartialEq)]
pub enum BodyError {
    /// It broke off.
    Broken(String),
    /// Its sender was too slow.
    TooSlow(TooSlow),
}

impl From<String> for BodyError {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

impl From<BodyError> for ObjectError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken(why) => Self::BodyBroken(why),
            BodyError::TooSlow(slow) => Self::TooSlow(slow),
        }
    }
}

/// Why a request for an object was not carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectError {
    /// There is no such object.
    #[error("object not found")]
    NotFound,
    /// It was overwritten or removed while it was read for longer than an hour.
    #[error("the object was replaced while it was being read for more than an hour; get it again")]
    Replaced,
    /// The metadata refused the change; asking again gives the same answer.
    #[error("{0}")]
    Refused(Refusal),
    /// A quorum was asked for that cannot be.
    #[error("{0}")]
    Quorum(#[from] QuorumError),
    /// Stripes were asked for that cannot be written here.
    #[error("{0}")]
    Scheme(String),
    /// The body came too slowly: nothing was stored.
    #[error("the body came too slowly: {0}; nothing was stored, send it again")]
    TooSlow(TooSlow),
    /// The body broke off: nothing was stored.
    #[error("the body ended early: {0}; nothing was stored")]
    BodyBroken(String),
    /// The body is not as long as was said.
    #[error("the body has {found} bytes, and {said} were announced; nothing was stored")]
    BodyLength {
        /// Bytes received.
        found: u64,
        /// Bytes announced.
        said: u64,
    },
    /// The body is larger than any object may be.
    #[error("the body is larger than {limit} bytes, the largest object")]
    TooLarge {
        /// The largest object, in bytes.
        limit: u64,
    },
    /// A chunk could not be written to enough nodes.
    #[error("{0}")]
    Write(#[from] WriteError),
    /// A chunk could not be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The metadata could not be asked.
    #[error("{0}")]
    Meta(MetaError),
    /// No room in the byte budget became free in time.
    #[error("the gateway is busy: no room for the body within {waited_s} s; try again")]
    Busy {
        /// How long the request waited, in seconds.
        waited_s: u64,
    },
    /// A range that no byte of the object is in.
    #[error("no byte of the range is in the object, which has {size} bytes")]
    Range {
        /// Bytes in the object.
        size: u64,
    },
    /// The service is not ready: no lease, or too few nodes.
    #[error("the gateway is not ready: {0}; try again")]
    NotReady(String),
}

impl From<MetaError> for ObjectError {
    fn from(error: MetaError) -> Self {
        match error {
            MetaError::NotFound => ObjectError::NotFound,
            other => ObjectError::Meta(other),
        }
    }
}

impl From<Refusal> for ObjectError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchObject => ObjectError::NotFound,
            other => ObjectError::Refused(other),
        }
    }
}
