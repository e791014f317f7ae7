//! Connections over TLS, beside the plain ones: the same pool, the same requests, another [`Connector`].

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, Error, InvalidMessage};

use crate::connect::{Connector, Stream, TcpConnector};

/// How long a handshake may take: two round trips and a signature, on a machine that is busy.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections over TLS to whoever has a certificate for the host part of the address, an IP address included.
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<dyn Fn() -> Arc<ClientConfig> + Send + Sync>,
}

impl TlsConnector {
    /// Connections as `config` says at the time that each is made: it may change while the process runs.
    pub fn new(config: impl Fn() -> Arc<ClientConfig> + Send + Sync + 'static) -> Self {
        Self { config: Arc::new(config) }
    }
}

#[async_trait]
impl Connector for TlsConnector {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let name = server_name(address)?;
        let stream = TcpConnector.connect(address).await?;
        let shaking = tokio_rustls::TlsConnector::from((self.config)()).connect(name, stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await {
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake within 2 s")),
            Ok(Err(error)) => Err(explain(error)),
            Ok(Ok(stream)) => Ok(Box::new(stream)),
        }
    }
}

/// The name that the certificate must have: the host part of `host:port`, with or without brackets.
fn server_name(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    ServerName::try_from(host.to_owned()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no host name that a certificate can have"))
    })
}

/// Says what was expected, where `rustls` says what it saw.
fn explain(error: io::Error) -> io::Error {
    let text = said(&error);
    io::Error::new(error.kind(), text)
}

/// What `error` says, in our words if it comes from TLS. A listener that demands certificates says so only once the connection is in use.
pub(crate) fn said(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match cause {
        None => error.to_string(),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS: give it a certificate (…_TLS_CERT, …_TLS_KEY), or unset the CA for this link".into()
        }
        Some(Error::InvalidCertificate(why)) => format!(
            "its certificate is refused: {why}; expected one that the configured CA signed, for this host, in force now"
        ),
        Some(Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            "it demands a client certificate: set KVFS_TLS_CERT and KVFS_TLS_KEY".into()
        }
        Some(Error::AlertReceived(alert)) => format!(
            "it ended the TLS connection ({alert:?}); expected a client certificate (KVFS_TLS_CERT) that its …_TLS_CLIENT_CA signed, in force now"
        ),
        Some(other) => format!("TLS: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses() {
        for (address, name) in [("dn1:8080", "dn1"), ("10.0.0.1:1", "10.0.0.1"), ("[::1]:1", "::1")] {
            assert_eq!(server_name(address).unwrap().to_str(), name);
        }
        assert!(server_name("a b:1").is_err());
        assert!(server_name(":1").is_err());
    }
}
