//! The keys that let people in: URL keys and S3 credentials, sealed.
//!
//! Several URL keys live at once, so that URLs already handed out outlive a rotation. Exactly one of them is primary as soon as there is one:
//! no command can leave none, or two. Every change raises the revision by which gateways notice.

use domain::secret::{
    CredentialRow, CredentialState, MAX_CREDENTIALS, MAX_SEALED_BYTES, MAX_URL_KEYS, Sealed, UrlKeyRow, is_key_name,
};

use crate::command::Reply;
use crate::machine::Machine;
use crate::tables::{StorageError, Table};

impl Machine<'_> {
    /// Adds the first key, as the primary.
    pub fn seed_url_key(&mut self, kid: &str, secret: &Sealed) -> Result<Reply, StorageError> {
        match self.tables.scan(Table::UrlKeys, &[], &[], 1)?.is_empty() {
            true => self.put_url_key(kid, secret, true),
            false => Ok(Reply::Done),
        }
    }

    /// Adds a key, or gives a known one another secret.
    pub fn put_url_key(&mut self, kid: &str, secret: &Sealed, primary: bool) -> Result<Reply, StorageError> {
        if let Some(problem) = problem(kid, secret) {
            return Ok(Reply::Refused(problem));
        }
        let rows = self.url_keys()?;
        let known = rows.iter().find(|(name, _)| name == kid).map(|(_, row)| row);
        if known.is_none() && rows.len() >= MAX_URL_KEYS {
            return Ok(Reply::Refused(format!("there are {MAX_URL_KEYS} URL keys already; remove one first")));
        }
        if known.is_some_and(|row| row.primary) && !primary {
            return Ok(Reply::Refused(format!("{kid} is the primary URL key; make another one primary first")));
        }
        let created_ms = known.map_or(self.now_ms, |row| row.created_ms);
        let row = UrlKeyRow { secret: secret.clone(), primary: primary || rows.is_empty(), created_ms };
        if row.primary {
            for (other, demoted) in rows.iter().filter(|(other, row)| other != kid && row.primary) {
                self.put(Table::UrlKeys, other.as_bytes(), &UrlKeyRow { primary: false, ..demoted.clone() })?;
            }
        }
        self.put(Table::UrlKeys, kid.as_bytes(), &row)?;
        self.keys_changed()
    }

    /// Writes a key's secret in another sealing: nothing changes for whoever can open both.
    pub fn reseal_url_key(&mut self, kid: &str, was: &Sealed, secret: &Sealed) -> Result<Reply, StorageError> {
        if let Some(problem) = problem(kid, secret) {
            return Ok(Reply::Refused(problem));
        }
        let known: Option<UrlKeyRow> = self.get(Table::UrlKeys, kid.as_bytes())?;
        if let Some(row) = known.filter(|row| row.secret == *was) {
            self.put(Table::UrlKeys, kid.as_bytes(), &UrlKeyRow { secret: secret.clone(), ..row })?;
        }
        Ok(Reply::Done)
    }

    /// Removes a key that URLs are no longer signed with.
    pub fn remove_url_key(&mut self, kid: &str) -> Result<Reply, StorageError> {
        let rows = self.url_keys()?;
        let Some((_, row)) = rows.iter().find(|(name, _)| name == kid) else {
            return Ok(Reply::NoSuch(format!("there is no URL key {kid:?}")));
        };
        if rows.len() == 1 {
            return Ok(Reply::Refused(format!("{kid} is the last URL key: without it nobody could be let in")));
        }
        if row.primary {
            return Ok(Reply::Refused(format!("{kid} is the primary URL key; make another one primary first")));
        }
        self.delete(Table::UrlKeys, kid.as_bytes())?;
        self.keys_changed()
    }

    /// Adds a credential, or replaces it.
    pub fn put_credential(
        &mut self,
        access_key: &str,
        secret: &Sealed,
        user: &str,
        state: CredentialState,
    ) -> Result<Reply, StorageError> {
        if let Some(problem) = problem(access_key, secret) {
            return Ok(Reply::Refused(problem));
        }
        if user.len() > 256 {
            return Ok(Reply::Refused("a user's name has at most 256 bytes".into()));
        }
        let known: Option<CredentialRow> = self.get(Table::Credentials, access_key.as_bytes())?;
        if known.is_none() && self.tables.count(Table::Credentials)? >= MAX_CREDENTIALS as u64 {
            return Ok(Reply::Refused(format!("there are {MAX_CREDENTIALS} credentials already; remove one first")));
        }
        let created_ms = known.map_or(self.now_ms, |row| row.created_ms);
        let row = CredentialRow { secret: secret.clone(), user: user.to_string(), created_ms, state };
        self.put(Table::Credentials, access_key.as_bytes(), &row)?;
        self.keys_changed()
    }

    /// Removes a credential.
    pub fn remove_credential(&mut self, access_key: &str) -> Result<Reply, StorageError> {
        if self.tables.get(Table::Credentials, access_key.as_bytes())?.is_none() {
            return Ok(Reply::NoSuch(format!("there is no credential {access_key:?}")));
        }
        self.delete(Table::Credentials, access_key.as_bytes())?;
        self.keys_changed()
    }

    fn url_keys(&self) -> Result<Vec<(String, UrlKeyRow)>, StorageError> {
        crate::query::url_keys(&*self.tables)
    }

    fn keys_changed(&mut self) -> Result<Reply, StorageError> {
        self.cluster.keys_revision += 1;
        self.put_cluster()?;
        Ok(Reply::Done)
    }
}

fn problem(name: &str, secret: &Sealed) -> Option<String> {
    if !is_key_name(name) {
        let shown: String = name.chars().take(80).collect();
        return Some(format!("{shown:?} cannot name a key; expected 1 to 64 letters, digits, '.', '_' or '-'"));
    }
    (secret.0.len() > MAX_SEALED_BYTES).then(|| format!("a sealed secret has at most {MAX_SEALED_BYTES} bytes"))
}
