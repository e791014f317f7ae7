//! Walls, stated as absences: what a crate never mentions, because it must not know of it.

use super::Finding;
use super::tree::Tree;

/// A crate that must not know of something.
struct Wall {
    /// The crate.
    inside: &'static str,
    /// Names and libraries that do not occur in it.
    absent: &'static [&'static str],
    /// What it does not know.
    why: &'static str,
}

const WALLS: &[Wall] = &[
    Wall { inside: "datapath", absent: &["http", "Uri", "hyper", "axum"], why: "datapath never sees a URL" },
    Wall { inside: "objects", absent: &["http", "Uri", "hyper", "axum"], why: "objects knows no HTTP" },
    Wall { inside: "meta", absent: &["openraft", "raft"], why: "meta does not know how a log comes to be agreed on" },
    Wall { inside: "erasure", absent: &["ChunkId", "chunk", "Chunk"], why: "erasure does not know what a chunk is" },
    Wall { inside: "plan", absent: &["ChunkStore", "Metadata"], why: "plan does not know how views are gathered" },
    Wall {
        inside: "api",
        absent: &["tokio", "hyper", "axum", "reqwest", "std::net", "std::fs"],
        why: "api knows no socket",
    },
];

/// The crate whose types must stay in one place, and that place.
const CONFINED: &[(&str, &str)] = &[("openraft", "consensus"), ("raft-log", "consensus"), ("redb", "consensus")];

/// Where disk, clock and randomness are real: everywhere else they come in through seams.
const REAL: &[&str] = &["bootstrap", "kvfs", "cli", "demos", "testkit", "sim", "prove", "xtask"];

/// Names of what comes through a seam, and the seam.
const SEAMS: &[(&str, &str)] = &[
    ("std::fs", "`api::Disk`"),
    ("tokio::fs", "`api::Disk`"),
    ("std::time::Instant", "`api::Clock`"),
    ("SystemTime::now", "`api::Clock`"),
    ("getrandom", "`api::Entropy`"),
];

/// Finds names and libraries on the wrong side of a wall.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let walls = WALLS.iter().flat_map(|wall| behind(tree, wall));
    walls.chain(confined(tree)).chain(seams(tree)).collect()
}

fn behind(tree: &Tree, wall: &Wall) -> Vec<Finding> {
    let remedy = format!("The wall: {}. Do this on its other side, and hand in the result.", wall.why);
    let mut findings = Vec::new();
    for absent in wall.absent {
        for source in tree.sources_of(wall.inside) {
            for line in source.names(absent) {
                let what = format!("`{}` names `{absent}`", wall.inside);
                findings.push(Finding::error(&source.path, line, what, &remedy));
            }
        }
        if let Some(package) = tree.packages.get(wall.inside)
            && package.dependencies.iter().any(|dependency| dependency == absent)
        {
            let (manifest, what) = (&package.manifest, format!("`{}` uses `{absent}`", wall.inside));
            findings.push(Finding::error(manifest, tree.line_of(manifest, absent), what, &remedy));
        }
    }
    findings
}

fn confined(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (library, home) in CONFINED {
        let elsewhere = tree.packages.iter().filter(|(name, _)| name != home);
        for (name, package) in elsewhere.filter(|(_, package)| package.dependencies.iter().any(|used| used == library))
        {
            let what = format!("`{name}` uses `{library}`, which only `{home}` may");
            let remedy = format!("Use what `{home}` offers, or add to it.");
            findings.push(Finding::error(&package.manifest, tree.line_of(&package.manifest, library), what, remedy));
        }
    }
    findings
}

fn seams(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in tree.packages.keys().filter(|name| !REAL.contains(&name.as_str())) {
        for source in tree.sources_of(name) {
            for (banned, seam) in SEAMS {
                for line in source.names(banned) {
                    let what = format!("`{name}` reaches for `{banned}` itself");
                    let remedy =
                        format!("Take it through the seam {seam}, so that tests and the simulator can stand in.");
                    findings.push(Finding::error(&source.path, line, what, remedy));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::planted;

    fn whats(tree: &Tree) -> Vec<String> {
        check(tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn planted_names_and_libraries_are_found() {
        let tree = planted(
            &[("datapath", &["http"]), ("meta", &[])],
            &[
                ("crates/datapath/src/a.rs", "//! Never sees http.\nfn a(at: &http::Uri) {}\n"),
                ("crates/meta/src/a.rs", "//! Docs.\nuse openraft::LogId;\n"),
                ("crates/meta/tests/a.rs", "//! Docs.\nuse openraft::LogId;\n"),
            ],
        );
        let expected =
            ["`datapath` names `http`", "`datapath` uses `http`", "`datapath` names `Uri`", "`meta` names `openraft`"];
        assert_eq!(whats(&tree), expected);
    }

    #[test]
    fn confined_libraries_are_found_elsewhere() {
        let tree = planted(&[("coord", &["redb"]), ("consensus", &["redb", "openraft"])], &[]);
        assert_eq!(whats(&tree), ["`coord` uses `redb`, which only `consensus` may"]);
    }

    #[test]
    fn a_way_around_a_seam_is_found() {
        let text = "//! Docs.\nlet now = std::time::Instant::now();\nlet later = tokio::time::Instant::now();\n";
        let files = [("crates/dn/src/a.rs", text), ("crates/bootstrap/src/a.rs", text)];
        let tree = planted(&[("dn", &[]), ("bootstrap", &[])], &files);
        assert_eq!(whats(&tree), ["`dn` reaches for `std::time::Instant` itself"]);
    }
}
