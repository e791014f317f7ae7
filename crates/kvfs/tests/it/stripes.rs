//! Objects in stripes of Reed–Solomon shards, through a real `kvfs up`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Answer, Store, noise};

const EC: (&str, &str) = ("X-KVFS-EC", "4+2");

fn start(variables: &[(&str, &str)]) -> Store {
    Store::start_with(tempfile::tempdir().unwrap(), &["--nodes", "6"], variables)
}

fn put(store: &Store, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    let answer = store.ask("PUT", &format!("/v1/o/b/{key}"), headers, body);
    assert_eq!(answer.status, 201, "{}", answer.error());
    answer.json()
}

fn get(store: &Store, key: &str) -> Answer {
    store.ask("GET", &format!("/v1/o/b/{key}"), &[], &[])
}

/// The ids of the shards of stripe `index` of a put's answer, data first.
fn shards(put: &Value, index: usize) -> Vec<String> {
    let shards = put["stripes"][index]["shards"].as_array().unwrap();
    shards.iter().map(|shard| shard["chunk_id"].as_str().unwrap().to_string()).collect()
}

/// The files of a chunk, on all nodes.
fn files(store: &Store, id: &str) -> Vec<PathBuf> {
    let nodes = std::fs::read_dir(store.dir.path().join("kvfs-data/nodes")).unwrap();
    let file = |node: &Path| node.join("chunks").join(&id[..2]).join(&id[2..]);
    nodes.map(|node| file(&node.unwrap().path())).filter(|file| file.exists()).collect()
}

/// Takes the files of some shards away for as long as it lives.
struct Away(Vec<PathBuf>);

impl Away {
    fn take(store: &Store, ids: &[&String]) -> Self {
        let found: Vec<_> = ids.iter().flat_map(|id| files(store, id)).collect();
        assert_eq!(found.len(), ids.len(), "each shard has one copy");
        found.iter().for_each(|file| std::fs::rename(file, file.with_extension("away")).unwrap());
        Self(found)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.0.iter().for_each(|file| std::fs::rename(file.with_extension("away"), file).unwrap());
    }
}

fn counter(store: &Store, name: &str) -> u64 {
    let text = String::from_utf8(store.raw("GET", "/metrics", &[], &[]).body).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{}} ")));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn an_object_in_stripes_from_put_to_delete() {
    let settings = [("UP_CHUNK_SIZE", "16384"), ("UP_GC_INTERVAL", "50ms"), ("UP_GC_DELAY", "0s")];
    let store = start(&settings);
    // Two full stripes and a short one of 1,001 bytes.
    let body = noise(2 * 65_536 + 1001, 1);
    let done = put(&store, "key", &[EC, ("Content-Type", "text/x-test")], &body);
    assert_eq!(done["ec"], serde_json::json!({ "k": 4, "m": 2, "shard_size": 16_384, "data_size": body.len() }));
    assert_eq!((&done["num_stripes"], &done["size"], &done["version"]), (&3.into(), &body.len().into(), &1.into()));
    let lengths: Vec<_> =
        (0..3).map(|n| (&done["stripes"][n]["data_len"], &done["stripes"][n]["shards"][5]["size"])).collect();
    let (full, last) = ((65_536.into(), 16_384.into()), (1001.into(), 256.into()));
    assert_eq!(lengths, [(&full.0, &full.1), (&full.0, &full.1), (&last.0, &last.1)]);
    for stripe in 0..3 {
        let mut nodes: Vec<_> = shards(&done, stripe).iter().flat_map(|id| files(&store, id)).collect();
        nodes.iter_mut().for_each(|file| *file = file.ancestors().nth(3).unwrap().to_path_buf());
        nodes.sort();
        nodes.dedup();
        assert_eq!(nodes.len(), 6, "each shard is on a node of its own");
    }

    let expected = [
        ("content-type", "text/x-test".to_string()),
        ("content-length", body.len().to_string()),
        ("x-kvfs-version", "1".into()),
        ("x-kvfs-ec", "4+2".into()),
        ("x-kvfs-stripes", "3".into()),
        ("x-kvfs-chunks", String::new()),
        ("accept-ranges", "bytes".into()),
        ("etag", format!("\"{}\"", done["etag"].as_str().unwrap())),
    ];
    for method in ["GET", "HEAD"] {
        let answer = store.ask(method, "/v1/o/b/key", &[], &[]);
        assert_eq!(answer.status, 200);
        assert!(method == "HEAD" || answer.body == body);
        expected.iter().for_each(|(name, value)| assert_eq!(answer.header(name), *value, "{method}: {name}"));
    }
    // Within a shard, across shards, across stripes, all, and the last bytes.
    for (from, to) in
        [(0, 0), (5, 16_383), (16_000, 17_000), (60_000, 70_000), (1, 131_071), (131_072, 132_072), (0, 132_072)]
    {
        let range = store.ask("GET", "/v1/o/b/key", &[("Range", &format!("bytes={from}-{to}"))], &[]);
        assert!(range.status == 206 && range.body == body[from..=to], "{from}-{to}: {}", range.error());
    }
    let inspected: Value =
        serde_json::from_slice(&store.kvfs(&["inspect", "b/key", "--output", "json"]).stdout).unwrap();
    assert_eq!((&inspected["ec"]["k"], &inspected["stripes"][2]["shards"].as_array().unwrap().len()), (&4.into(), &6));

    // Another object of the same bytes shares the stripes, and keeps them when the first one goes.
    put(&store, "twin", &[EC], &body);
    assert_eq!(store.ask("DELETE", "/v1/o/b/key", &[], &[]).status, 204);
    assert_eq!(get(&store, "twin").body, body);
    assert_eq!(store.ask("DELETE", "/v1/o/b/twin", &[], &[]).status, 204);
    let deadline = Instant::now() + Duration::from_secs(60);
    let ids: Vec<_> = (0..3).flat_map(|stripe| shards(&done, stripe)).collect();
    while ids.iter().any(|id| !files(&store, id).is_empty()) {
        assert!(Instant::now() < deadline, "shards of no object stay");
        std::thread::yield_now();
    }
    let output = store.kvfs(&["stat", "--output", "json"]);
    let totals: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["logical_bytes", "unique_bytes", "stored_bytes"] {
        assert_eq!(totals[name], 0, "{totals}");
    }
}

