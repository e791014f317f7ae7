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
    /// The URL key's secret.
    pub secret: String,
    /// The admin token, for those who administer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<String>,
}

impl ClientFile {
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
