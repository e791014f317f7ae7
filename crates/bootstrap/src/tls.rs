//! TLS on a listener, and on the way to one: files in, configurations of `rustls` out, read again while the process runs.
//!
//! A listener has a certificate and its key; with a client CA it also demands a certificate of whoever connects (mutual TLS). A
//! caller has the CA that must have signed the listener's certificate, and may have a certificate of its own. Nobody trusts the system's
//! CAs: the links of a cluster are between parties that know each other.
//!
//! [`ServerTls::reload`] and [`ClientTls::reload`] read the files again. New connections use what was read last; if the new files are
//! wrong, the old ones stay in use, since a listener without a certificate would help nobody.
//!
//! What TLS does not replace here: requests between processes stay signed with the cluster secret. A certificate says which machine
//! speaks, the secret that it belongs to this cluster. Left out: revocation lists; a key that leaked is answered with a new CA.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A certificate and the key that belongs to it, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, and after it those that lead up to the CA.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The files of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// What it shows.
    pub pair: Pair,
    /// The CA of those who may connect; `None` lets everybody connect.
    pub client_ca: Option<PathBuf>,
}

/// The files of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The CA that must have signed the listener's certificate.
    pub ca: PathBuf,
    /// What the caller shows, if it is asked.
    pub pair: Option<Pair>,
}

/// Why files give no configuration. Each names the file, and what was expected in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read, or is not PEM.
    #[error("{}: {reason}; expected {expected} in PEM", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Key and certificate are not of each other.
    #[error("{} is not the key of the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// `rustls` wants none of it.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A configuration that can be read again from its files.
#[derive(Debug)]
pub struct Reloadable<F, C> {
    files: F,
    current: RwLock<Arc<C>>,
}

/// TLS of a listener.
pub type ServerTls = Reloadable<ServerFiles, ServerConfig>;

/// TLS of a caller.
pub type ClientTls = Reloadable<ClientFiles, ClientConfig>;

/// Files that make a configuration.
pub trait Files<C> {
    /// Reads them.
    fn load(&self) -> Result<C, TlsError>;
}

impl<C, F: Files<C>> Reloadable<F, C> {
    /// Reads `files` for the first time.
    pub fn open(files: F) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(files.load()?));
        Ok(Self { files, current })
    }

    /// What new connections use.
    pub fn current(&self) -> Arc<C> {
        self.current.read().clone()
    }

    /// Reads the files again; after an error all stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(self.files.load()?);
        *self.current.write() = fresh;
        Ok(())
    }
}

impl Files<ServerConfig> for ServerFiles {
    fn load(&self) -> Result<ServerConfig, TlsError> {
        let (certs, key) = self.pair.read()?;
        let builder = ServerConfig::builder_with_provider(provider());
        let wants = builder.with_safe_default_protocol_versions().map_err(|error| unusable(&self.pair.cert, &error))?;
        let wants = match &self.client_ca {
            None => wants.with_no_client_auth(),
            Some(ca) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider()).build();
                wants.with_client_cert_verifier(verifier.map_err(|error| unusable(ca, &error))?)
            }
        };
        let mut config = wants.with_single_cert(certs, key).map_err(|error| self.pair.explain(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Files<ClientConfig> for ClientFiles {
    fn load(&self) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| unusable(&self.ca, &error))?;
        let wants = builder.with_root_certificates(roots(&self.ca)?);
        let mut config = match &self.pair {
            None => wants.with_no_client_auth(),
            Some(pair) => {
                let (certs, key) = pair.read()?;
                wants.with_client_auth_cert(certs, key).map_err(|error| pair.explain(&error))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Pair {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| file(&self.key, "a private key", &error))?;
        Ok((certificates(&self.cert)?, key))
    }

    fn explain(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { key: self.key.clone(), cert: self.cert.clone() },
            other => unusable(&self.cert, other),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

/// All certificates in a file: at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let expected = "at least one certificate";
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| file(path, expected, &error));
    match found? {
        none if none.is_empty() => Err(file(path, expected, &pem::Error::NoItemsFound)),
        some => Ok(some),
    }
}

fn file(path: &Path, expected: &'static str, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => "there is no such file".to_owned(),
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "nothing of that kind is in it".to_owned(),
        other => other.to_string(),
    };
    TlsError::File { path: path.to_path_buf(), expected, reason }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Unusable { path: path.to_path_buf(), reason: error.to_string() }
}
