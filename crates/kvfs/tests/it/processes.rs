//! `kvfs up --processes`: real child processes, started again when they die, and never left behind.

use std::path::Path;
use std::time::{Duration, Instant};

use super::support::{Store, kvfs};

/// What `up` printed of its children so far: name and pid.
fn children(dir: &Path) -> Vec<(String, u32)> {
    let text = std::fs::read_to_string(dir.join("up.log")).unwrap();
    let child = |line: &str| {
        let (name, rest) = line.trim().split_once(" ")?;
        let pid = rest.trim().strip_prefix("pid ")?.split_whitespace().next()?;
        Some((name.to_string(), pid.parse().ok()?))
    };
    text.lines().filter_map(child).collect()
}

fn alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::yield_now();
    }
}

fn kill(pid: u32, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn children_come_back_and_go_with_their_parent() {
    let store = Store::start_in(tempfile::tempdir().unwrap(), &["--processes"]);
    let dir = store.dir.path().to_path_buf();
    let first = children(&dir);
    let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["node-1", "node-2", "node-3", "coordinator", "gateway"]);
    assert_eq!(store.ask("PUT", "/v1/o/b/k", &[], b"through five processes").status, 201);

    for (name, pid) in &first {
        kill(*pid, "-9");
        wait_until(name, || children(&dir).iter().filter(|(found, _)| found == name).count() == 2);
    }
    wait_until("the object is there again", || {
        store.ask("GET", "/v1/o/b/k", &[], b"").body == b"through five processes"
    });

    let refused = kvfs(&dir).args(["up", "--addr", "127.0.0.1:0"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("--processes"), "{text}");
    let refused = kvfs(&dir).args(["up", "--processes", "--addr", "127.0.0.1:0"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("another process"), "{text}");

    let running: Vec<u32> = children(&dir).split_off(5).into_iter().map(|(_, pid)| pid).collect();
    assert!(running.iter().all(|pid| alive(*pid)));
    let Store { dir: home, up, .. } = store;
    up.stop();
    assert!(!running.iter().any(|pid| alive(*pid)), "a stop takes all along");

    let store = Store::start_in(home, &["--processes"]);
    assert_eq!(store.ask("GET", "/v1/o/b/k", &[], b"").body, b"through five processes");
    let running: Vec<u32> = children(&dir).into_iter().map(|(_, pid)| pid).collect();
    let Store { up, .. } = store;
    up.kill();
    wait_until("the orphans are gone", || !running.iter().any(|pid| alive(*pid)));
}
