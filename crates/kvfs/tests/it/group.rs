//! What operators do to a group of three coordinators outlives the one that led.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use super::support::{Running, kvfs};

const SECRETS: [(&str, &str); 3] = [
    ("KVFS_CLUSTER_SECRET", "the secret of a cluster under test"),
    ("KVFS_ADMIN_TOKEN", "the admin token of a cluster under test"),
    ("EDGE_URLKEY_SECRET", "the first url key of a cluster under test"),
];

/// Ports that were free a moment ago.
fn free_addresses<const N: usize>() -> [String; N] {
    let held = std::array::from_fn::<_, N, _>(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().to_string())
}

fn start(dir: &Path, name: &str, role: &str, more: &[(&str, &str)]) -> Running {
    Running::start(dir, name, &[role], &[&SECRETS[..], more].concat())
}

/// Runs an operator's verb until it succeeds: a new leader takes a moment.
fn until_done(dir: &Path, arguments: &[&str]) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let output = kvfs(dir).args(arguments).envs(SECRETS).output().unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
        assert!(Instant::now() < deadline, "{arguments:?}: {output:?}");
    }
}

#[test]
fn keys_and_labels_outlive_the_leader() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let nodes = ["dn1", "dn2", "dn3"]
        .map(|name| start(dir, name, "dn", &[("DN_ID", name), ("DN_ADDR", "127.0.0.1:0"), ("DN_DATA_DIR", name)]));
    let list = nodes.each_ref().map(|node| node.address.as_str()).join(",");
    let addresses = free_addresses::<3>();
    let urls = addresses.each_ref().map(|address| format!("http://{address}"));
    let peers = urls.join(",");
    // They wait for each other, so they are started side by side.
    let mut coords: Vec<Running> = std::thread::scope(|scope| {
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
    let edge = start(dir, "edge", "edge", &[("EDGE_ADDR", "127.0.0.1:0"), ("EDGE_COORD_URL", &addresses.join(","))]);
    std::fs::write(dir.join("file"), b"kept").unwrap();
    until_done(dir, &["put", "file", "b/k", "--endpoint", &edge.address]);

    let rotate = ["urlkey", "rotate", "--kid", "v2", "--secret-file", "v2.key", "--coord", &addresses[1]];
    assert!(until_done(dir, &rotate).contains("* v2"), "whoever is asked passes it on to the leader");
    until_done(dir, &["node", "relabel", &nodes[0].address, "--domain", "rack-1", "--coord", &addresses[2]]);
    let role = |address: &str| until_done(dir, &["role", "--coord", address]);
    let leader = (0..3).find(|&nth| role(&addresses[nth]).trim() == "primary").expect("one leads");
    assert!(role(&addresses[(leader + 1) % 3]).contains(&addresses[leader]), "the others say who");
    for address in &addresses {
        let listed = until_done(dir, &["coord", "members", "list", "--output", "json", "--coord", address]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let lags: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["lag"].is_u64()).collect();
        assert_eq!(
            lags, [true; 3],
            "only the leader knows what the others lack, and whoever is asked passes it on: {listed}"
        );
    }
    coords.remove(leader).kill();

    let other = &addresses[(leader + 1) % 3];
    assert!(until_done(dir, &["node", "list", "--coord", other]).contains("rack-1"));
    assert!(until_done(dir, &["urlkey", "remove", "v1", "--coord", other]).contains("* v2"));
    // Only the new key is left, and only a coordinator that did not seal it can have told the gateway of that.
    let secret = std::fs::read_to_string(dir.join("v2.key")).unwrap();
    let with_new = || {
        let key = [("EDGE_URLKEY_SECRET", secret.as_str()), ("EDGE_URLKEY_PRIMARY_KID", "v2")];
        kvfs(dir).args(["get", "b/k", "-", "--endpoint", &edge.address]).envs(key).output().unwrap()
    };
    let with_old = || kvfs(dir).args(["get", "b/k", "-", "--endpoint", &edge.address]).envs(SECRETS).output().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while with_old().status.success() {
        assert!(Instant::now() < deadline, "the gateway still takes the old key");
    }
    let got = with_new();
    assert_eq!((got.status.code(), got.stdout.as_slice()), (Some(0), &b"kept"[..]), "{got:?}");
}
