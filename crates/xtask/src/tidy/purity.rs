//! Pure crates decide, and do nothing else: no runtime, socket, file, clock or random source.

use super::Finding;
use super::tree::Tree;

const PURE: &[&str] = &["domain", "erasure", "meta", "plan"];

/// What pure crates may use besides each other.
const LIBRARIES: &[&str] = &["serde", "postcard", "sha2", "hmac", "crc-fast", "bytes", "thiserror", "subtle"];

/// What their sources may not name outside of tests, and where it belongs.
const BANNED: &[(&str, &str)] = &[
    ("std::fs", "Take bytes; files are behind the seam `Disk`."),
    ("std::net", "Return a value; sockets belong to machinery."),
    ("SystemTime", "Take the time as an argument."),
    ("Instant", "Take the time as an argument."),
    ("tokio", "Pure code does not wait: return what is to be done."),
    ("async", "Pure code does not wait: return what is to be done."),
    ("std::thread", "Pure code does not wait: return what is to be done."),
    ("rand", "Take random numbers as arguments."),
    ("getrandom", "Take random numbers as arguments."),
    ("std::process", "Return an error and let the process decide."),
    ("std::env", "Take settings as arguments."),
    ("println!", "Return text and let the caller print it."),
    ("eprintln!", "Return text and let the caller print it."),
];

/// Finds libraries and names that pure crates must do without.
pub fn check(tree: &Tree) -> Vec<Finding> {
    PURE.iter().flat_map(|name| libraries(tree, name).into_iter().chain(names(tree, name))).collect()
}

fn libraries(tree: &Tree, name: &str) -> Vec<Finding> {
    let Some(package) = tree.packages.get(name) else { return Vec::new() };
    let foreign = package.dependencies.iter().filter(|dependency| {
        !LIBRARIES.contains(&dependency.as_str()) && !tree.packages.contains_key(dependency.as_str())
    });
    let finding = |dependency: &String| {
        let what = format!("the pure crate `{name}` may not use the library `{dependency}`");
        let remedy = format!("Pure crates use only: {}.", LIBRARIES.join(", "));
        Finding::error(&package.manifest, tree.line_of(&package.manifest, dependency), what, remedy)
    };
    foreign.map(finding).collect()
}

fn names(tree: &Tree, name: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources_of(name) {
        for (banned, remedy) in BANNED {
            for line in source.names(banned) {
                let what = format!("the pure crate `{name}` names `{banned}`");
                findings.push(Finding::error(&source.path, line, what, *remedy));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::planted;

    fn found(text: &str) -> Vec<(usize, String)> {
        let tree = planted(&[("domain", &["serde"])], &[("crates/domain/src/a.rs", text)]);
        check(&tree).into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn planted_names_are_found() {
        let table = [
            ("//! Docs.\nuse std::fs::File;\n", "std::fs"),
            ("//! Docs.\nuse std::{fmt, net};\n", "std::net"),
            ("//! Docs.\nfn a(t: std::time::SystemTime) {}\n", "SystemTime"),
            ("//! Docs.\nuse std::time::{Duration, Instant};\n", "Instant"),
            ("//! Docs.\nasync fn a() {}\n", "async"),
            ("//! Docs.\nfn a() -> u64 { rand::random() }\n", "rand"),
            ("//! Docs.\nfn a() { println!(\"x\"); }\n", "println!"),
            ("//! Docs.\nfn a() { std::process::abort() }\n", "std::process"),
        ];
        for (text, name) in table {
            assert_eq!(found(text), [(2, format!("the pure crate `domain` names `{name}`"))], "{text}");
        }
    }

    #[test]
    fn tests_and_prose_may_name_them() {
        assert_eq!(found("//! Never touches `std::fs`.\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), []);
        assert_eq!(found("use std::time::Duration;\nlet operand = \"tokio\";\n"), []);
    }

    #[test]
    fn planted_libraries_are_found() {
        let manifest = ("crates/meta/Cargo.toml", "[dependencies]\ntokio.workspace = true\n");
        let tree = planted(&[("meta", &["domain", "tokio"]), ("domain", &["sha2"])], &[manifest]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 2);
        assert_eq!(findings[0].what, "the pure crate `meta` may not use the library `tokio`");
    }
}
