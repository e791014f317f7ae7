//! The cluster secret: how the processes of one cluster recognise each other.
//!
//! Each request between them carries `X-KVFS-Time` (Unix milliseconds) and `X-KVFS-Auth`: HMAC-SHA-256 under the shared secret over
//! method, path with query, time, and the headers that say what the body must be (length, CRC-32C). A receiver accepts times within
//! five minutes of its own clock; a refusal for time carries the receiver's time, signed, and the caller keeps the
//! offset, so clocks that are hours apart still talk. A receiver compares the body with its checksum before it uses it; a CRC is no proof against
//! one who can choose bodies and hold back requests, for which there is TLS. A replay within those minutes is harmless: puts are
//! idempotent, deletes name a token that never comes back, commits a request number.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::id::hex;

/// How far apart two clocks may be: five minutes, in milliseconds.
pub const MAX_SKEW_MS: u64 = 5 * 60 * 1000;

/// The shortest cluster secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 16;

/// What a signature covers; absent headers are empty text.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Request method.
    pub method: &'a str,
    /// Path and query, as on the wire.
    pub target: &'a str,
    /// `X-KVFS-Time`: the sender's Unix milliseconds.
    pub time_ms: u64,
    /// `Content-Length`.
    pub length: &'a str,
    /// `X-KVFS-Crc32c`.
    pub crc: &'a str,
}

/// Why a peer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No, or another, signature.
    #[error("this request is not signed with the cluster secret")]
    Mismatch,
    /// Signed rightly, at a time too far from ours.
    #[error("the request's time is more than 5 minutes from this node's clock")]
    Skewed,
}

/// The signature of `what` under `secret`, in lowercase hex.
pub fn sign(secret: &[u8], what: &Signed<'_>) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes any key length"));
    let time = what.time_ms.to_string();
    for part in ["kvfs-peer-1", what.method, what.target, &time, what.length, what.crc] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    hex(&mac.finalize().into_bytes())
}

/// Accepts `signature` of `what` if it is right and the time is near `now_ms`.
pub fn verify(secret: &[u8], what: &Signed<'_>, signature: &str, now_ms: u64) -> Result<(), PeerError> {
    let same: bool = sign(secret, what).as_bytes().ct_eq(signature.as_bytes()).into();
    match (same, what.time_ms.abs_diff(now_ms) <= MAX_SKEW_MS) {
        (false, _) => Err(PeerError::Mismatch),
        (true, false) => Err(PeerError::Skewed),
        (true, true) => Ok(()),
    }
}

/// What a receiver signs when it refuses a request for its time: its own time, bound to the signature that was refused.
///
/// `TIME` is no HTTP method, so such a signature can never pass for a request.
pub fn time_reply<'a>(target: &'a str, time_ms: u64, refused: &'a str) -> Signed<'a> {
    Signed { method: "TIME", target, time_ms, length: "", crc: refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_covered_part_matters() {
        let secret = b"sixteen bytes or more";
        let what = Signed { method: "PUT", target: "/chunk/ab?x=1", time_ms: 1_000_000, length: "5", crc: "00ff00ff" };
        let signature = sign(secret, &what);
        assert_eq!(verify(secret, &what, &signature, 1_000_000), Ok(()));
        assert_eq!(verify(secret, &what, &signature, 1_000_000 + MAX_SKEW_MS), Ok(()));
        assert_eq!(verify(secret, &what, &signature, 1_000_001 + MAX_SKEW_MS), Err(PeerError::Skewed));
        let others = [
            Signed { method: "GET", ..what },
            Signed { target: "/chunk/ac?x=1", ..what },
            Signed { time_ms: 1_000_001, ..what },
            Signed { length: "", crc: "500ff00ff", ..what },
        ];
        for other in others {
            assert_eq!(verify(secret, &other, &signature, 1_000_000), Err(PeerError::Mismatch), "{other:?}");
        }
        assert_eq!(verify(b"another secret of ours", &what, &signature, 1_000_000), Err(PeerError::Mismatch));
    }
}
