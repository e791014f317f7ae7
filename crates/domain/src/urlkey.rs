//! UrlKey: a URL that carries its own permission.
//!
//! `sig` is HMAC-SHA-256 under a shared secret over `METHOD:PATH:EXP`, in lowercase hex; PATH is the path after one
//! percent-decoding, EXP the last second (Unix time) at which the URL is good. Whoever holds the URL may do
//! that one thing to that one path until then, and nobody learns the secret. Several keys may live at once:
//! `kid` names the one that signed, so keys rotate without breaking URLs already handed out.
//!
//! Left out, as in the reference: host, query, headers and body are not covered.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::id::hex;

/// The shortest secret that is accepted, in bytes.
pub const MIN_SECRET_BYTES: usize = 16;

/// A secret and the name it goes by in `kid=`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlKey {
    /// The key's public name.
    pub kid: String,
    /// The HMAC secret.
    pub secret: Vec<u8>,
    /// Whether new URLs are signed with it; exactly one key of a set is primary.
    pub primary: bool,
    /// Wall clock at its registration, in milliseconds: information only.
    pub created_ms: u64,
}

impl std::fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UrlKey").field("kid", &self.kid).field("primary", &self.primary).finish_non_exhaustive()
    }
}

/// Why a signature was not accepted, in the order in which things are checked. All mean 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlKeyError {
    /// No `sig` parameter.
    #[error("urlkey: missing sig query parameter")]
    MissingSig,
    /// No `exp` parameter.
    #[error("urlkey: missing exp query parameter")]
    MissingExp,
    /// `exp` is no signed 64-bit decimal number.
    #[error("urlkey: exp is not a valid unix timestamp")]
    BadExp,
    /// The last good second has passed.
    #[error("urlkey: signature expired")]
    Expired,
    /// `kid` names no key.
    #[error("urlkey: unknown kid")]
    UnknownKid,
    /// No key that may be meant gives this signature.
    #[error("urlkey: signature does not match")]
    Mismatch,
}

/// What a signed URL's query carries; the first of a repeated parameter counts.
#[derive(Debug, Clone, Default)]
pub struct Presented<'a> {
    /// `sig`, as sent.
    pub sig: Option<&'a str>,
    /// `exp`, as sent.
    pub exp: Option<&'a str>,
    /// `kid`, as sent.
    pub kid: Option<&'a str>,
}

/// The signature of `method` on the decoded `path` until `exp`, as 64 lowercase hex digits.
pub fn sign(secret: &[u8], method: &str, path: &[u8], exp: i64) -> String {
    hex(&mac(secret, method, path, exp))
}

/// Accepts if a key of `keys` signed this, and `now` (Unix seconds) is not past its expiry.
pub fn verify(keys: &[UrlKey], method: &str, path: &[u8], with: &Presented<'_>, now: i64) -> Result<(), UrlKeyError> {
    let sig = with.sig.filter(|sig| !sig.is_empty()).ok_or(UrlKeyError::MissingSig)?;
    let exp = with.exp.filter(|exp| !exp.is_empty()).ok_or(UrlKeyError::MissingExp)?;
    let exp: i64 = exp.parse().map_err(|_| UrlKeyError::BadExp)?;
    if now > exp {
        return Err(UrlKeyError::Expired);
    }
    let mut candidates = keys.iter().filter(|key| with.kid.is_none_or(|kid| kid == key.kid)).peekable();
    if with.kid.is_some() && candidates.peek().is_none() {
        return Err(UrlKeyError::UnknownKid);
    }
    let matches = |key: &UrlKey| sign(&key.secret, method, path, exp).as_bytes().ct_eq(sig.as_bytes()).into();
    match candidates.any(matches) {
        true => Ok(()),
        false => Err(UrlKeyError::Mismatch),
    }
}

fn mac(secret: &[u8], method: &str, path: &[u8], exp: i64) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes any key length"));
    mac.update(method.as_bytes());
    mac.update(b":");
    mac.update(path);
    mac.update(format!(":{exp}").as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"demo-secret-change-me-in-production";

    fn key(kid: &str, secret: &[u8]) -> UrlKey {
        UrlKey { kid: kid.into(), secret: secret.into(), primary: true, created_ms: 0 }
    }

    #[test]
    fn golden_signatures_of_the_reference() {
        assert_eq!(
            sign(SECRET, "GET", b"/v1/o/bucket/key", 1_777_200_000),
            "f1e3fb729aca0eeb4bebdf206130e6a320e42731334495aa37f22951c2978183"
        );
        assert_eq!(
            sign(SECRET, "PUT", "/v1/o/photos/a b/ü.txt".as_bytes(), 4_102_444_800),
            "d402e3bfb9a52f1c95cc932132b27a64aaef5a631a3e0a968b38c30fed71550f"
        );
    }

    #[test]
    fn what_is_accepted_and_in_which_order_refused() {
        use UrlKeyError::*;
        let keys = [key("v1", SECRET), key("v2", b"another-secret-of-ours")];
        let good = sign(SECRET, "GET", b"/p", 100);
        let upper = good.to_uppercase();
        let (s, e, k) = (Some(good.as_str()), Some("100"), Some("v1"));
        // (case, sig, exp, kid, now, verdict)
        let table = [
            ("last second", s, e, k, 100, Ok(())),
            ("any key without kid", s, e, None, 0, Ok(())),
            ("exp printed canonically", s, Some("+100"), k, 0, Ok(())),
            ("no sig", None, None, None, 0, Err(MissingSig)),
            ("empty sig", Some(""), e, k, 0, Err(MissingSig)),
            ("no exp", s, None, k, 0, Err(MissingExp)),
            ("exp no number", s, Some("1e9"), k, 0, Err(BadExp)),
            ("exp too large", s, Some("99999999999999999999"), k, 0, Err(BadExp)),
            ("one second late", s, e, k, 101, Err(Expired)),
            ("unknown kid", s, e, Some("v9"), 0, Err(UnknownKid)),
            ("other key's kid", s, e, Some("v2"), 0, Err(Mismatch)),
            ("upper case", Some(upper.as_str()), e, k, 0, Err(Mismatch)),
            ("other expiry", s, Some("101"), k, 0, Err(Mismatch)),
        ];
        for (case, sig, exp, kid, now, verdict) in table {
            let found = verify(&keys, "GET", b"/p", &Presented { sig, exp, kid }, now);
            assert_eq!(found, verdict, "{case}");
        }
        let with = Presented { sig: s, exp: e, kid: k };
        assert_eq!(verify(&keys, "PUT", b"/p", &with, 0), Err(Mismatch), "other method");
        assert_eq!(verify(&keys, "GET", b"/q", &with, 0), Err(Mismatch), "other path");
        assert_eq!(verify(&[], "GET", b"/p", &Presented { kid: None, ..with }, 0), Err(Mismatch), "no keys at all");
    }
}
