//! The command line: what a person types, what a script reads, and what a mistake is told.

use std::process::Output;

use super::support::{Store, kvfs};

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn failed(output: &Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "errors go to stderr: {output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn a_file_there_and_back() {
    let store = Store::start();
    let dir = store.dir.path();
    std::fs::write(dir.join("cat.jpg"), b"a cat").unwrap();
    assert_eq!(
        out(&store.kvfs(&["put", "cat.jpg", "photos/2026/cat.jpg"])),
        "stored photos/2026/cat.jpg: 5 B as version 1\n"
    );
    assert_eq!(out(&store.kvfs(&["get", "photos/2026/cat.jpg"])), "a cat");
    out(&store.kvfs(&["get", "photos/2026/cat.jpg", "copy.jpg"]));
    assert_eq!(std::fs::read(dir.join("copy.jpg")).unwrap(), b"a cat");
    std::fs::create_dir(dir.join("into")).unwrap();
    out(&store.kvfs(&["get", "photos/2026/cat.jpg", "into"]));
    assert_eq!(std::fs::read(dir.join("into/cat.jpg")).unwrap(), b"a cat");
    assert_eq!(out(&store.kvfs(&["get", "photos/2026/cat.jpg", "--range", "2-4"])), "cat");
    assert_eq!(out(&store.kvfs(&["ls"])), "photos\n");
    assert_eq!(out(&store.kvfs(&["ls", "photos"])), "2026/cat.jpg\n");
    assert_eq!(out(&store.kvfs(&["ls", "photos/2027"])), "");
    assert!(out(&store.kvfs(&["stat", "photos/2026/cat.jpg"])).contains("5 bytes"));
    out(&store.kvfs(&["rm", "photos/2026/cat.jpg"]));
    out(&store.kvfs(&["rb", "photos"]));
    out(&store.kvfs(&["mb", "other"]));
    assert_eq!(out(&store.kvfs(&["ls"])), "other\n");
    let parts =
        std::fs::read_dir(dir).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().contains("part"));
    assert_eq!(parts.count(), 0, "no half file stays");
}

#[test]
fn json_stands_alone_on_stdout() {
    let store = Store::start();
    std::fs::write(store.dir.path().join("f"), b"x").unwrap();
    let verbs: [&[&str]; 11] = [
        &["put", "f", "b/k"],
        &["ls"],
        &["ls", "b"],
        &["stat", "b/k"],
        &["get", "b/k", "copy"],
        &["sign", "GET", "b/k"],
        &["status"],
        &["node", "list"],
        &["meta", "info"],
        &["config", "show"],
        &["rm", "b/k"],
    ];
    for verb in verbs {
        let output = store.kvfs(&[verb, &["--output", "json"]].concat());
        let json: Result<serde_json::Value, _> = serde_json::from_str(&out(&output));
        assert!(json.is_ok(), "{verb:?}: {output:?}");
    }
}

#[test]
fn a_signed_url_works_for_who_has_no_key() {
    let store = Store::start();
    let put = out(&store.kvfs(&["sign", "put", "b/a key", "--ttl", "1m"]));
    assert_eq!(store.raw("PUT", put.trim(), &[], b"by url").status, 201);
    let get = out(&store.kvfs(&["sign", "GET", "/v1/o/b/a%20key"]));
    assert_eq!(store.raw("GET", get.trim(), &[], b"").body, b"by url");
    assert_eq!(store.raw("DELETE", get.trim(), &[], b"").status, 401);
}

#[test]
fn mistakes_are_told_what_they_are() {
    let store = Store::start();
    let table: [(&[&str], i32, &str); 9] = [
        (&["get", "b/nothing"], 3, "object not found"),
        (&["stat", "b/nothing"], 3, "object not found"),
        (&["rm", "b/nothing"], 3, "object not found"),
        (&["get", "b"], 1, "expected BUCKET/KEY"),
        (&["put", "nothing.txt", "b/k"], 1, "nothing.txt"),
        (&["rb", "nothing"], 3, "bucket nothing not found"),
        (&["node", "remove", "nowhere:1"], 3, "nowhere:1"),
        (&["node", "add", "nowhere"], 2, "expected host:port"),
        (&["sign", "GET", "b/k", "--ttl", "soon"], 1, "soon"),
    ];
    for (arguments, code, message) in table {
        let (found, text) = failed(&store.kvfs(arguments));
        assert!(text.starts_with("error: ") && text.contains(message), "{arguments:?}: {text}");
        assert_eq!(found, code, "{arguments:?}: {text}");
    }
}

