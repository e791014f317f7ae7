//! Secrets: drawn, kept in files that only the owner reads, and never printed.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use api::Entropy;
use domain::peer_auth::MIN_SECRET_BYTES;

/// Bytes that must not be seen: `Debug` and `Display` show that there are some, not which.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Takes `text` as a secret, unless it has fewer than 16 bytes without the white space around it.
    pub fn new(text: &str) -> Result<Self, ShortSecret> {
        let bytes = text.trim().as_bytes();
        match bytes.len() < MIN_SECRET_BYTES {
            true => Err(ShortSecret { found: bytes.len() }),
            false => Ok(Self(bytes.into())),
        }
    }

    /// A new secret of 32 random bytes, as 64 hex digits.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        Self(domain::id::hex(&bytes).into_bytes().into())
    }

    /// The bytes themselves, for signing.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    pub fn share(&self) -> Arc<[u8]> {
        self.0.clone()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A secret that could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret needs at least {MIN_SECRET_BYTES} bytes, this one has {found}; `openssl rand -hex 32` makes a good one"
)]
pub struct ShortSecret {
    /// How long it was.
    pub found: usize,
}

/// Reads the secret in the file at `path`. Errs if others than its owner may read it, or if it is too short.
pub fn read(path: &Path) -> io::Result<Secret> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("{0} has mode {mode:03o}, others could read it: chmod 600 {0}", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Secret::new(&fs::read_to_string(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

/// Reads the secret in the file at `path`, or draws one and writes it there, durable and with mode 0600.
pub fn read_or_draw(path: &Path, entropy: &dyn Entropy) -> io::Result<Secret> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let secret = Secret::draw(entropy);
    let temporary = path.with_extension(format!("{:016x}.new", entropy.u64()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(secret.expose())?;
    file.sync_all()?;
    let named = fs::hard_link(&temporary, path); // Unlike a rename it fails where somebody else was faster.
    fs::remove_file(&temporary)?;
    match named {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return read(path),
        named => named?,
    }
    fs::File::open(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn drawn_once_read_ever_after_and_never_shown() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        let path = home.path().join("cluster-secret");
        let drawn = read_or_draw(&path, &SystemEntropy)?;
        assert_eq!(read_or_draw(&path, &SystemEntropy)?, drawn);
        assert_eq!(drawn.expose().len(), 64);
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{drawn:?} {drawn}"), "(secret) (secret)");
        assert_eq!(fs::read_dir(home.path())?.count(), 1, "no temporary file stays");
        Ok(())
    }

    #[test]
    fn short_and_public_secrets_are_refused() -> io::Result<()> {
        assert_eq!(Secret::new(" fifteen bytes..\n"), Err(ShortSecret { found: 15 }));
        let home = tempfile::tempdir()?;
        let path = home.path().join("secret");
        fs::write(&path, "sixteen bytes or more")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        assert_eq!(read(&path).map_err(|error| error.kind()), Err(io::ErrorKind::PermissionDenied));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        assert_eq!(read(&path)?.expose(), b"sixteen bytes or more");
        Ok(())
    }
}
