//! A cluster of real processes whose every link is mutual TLS, and what each wrong certificate, file or scheme is told.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::support::{Running, exchange, kvfs};

const SECRETS: [(&str, &str); 3] = [
    ("KVFS_CLUSTER_SECRET", "the secret of a cluster under test"),
    ("KVFS_ADMIN_TOKEN", "the admin token of a cluster under test"),
    ("EDGE_URLKEY_SECRET", "the first url key of a cluster under test"),
];

/// Every outgoing link: the CA, and a certificate to show.
const LINKS: [(&str, &str); 3] =
    [("KVFS_TLS_CA", "certs/ca.pem"), ("KVFS_TLS_CERT", "certs/client.pem"), ("KVFS_TLS_KEY", "certs/client.key")];

/// A listener that demands certificates.
fn listener(role: &str) -> [(String, &'static str); 3] {
    let name = |what: &str| format!("{role}_TLS_{what}");
    [(name("CERT"), "certs/server.pem"), (name("KEY"), "certs/server.key"), (name("CLIENT_CA"), "certs/ca.pem")]
}

fn make_certificates(dir: &Path, name: &str) {
    let made = kvfs(dir).args(["certs", "dev", name]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn start(dir: &Path, name: &str, role: &str, more: &[(&str, &str)]) -> Running {
    let server = listener(&role.to_uppercase());
    let server = server.iter().map(|(name, value)| (name.as_str(), *value));
    let variables: Vec<_> = SECRETS.into_iter().chain(LINKS).chain(server).chain(more.iter().copied()).collect();
    Running::start(dir, name, &[role], &variables)
}

fn run(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    kvfs(dir).args(arguments).envs(SECRETS).envs(variables.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a server's certificate is, as `openssl` gets it; empty if there is no handshake.
fn fingerprint(dir: &Path, address: &str) -> String {
    let script = format!(
        "openssl s_client -connect {address} -cert certs/client.pem -key certs/client.key </dev/null 2>/dev/null \
         | openssl x509 -noout -fingerprint 2>/dev/null"
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
    }
}

#[test]
fn every_link_of_a_group_is_mutual_tls() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    make_certificates(dir, "certs");
    let nodes = ["dn1", "dn2", "dn3"]
        .map(|name| start(dir, name, "dn", &[("DN_ID", name), ("DN_ADDR", "127.0.0.1:0"), ("DN_DATA_DIR", name)]));
    let list = nodes.each_ref().map(|node| format!("https://{}", node.address)).join(",");
    let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = held.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    drop(held);
    let urls = addresses.each_ref().map(|address| format!("https://{address}"));
    let peers = urls.join(",");
    // They wait for each other, so they are started side by side.
    let coords: Vec<Running> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..3)
            .map(|nth| {
                let (url, address, peers, list) = (&urls[nth], &addresses[nth], &peers, &list);
                scope.spawn(move || {
                    let (name, data) = (format!("coord{nth}"), format!("data{nth}"));
                    let more = [
                        ("COORD_ADDR", address.as_str()),
                        ("COORD_SELF_URL", url),
                        ("COORD_PEERS", peers),
                        ("COORD_DNS", list),
                        ("COORD_DATA_DIR", &data),
                    ];
                    start(dir, &name, "coord", &more)
                })
            })
            .collect();
        starting.into_iter().map(|coord| coord.join().unwrap()).collect()
    });
    let edge = start(dir, "edge", "edge", &[("EDGE_ADDR", "127.0.0.1:0"), ("EDGE_COORD_URL", &peers)]);

    std::fs::write(dir.join("file"), b"kept").unwrap();
    let at = format!("https://{}", edge.address);
    let put = run(dir, &["put", "file", "b/k", "--endpoint", &at], &LINKS);
    assert!(put.status.success(), "{put:?}");
    let got = run(dir, &["get", "b/k", "-", "--endpoint", &at], &LINKS);
    assert_eq!((got.status.code(), got.stdout.as_slice()), (Some(0), &b"kept"[..]), "{got:?}");
    let role = |address: &str| run(dir, &["role", "--coord", address], &LINKS);
    let roles = addresses.each_ref().map(|address| String::from_utf8(role(address).stdout).unwrap());
    assert_eq!(roles.iter().filter(|role| role.trim() == "primary").count(), 1, "{roles:?}");
    for (name, address) in [("coord", &addresses[0]), ("dn", &nodes[0].address), ("edge", &edge.address)] {
        let stranger = run(dir, &["status", "--coord", address], &LINKS[..1]);
        assert!(said(&stranger).contains("certificate"), "{name}: {stranger:?}");
        let plain = exchange(address, "GET", "/healthz", &[], b"");
        assert_eq!((plain.status, String::from_utf8_lossy(&plain.body).contains("https://")), (400, true), "{name}");
    }
    // Coordinators that cannot reach each other would have no leader after this one.
    let leader = roles.iter().position(|role| role.trim() == "primary").unwrap();
    let mut coords = coords;
    coords.remove(leader).kill();
    until("another leader", || run(dir, &["rm", "b/k", "--endpoint", &at], &LINKS).status.success());
}

#[test]
fn what_a_wrong_certificate_or_scheme_is_told() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    make_certificates(dir, "certs");
    make_certificates(dir, "others");
    let coord = start(dir, "coord", "coord", &[("COORD_ADDR", "127.0.0.1:0")]);
    let plain = Running::start(
        dir,
        "plain",
        &["coord", "--data-dir", "plain-data"],
        &[&SECRETS[..], &[("COORD_ADDR", "127.0.0.1:0")]].concat(),
    );
    let other = [("KVFS_TLS_CERT", "others/client.pem"), ("KVFS_TLS_KEY", "others/client.key")];
    let cases = [
        ("no certificate", &coord.address, &LINKS[..1], "client certificate"),
        ("a stranger's certificate", &coord.address, &[&LINKS[..1], &other].concat(), "UnknownCA"),
        ("another CA", &coord.address, &[("KVFS_TLS_CA", "others/ca.pem")], "its certificate is refused"),
        ("TLS to a plain port", &plain.address, &LINKS, "does not speak TLS"),
        ("plain HTTP to a TLS port", &coord.address, &[], "this listener speaks TLS"),
        ("no such file", &coord.address, &[("KVFS_TLS_CA", "nowhere.pem")], "there is no such file"),
        ("a CA that is a key", &coord.address, &[("KVFS_TLS_CA", "certs/ca.key")], "at least one certificate"),
        ("a certificate alone", &coord.address, &LINKS[..2], "come together"),
    ];
    for (case, address, variables, expected) in cases {
        let error = said(&run(dir, &["status", "--coord", address], variables));
        assert!(error.contains(expected), "{case}: {error}");
    }
    for (case, address, variables, expected) in [
        ("https:// without a CA", format!("https://{}", coord.address), &[][..], "KVFS_TLS_CA"),
        ("http:// with one", format!("http://{}", coord.address), &LINKS[..], "https://"),
    ] {
        let error = said(&run(dir, &["status", "--coord", &address], variables));
        assert!(error.contains(expected), "{case}: {error}");
    }
    for (case, server, expected) in [
        ("a key of another", ["certs/server.pem", "others/server.key", ""], "is not the key of the certificate"),
        ("no key", ["certs/server.pem", "", ""], "come together"),
        ("a client CA alone", ["", "", "certs/ca.pem"], "only over TLS"),
    ] {
        let variables: Vec<_> = ["DN_TLS_CERT", "DN_TLS_KEY", "DN_TLS_CLIENT_CA"].into_iter().zip(server).collect();
        let arguments = ["dn", "--id", "x", "--addr", "127.0.0.1:0", "--data-dir", "x"];
        let error = said(&run(dir, &arguments, &variables));
        assert!(error.contains(expected), "{case}: {error}");
    }
}

