//! The one table of errors: what went wrong, as an HTTP status and as an S3 code.
//!
//! Every surface answers from here, so the same mistake gets the same answer wherever it is made.

use http::StatusCode;

/// Something that a caller is told instead of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Situation {
    /// The request is malformed.
    BadRequest,
    /// A bucket's name breaks the rules.
    BadBucketName,
    /// A key is empty or too long.
    BadKey,
    /// A header's value cannot be used.
    BadArgument,
    /// No length was announced where one is needed.
    LengthRequired,
    /// The body ended before its announced end, or never came.
    BodyBroken,
    /// The body comes too slowly.
    TooSlow,
    /// The body is larger than allowed.
    TooLarge,
    /// No valid signature.
    Unsigned,
    /// A valid identity without the right, or an administration that is closed.
    Forbidden,
    /// No such path.
    NoSuchRoute,
    /// The path does not take this method.
    MethodNotAllowed,
    /// No such object.
    NoSuchKey,
    /// No such bucket.
    NoSuchBucket,
    /// The bucket is there already.
    BucketExists,
    /// The bucket holds objects.
    BucketNotEmpty,
    /// Something in the cluster contradicts the wish.
    Conflict,
    /// A precondition does not hold.
    PreconditionFailed,
    /// The reader has it already.
    NotModified,
    /// No byte of the object is in the range.
    BadRange,
    /// Known and not built.
    NotImplemented,
    /// A chunk could not be read or written on enough nodes.
    DataUnavailable,
    /// The metadata cannot be asked, or the service is not ready.
    Unavailable,
    /// Too much at once.
    Busy,
    /// No room.
    Full,
    /// A defect or a failed disk.
    Internal,
}

impl Situation {
    /// All of them, in table order.
    pub const ALL: [Situation; 26] = [
        Situation::BadRequest,
        Situation::BadBucketName,
        Situation::BadKey,
        Situation::BadArgument,
        Situation::LengthRequired,
        Situation::BodyBroken,
        Situation::TooSlow,
        Situation::TooLarge,
        Situation::Unsigned,
        Situation::Forbidden,
        Situation::NoSuchRoute,
        Situation::MethodNotAllowed,
        Situation::NoSuchKey,
        Situation::NoSuchBucket,
        Situation::BucketExists,
        Situation::BucketNotEmpty,
        Situation::Conflict,
        Situation::PreconditionFailed,
        Situation::NotModified,
        Situation::BadRange,
        Situation::NotImplemented,
        Situation::DataUnavailable,
        Situation::Unavailable,
        Situation::Busy,
        Situation::Full,
        Situation::Internal,
    ];

    /// The table: HTTP status and S3 error code.
    pub fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Situation::BadRequest => (StatusCode::BAD_REQUEST, "InvalidRequest"),
            Situation::BadBucketName => (StatusCode::BAD_REQUEST, "InvalidBucketName"),
            Situation::BadKey => (StatusCode::BAD_REQUEST, "KeyTooLongError"),
            Situation::BadArgument => (StatusCode::BAD_REQUEST, "InvalidArgument"),
            Situation::LengthRequired => (StatusCode::LENGTH_REQUIRED, "MissingContentLength"),
            Situation::BodyBroken => (StatusCode::BAD_REQUEST, "IncompleteBody"),
            Situation::TooSlow => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
            Situation::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "EntityTooLarge"),
            Situation::Unsigned => (StatusCode::UNAUTHORIZED, "AccessDenied"),
            Situation::Forbidden => (StatusCode::FORBIDDEN, "AccessDenied"),
            Situation::NoSuchRoute => (StatusCode::NOT_FOUND, "InvalidURI"),
            Situation::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Situation::NoSuchKey => (StatusCode::NOT_FOUND, "NoSuchKey"),
            Situation::NoSuchBucket => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            Situation::BucketExists => (StatusCode::CONFLICT, "BucketAlreadyOwnedByYou"),
            Situation::BucketNotEmpty => (StatusCode::CONFLICT, "BucketNotEmpty"),
            Situation::Conflict => (StatusCode::CONFLICT, "OperationAborted"),
            Situation::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
            Situation::NotModified => (StatusCode::NOT_MODIFIED, "NotModified"),
            Situation::BadRange => (StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
            Situation::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
            Situation::DataUnavailable => (StatusCode::BAD_GATEWAY, "InternalError"),
            Situation::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Situation::Busy => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            Situation::Full => (StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage"),
            Situation::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    /// Seconds after which asking again makes sense, where it does.
    pub fn retry_after(self) -> Option<u32> {
        matches!(self, Situation::Unavailable | Situation::Busy | Situation::DataUnavailable).then_some(1)
    }
}
