//! The directory of `kvfs up`: nodes, metadata, secrets, and the file by which clients find it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api::Entropy;
use bootstrap::{Secret, secrets};
use cli::ClientFile;
use cli::client_file::secret_text;

/// The name of the URL key that a cluster is started with.
pub const FIRST_KID: &str = "v1";

/// Where things are in a data directory.
pub struct Home(pub PathBuf);

/// What `up` draws on its first start.
pub struct Secrets {
    /// The first URL key's.
    pub url_key: Secret,
    /// The admin token.
    pub admin: Secret,
    /// The cluster's.
    pub cluster: Secret,
}

impl Home {
    /// The directory of data node `name`.
    pub fn node(&self, name: &str) -> PathBuf {
        self.0.join("nodes").join(name)
    }

    /// The metadata's directory.
    pub fn meta(&self) -> PathBuf {
        self.0.join("meta")
    }

    /// The ports that `up --processes` chose.
    pub fn ports_file(&self) -> PathBuf {
        self.0.join("ports.toml")
    }

    /// How clients find this store.
    pub fn client_file(&self) -> PathBuf {
        self.0.join("client.toml")
    }

    /// The URL key for clients: the one that a rotation left in the client file, or the first.
    pub fn client_key(&self, secrets: &Secrets) -> (String, String) {
        match ClientFile::read(&self.client_file()) {
            Ok(file) if file.kid != FIRST_KID => (file.kid, file.secret),
            _ => (FIRST_KID.into(), secret_text(secrets.url_key.expose())),
        }
    }

    /// Makes the directory, and draws the secrets that are not there yet.
    pub fn prepare(&self, entropy: &dyn Entropy) -> Result<Secrets> {
        let dir = self.0.join("secrets");
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let secret = |name: &str| {
            let path = dir.join(name);
            secrets::read_or_draw(&path, entropy).with_context(|| format!("the secret in {}", path.display()))
        };
        Ok(Secrets { url_key: secret("urlkey")?, admin: secret("admin-token")?, cluster: secret("cluster")? })
    }

    /// How many data nodes an earlier start left here.
    pub fn nodes(&self) -> u32 {
        let entries = std::fs::read_dir(self.0.join("nodes")).into_iter().flatten().flatten();
        let number = |name: String| name.strip_prefix("node-")?.parse::<u32>().ok();
        entries.filter_map(|entry| number(entry.file_name().to_string_lossy().into_owned())).max().unwrap_or(0)
    }
}

/// The client file of the `kvfs up` in this directory.
pub fn default_client_file() -> PathBuf {
    Path::new("kvfs-data").join("client.toml")
}
