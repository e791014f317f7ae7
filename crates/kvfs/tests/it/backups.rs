//! Backups of the metadata, as an operator meets them: taken from a running store, verified, refused when damaged.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Store, exchange};

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn put(store: &Store, key: &str, bytes: &[u8]) {
    assert_eq!(store.ask("PUT", &format!("/v1/o/b/{key}"), &[], bytes).status, 201);
}

#[test]
fn a_backup_is_taken_and_verified_while_the_store_runs() {
    let store = Store::start();
    (0..20).for_each(|n| put(&store, &format!("k{n}"), &[n; 1000]));
    let taken = json(&store.kvfs(&["meta", "backup", "--out", "one.kvfs", "--output", "json"]));
    assert_eq!((taken["rows"]["objects"].as_u64(), taken["generation"].as_u64()), (Some(20), Some(1)));
    let verified = json(&store.kvfs(&["meta", "verify", "one.kvfs", "--output", "json"]));
    assert_eq!(taken, verified);
    let path = store.dir.path().join("one.kvfs");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "it holds secrets");
    assert!(!store.dir.path().join("one.kvfs.tmp").exists());

    // Leases are renewed now and then, and each renewal is another state: so until two answers agree.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let running = json(&store.kvfs(&["meta", "hash", "--output", "json"]));
        let taken = json(&store.kvfs(&["meta", "snapshot", "--out", "two.kvfs", "--output", "json"]));
        let file = json(&store.kvfs(&["meta", "hash", "two.kvfs", "--output", "json"]));
        assert_eq!((&file["hash"], &file["index"]), (&taken["state_hash"], &taken["index"]));
        if running["index"] == file["index"] {
            assert_eq!(running, file);
            break;
        }
        assert!(Instant::now() < deadline, "{running} {file}");
    }

    let whole = std::fs::read(&path).unwrap();
    let mut hurt = whole.clone();
    hurt[whole.len() / 2] ^= 1;
    for (case, bytes, says) in [
        ("flipped", hurt.as_slice(), "damaged in block"),
        ("cut", &whole[..whole.len() - 40], "the rest is missing"),
        ("another file", b"PK not a backup", "does not begin with"),
    ] {
        std::fs::write(store.dir.path().join("bad.kvfs"), bytes).unwrap();
        let refused = store.kvfs(&["meta", "verify", "bad.kvfs"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && text.contains(says), "{case}: {text}");
    }

    for path in ["/v1/admin/meta/snapshot", "/v1/admin/meta/hash", "/v1/admin/snapshot/history"] {
        assert_eq!(exchange(&store.up.address, "GET", path, &[], b"").status, 401, "{path}");
    }
    assert_eq!(store.admin("GET", "/v1/admin/snapshot/history", b"").json(), serde_json::json!({ "enabled": false }));
}

#[test]
fn scheduled_backups_come_by_themselves_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let backups = dir.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    std::fs::write(backups.join("notes.txt"), b"mine").unwrap();
    std::fs::write(backups.join("kvfs-meta-snap-20200101T000000Z-7.kvfs"), b"old").unwrap();
    std::fs::write(backups.join("kvfs-meta-snap-20200101T000000Z-9.kvfs.tmp"), b"broken off").unwrap();
    let variables = [("UP_SNAPSHOT_DIR", "backups"), ("UP_SNAPSHOT_INTERVAL", "200ms"), ("UP_SNAPSHOT_KEEP", "2")];
    let store = Store::start_with(dir, &[], &variables);
    put(&store, "k", b"bytes");
    let deadline = Instant::now() + Duration::from_secs(30);
    let history = loop {
        let history = json(&store.kvfs(&["meta", "history", "--output", "json"]));
        assert_eq!(history["total_errors"], 0, "{history}");
        let newest = history["history"][0]["path"].as_str().unwrap_or_default().to_string();
        let verified = store.kvfs(&["meta", "verify", &newest, "--output", "json"]);
        let many = history["total_runs"].as_u64() > Some(2);
        if many && verified.status.success() && json(&verified)["rows"]["objects"] == 1 {
            break history;
        }
        assert!(Instant::now() < deadline, "{history}");
    };
    assert_eq!((history["enabled"].as_bool(), history["keep"].as_u64()), (Some(true), Some(2)));
    assert_eq!(history["interval"], "200ms");
    let mut names: Vec<_> = std::fs::read_dir(&backups).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let text: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    assert!(text.contains(&"notes.txt".into()) && !text.iter().any(|name| name.contains("2020")), "{text:?}");
    assert!(text.iter().filter(|name| name.ends_with(".kvfs")).count() <= 3, "{text:?}");
}