/// A CA in `expired/`, and a certificate for this machine that was good until the year 2000.
fn make_expired(dir: &Path) {
    std::fs::create_dir(dir.join("expired")).unwrap();
    let write = |name: &str, text: String| std::fs::write(dir.join("expired").join(name), text).unwrap();
    let (ca_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let mut server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    server.not_after = rcgen::date_time_ymd(2000, 1, 1);
    write("server.pem", server.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap().pem());
    write("server.key", key.serialize_pem());
}

#[test]
fn an_expired_certificate_and_one_for_another_host_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    make_certificates(dir, "certs");
    make_expired(dir);
    let start = |name: &str, certs: &str, addr: &str| {
        let files = ["server.pem", "server.key"].map(|file| format!("{certs}/{file}"));
        let data = format!("{name}-data");
        let more = [
            ("COORD_TLS_CERT", files[0].as_str()),
            ("COORD_TLS_KEY", &files[1]),
            ("COORD_ADDR", addr),
            ("COORD_DATA_DIR", &data),
        ];
        Running::start(dir, name, &["coord"], &[&SECRETS[..], &more].concat())
    };
    let (expired, elsewhere) = (start("late", "expired", "127.0.0.1:0"), start("wide", "certs", "0.0.0.0:0"));
    let told = said(&run(dir, &["status", "--coord", &expired.address], &[("KVFS_TLS_CA", "expired/ca.pem")]));
    assert!(told.contains("its certificate is refused") && told.contains("expired"), "{told}");
    let port = elsewhere.address.rsplit_once(':').unwrap().1;
    let told = said(&run(dir, &["status", "--coord", &format!("127.0.0.2:{port}")], &LINKS));
    assert!(told.contains("its certificate is refused") && told.contains("not valid for"), "{told}");
    let good = run(dir, &["status", "--coord", &format!("localhost:{port}")], &LINKS);
    assert!(good.status.success(), "{good:?}");
}

#[test]
fn a_hangup_brings_the_new_certificate_and_keeps_the_old_one_if_that_is_broken() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    make_certificates(dir, "certs");
    make_certificates(dir, "new");
    let coord = start(dir, "coord", "coord", &[("COORD_ADDR", "127.0.0.1:0")]);
    let first = fingerprint(dir, &coord.address);
    assert!(!first.is_empty());
    let key = std::fs::read(dir.join("certs/server.key")).unwrap();
    std::fs::write(dir.join("certs/server.key"), b"nothing").unwrap();
    coord.signal("HUP");
    let log = || std::fs::read_to_string(dir.join("coord.log")).unwrap();
    until("the broken file is reported", || log().contains("the old one stays in use"));
    assert_eq!(fingerprint(dir, &coord.address), first, "the old certificate stays");
    std::fs::write(dir.join("certs/server.key"), key).unwrap();

    for name in ["server.pem", "server.key"] {
        std::fs::copy(dir.join("new").join(name), dir.join("certs").join(name)).unwrap();
    }
    coord.signal("HUP");
    until("the new certificate is shown", || {
        let now = fingerprint(dir, &coord.address);
        !now.is_empty() && now != first
    });
    let links = [("KVFS_TLS_CA", "new/ca.pem"), LINKS[1], LINKS[2]];
    let status = run(dir, &["status", "--coord", &coord.address], &links);
    assert!(status.status.success(), "{status:?}");
}
