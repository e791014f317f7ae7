//! TLS of a process: which settings ask for it, and what listeners and links make of them.
//!
//! TLS is a matter of links: with a CA for a link everything on it goes over TLS, without one nothing does. An address with `https://`
//! on a link without a CA, or with `http://` on one that has one, is refused at the start instead of quietly meaning the other.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use bootstrap::settings::Reader;
use bootstrap::tls::{ClientFiles, ClientTls, Pair, ServerFiles, ServerTls};
use client::{Connector, TcpConnector, TlsConnector};
use tokio::signal::unix::{SignalKind, signal};

/// The files of a process's listener and of its links.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Its listener; `None` is plain HTTP.
    pub server: Option<ServerFiles>,
    /// The way to data nodes.
    pub nodes: Option<ClientFiles>,
    /// The way to coordinators.
    pub coords: Option<ClientFiles>,
}

/// What they hold, in use.
#[derive(Clone, Default)]
pub struct Tls {
    /// The listener's.
    pub server: Option<Arc<ServerTls>>,
    /// The links'.
    pub links: Links,
}

/// The links of a process.
#[derive(Clone, Default)]
pub struct Links {
    /// The way to data nodes.
    pub nodes: Link,
    /// The way to coordinators.
    pub coords: Link,
}

/// A way to others: plain, or over TLS.
#[derive(Clone, Default)]
pub struct Link(Option<Arc<ClientTls>>);

impl Link {
    /// The way by `files`; plain without.
    pub fn open(files: Option<ClientFiles>) -> Result<Self> {
        let tls = files.map(ClientTls::open).transpose().context("the TLS files of an outgoing link")?;
        Ok(Self(tls.map(Arc::new)))
    }

    /// Makes its connections.
    pub fn connector(&self) -> Arc<dyn Connector> {
        match self.0.clone() {
            None => Arc::new(TcpConnector),
            Some(tls) => Arc::new(TlsConnector::new(move || tls.current())),
        }
    }
}

impl Tls {
    /// Reads the files, and reads them again at each SIGHUP: new connections use what is new, and a wrong file changes nothing.
    pub fn open(files: &TlsFiles) -> Result<Self> {
        let server = files.server.clone().map(ServerTls::open).transpose();
        let server = server.context("the TLS files of the listener")?.map(Arc::new);
        let (nodes, coords) = (Link::open(files.nodes.clone())?, Link::open(files.coords.clone())?);
        let tls = Self { server, links: Links { nodes, coords } };
        tls.clone().reload_on_hangup()?;
        Ok(tls)
    }

    fn reload_on_hangup(self) -> Result<()> {
        // Without TLS there is nothing to read, and a SIGHUP does what it always does.
        if self.server.is_none() && self.links.nodes.0.is_none() && self.links.coords.0.is_none() {
            return Ok(());
        }
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                self.reload();
            }
        });
        Ok(())
    }

    fn reload(&self) {
        let links = [&self.links.nodes, &self.links.coords].into_iter().flat_map(|link| &link.0);
        let read = self.server.iter().map(|tls| tls.reload()).chain(links.map(|tls| tls.reload()));
        let wrong: Vec<_> = read.filter_map(Result::err).collect();
        for error in &wrong {
            tracing::error!(%error, "a TLS file cannot be used; the old one stays in use");
        }
        if wrong.is_empty() {
            tracing::info!("the TLS files were read again; new connections use them");
        }
    }
}

/// Reads the settings of a listener: `DN_TLS_CERT`, `DN_TLS_KEY` and `DN_TLS_CLIENT_CA` for the role `DN`.
pub fn server_files(reader: &mut Reader, role: &str) -> Option<ServerFiles> {
    let pair = pair(reader, &format!("{role}_TLS_CERT"), &format!("{role}_TLS_KEY"));
    let ca_name = format!("{role}_TLS_CLIENT_CA");
    let client_ca = reader.optional(&ca_name).map(PathBuf::from);
    match (pair, client_ca) {
        (Some(pair), client_ca) => Some(ServerFiles { pair, client_ca }),
        (None, None) => None,
        (None, Some(ca)) => {
            let remedy = format!("{role}_TLS_CERT and {role}_TLS_KEY beside it: only over TLS can clients show theirs");
            reader.problem(&ca_name, &ca.display().to_string(), &remedy);
            None
        }
    }
}

/// Reads the settings of a link: `EDGE_DN_TLS_CA`, `EDGE_DN_TLS_CLIENT_CERT` and `EDGE_DN_TLS_CLIENT_KEY` for the link `EDGE_DN`;
/// where none of them is set, what [`any_link`] reads.
pub fn link_files(reader: &mut Reader, link: &str) -> Option<ClientFiles> {
    let names = ["CA", "CLIENT_CERT", "CLIENT_KEY"].map(|what| format!("{link}_TLS_{what}"));
    let own = client_files(reader, [&names[0], &names[1], &names[2]]);
    own.or_else(|| any_link(reader))
}

/// Reads the settings of all links of a process that have none of their own: `KVFS_TLS_CA`, `KVFS_TLS_CERT`, `KVFS_TLS_KEY`.
pub fn any_link(reader: &mut Reader) -> Option<ClientFiles> {
    client_files(reader, ["KVFS_TLS_CA", "KVFS_TLS_CERT", "KVFS_TLS_KEY"])
}

fn client_files(reader: &mut Reader, [ca_name, cert_name, key_name]: [&str; 3]) -> Option<ClientFiles> {
    let ca = reader.optional(ca_name).map(PathBuf::from);
    match (ca, pair(reader, cert_name, key_name)) {
        (Some(ca), pair) => Some(ClientFiles { ca, pair }),
        (None, None) => None,
        (None, Some(pair)) => {
            let remedy = format!("{ca_name} beside it: without a CA this link is plain HTTP, and shows no certificate");
            reader.problem(cert_name, &pair.cert.display().to_string(), &remedy);
            None
        }
    }
}

fn pair(reader: &mut Reader, cert_name: &str, key_name: &str) -> Option<Pair> {
    match (reader.optional(cert_name), reader.optional(key_name)) {
        (Some(cert), Some(key)) => Some(Pair { cert: cert.into(), key: key.into() }),
        (None, None) => None,
        (cert, key) => {
            let (name, other) = if cert.is_some() { (cert_name, key_name) } else { (key_name, cert_name) };
            let value = cert.or(key).unwrap_or_default();
            reader.problem(name, &value, &format!("{other} beside it: a certificate and its key come together"));
            None
        }
    }
}

/// `address` without its scheme, if `secure` says what the scheme says; otherwise what was expected.
pub fn bare<'a>(address: &'a str, secure: bool, ca_name: &str) -> Result<&'a str, String> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    match (scheme, secure) {
        ("", _) | ("http", false) | ("https", true) => Ok(rest.trim_end_matches('/')),
        ("https", false) => Err(format!("{ca_name} (or KVFS_TLS_CA) with it: who is there is known by its CA")),
        ("http", true) => {
            Err(format!("https://, or no {ca_name} and no KVFS_TLS_CA: a link with a CA is TLS throughout"))
        }
        _ => Err("host:port, http://host:port or https://host:port".into()),
    }
}
