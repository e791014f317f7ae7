//! What operators do: labels, keys, looking into a cluster; by the command line, and under the reference's paths.

use std::time::{Duration, Instant};

use coord::http::{Access, ROUTES};
use serde_json::{Value, json};

use super::support::{Answer, Store, exchange};

fn json_of(store: &Store, arguments: &[&str]) -> Value {
    let output = store.kvfs(&[arguments, &["--output", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
}

fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn keys_rotate_without_breaking_what_was_signed() {
    let store = Store::start();
    std::fs::write(store.dir.path().join("file"), b"signed twice").unwrap();
    assert!(store.kvfs(&["put", "file", "b/k"]).status.success());
    let old = store.signed("GET", "/v1/o/b/k");

    let rotated = store.kvfs(&["urlkey", "rotate", "--kid", "v2"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let client = std::fs::read_to_string(store.dir.path().join("kvfs-data/client.toml")).unwrap();
    let secret = client.lines().find_map(|line| line.strip_prefix("secret = \"")).unwrap().trim_end_matches('"');
    assert!(client.contains("kid = \"v2\"") && secret.len() == 64, "the client file has it");
    let listed = json_of(&store, &["urlkey", "list"]);
    assert_eq!((listed[0]["kid"].as_str(), listed[0]["is_primary"].as_bool()), (Some("v1"), Some(false)));
    assert_eq!((listed[1]["kid"].as_str(), listed[1]["is_primary"].as_bool()), (Some("v2"), Some(true)));
    let everywhere = format!(
        "{listed}{rotated:?}{}",
        String::from_utf8_lossy(&std::fs::read(store.dir.path().join("up.log")).unwrap())
    );
    assert!(!everywhere.contains(secret) && !everywhere.contains(&domain::id::hex(secret.as_bytes())));

    let get = |target: &str| store.raw("GET", target, &[], &[]).status;
    until("the gateway knows the new key", Duration::from_secs(1), || store.kvfs(&["get", "b/k"]).status.success());
    assert_eq!(get(&old), 200, "what the old key signed stays good");
    assert_eq!(store.kvfs(&["urlkey", "remove", "v2"]).status.code(), Some(4), "the primary stays");
    assert_eq!(store.kvfs(&["urlkey", "remove", "v9"]).status.code(), Some(3));
    assert!(store.kvfs(&["urlkey", "remove", "--kid", "v1"]).status.success());
    until("the old key is forgotten", Duration::from_secs(1), || get(&old) == 401);
    assert_eq!(store.kvfs(&["urlkey", "remove", "v2"]).status.code(), Some(4), "the last one stays");

    let store = store.restart(true);
    assert!(store.kvfs(&["get", "b/k"]).status.success(), "it starts and serves with the new key alone");
    let tables = std::fs::read(store.dir.path().join("kvfs-data/meta/tables.redb")).unwrap();
    assert!(!tables.windows(secret.len()).any(|window| window == secret.as_bytes()), "and keeps it sealed");
}

#[test]
fn a_secret_goes_where_the_operator_says() {
    let store = Store::start();
    let endpoint = store.up.address.clone();
    let elsewhere = ["--endpoint", &endpoint];
    let nowhere = store.kvfs(&[&["urlkey", "rotate", "--kid", "v2"], &elsewhere[..]].concat());
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("--secret-file"));
    let kept = store.kvfs(&[&["urlkey", "rotate", "--kid", "v2", "--secret-file", "v2.key"], &elsewhere[..]].concat());
    assert!(kept.status.success(), "{kept:?}");
    assert_eq!(std::fs::read(store.dir.path().join("v2.key")).unwrap().len(), 64);
    let second = ["urlkey", "--primary", "false", "rotate"];
    assert_eq!(store.kvfs(&second).status.code(), Some(2), "flags of a verb come after it");
    let hex = "ab".repeat(16);
    let third = store.kvfs(&["urlkey", "rotate", "--kid", "v3", "--primary", "false", "--secret-hex", &hex]);
    assert!(third.status.success(), "{third:?}");
    assert_eq!(store.kvfs(&["urlkey", "rotate", "--kid", "v4", "--secret-hex", "abc"]).status.code(), Some(2));
    let kids: Vec<_> = json_of(&store, &["urlkey", "list"]).as_array().unwrap().clone();
    assert_eq!(kids.iter().filter(|key| key["is_primary"] == true).count(), 1);
    assert_eq!(kids.len(), 3);
}

#[test]
fn nodes_and_objects_can_be_looked_into() {
    let store = Store::start();
    std::fs::write(store.dir.path().join("file"), b"somewhere").unwrap();
    assert!(store.kvfs(&["put", "file", "b/a key"]).status.success());
    let labelled =
        json_of(&store, &["node", "relabel", "node-1", "--class", "ssd", "--domain", "rack-1", "--weight", "2"]);
    assert_eq!((labelled["class"].as_str(), labelled["weight"].as_u64()), (Some("ssd"), Some(2)));
    json_of(&store, &["dns", "domain", "node-2", "rack-2"]);
    assert_eq!(store.kvfs(&["node", "relabel", "node-9", "--weight", "2"]).status.code(), Some(3));
    assert_eq!(store.kvfs(&["node", "relabel", "node-1", "--weight", "0"]).status.code(), Some(2));
    assert_eq!(store.kvfs(&["node", "remove", "node-3"]).status.code(), Some(4), "three copies need three nodes");
    assert_eq!(store.kvfs(&["node", "replace", "node-3"]).status.code(), Some(4), "nothing is wrong with it");
    let text = String::from_utf8(store.kvfs(&["node", "list"]).stdout).unwrap();
    assert!(text.contains("rack-1") && text.contains("ssd"), "{text}");
    assert_eq!(json_of(&store, &["dns", "list"]), json!({ "dns": ["node-1", "node-2", "node-3"] }));

    let beat = json_of(&store, &["heartbeat"]);
    assert_eq!(beat["statuses"].as_array().unwrap().len(), 3);
    assert_eq!((&beat["enabled"], &beat["statuses"][0]["healthy"]), (&json!(true), &json!(true)));
    assert_eq!(json_of(&store, &["role"])["role"], "primary");
    let record = json_of(&store, &["inspect", "b/a key"]);
    assert_eq!((record["size"].as_u64(), record["chunks"].as_array().unwrap().len()), (Some(9), 1));
    assert!(record["chunks"][0]["replicas"].as_array().unwrap().len() >= 2, "{record}");
    assert_eq!(json_of(&store, &["inspect", "--object", "b/a key"]), record);
    assert_eq!(store.kvfs(&["inspect", "b/none"]).status.code(), Some(3));
    assert!(String::from_utf8(store.kvfs(&["heartbeat"]).stdout).unwrap().contains("node-3"));
}

fn ask(store: &Store, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    store.admin(method, path, body.as_bytes())
}

#[test]
fn the_reference_finds_its_paths() {
    let store = Store::start();
    let none = Value::Null;
    let hex = "cd".repeat(32);
    let get = |path: &str| ask(&store, "GET", path, &none).json();
    assert_eq!(get("/v1/coord/admin/dns"), json!(["node-1", "node-2", "node-3"]));
    let domain = ask(&store, "PUT", "/v1/coord/admin/dns/domain?addr=node-1&domain=rack-1", &none);
    assert_eq!((domain.status, domain.json()), (200, json!({ "addr": "node-1", "domain": "rack-1" })));
    let class = ask(&store, "PUT", "/v1/admin/dns/class?addr=node-1&class=ssd", &none);
    assert_eq!((class.status, class.json()), (200, json!({ "addr": "node-1", "class": "ssd" })));
    assert_eq!(ask(&store, "PUT", "/v1/coord/admin/dns/class?addr=node-9&class=ssd", &none).status, 404);
    assert_eq!(ask(&store, "PUT", "/v1/coord/admin/dns/class?class=ssd", &none).status, 400);
    assert_eq!(
        get("/v1/coord/admin/dns?detailed=1")[0],
        json!({ "addr": "node-1", "domain": "rack-1" }),
        "labels do not disturb each other"
    );
    assert_eq!(ask(&store, "DELETE", "/v1/coord/admin/dns?addr=dn9:1", &none).json(), json!({ "removed": "dn9:1" }));
    assert_eq!(
        ask(&store, "POST", "/v1/coord/admin/dns?addr=nowhere:1", &none).json(),
        json!({ "added": "nowhere:1" })
    );
    let removed = ask(&store, "DELETE", "/v1/admin/dns?addr=nowhere:1", &none).json();
    assert_eq!(removed, json!({ "action": "remove", "addr": "nowhere:1", "dns": ["node-1", "node-2", "node-3"] }));

    let quiet = ask(&store, "POST", "/v1/coord/admin/urlkey/rotate", &json!({ "kid": "v2", "secret_hex": hex }));
    assert_eq!((quiet.status, quiet.json()), (200, json!({ "kid": "v2", "is_primary": false })));
    let loud = ask(&store, "POST", "/v1/admin/urlkey/rotate", &json!({ "kid": "v3", "secret_hex": hex })).json();
    assert_eq!(
        (&loud["action"], &loud["primary"], &loud["kids"]),
        (&json!("rotate"), &json!("v3"), &json!(["v1", "v2", "v3"]))
    );
    let keys = get("/v1/coord/admin/urlkey");
    assert_eq!((&keys[2]["kid"], &keys[2]["is_primary"]), (&json!("v3"), &json!(true)));
    assert_eq!(get("/v1/admin/urlkey")["primary"], "v3");
    assert!(!format!("{keys}{}", get("/v1/admin/urlkey")).contains(&hex));
    let bad = ask(&store, "POST", "/v1/admin/urlkey/rotate", &json!({ "kid": "v4", "secret_hex": "zz" }));
    assert!(bad.status == 400 && bad.error().contains("hex"), "{bad:?}");
    assert_eq!(ask(&store, "DELETE", "/v1/coord/admin/urlkey?kid=v1", &none).json(), json!({ "removed": "v1" }));
    assert_eq!(ask(&store, "DELETE", "/v1/coord/admin/urlkey?kid=v3", &none).status, 409);

    let info = get("/v1/admin/meta/info");
    assert_eq!((&info["runtime_dns"], &info["url_keys"], &info["stripe_count"]), (&json!(3), &json!(2), &json!(0)));
    assert!(info["bbolt_size_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{info}");
    assert_eq!(get("/v1/admin/heartbeat")["statuses"][2]["addr"], "node-3");
    assert_eq!(get("/v1/admin/role")["role"], "primary");
}

#[test]
fn strangers_are_told_nothing_by_any_admin_path() {
    let store = Store::start();
    let admin: Vec<_> = ROUTES.iter().filter(|(_, _, access)| *access == Access::Admin).collect();
    assert!(admin.len() > 20);
    for (method, path, _) in admin {
        let without = exchange(&store.up.address, method, path, &[], b"{}");
        let wrong = exchange(&store.up.address, method, path, &[("Authorization", "Bearer wrong")], b"{}");
        let foreign = [("Origin", "http://evil.example"), ("Authorization", &*format!("Bearer {}", store.admin))];
        let page = exchange(&store.up.address, method, path, &foreign, b"{}");
        assert_eq!((without.status, wrong.status, page.status), (401, 401, 403), "{method} {path}");
        let right = store.admin(method, path, b"{}");
        assert!(
            ![401, 403, 404, 405].contains(&right.status) || right.error().starts_with("no data node"),
            "{method} {path}: {right:?}"
        );
    }
}
