//! URL keys, as an operator sees them: everything but the secrets.

use domain::urlkey::MIN_SECRET_BYTES;
use serde::{Deserialize, Serialize};

/// A URL key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlKeyInfo {
    /// Its name.
    pub kid: String,
    /// Whether new URLs are signed with it.
    pub is_primary: bool,
    /// When it was registered, RFC 3339.
    pub created_at: String,
}

/// A wish to rotate: a key to add, or to give another secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Its name.
    #[serde(default)]
    pub kid: String,
    /// Its secret, in hex.
    #[serde(default)]
    pub secret_hex: String,
    /// Whether new URLs are signed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_primary: Option<bool>,
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rotation").field("kid", &self.kid).field("primary", &self.is_primary).finish_non_exhaustive()
    }
}

impl Rotation {
    /// The secret's bytes; the error says what is wrong and shows nothing of it.
    pub fn secret(&self) -> Result<Vec<u8>, String> {
        let digits: Option<Vec<u8>> =
            self.secret_hex.chars().map(|char| char.to_digit(16).map(|digit| digit as u8)).collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0);
        let bytes: Vec<u8> = match digits {
            Some(digits) => digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect(),
            None => return Err("secret_hex is not hex; expected two hex digits a byte".into()),
        };
        match bytes.len() {
            MIN_SECRET_BYTES..=1024 => Ok(bytes),
            found => Err(format!("a URL key's secret has {MIN_SECRET_BYTES} to 1024 bytes, this one has {found}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hex_and_long_enough_and_never_shown() {
        let secret = |hex: &str| Rotation { kid: "v2".into(), secret_hex: hex.into(), is_primary: None }.secret();
        assert_eq!(secret("000102030405060708090a0b0c0d0eFf").map(|bytes| (bytes.len(), bytes[15])), Ok((16, 0xff)));
        for bad in ["", "00", "000102030405060708090a0b0c0d0e0", "zz0102030405060708090a0b0c0d0e0f", &"00".repeat(1025)]
        {
            let why = secret(bad).expect_err("refused");
            assert!(bad.is_empty() || !why.contains(bad), "{why}");
        }
        let shown = format!("{:?}", Rotation { kid: "v2".into(), secret_hex: "beef".into(), is_primary: Some(true) });
        assert!(shown.contains("v2") && !shown.contains("beef"));
    }
}
