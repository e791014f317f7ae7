//! `kvfs certs dev`: a CA and certificates to try TLS with, and the settings that use them.
//!
//! For development: the CA's key lies beside what it signed, unencrypted, and one certificate serves every process. In production each
//! process has a key of its own, made where it runs, and the CA's key is nowhere near.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use cli::Output;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// The names that every process on this machine can be reached by.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Writes `ca.pem`, `ca.key`, and for a server and a client each a certificate and a key, into `dir`, which it makes.
///
/// The server's certificate is good for `hosts` and for this machine, and shows as a client too: processes of a cluster are both.
/// Errs if one of the files is there already.
pub fn dev(dir: &Path, hosts: &[String], output: Output, out: &mut dyn Write) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let ca_key = KeyPair::generate()?;
    // Two CAs of one name would be taken for one another, and a stranger's certificate for a damaged one.
    let number: String = ca_key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut ca = named(&format!("kvfs development CA {number}"), Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    write_new(dir, "ca.pem", &ca.self_signed(&ca_key)?.pem())?;
    write_new(dir, "ca.key", &ca_key.serialize_pem())?;
    let issuer = Issuer::new(ca, ca_key);
    let mut names: Vec<String> = LOCAL.map(str::to_owned).to_vec();
    names.extend(hosts.iter().filter(|host| !LOCAL.contains(&host.as_str())).cloned());
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    signed(dir, "server", names.clone(), &both, &issuer)?;
    signed(dir, "client", Vec::new(), &both[1..], &issuer)?;
    say(dir, &names, output, out)
}

fn signed(
    dir: &Path,
    name: &str,
    hosts: Vec<String>,
    usages: &[ExtendedKeyUsagePurpose],
    issuer: &Issuer<'_, KeyPair>,
) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = named(&format!("kvfs development {name}"), hosts)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    write_new(dir, &format!("{name}.pem"), &params.signed_by(&key, issuer)?.pem())?;
    write_new(dir, &format!("{name}.key"), &key.serialize_pem())
}

fn named(name: &str, hosts: Vec<String>) -> Result<CertificateParams> {
    let expected = || format!("{hosts:?}: expected host names and IP addresses");
    let mut params = CertificateParams::new(hosts.clone()).with_context(expected)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn write_new(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("writing {}", path.display()))
}

fn say(dir: &Path, names: &[String], output: Output, out: &mut dyn Write) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let file = |name: &str| dir.join(name).display().to_string();
    let mut settings = Vec::new();
    for role in ["DN", "COORD"] {
        settings.push((format!("{role}_TLS_CERT"), file("server.pem")));
        settings.push((format!("{role}_TLS_KEY"), file("server.key")));
        settings.push((format!("{role}_TLS_CLIENT_CA"), file("ca.pem")));
    }
    settings.push(("EDGE_TLS_CERT".into(), file("server.pem")));
    settings.push(("EDGE_TLS_KEY".into(), file("server.key")));
    settings.push(("KVFS_TLS_CA".into(), file("ca.pem")));
    settings.push(("KVFS_TLS_CERT".into(), file("client.pem")));
    settings.push(("KVFS_TLS_KEY".into(), file("client.key")));
    let json = serde_json::json!({ "for": "development", "hosts": names, "settings": settings.iter().cloned().collect::<std::collections::BTreeMap<_, _>>() });
    output.write(out, &json, |out, _| {
        writeln!(out, "# For development: the CA's key is in {}, unprotected.", file("ca.key"))?;
        writeln!(out, "# Good for {}. Settings, for every process and for the command line:", names.join(", "))?;
        settings.iter().try_for_each(|(name, value)| writeln!(out, "export {name}={}", quoted(value)))
    })?;
    Ok(())
}

/// As a shell reads it: quoted only if it must be.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-+".contains(letter));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Whether `host` can be in a certificate: an IP address, or letters, digits, dots and hyphens.
pub fn host(text: &str) -> Result<String, String> {
    let name = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-*".contains(letter));
    match name || text.parse::<IpAddr>().is_ok() {
        true => Ok(text.to_owned()),
        false => Err("expected a host name or an IP address, without a port".into()),
    }
}
