//! Every demo, as it is and with its sabotage planted, through the real binary: what it answers, and what it leaves behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::kvfs;

/// Runs `kvfs demo …` with temporary files in a directory of its own; returns its exit code and what it printed.
fn demo(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = kvfs(dir).env("TMPDIR", dir).arg("demo").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

/// Neither a file below `dir`, nor a process that was started with one.
fn nothing_is_left(dir: &Path) {
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(files.is_empty(), "{files:?} were left behind");
    assert_eq!(processes_below(dir), 0, "processes were left behind");
}

/// Processes that have `dir` among their arguments, as the children of a demo do.
fn processes_below(dir: &Path) -> usize {
    let dir = dir.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let arguments = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    arguments.filter(|words| String::from_utf8_lossy(words).contains(&dir)).count()
}

fn shows_what_it_says(name: &str) {
    let home = tempfile::tempdir().unwrap();
    let (code, text) = demo(home.path(), &[name, "--output", "json"]);
    assert_eq!(code, Some(0), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["passed"], &report["failed_line"]), (&Value::Bool(true), &Value::Null), "{text}");
    let oracles: Vec<_> = report["oracles"].as_array().unwrap().iter().map(|said| &said["oracle"]).collect();
    assert_eq!(oracles, ["bodies", "placement", "disks", "logs"], "{text}");
    nothing_is_left(home.path());
}

fn notices_its_sabotage(name: &str) {
    let home = tempfile::tempdir().unwrap();
    let (code, text) = demo(home.path(), &[name, "--break", "--output", "json"]);
    assert_eq!(code, Some(1), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["passed"], Value::Bool(false), "{text}");
    assert!(report["failed_line"].is_u64(), "{text}");
    assert_eq!(report["failed_line"], report["break_line"], "another line failed than the script says: {text}");
    assert!(report["sabotage"].is_string(), "{text}");
    nothing_is_left(home.path());
}

macro_rules! demos {
    ($($letter:ident),*) => {
        $(mod $letter {
            #[test]
            fn shows_what_it_says() {
                super::shows_what_it_says(&super::alias(stringify!($letter)));
            }

            #[test]
            fn notices_its_sabotage() {
                super::notices_its_sabotage(&super::alias(stringify!($letter)));
            }
        })*

        const LETTERS: &[&str] = &[$(stringify!($letter)),*];
    };
}

demos!(
    alpha,
    epsilon,
    zeta,
    iota,
    tau,
    samekh,
    kappa,
    ayin,
    psi,
    pe,
    sigma,
    upsilon,
    he,
    rho,
    chi,
    mem,
    omicron,
    lamed,
    xi,
    pi,
    coord_flap,
    coord_partition,
    aleph,
    vav
);

/// A module's name as the letter of a demo.
fn alias(module: &str) -> String {
    module.replace('_', "-")
}

#[test]
fn every_demo_of_the_list_is_tested_here() {
    let home = tempfile::tempdir().unwrap();
    let (code, text) = demo(home.path(), &["list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    let aliases = listed.as_array().unwrap().iter().map(|header| header["alias"].as_str().unwrap());
    // A demo with several letters is run under its first.
    let letters: Vec<_> = aliases.map(|aliases| aliases.split(", ").next().unwrap().to_string()).collect();
    let tested: Vec<_> = LETTERS.iter().map(|module| alias(module)).collect();
    assert_eq!((code, letters), (Some(0), tested));
    let (code, text) = demo(home.path(), &["list"]);
    assert!(code == Some(0) && text.contains("alpha     replication-survives-a-dead-node\n"), "{text}");
}

#[test]
fn an_unknown_demo_is_wrong_usage() {
    let home = tempfile::tempdir().unwrap();
    let (code, text) = demo(home.path(), &["omega-minus"]);
    assert!(code == Some(2) && text.contains("kvfs demo list"), "{text}");
    assert_eq!(demo(home.path(), &[]).0, Some(2));
}

#[test]
fn a_deviation_names_its_line() {
    let home = tempfile::tempdir().unwrap();
    let (code, text) = demo(home.path(), &["replication-survives-a-dead-node", "--break"]);
    assert_eq!(code, Some(1), "{text}");
    let wanted = [
        "SABOTAGE   one-copy: the gateway keeps one copy",
        "demos/replication-survives-a-dead-node.demo:",
        ": DEVIATION\n",
        "expected -> 200, 102400 bytes, equal\n",
        "found    -> 502\n",
        "was noticed at the line that the script names\n",
    ];
    for part in wanted {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn ctrl_c_ends_the_processes_too() {
    let home = tempfile::tempdir().unwrap();
    let mut command = kvfs(home.path());
    let command =
        command.env("TMPDIR", home.path()).args(["demo", "sigma"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while processes_below(home.path()) < 4 {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < deadline, "no cluster came up: {ended:?}");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    nothing_is_left(home.path());
}

/// A demo that is killed cannot clean up its files, but its processes go with it.
#[test]
fn a_killed_demo_leaves_no_process() {
    let home = tempfile::tempdir().unwrap();
    let mut child =
        kvfs(home.path()).env("TMPDIR", home.path()).args(["demo", "zeta"]).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while processes_below(home.path()) < 3 {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it starts no processes");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while processes_below(home.path()) > 0 {
        assert!(Instant::now() < deadline, "processes are still there");
        std::thread::yield_now();
    }
}
