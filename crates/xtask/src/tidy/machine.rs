//! Nothing of one developer's machine gets into the tree: no absolute paths, no private package registries.

use super::Finding;
use super::tree::Tree;

/// Directories that exist on somebody's machine. Put together here so that this file does not contain them.
const PATHS: &[&str] = &[concat!("/", "work/"), concat!("/", "root/"), concat!("/", "home/"), concat!("/", "Users/")];

/// The registry that everybody has.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Finds traces of a machine in all text files.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let lines = tree.files.iter().flat_map(|(path, text)| text.lines().enumerate().map(move |line| (path, line)));
    lines
        .flat_map(|(path, (at, line))| private_path(path, at + 1, line).into_iter().chain(registry(path, at + 1, line)))
        .collect()
}

fn private_path(path: &str, number: usize, line: &str) -> Option<Finding> {
    let in_path = |c: char| c.is_alphanumeric() || "._-}~$*".contains(c);
    let found = PATHS.iter().find(|private| {
        line.match_indices(**private).any(|(at, _)| {
            let absolute = !line[..at].chars().next_back().is_some_and(in_path);
            let goes_on = line[at + private.len()..].chars().next().is_some_and(|c| c.is_alphanumeric() || c == '.');
            absolute && goes_on
        })
    })?;
    let what = format!("a path below `{found}` is of one machine");
    Some(Finding::error(path, number, what, "Write it relative to the repository, or take it from a setting."))
}

fn registry(path: &str, number: usize, line: &str) -> Option<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let line = line.trim();
    let other = match name {
        "Cargo.lock" => line.starts_with("source = ") && line.contains("registry") && !line.contains(REGISTRY),
        "Cargo.toml" | "config.toml" => ["[source", "[registr", "replace-with", "registry =", "registry-index"]
            .iter()
            .any(|key| line.starts_with(key)),
        _ => false,
    };
    let remedy = "Keep mirrors in your own cargo configuration, and the lock file on crates.io.";
    other.then(|| Finding::error(path, number, "this names a package registry", remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::planted;

    fn found(path: &str, text: &str) -> usize {
        check(&planted(&[], &[(path, text)])).len()
    }

    #[test]
    fn planted_paths_are_found() {
        let work = PATHS[0];
        assert_eq!(found("README.md", &format!("see {work}main/x")), 1);
        assert_eq!(found("a.rs", &format!("let dir = \"{}me\";", PATHS[2])), 1);
        for fine in [format!("a net{}", &work[1..]), format!("dir{work}x"), format!("{work} is no path")] {
            assert_eq!(found("README.md", &fine), 0, "{fine}");
        }
    }

    #[test]
    fn planted_registries_are_found() {
        assert_eq!(found("Cargo.lock", &format!("source = \"{REGISTRY}\"")), 0);
        assert_eq!(found("Cargo.lock", "source = \"registry+https://mirror.example/index\""), 1);
        assert_eq!(found("Cargo.lock", "source = \"sparse+https://mirror.example/registry/\""), 1);
        assert_eq!(found(".cargo/config.toml", "[source.crates-io]"), 1);
        assert_eq!(found(".cargo/config.toml", "[alias]"), 0);
    }
}
