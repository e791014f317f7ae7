//! URL keys: several live at once, one of them primary, sealed in the tables and opened for gateways alone.
//!
//! A rotation adds a key and makes it primary; what the old one signed stays good until that is removed. The key that a cluster is
//! started with (`v1`) is a row like every other, so it survives the first rotation.

use api::MetaError;
use api::admin::AdminError;
use api::keys::{Rotation, UrlKeyInfo};
use domain::secret::{Sealed, is_key_name};
use domain::timestamp::rfc3339;
use domain::urlkey::UrlKey;
use meta::{Command, query};

use crate::admin::unavailable;
use crate::seal::{Purpose, SealError};
use crate::service::{Core, storage};

impl Core {
    /// The keys with their secrets. One that cannot be opened is left out, and the log says why.
    pub async fn open_url_keys(&self) -> Result<Vec<UrlKey>, MetaError> {
        let rows = query::url_keys(&self.read().await?).map_err(storage)?;
        let open = |(kid, row): (String, domain::secret::UrlKeyRow)| match self.settings.sealer.open(
            Purpose::UrlKey,
            &kid,
            &row.secret,
        ) {
            Ok(secret) => Some(UrlKey { kid, secret, primary: row.primary, created_ms: row.created_ms }),
            Err(error) => {
                tracing::error!(kid, %error, "a URL key cannot be opened; what it signed is refused");
                None
            }
        };
        Ok(rows.into_iter().filter_map(open).collect())
    }

    /// The keys without their secrets.
    pub async fn list_url_keys(&self) -> Result<Vec<UrlKeyInfo>, AdminError> {
        let tables = self.read().await.map_err(unavailable)?;
        let rows = query::url_keys(&tables).map_err(storage).map_err(unavailable)?;
        let info = |(kid, row): (String, domain::secret::UrlKeyRow)| UrlKeyInfo {
            kid,
            is_primary: row.primary,
            created_at: rfc3339(row.created_ms),
        };
        Ok(rows.into_iter().map(info).collect())
    }

    /// Adds a key, or gives a known one another secret.
    pub async fn rotate_url_key(&self, wish: &Rotation) -> Result<Vec<UrlKeyInfo>, AdminError> {
        let Rotation { kid, is_primary, .. } = wish;
        if !is_key_name(kid) {
            let shown: String = kid.chars().take(80).collect();
            let expected = "expected 1 to 64 letters, digits, '.', '_' or '-'";
            return Err(AdminError::Invalid(format!("{shown:?} cannot name a URL key; {expected}")));
        }
        let secret = wish.secret().map_err(AdminError::Invalid)?;
        let secret = self.seal_url_key(kid, &secret).map_err(|error| AdminError::Conflict(error.to_string()))?;
        let primary = is_primary.unwrap_or(true);
        self.decide(Command::PutUrlKey { kid: kid.clone(), secret, primary }).await?;
        tracing::info!(kid, primary, "a URL key was registered");
        self.refresh_view().await.map_err(unavailable)?;
        self.list_url_keys().await
    }

    /// Removes a key that is neither the primary nor the last.
    pub async fn remove_url_key(&self, kid: &str) -> Result<Vec<UrlKeyInfo>, AdminError> {
        self.decide(Command::RemoveUrlKey { kid: kid.to_string() }).await?;
        tracing::info!(kid, "a URL key was removed");
        self.refresh_view().await.map_err(unavailable)?;
        self.list_url_keys().await
    }

    /// The command that registers the first key, if the settings have one.
    pub fn first_url_key(&self) -> Result<Option<Command>, MetaError> {
        let Some(key) = &self.settings.url_key else { return Ok(None) };
        let sealed = self.seal_url_key(&key.kid, &key.secret);
        let secret = sealed.map_err(|error| MetaError::Failed { reason: error.to_string() })?;
        Ok(Some(Command::SeedUrlKey { kid: key.kid.clone(), secret }))
    }

    /// Seals anew what an earlier key of the cluster sealed, so that coordinators who never had that one can open it.
    pub async fn reseal_url_keys(&self) -> Result<(), MetaError> {
        let rows = query::url_keys(&self.read().await?).map_err(storage)?;
        for (kid, row) in rows.into_iter().filter(|(_, row)| !self.settings.sealer.is_current(&row.secret)) {
            let opened = self.settings.sealer.open(Purpose::UrlKey, &kid, &row.secret);
            match opened.and_then(|secret| self.seal_url_key(&kid, &secret)) {
                Ok(secret) => drop(self.propose(Command::ResealUrlKey { kid, was: row.secret, secret }).await?),
                Err(error) => tracing::error!(kid, %error, "a URL key cannot be opened"),
            }
        }
        Ok(())
    }

    fn seal_url_key(&self, kid: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        self.settings.sealer.seal(&*self.entropy, Purpose::UrlKey, kid, secret)
    }
}