#[test]
fn without_a_store_the_way_to_one_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| failed(&kvfs(dir.path()).args(arguments).output().unwrap());
    let (code, text) = run(&["ls"]);
    assert!(code == 2 && text.contains("hint:") && text.contains("kvfs up"), "{text}");
    let (code, text) = run(&["ls", "--endpoint", "127.0.0.1:1"]);
    assert!(code == 5 && text.contains("hint:"), "{text}");
}

#[test]
fn settings_that_cannot_be_used_are_listed_together() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kvfs.toml"), "[up]\nnodse = 3\n").unwrap();
    let output = kvfs(dir.path())
        .args(["up", "--nodes", "2", "--config", "kvfs.toml"])
        .env("UP_CHUNK_SIZE", "large")
        .env("UP_GC_DELAY", "5 minutes")
        .output()
        .unwrap();
    let (code, text) = failed(&output);
    assert_eq!(code, 2, "{text}");
    for problem in ["UP_CHUNK_SIZE=\"large\"", "UP_GC_DELAY", "UP_NODSE", "raise --nodes or lower --replicas"] {
        assert!(text.contains(problem), "{problem} is missing in: {text}");
    }
    assert!(!dir.path().join("kvfs-data").exists(), "nothing was begun");
    let output = kvfs(dir.path()).args(["config", "show", "up"]).env("UP_NODES", "4").output().unwrap();
    assert!(
        out(&output)
            .lines()
            .any(|line| line.starts_with("UP_NODES") && line.contains('4') && line.ends_with("environment"))
    );
}

#[test]
fn a_second_store_in_the_same_directory_is_refused() {
    let store = Store::start();
    let output = kvfs(store.dir.path()).args(["up", "--addr", "127.0.0.1:0"]).output().unwrap();
    let (_, text) = failed(&output);
    assert!(text.contains("another process") || text.contains("lock"), "{text}");
    assert_eq!(store.raw("GET", "/readyz", &[], b"").status, 200);
}

