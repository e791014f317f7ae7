//! Secrets at rest: sealed before they are proposed, so that neither the log, nor the tables, nor a backup of them holds one in clear.
//!
//! XChaCha20-Poly1305 under a key derived by HKDF-SHA-256 from the cluster's secret, or from `cluster.key` in the coordinator's directory where no
//! secret is configured. With the secret every coordinator of a group can open what another one sealed. The nonce is random, 24 bytes, so it
//! never repeats; what the secret is for and its name are authenticated along with it, so a sealed secret cannot stand in for another.
//!
//! Several keys may open, the first one seals: so a cluster that gets a secret later still opens what the file's key sealed, and
//! seals it anew. Layout: 1, key id (4 bytes), nonce (24), ciphertext and tag. Source: Arciszewski, draft-irtf-cfrg-xchacha-03.

use std::fmt;
use std::sync::Arc;

use api::Entropy;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use domain::secret::Sealed;
use hkdf::Hkdf;
use sha2::Sha256;

const LAYOUT: u8 = 1;
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const HEAD_BYTES: usize = 1 + ID_BYTES + NONCE_BYTES;

/// What a sealed secret is for; part of what is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A URL key.
    UrlKey,
    /// An S3 credential.
    Credential,
}

/// Why a secret was not sealed or opened. Says nothing about the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Neither a cluster secret nor a `cluster.key`.
    #[error("this coordinator has no key to seal secrets with: set KVFS_CLUSTER_SECRET, or let it keep a cluster.key")]
    NoKey,
    /// Another key sealed it.
    #[error(
        "it is sealed with another cluster's key: give every coordinator the same KVFS_CLUSTER_SECRET, or bring cluster.key along"
    )]
    OtherKey,
    /// The bytes are not what was sealed, or not under this name.
    #[error("its sealed bytes are damaged")]
    Damaged,
}

/// Seals and opens. Cheap to clone; shows no key.
#[derive(Clone, Default)]
pub struct Sealer(Arc<[Key]>);

struct Key {
    id: [u8; ID_BYTES],
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} sealing keys)", self.0.len())
    }
}

impl Sealer {
    /// Seals with a key derived from the first secret, and opens with those of all.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(secrets.into_iter().map(Key::derive).collect())
    }

    /// Seals `secret` under `name`.
    pub fn seal(
        &self,
        entropy: &dyn Entropy,
        purpose: Purpose,
        name: &str,
        secret: &[u8],
    ) -> Result<Sealed, SealError> {
        let key = self.0.first().ok_or(SealError::NoKey)?;
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let aad = about(purpose, name);
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), Payload { msg: secret, aad: &aad });
        let sealed = sealed.map_err(|_| SealError::Damaged)?;
        Ok(Sealed([&[LAYOUT][..], &key.id, &nonce, &sealed].concat()))
    }

    /// Opens what was sealed under `name`.
    pub fn open(&self, purpose: Purpose, name: &str, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
        let (head, text) = sealed.0.split_at_checked(HEAD_BYTES).ok_or(SealError::Damaged)?;
        let (id, nonce) = head[1..].split_at(ID_BYTES);
        if head[0] != LAYOUT {
            return Err(SealError::Damaged);
        }
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| SealError::Damaged)?;
        let key = self.0.iter().find(|key| key.id == id).ok_or(SealError::OtherKey)?;
        let aad = about(purpose, name);
        key.cipher.decrypt(&XNonce::from(nonce), Payload { msg: text, aad: &aad }).map_err(|_| SealError::Damaged)
    }

    /// Whether `sealed` was sealed with the key that seals now.
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        self.0.first().is_some_and(|key| sealed.0.get(1..=ID_BYTES) == Some(&key.id[..]))
    }
}

impl Key {
    fn derive(secret: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(b"kvfs cluster key"), secret);
        let (mut key, mut id) = ([0; 32], [0; ID_BYTES]);
        let expanded = hkdf.expand(b"sealing", &mut key).and_then(|()| hkdf.expand(b"sealing key id", &mut id));
        // HKDF-SHA-256 gives up to 8,160 bytes.
        expanded.unwrap_or_else(|_| unreachable!("36 bytes are within HKDF's limit"));
        Self { id, cipher: XChaCha20Poly1305::new(&key.into()) }
    }
}

fn about(purpose: Purpose, name: &str) -> Vec<u8> {
    let purpose = match purpose {
        Purpose::UrlKey => "url key",
        Purpose::Credential => "credential",
    };
    [purpose.as_bytes(), &[0], name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::entropy::SeededEntropy;

    #[test]
    fn only_the_same_key_name_and_purpose_open() {
        let entropy = SeededEntropy::new(1);
        let (first, second) = (Sealer::new([&b"the first secret"[..]]), Sealer::new([&b"the second secret"[..]]));
        let sealed = first.seal(&entropy, Purpose::UrlKey, "v1", b"hush").expect("seals");
        assert_eq!(first.open(Purpose::UrlKey, "v1", &sealed).as_deref(), Ok(&b"hush"[..]));
        assert!(!sealed.0.windows(4).any(|bytes| bytes == b"hush"), "it does not stand there in clear");
        let again = first.seal(&entropy, Purpose::UrlKey, "v1", b"hush").expect("seals");
        assert_ne!(again, sealed, "every sealing draws a nonce");
        assert_eq!(first.open(Purpose::UrlKey, "v2", &sealed), Err(SealError::Damaged), "another name");
        assert_eq!(first.open(Purpose::Credential, "v1", &sealed), Err(SealError::Damaged), "another purpose");
        assert_eq!(second.open(Purpose::UrlKey, "v1", &sealed), Err(SealError::OtherKey));
        assert_eq!(Sealer::default().seal(&entropy, Purpose::UrlKey, "v1", b"hush"), Err(SealError::NoKey));
        for at in 0..sealed.0.len() {
            let mut damaged = sealed.clone();
            damaged.0[at] ^= 1;
            assert!(first.open(Purpose::UrlKey, "v1", &damaged).is_err(), "byte {at}");
            let cut = Sealed(sealed.0[..at].to_vec());
            assert!(first.open(Purpose::UrlKey, "v1", &cut).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_new_key_opens_what_the_old_one_sealed() {
        let entropy = SeededEntropy::new(1);
        let old = Sealer::new([&b"the file's key"[..]]);
        let both = Sealer::new([&b"the cluster's secret"[..], b"the file's key"]);
        let sealed = old.seal(&entropy, Purpose::UrlKey, "v1", b"hush").expect("seals");
        assert!(old.is_current(&sealed) && !both.is_current(&sealed));
        let opened = both.open(Purpose::UrlKey, "v1", &sealed).expect("opens");
        let anew = both.seal(&entropy, Purpose::UrlKey, "v1", &opened).expect("seals");
        assert!(both.is_current(&anew));
        assert_eq!(old.open(Purpose::UrlKey, "v1", &anew), Err(SealError::OtherKey));
        assert!(!format!("{both:?} {anew:?}").contains("hush"));
    }
}