fn chunk_files(store: &Store) -> usize {
    let nodes = std::fs::read_dir(store.dir.path().join("kvfs-data/nodes")).unwrap();
    let buckets = nodes.flat_map(|node| std::fs::read_dir(node.unwrap().path().join("chunks")).unwrap());
    buckets.map(|bucket| std::fs::read_dir(bucket.unwrap().path()).unwrap().count()).sum()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// A store goes back to an old backup: what was deleted since is named, what was written since is kept until somebody lets it go.
#[test]
fn a_restored_store_deletes_nothing_until_released() {
    let eager =
        [("UP_GC_INTERVAL", "100ms"), ("UP_GC_DELAY", "0s"), ("UP_SWEEP_INTERVAL", "100ms"), ("UP_SNAPSHOT_DIR", "")];
    let store = Store::start_with(tempfile::tempdir().unwrap(), &[], &eager);
    put(&store, "kept", b"there before and after");
    put(&store, "deleted", b"there when the backup was taken");
    json(&store.kvfs(&["meta", "backup", "--out", "b.kvfs", "--output", "json"]));
    put(&store, "later", b"written after the backup");
    assert_eq!(store.ask("DELETE", "/v1/o/b/deleted", &[], b"").status, 204);
    until("the deleted object's chunks are gone", || chunk_files(&store) == 6);

    let running = store.kvfs(&["meta", "restore", "--from", "b.kvfs", "--data-dir", "kvfs-data/meta", "--force"]);
    assert!(!running.status.success(), "the store runs: {running:?}");
    let Store { dir, up, .. } = store;
    up.stop();
    let kvfs = |arguments: &[&str]| super::support::kvfs(dir.path()).args(arguments).output().unwrap();
    let occupied = kvfs(&["meta", "restore", "--from", "b.kvfs", "--data-dir", "kvfs-data/meta"]);
    assert_eq!(occupied.status.code(), Some(4), "{occupied:?}");
    let wrong = kvfs(&["meta", "restore", "--from", "b.kvfs", "--data-dir", "kvfs-data", "--force"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("kvfs-data/meta"), "{wrong:?}");
    let how = ["meta", "restore", "--from", "b.kvfs", "--data-dir", "kvfs-data/meta", "--force", "--output", "json"];
    assert_eq!(json(&kvfs(&how))["generation"], 2);

    let store = Store::start_with(dir, &[], &eager);
    assert_eq!(store.ask("GET", "/v1/o/b/kept", &[], b"").body, b"there before and after");
    assert_eq!(store.ask("GET", "/v1/o/b/later", &[], b"").status, 404, "the backup does not know it");
    let lost = store.ask("GET", "/v1/o/b/deleted", &[], b"");
    let chunk = domain::ChunkId::of(b"there when the backup was taken").to_hex();
    assert!(lost.status >= 500 && lost.error().contains(&chunk), "{lost:?}");
    let status = String::from_utf8(store.kvfs(&["status"]).stdout).unwrap();
    assert!(status.contains("ON HOLD") && status.contains("release-hold"), "{status}");

    let refused = store.kvfs(&["meta", "release-hold"]);
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(text.contains("b/deleted") && text.contains(&chunk) && !text.contains("b/kept"), "{text}");
    assert!(text.contains("3 copies that no record names"), "{text}");
    put(&store, "new", b"written in the new life");
    // The fourth is what `up` put and removed at its start, to try itself.
    assert_eq!(chunk_files(&store), 12, "nothing was deleted");

    let released = json(&store.kvfs(&["meta", "release-hold", "--force", "--output", "json"]));
    assert_eq!((&released["hold"], released["objects_hurt"].as_u64()), (&Value::Null, Some(1)));
    until("what no record knows is swept", || chunk_files(&store) == 6);
    assert_eq!(store.ask("GET", "/v1/o/b/kept", &[], b"").body, b"there before and after");
    assert_eq!(store.ask("GET", "/v1/o/b/new", &[], b"").body, b"written in the new life");
    put(&store, "deleted", b"there when the backup was taken");
    assert_eq!(store.ask("GET", "/v1/o/b/deleted", &[], b"").status, 200, "putting it again heals it");
    let nothing = store.kvfs(&["meta", "release-hold"]);
    assert!(
        nothing.status.success() && String::from_utf8_lossy(&nothing.stdout).contains("not on hold"),
        "{nothing:?}"
    );
}

/// What was applied, line by line, comes to the same state; through a `kill -9`, and without a secret in it.
#[test]
fn an_audit_log_is_replayed_to_the_same_state() {
    let variables = [("UP_WAL_PATH", "audit.jsonl")];
    let store = Store::start_with(tempfile::tempdir().unwrap(), &[], &variables);
    put(&store, "one", b"before the end");
    let Store { dir, up, .. } = store;
    up.kill();
    let store = Store::start_with(dir, &[], &variables);
    put(&store, "two", b"after it");
    let text = std::fs::read_to_string(store.dir.path().join("audit.jsonl")).unwrap();
    let numbers: Vec<_> = store.secret.bytes().map(|byte| byte.to_string()).collect();
    assert!(text.contains("SeedUrlKey") && !text.contains(&store.secret) && !text.contains(&numbers.join(",")));
    let metrics = String::from_utf8(store.raw("GET", "/metrics", &[], b"").body).unwrap();
    for gauge in
        ["kvfs_wal_last_seq ", "kvfs_wal_batch_size ", "kvfs_wal_durable_lag_seconds ", "kvfs_audit_log_last_seq "]
    {
        assert!(metrics.lines().any(|line| line.starts_with(gauge)), "{gauge}: {metrics}");
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let running = json(&store.kvfs(&["meta", "hash", "--output", "json"]));
        let replayed = json(&store.kvfs(&["meta", "replay", "audit.jsonl", "--output", "json"]));
        if running["index"] == replayed["index"] {
            assert_eq!(running["hash"], replayed["hash"]);
            break;
        }
        assert!(Instant::now() < deadline, "{running} {replayed}");
    }
}