#[test]
fn any_two_shards_of_a_stripe_may_be_lost_and_three_are_said_to_be() {
    let store = start(&[("UP_CHUNK_SIZE", "16384")]);
    let body = noise(65_536 + 30_000, 2);
    let done = put(&store, "key", &[EC], &body);
    let first = shards(&done, 0);
    let before = counter(&store, "kvfs_ec_degraded_read_total");
    for a in 0..6 {
        for b in a + 1..6 {
            let _away = Away::take(&store, &[&first[a], &first[b]]);
            assert!(get(&store, "key").body == body, "without {a} and {b}");
            let range = store.ask("GET", "/v1/o/b/key", &[("Range", "bytes=20000-50000")], &[]);
            assert!(range.status == 206 && range.body == body[20_000..=50_000], "without {a} and {b}");
        }
    }
    let degraded = counter(&store, "kvfs_ec_degraded_read_total") - before;
    assert!(degraded >= 14, "{degraded} reads were degraded, and 14 of 15 pairs have a data shard");
    {
        let _away = Away::take(&store, &[&first[0], &first[4], &first[5]]);
        let answer = get(&store, "key");
        assert_eq!((answer.status, answer.header("content-type").as_str()), (503, "application/json"), "{answer:?}");
        assert!(answer.error().contains("3 of 4 shards that are needed"), "{}", answer.error());
        assert!(answer.header("x-kvfs-ec").is_empty(), "nothing of the object goes with a refusal");
        let whole = store.ask("GET", "/v1/o/b/key", &[("Range", "bytes=65536-95535")], &[]);
        assert!(whole.status == 206 && whole.body == body[65_536..], "the other stripe is whole");
    }
    // A damaged shard counts as a lost one.
    let damaged = files(&store, &first[1]).remove(0);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    let _away = Away::take(&store, &[&first[2]]);
    assert_eq!(get(&store, "key").body, body);
    let status: Value = serde_json::from_slice(&store.kvfs(&["status", "--output", "json"]).stdout).unwrap();
    assert!(status["degraded"].as_u64() >= Some(1), "what readers found missing is to be repaired: {status}");
}

#[test]
fn bodies_of_every_length_around_the_borders_come_back() {
    let store = start(&[("UP_CHUNK_SIZE", "16384")]);
    let all = noise(3 * 65_536, 3);
    let (shard, stripe) = (16_384_usize, 65_536_usize);
    for at in [stripe, stripe + 256, stripe + shard, stripe + 4 * 64, 2 * stripe] {
        for length in [at - 1, at, at + 1] {
            let done = put(&store, "key", &[EC], &all[..length]);
            let small = length <= 65_536;
            assert_eq!(done["chunks"].is_array(), small, "{length}");
            let answer = get(&store, "key");
            assert!(answer.status == 200 && answer.body == all[..length], "{length}: {}", answer.error());
            let tail = store.ask("GET", "/v1/o/b/key", &[("Range", "bytes=-7")], &[]);
            assert_eq!(tail.body, all[length - 7..length], "{length}");
        }
    }
    // What is small is kept in M + 1 copies.
    let done = put(&store, "small", &[EC], b"hello");
    let copies = done["chunks"][0]["replicas"].as_array().unwrap().len();
    assert!((2..=3).contains(&copies), "{done}");
    assert_eq!(get(&store, "small").header("x-kvfs-chunks"), "1");
    put(&store, "empty", &[EC], b"");
    assert_eq!(get(&store, "empty").header("content-length"), "0");
}

