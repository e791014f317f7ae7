//! Bodies that are cut where their content says, and nodes that are not alike; through a real `kvfs up`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Store, noise};

fn put(store: &Store, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<(String, u64)> {
    let answer = store.ask("PUT", &format!("/v1/o/b/{key}"), headers, body);
    assert_eq!(answer.status, 201, "{}", answer.error());
    let answer = answer.json();
    let chunk = |chunk: &Value| (chunk["chunk_id"].as_str().unwrap().to_string(), chunk["size"].as_u64().unwrap());
    answer["chunks"].as_array().unwrap().iter().map(chunk).collect()
}

fn totals(store: &Store) -> [u64; 3] {
    let output = store.kvfs(&["stat", "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    let totals: Value = serde_json::from_slice(&output.stdout).unwrap();
    ["logical_bytes", "unique_bytes", "stored_bytes"].map(|name| totals[name].as_u64().unwrap())
}

#[test]
fn one_byte_in_front_is_stored_again_only_where_cuts_are_fixed() {
    let store = Store::start_with(tempfile::tempdir().unwrap(), &[], &[("UP_CHUNK_MODE", "cdc")]);
    let before = totals(&store);
    let old = noise(16 << 20, 0);
    let new = [&[0xAA], &old[..]].concat();
    let all = [("X-KVFS-W", "3")];
    let (first, second) = (put(&store, "old", &all, &old), put(&store, "new", &all, &new));
    // The golden vectors of the profile, as far as the body goes.
    let lengths: Vec<u64> = first.iter().map(|(_, size)| *size).collect();
    assert_eq!(lengths[..4], [3_909_362, 4_382_925, 1_052_554, 1_867_325]);
    assert_eq!(lengths.iter().sum::<u64>(), old.len() as u64);
    assert_eq!((first[1..].to_vec(), second[0].1), (second[1..].to_vec(), first[0].1 + 1));
    let unique = old.len() as u64 + second[0].1;
    let both = old.len() as u64 * 2 + 1;
    let after = totals(&store);
    assert_eq!([after[0] - before[0], after[1] - before[1], after[2] - before[2]], [both, unique, unique * 3]);
    let metrics = store.raw("GET", "/metrics", &[], &[]).body;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    assert!(metrics.contains(&format!("kvfs_unique_bytes {}", after[1])), "{metrics}");

    let fixed = [("X-KVFS-Chunk-Mode", "fixed")];
    let (first, second) = (put(&store, "fixed-old", &fixed, &old), put(&store, "fixed-new", &fixed, &new));
    let (first, second): (BTreeSet<_>, BTreeSet<_>) = (first.into_iter().collect(), second.into_iter().collect());
    assert_eq!((first.len(), second.len(), first.intersection(&second).count()), (4, 5, 0));
    let refused = store.ask("PUT", "/v1/o/b/k", &[("X-KVFS-Chunk-Mode", "rabin")], b"x");
    assert!(refused.status == 400 && refused.error().contains("fixed or cdc"), "{}", refused.error());

    assert_eq!(store.ask("DELETE", "/v1/o/b/old", &[], &[]).status, 204);
    for (key, body) in [("new", &new), ("fixed-old", &old), ("fixed-new", &new)] {
        let answer = store.ask("GET", &format!("/v1/o/b/{key}"), &[], &[]);
        assert!(answer.status == 200 && answer.body == *body, "{key}");
    }
    let range = store.ask("GET", "/v1/o/b/new", &[("Range", "bytes=3909000-3910000")], &[]);
    assert!(range.status == 206 && range.body == new[3_909_000..=3_910_000], "across a cut");

    // What is there is not copied again, however the store cuts.
    std::fs::write(store.dir.path().join("copy"), &new).unwrap();
    let by_hand = store.kvfs(&["put", "--chunk-mode", "fixed", "copy", "b/by-hand", "--output", "json"]);
    let stored: Value = serde_json::from_slice(&by_hand.stdout).unwrap();
    assert_eq!(
        stored["chunks"].as_array().unwrap().len(),
        5,
        "cut every 4 MiB, and not where the content says: {stored}"
    );
    let checked = store.kvfs(&["get", "-R", "3", "b/by-hand", "back"]);
    assert!(checked.status.success() && std::fs::read(store.dir.path().join("back")).unwrap() == new);
    assert!(!store.kvfs(&["get", "-R", "4", "b/by-hand", "back"]).status.success(), "there are three copies");
    let copied = store.kvfs(&["cp", "copy", "b/new", "--output", "json"]);
    let report: Value = serde_json::from_slice(&copied.stdout).unwrap();
    assert!(copied.status.success() && report.to_string().contains("\"copied\":0"), "{report}");
}

#[test]
fn copies_follow_racks_and_the_preferred_class() {
    let settings = [("UP_PLACEMENT_PREFER", "ssd")];
    let store = Store::start_with(tempfile::tempdir().unwrap(), &["--nodes", "6"], &settings);
    for (node, rack) in [(1, "a"), (2, "a"), (3, "a"), (4, "a"), (5, "b"), (6, "c")] {
        assert!(store.kvfs(&["node", "relabel", &format!("node-{node}"), "--domain", rack]).status.success());
    }
    let holders = |key: &str| -> BTreeSet<String> {
        let body = format!("{key} {:?}", Instant::now());
        let answer = store.ask("PUT", &format!("/v1/o/b/{key}"), &[("X-KVFS-W", "3")], body.as_bytes());
        assert_eq!(answer.status, 201, "{}", answer.error());
        let replicas = answer.json()["chunks"][0]["replicas"].clone();
        replicas.as_array().unwrap().iter().map(|node| node.as_str().unwrap().to_string()).collect()
    };
    let (b, c) = ("node-5".to_string(), "node-6".to_string());
    let until = |what: &str, mut holds: Box<dyn FnMut() -> bool + '_>| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
        }
    };
    // The gateway learns of labels a moment later; plain placement would need luck for twenty in a row.
    until(
        "three racks",
        Box::new(|| (0..20).all(|n| holders(&format!("rack-{n}")).is_superset(&[b.clone(), c.clone()].into()))),
    );
    for node in [2, 3, 4] {
        assert!(store.kvfs(&["node", "relabel", &format!("node-{node}"), "--class", "ssd"]).status.success());
    }
    let fast: BTreeSet<_> = [2, 3, 4].map(|node| format!("node-{node}")).into();
    until("the class", Box::new(|| (0..20).all(|n| holders(&format!("class-{n}")) == fast)));
    let inspected = store.kvfs(&["inspect", "b/class-0", "--output", "json"]);
    let record: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(record["class"], "ssd");
    let status: Value = serde_json::from_slice(&store.kvfs(&["status", "--output", "json"]).stdout).unwrap();
    assert_eq!(status["degraded"], 0, "what gateways place is where the coordinator wants it: {status}");
    for key in ["rack-0", "class-0"] {
        assert_eq!(store.ask("GET", &format!("/v1/o/b/{key}"), &[], &[]).status, 200);
    }
}
