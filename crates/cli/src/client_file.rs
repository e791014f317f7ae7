//! `client.toml`: how a client finds its gateway and proves itself. `kvfs up` writes it; it holds secrets, so mode 0600.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The file's content.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientFile {
    /// The gateway, as `host:port`.
    pub endpoint: String,
    /// Where the admin API is, if not at the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// The URL key's name.
    pub kid: String,
    /// The URL key's secret: as text, or as `hex:` and its bytes in hex where it is none. See [`Self::secret_bytes`].
    pub secret: String,
    /// The admin token, for those who administer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<String>,
}

impl ClientFile {
    /// The URL key's secret itself.
    pub fn secret_bytes(&self) -> Result<Vec<u8>> {
        secret_bytes(&self.secret)
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not a client file", path.display()))
    }

    /// Writes it, readable for its owner alone, at once or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = format!(
            "# How clients reach this cluster, and the keys to it: keep it to yourself.\n{}",
            toml::to_string(self).context("encoding the client file")?
        );
        let temporary = path.with_extension("toml.new");
        fs::remove_file(&temporary).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path).with_context(|| format!("writing {}", path.display()))
    }
}

/// A URL key's secret as it stands in the file.
pub fn secret_text(secret: &[u8]) -> String {
    match std::str::from_utf8(secret) {
        Ok(text) if text.chars().all(|char| char.is_ascii_graphic() || char == ' ') && !text.starts_with(HEX) => {
            text.to_string()
        }
        _ => format!("{HEX}{}", domain::id::hex(secret)),
    }
}

/// The secret that stands in the file as `text`.
pub fn secret_bytes(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix(HEX) {
        None => Ok(text.as_bytes().to_vec()),
        Some(digits) => {
            let rotation = api::keys::Rotation { kid: String::new(), secret_hex: digits.to_string(), is_primary: None };
            rotation.secret().map_err(anyhow::Error::msg).context("the client file's secret")
        }
    }
}

const HEX: &str = "hex:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_secret_survives_the_file() -> Result<()> {
        let home = tempfile::tempdir()?;
        for secret in
            [&b"plain text of a secret"[..], &[0xff; 16], b"hex:looks like it, and is not", b"two\nlines of a secret"]
        {
            let file = ClientFile {
                endpoint: "127.0.0.1:8000".into(),
                admin: None,
                kid: "v2".into(),
                secret: secret_text(secret),
                admin_token: None,
            };
            let path = home.path().join("client.toml");
            file.write(&path)?;
            assert_eq!(ClientFile::read(&path)?.secret_bytes()?, secret);
        }
        Ok(())
    }
}