#[test]
fn content_says_where_stripes_end() {
    let store = start(&[]);
    let old = noise(12 << 20, 4);
    let new = [&[0xAA], &old[..]].concat();
    let cut = [EC, ("X-KVFS-Chunk-Mode", "cdc")];
    let (first, second) = (put(&store, "old", &cut, &old), put(&store, "new", &cut, &new));
    let stripes = |done: &Value| -> Vec<(String, u64)> {
        let stripe =
            |stripe: &Value| (stripe["stripe_id"].as_str().unwrap().to_string(), stripe["data_len"].as_u64().unwrap());
        done["stripes"].as_array().unwrap().iter().map(stripe).collect()
    };
    let (first, second) = (stripes(&first), stripes(&second));
    assert!(first.len() > 2 && first.len() == second.len(), "{first:?}");
    assert_eq!((&first[1..], first[0].1 + 1), (&second[1..], second[0].1), "only the first stripe is another");
    assert!(get(&store, "old").body == old && get(&store, "new").body == new);
    let across = first[0].1 as usize - 10;
    let range = store.ask("GET", "/v1/o/b/old", &[("Range", &format!("bytes={across}-{}", across + 20))], &[]);
    assert_eq!(range.body, old[across..=across + 20]);
}

#[test]
fn what_cannot_be_kept_so_is_refused_before_it_is_sent() {
    let store = start(&[("UP_BODY_BUDGET", "33554432")]);
    let table = [
        ("5+2", "EC 5+2 requires 7 DNs, cluster has 6"),
        ("x", "is not of the form K+M"),
        ("0+1", "0+1 is no code"),
        ("1+5", "two stripes of EC 1+5 take 100663296 bytes, and the gateway holds 33554432 at most"),
    ];
    for (scheme, message) in table {
        let answer = store.ask("PUT", "/v1/o/b/key", &[("X-KVFS-EC", scheme)], b"hello");
        assert!(answer.status == 400 && answer.error().contains(message), "{scheme}: {answer:?}");
    }
    assert_eq!(get(&store, "key").status, 404);
}

#[test]
fn a_bucket_says_what_requests_do_not() {
    let store = start(&[]);
    let policy = |flags: &[&str]| {
        let output = store.kvfs(&[&["bucket", "policy", "b", "--output", "json"], flags].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let missing = store.kvfs(&["bucket", "policy", "b", "--ec", "4+2"]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("make it first"));
    assert!(store.kvfs(&["mb", "b"]).status.success());
    assert_eq!(policy(&[]), serde_json::json!({}));
    let body = noise(100_000, 5);
    let until = |what: &str, mut holds: Box<dyn FnMut() -> bool + '_>| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
        }
    };
    // A gateway learns of a policy a moment later.
    assert_eq!(policy(&["--ec", "4+2"]), serde_json::json!({ "ec": "4+2" }));
    until("stripes by policy", Box::new(|| put(&store, "key", &[], &body)["ec"]["k"] == 4));
    let copies = put(&store, "copies", &[("X-KVFS-EC", "none"), ("X-KVFS-W", "3")], &body);
    assert_eq!(copies["chunks"][0]["replicas"].as_array().unwrap().len(), 3, "a request has the last word");
    assert!(put(&store, "other", &[("X-KVFS-EC", "2+1")], &body)["ec"]["k"] == 2);

    assert_eq!(policy(&["--copies", "2", "-W", "2", "-R", "2"])["copies"], 2);
    until(
        "two copies by policy",
        Box::new(|| put(&store, "two", &[], &body)["chunks"][0]["replicas"].as_array().is_some_and(|on| on.len() == 2)),
    );
    assert_eq!(get(&store, "two").body, body);
    let refused = store.ask("PUT", "/v1/o/b/two", &[("X-KVFS-W", "3")], &body);
    assert!(refused.status == 400 && refused.error().contains("exceeds available replicas 2"), "{refused:?}");
    // Bytes that nothing else has, so that there are two copies of them and no more.
    let body = noise(100_000, 6);
    // R of the policy: one of the two copies is damaged, and two that agree cannot be had; a request may still ask for one.
    let two = put(&store, "two", &[], &body)["chunks"][0]["chunk_id"].as_str().unwrap().to_string();
    let file = files(&store, &two).remove(0);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&whole[..99], &[whole[99] ^ 1], &whole[100..]].concat()).unwrap();
    assert_eq!(get(&store, "two").status, 502);
    let one = store.ask("GET", "/v1/o/b/two", &[("X-KVFS-R", "1")], &[]);
    assert!(one.status == 200 && one.body == body, "{}", one.error());
    assert_eq!(policy(&["--reset"]), serde_json::json!({}));
    let three = || store.ask("PUT", "/v1/o/b/three", &[("X-KVFS-W", "3")], &body).status;
    until("three copies again", Box::new(|| three() == 201));
}
