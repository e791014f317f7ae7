//! The roles alone: data nodes, a coordinator and gateways as processes of their own.

use super::support::{Running, exchange, kvfs};

const SECRET: &str = "the secret of a cluster under test";
const URL: &str = "the url key of a cluster under test";
const TOKEN: &str = "the admin token of a cluster under test";

fn node(dir: &std::path::Path, name: &str) -> Running {
    let variables =
        [("DN_ID", name), ("DN_ADDR", "127.0.0.1:0"), ("DN_DATA_DIR", name), ("KVFS_CLUSTER_SECRET", SECRET)];
    Running::start(dir, name, &["dn"], &variables)
}

#[test]
fn gateways_with_and_without_a_coordinator_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let nodes: Vec<_> = ["dn1", "dn2", "dn3"].iter().map(|name| node(dir, name)).collect();
    let addresses: Vec<_> = nodes.iter().map(|node| node.address.as_str()).collect();
    let list = addresses.join(",");
    let common = [("KVFS_CLUSTER_SECRET", SECRET), ("KVFS_ADMIN_TOKEN", TOKEN), ("EDGE_URLKEY_SECRET", URL)];
    let with = |more: &[(&'static str, &str)]| -> Vec<(String, String)> {
        common.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let start = |name: &str, role: &str, variables: Vec<(String, String)>| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Running::start(dir, name, &[role], &variables)
    };
    let coord = start("coord", "coord", with(&[("COORD_ADDR", "127.0.0.1:0"), ("COORD_DNS", &list)]));
    let url = format!("http://{}", coord.address);
    let edges: Vec<_> = ["edge1", "edge2"]
        .iter()
        .map(|name| start(name, "edge", with(&[("EDGE_ADDR", "127.0.0.1:0"), ("EDGE_COORD_URL", &url)])))
        .collect();
    std::fs::write(dir.join("file"), b"through one gateway, out of the other").unwrap();
    let run = |endpoint: &str, arguments: &[&str]| {
        kvfs(dir).args(arguments).args(["--endpoint", endpoint]).envs(common).output().unwrap()
    };
    let put = run(&edges[0].address, &["put", "file", "b/k"]);
    assert!(put.status.success(), "{put:?}");
    let get = run(&edges[1].address, &["get", "b/k"]);
    assert_eq!(get.stdout, b"through one gateway, out of the other", "{get:?}");
    for address in [&edges[0].address, &coord.address] {
        let status = run(address, &["status", "--output", "json"]);
        let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(json["nodes"].as_array().unwrap().len(), 3, "{status:?}");
    }

    // A backup is streamed through a gateway as well as from the coordinator itself.
    for (file, address) in [("edge.kvfs", &edges[0].address), ("coord.kvfs", &coord.address)] {
        let taken = run(address, &["meta", "backup", "--out", file, "--output", "json"]);
        let verified = run(address, &["meta", "verify", file, "--output", "json"]);
        let rows = |output: &std::process::Output| {
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            json["rows"]["objects"].as_u64()
        };
        assert_eq!((rows(&taken), rows(&verified)), (Some(1), Some(1)), "{taken:?} {verified:?}");
    }
    let strange = kvfs(dir).args(["meta", "backup", "--endpoint", &coord.address]).output().unwrap();
    assert_eq!(strange.status.code(), Some(4), "without the token: {strange:?}");

    let fourth = node(dir, "dn4");
    let added = run(&edges[1].address, &["node", "add", &fourth.address]);
    assert!(added.status.success(), "{added:?}");
    let removed = run(&edges[0].address, &["node", "remove", &fourth.address]);
    assert!(removed.status.success(), "a node that holds nothing goes: {removed:?}");
    let kept = run(&coord.address, &["node", "remove", &nodes[0].address]);
    assert_eq!(kept.status.code(), Some(4), "a node that holds something stays: {kept:?}");
}

#[test]
fn gateways_that_only_read_or_remember_lookups_say_so() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let node = node(dir, "dn1");
    let common = [("KVFS_CLUSTER_SECRET", SECRET), ("KVFS_ADMIN_TOKEN", TOKEN), ("EDGE_URLKEY_SECRET", URL)];
    let coordinator = [("COORD_ADDR", "127.0.0.1:0"), ("COORD_DNS", &*node.address), ("COORD_REPLICAS", "1")];
    let coord = Running::start(dir, "coord", &["coord"], &[&common[..], &coordinator].concat());
    let start = |name: &str, more: &[(&str, &str)]| {
        let own = [("EDGE_ADDR", "127.0.0.1:0"), ("EDGE_COORD_URL", &*coord.address), ("EDGE_REPLICAS", "1")];
        Running::start(dir, name, &["edge"], &[&common[..], &own, more].concat())
    };
    let primary = start("primary", &[]);
    let remembers = start("remembers", &[("EDGE_COORD_LOOKUP_CACHE_TTL", "1h")]);
    let url = format!("http://{}", primary.address);
    let follower = start("follower", &[("EDGE_ROLE", "follower"), ("EDGE_PRIMARY_URL", &url)]);
    let run = |at: &Running, arguments: &[&str]| {
        kvfs(dir).args(arguments).args(["--endpoint", &at.address]).envs(common).output().unwrap()
    };
    let put = |at: &Running, text: &str| {
        std::fs::write(dir.join("file"), text).unwrap();
        run(at, &["put", "file", "b/k"])
    };
    let get = |at: &Running| String::from_utf8(run(at, &["get", "b/k", "-"]).stdout).unwrap();

    assert!(put(&primary, "one").status.success());
    assert_eq!([&primary, &remembers, &follower].map(get), ["one"; 3]);
    assert!(put(&primary, "two").status.success());
    assert_eq!(
        [&primary, &remembers, &follower].map(get),
        ["two", "one", "two"],
        "stale only where that was asked for"
    );
    assert!(put(&remembers, "three").status.success());
    assert_eq!([&primary, &remembers, &follower].map(get), ["three"; 3], "what it changes itself it sees at once");

    let refused = put(&follower, "four");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("X-KVFS-Primary"), "{told}");
    let signed = kvfs(dir).args(["sign", "PUT", "b/k"]).envs(common).output().unwrap();
    let signed = String::from_utf8(signed.stdout).unwrap();
    let answer = exchange(&follower.address, "PUT", signed.trim(), &[], b"four");
    assert_eq!((answer.status, answer.header("x-kvfs-primary")), (503, url.clone()), "{}", answer.error());
    assert_eq!(get(&primary), "three");
}