#[test]
fn directories_go_up_and_come_back_and_what_is_equal_stays() {
    let store = Store::start();
    let home = store.dir.path();
    let files: [(&str, Vec<u8>); 5] = [
        ("a", b"one".to_vec()),
        ("deep/er/b", vec![7; 100_000]),
        ("deep/empty", vec![]),
        ("sp ace/\u{e9}", b"two".to_vec()),
        ("large", (0..9_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect()),
    ];
    for (name, bytes) in &files {
        let path = home.join("from").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::os::unix::fs::symlink("a", home.join("from/link")).unwrap();
    let cp = |arguments: &[&str]| {
        let output = store.kvfs(&[&["cp", "--output", "json"], arguments].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let count = |name: &str| json[name].as_u64().unwrap();
        (output.status.code().unwrap(), count("copied"), count("equal"), count("skipped"), count("failed"))
    };
    assert_eq!(cp(&["-r", "from", "b/p"]), (0, 5, 0, 1, 0));
    assert_eq!(cp(&["-r", "from", "b/p/"]), (0, 0, 5, 1, 0), "again: all is there");
    std::fs::write(home.join("from/a"), b"ONE").unwrap();
    assert_eq!(cp(&["-r", "from", "b/p"]), (0, 1, 4, 1, 0), "as long, and not the same");
    assert_eq!(cp(&["-r", "--force", "from", "b/p"]), (0, 5, 0, 1, 0));

    assert_eq!(cp(&["-r", "b/p", "to"]), (0, 5, 0, 0, 0));
    for (name, bytes) in files.iter().skip(1) {
        assert_eq!(&std::fs::read(home.join("to").join(name)).unwrap(), bytes, "{name}");
    }
    std::fs::write(home.join("to/large"), b"half of it").unwrap();
    assert_eq!(cp(&["-r", "b/p", "to"]), (0, 1, 4, 0, 0), "an interrupted copy goes on");

    // Keys that are no file names stay where they are, and are told of.
    for key in ["/v1/o/b/q/../../evil", "/v1/o/b/q/a//b", "/v1/o/b/q/fine", "/v1/o/b/q/fine/below"] {
        assert_eq!(store.ask("PUT", key, &[], b"x").status, 201);
    }
    let (code, copied, _, _, failed) = cp(&["-r", "b/q", "out/of"]);
    assert_eq!((code, copied + failed, failed >= 3), (1, 4, true));
    assert!(!home.join("evil").exists() && !home.join("out/evil").exists());

    // What a pipe brings has no length that could be announced.
    assert!(std::process::Command::new("mkfifo").arg(home.join("pipe")).status().unwrap().success());
    let output = store.kvfs(&["cp", "pipe", "b/pipe"]);
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("is not a file"),
        "{output:?}"
    );
    assert_eq!(store.ask("HEAD", "/v1/o/b/pipe", &[], b"").status, 404);

    assert_eq!(cp(&["from/a", "b/single"]), (0, 1, 0, 0, 0));
    assert_eq!(cp(&["b/single", "copy"]), (0, 1, 0, 0, 0));
    assert_eq!(std::fs::read(home.join("copy")).unwrap(), b"ONE");
    for (arguments, says) in [
        (["from", "b/x"], "copy it with -r"),
        (["./nothing", "b/x"], "there is no ./nothing here"),
        (["b/none", "x"], "object not found"),
    ] {
        let output = store.kvfs(&["cp", arguments[0], arguments[1]]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(says), "{arguments:?}: {text}");
    }
}

#[test]
fn completions_and_manual_pages() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = kvfs(dir.path()).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("write-quorum"), "{shell}: {script}");
    }
    let output = kvfs(dir.path()).args(["man", "pages"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for page in ["kvfs.1", "kvfs-put.1", "kvfs-cp.1", "kvfs-node-add.1"] {
        let text = std::fs::read_to_string(dir.path().join("pages").join(page)).unwrap();
        assert!(text.starts_with(".ie") || text.contains(".TH"), "{page}: {text}");
    }
}

#[test]
fn what_a_store_keeps_is_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let store = Store::start();
    for file in ["meta/tables.redb", "meta", "nodes/node-1/stamp", "secrets/urlkey", "client.toml"] {
        let mode = std::fs::metadata(store.dir.path().join("kvfs-data").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}: {mode:o}");
    }
}

#[test]
fn a_wrong_admin_token_is_a_refusal() {
    let store = Store::start();
    let output =
        kvfs(store.dir.path()).arg("status").env("KVFS_ADMIN_TOKEN", "not the token of this store").output().unwrap();
    let (code, text) = failed(&output);
    assert!(code == 4 && text.contains("token"), "{code}: {text}");
}

#[test]
fn settings_that_do_nothing_here_are_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let variables =
        [("EDGE_ADDR", "127.0.0.1:0"), ("EDGE_STRICT_REPL", "1"), ("EDGE_METRICS", "0"), ("EDGE_SKIP_AUTH", "1")];
    let output = kvfs(dir.path()).args(["config", "show", "edge"]).envs(variables).output().unwrap();
    assert!(output.status.success() && !out(&output).contains("EDGE_STRICT_REPL"), "{output:?}");
    let mut child = kvfs(dir.path()).arg("edge").envs(variables).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let told = lines.find(|line| line.as_ref().unwrap().contains("EDGE_STRICT_REPL")).unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.contains("does nothing here"), "{told}");
    assert!(!told.contains('\x1b'), "a log that goes into a file has no colours: {told:?}");
}
