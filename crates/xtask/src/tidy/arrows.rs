//! Arrows point down: which of our crates may use which.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::Tree;

/// Each crate and what it may use; with that, whatever those may use. The table of `ARCHITECTURE.md`.
const TABLE: &[(&str, &[&str])] = &[
    // Pure.
    ("domain", &[]),
    ("erasure", &[]),
    ("meta", &["domain"]),
    ("plan", &["domain"]),
    // Contract.
    ("api", &["domain"]),
    // Machinery.
    ("client", &["api"]),
    ("datapath", &["api", "erasure"]),
    ("objects", &["datapath"]),
    ("consensus", &["meta", "api"]),
    ("cli", &["client", "erasure"]),
    ("demos", &["cli"]),
    ("bootstrap", &["api"]),
    // Processes.
    ("dn", &["api", "bootstrap"]),
    ("coord", &["consensus", "plan", "datapath", "client", "bootstrap"]),
    ("edge", &["objects", "client", "bootstrap"]),
    ("s3", &["objects"]),
    ("dashboard", &["client"]),
    // Composition.
    ("kvfs", &["dn", "coord", "edge", "s3", "dashboard", "demos"]),
    // Proof.
    ("testkit", &["api", "meta"]),
    ("sim", &["kvfs", "testkit"]),
    ("prove", &["kvfs", "testkit", "sim"]),
    ("xtask", &[]),
];

/// Crates that run as processes of their own: none may know another, however the table changes.
const PROCESSES: &[&str] = &["edge", "coord", "dn", "s3", "dashboard"];

/// The page that shows the table to people.
const MAP: &str = "ARCHITECTURE.md";

/// Finds crates that the table does not have, arrows that it does not allow, and processes that know each other.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, package) in &tree.packages {
        let Some(allowed) = allowed(name) else {
            let what = format!("crate `{name}` is in no layer");
            let remedy = "Give it a row in the table of crates/xtask/src/tidy/arrows.rs and in ARCHITECTURE.md.";
            findings.push(Finding::error(&package.manifest, 1, what, remedy));
            continue;
        };
        for dependency in ours(tree, name).filter(|dependency| !allowed.contains(dependency)) {
            let line = tree.line_of(&package.manifest, dependency);
            let what = format!("`{name}` may not use `{dependency}`");
            let may = allowed.iter().copied().collect::<Vec<_>>().join(", ");
            let may = if may.is_empty() { "none of our crates".to_string() } else { may };
            let remedy = format!("It may use: {may}. Move the code down, or hand it in through a seam of `api`.");
            findings.push(Finding::error(&package.manifest, line, what, remedy));
        }
        findings.extend(process_that_knows_another(tree, name));
        findings.extend(not_on_the_map(tree, name));
    }
    findings
}

fn process_that_knows_another(tree: &Tree, name: &str) -> Option<Finding> {
    let known = PROCESSES.contains(&name).then(|| reached(tree, name))?;
    let other = PROCESSES.iter().find(|other| **other != name && known.contains(**other))?;
    let manifest = &tree.packages.get(name)?.manifest;
    let what = format!("the process `{name}` links the process `{other}`");
    let remedy = "Processes meet only in `kvfs`, over seams of `api`.";
    Some(Finding::error(manifest, tree.line_of(manifest, other), what, remedy))
}

fn not_on_the_map(tree: &Tree, name: &str) -> Option<Finding> {
    let map = tree.files.get(MAP)?;
    let what = format!("crate `{name}` is not in the table");
    let remedy = "Add a row: what it holds, and what it may use.";
    (!map.contains(&format!("| `{name}` |"))).then(|| Finding::error(MAP, 1, what, remedy))
}

/// What `name` may use, itself not included; `None` if it is not in the table.
fn allowed(name: &str) -> Option<BTreeSet<&'static str>> {
    let (_, direct) = TABLE.iter().find(|(known, _)| *known == name)?;
    let further = direct.iter().filter_map(|used| allowed(used)).flatten();
    Some(direct.iter().copied().chain(further).collect())
}

/// Our crates among the dependencies of `name`.
fn ours<'a>(tree: &'a Tree, name: &str) -> impl Iterator<Item = &'a str> {
    let dependencies = tree.packages.get(name).map_or(&[][..], |package| &package.dependencies);
    dependencies.iter().map(String::as_str).filter(|dependency| tree.packages.contains_key(*dependency))
}

/// Everything of ours that ends up in `name`.
fn reached<'a>(tree: &'a Tree, name: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = ours(tree, name).collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(ours(tree, next));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::planted;

    fn whats(tree: &Tree) -> Vec<String> {
        check(tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn what_the_table_allows_passes() {
        let tree = planted(
            &[("domain", &["serde"]), ("api", &["domain"]), ("client", &["api", "domain"]), ("testkit", &["api"])],
            &[],
        );
        assert_eq!(whats(&tree), [""; 0]);
    }

    #[test]
    fn planted_arrows_are_found() {
        let manifest = ("crates/domain/Cargo.toml", "[dependencies]\nserde = \"1\"\napi.workspace = true\n");
        let tree = planted(&[("domain", &["serde", "api"]), ("api", &["domain"])], &[manifest]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].line, findings[0].what.as_str()), (3, "`domain` may not use `api`"));
    }

    #[test]
    fn unknown_crates_are_found() {
        assert_eq!(whats(&planted(&[("util", &[])], &[])), ["crate `util` is in no layer"]);
    }

    #[test]
    fn crates_that_the_map_leaves_out_are_found() {
        let tree = planted(&[("domain", &[]), ("meta", &[])], &[(MAP, "| `domain` | the words |\n")]);
        assert_eq!(whats(&tree), ["crate `meta` is not in the table"]);
    }

    #[test]
    fn a_process_behind_another_crate_is_found() {
        let tree = planted(&[("edge", &["objects"]), ("objects", &["dn"]), ("dn", &[])], &[]);
        assert_eq!(whats(&tree), ["the process `edge` links the process `dn`", "`objects` may not use `dn`"]);
    }

    #[test]
    fn the_table_has_no_circles_and_names_only_rows() {
        for (name, used) in TABLE {
            assert!(used.iter().all(|used| TABLE.iter().any(|(row, _)| row == used)), "{name}");
            assert!(!allowed(name).unwrap().contains(name), "{name}");
        }
        let kvfs = allowed("kvfs").unwrap();
        assert!(TABLE.iter().all(|(row, _)| {
            let proof = ["kvfs", "testkit", "sim", "prove", "xtask"].contains(row);
            proof != kvfs.contains(row)
        }));
    }
}