#[test]
fn a_role_that_strangers_could_reach_wants_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let start = |role: &str, variables: &[(&str, &str)]| {
        let output = kvfs(dir.path()).arg(role).envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let node = [("DN_ID", "a"), ("DN_DATA_DIR", "a"), ("DN_ADDR", ":0")];
    for (role, variables) in
        [("dn", &node[..]), ("coord", &[("COORD_ADDR", "0.0.0.0:0")]), ("edge", &[("EDGE_ADDR", ":0")])]
    {
        let (code, text) = start(role, variables);
        assert!(code == Some(2) && text.contains("KVFS_CLUSTER_SECRET"), "{role}: {text}");
    }
    let (code, text) = start("dn", &[("DN_ID", "a"), ("DN_DATA_DIR", "a"), ("KVFS_CLUSTER_SECRET", "short")]);
    assert!(code == Some(2) && text.contains("16 bytes") && !text.contains("short\""), "{text}");
    let (code, text) = start("edge", &[("EDGE_CHUNK_MODE", "rabin"), ("EDGE_TLS_CERT", "x.pem")]);
    assert!(code == Some(2) && text.contains("fixed or cdc") && text.contains("EDGE_TLS"), "{text}");
}

/// A put through a gateway, with the caller's own id: the gateway, the coordinator and the nodes all log it.
#[test]
fn one_request_id_is_in_every_log_and_what_happened_in_the_metrics() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let common = [
        ("KVFS_CLUSTER_SECRET", SECRET),
        ("KVFS_ADMIN_TOKEN", TOKEN),
        ("EDGE_URLKEY_SECRET", URL),
        ("KVFS_LOG", "info"),
        ("KVFS_LOG_FORMAT", "json"),
    ];
    let start = |name: &str, role: &str, more: &[(&str, &str)]| {
        Running::start(dir, name, &[role], &common.iter().chain(more).copied().collect::<Vec<_>>())
    };
    let names = ["dn1", "dn2", "dn3"];
    let node = |name: &&str| start(name, "dn", &[("DN_ID", name), ("DN_ADDR", "127.0.0.1:0"), ("DN_DATA_DIR", name)]);
    let nodes: Vec<_> = names.iter().map(node).collect();
    let list = nodes.iter().map(|node| node.address.as_str()).collect::<Vec<_>>().join(",");
    let coord = start("coord", "coord", &[("COORD_ADDR", "127.0.0.1:0"), ("COORD_DNS", &list)]);
    let edge = start("edge", "edge", &[("EDGE_ADDR", "127.0.0.1:0"), ("EDGE_COORD_URL", &coord.address)]);

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let sig = domain::urlkey::sign(URL.as_bytes(), "PUT", b"/v1/o/b/k", now + 60);
    let target = format!("/v1/o/b/k?sig={sig}&exp={}", now + 60);
    let headers = [("X-Request-Id", "my-own-id"), ("X-KVFS-W", "3")];
    let put = exchange(&edge.address, "PUT", &target, &headers, b"hello");
    assert_eq!((put.status, put.header("x-request-id").as_str()), (201, "my-own-id"), "{put:?}");
    for name in ["dn1", "dn2", "dn3", "coord", "edge"] {
        let log = std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap();
        let mut lines =
            log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object a line"));
        assert!(lines.any(|line| line["id"] == "my-own-id"), "{name}: {log}");
    }
    let metrics = |address: &str| String::from_utf8(exchange(address, "GET", "/metrics", &[], b"").body).unwrap();
    let expected = [
        (&edge.address, "kvfs_put_total{mode=\"replication\"} 1"),
        (&edge.address, "kvfs_tunable_quorum_total{op=\"write\",value=\"3\"} 1"),
        (&edge.address, "kvfs_dns_runtime 3"),
        (&edge.address, "kvfs_ready 1"),
        (&edge.address, "kvfs_request_duration_seconds_count{operation=\"object.put\",status=\"2xx\"} 1"),
        (&coord.address, "kvfs_coord_objects 1"),
        (&nodes[0].address, "kvfs_dn_chunks 1"),
        (&nodes[0].address, "kvfs_request_duration_seconds_count{operation=\"chunk.put\",status=\"2xx\"} 1"),
    ];
    for (address, line) in expected {
        let text = metrics(address);
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}
