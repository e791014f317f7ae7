//! Secrets as the tables keep them: sealed by whoever proposes them, opened by whoever holds the cluster's key.
//!
//! The state machine compares, keeps and lists rows; it never sees what is inside of one.

use serde::{Deserialize, Serialize};

/// Bytes that only a holder of the cluster's key can open. Shows nothing of them, not even to `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(pub Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "(sealed, {} bytes)", self.0.len())
    }
}

/// A URL key of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlKeyRow {
    /// Its secret.
    pub secret: Sealed,
    /// Whether new URLs are signed with it; exactly one is.
    pub primary: bool,
    /// Wall clock at its registration, in milliseconds.
    pub created_ms: u64,
}

/// Whether a credential lets anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialState {
    /// It does.
    Active,
    /// Not at present.
    Disabled,
}

/// An S3 credential: the secret to an access key id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRow {
    /// Its secret.
    pub secret: Sealed,
    /// Whose it is: a name for people.
    pub user: String,
    /// Wall clock at its registration, in milliseconds.
    pub created_ms: u64,
    /// Whether it lets anybody in.
    pub state: CredentialState,
}

/// The most URL keys at once, and the most credentials.
pub const MAX_URL_KEYS: usize = 64;

/// The most S3 credentials.
pub const MAX_CREDENTIALS: usize = 4096;

/// The most bytes of a sealed secret.
pub const MAX_SEALED_BYTES: usize = 4096;

/// Whether `name` can name a key: 1 to 64 letters, digits, `.`, `_` or `-`.
pub fn is_key_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
}
