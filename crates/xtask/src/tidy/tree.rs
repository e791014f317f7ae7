//! The facts that rules look at: packages from `cargo metadata`, files from `git ls-files`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::source::{self, Source};
use crate::steps::{cargo, command};

/// The workspace as rules see it.
#[derive(Default)]
pub struct Tree {
    /// Our packages, by name.
    pub packages: BTreeMap<String, Package>,
    /// Text files by path from the root, with `/` between names.
    pub files: BTreeMap<String, String>,
    /// The Rust files among them, taken apart.
    pub sources: Vec<Source>,
}

/// A package of this workspace.
#[derive(Clone, Default)]
pub struct Package {
    /// Its manifest, from the root.
    pub manifest: String,
    /// What it depends on, by package name; dev-dependencies are not among them.
    pub dependencies: Vec<String>,
}

impl Tree {
    /// Reads the tree at `root`: files that git tracks, and those that it would track if they were added.
    pub fn read(root: &Path) -> Result<Self> {
        let packages = packages(root)?;
        let mut files = BTreeMap::new();
        for path in paths(root)? {
            // A file that was deleted and not committed is still listed; one that is not text is none of ours.
            if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
                files.insert(path, text);
            }
        }
        Ok(Self::of(packages, files))
    }

    /// The tree with these packages and files.
    pub fn of(packages: BTreeMap<String, Package>, files: BTreeMap<String, String>) -> Self {
        let rust = files.iter().filter(|(path, _)| path.ends_with(".rs"));
        let mut sources: Vec<_> = rust.map(|(path, text)| Source::read(path, text)).collect();
        source::mark_test_modules(&mut sources);
        Self { packages, files, sources }
    }

    /// The sources of package `name`: what is compiled into it, tests and examples left out.
    pub fn sources_of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Source> {
        let package = self.packages.get(name);
        let dir =
            package.and_then(|package| package.manifest.strip_suffix("Cargo.toml")).map(|dir| format!("{dir}src/"));
        self.sources.iter().filter(move |source| dir.as_ref().is_some_and(|dir| source.path.starts_with(dir)))
    }

    /// The line of `manifest` at which `dependency` is named, or its first line.
    pub fn line_of(&self, manifest: &str, dependency: &str) -> usize {
        let text = self.files.get(manifest).map_or("", String::as_str);
        let names = |line: &str| {
            let rest = line.trim_start().trim_start_matches('"').strip_prefix(dependency);
            rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=', '"']))
        };
        text.lines().position(names).map_or(1, |at| at + 1)
    }
}

fn packages(root: &Path) -> Result<BTreeMap<String, Package>> {
    let output = cargo(root, &["metadata", "--no-deps", "--format-version", "1"]).output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata = serde_json::from_slice(&output.stdout).context("reading what cargo metadata says")?;
    parse(&metadata)
}

/// The packages in the output of `cargo metadata`.
fn parse(metadata: &Value) -> Result<BTreeMap<String, Package>> {
    let root = metadata["workspace_root"].as_str().context("cargo metadata names no workspace_root")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    packages.iter().map(|package| parse_package(root, package).context("reading what cargo metadata says")).collect()
}

fn parse_package(root: &str, package: &Value) -> Result<(String, Package)> {
    let name = package["name"].as_str().context("a package has no name")?;
    let manifest = package["manifest_path"].as_str().context("a package has no manifest_path")?;
    let manifest = manifest.strip_prefix(root).unwrap_or(manifest).trim_start_matches('/').to_string();
    let dependencies = package["dependencies"].as_array().context("a package has no dependencies")?;
    let linked = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
    let dependencies = linked.filter_map(|dependency| dependency["name"].as_str().map(String::from)).collect();
    Ok((name.to_string(), Package { manifest, dependencies }))
}

fn paths(root: &Path) -> Result<Vec<String>> {
    let words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = command(root, "git", &words).output().context("starting git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(text.split('\0').filter(|path| !path.is_empty()).map(String::from).collect())
}

/// A tree for tests of rules.
#[cfg(test)]
pub fn planted(packages: &[(&str, &[&str])], files: &[(&str, &str)]) -> Tree {
    let package = |(name, dependencies): &(&str, &[&str])| {
        let dependencies = dependencies.iter().map(ToString::to_string).collect();
        (name.to_string(), Package { manifest: format!("crates/{name}/Cargo.toml"), dependencies })
    };
    let files = files.iter().map(|(path, text)| (path.to_string(), text.to_string()));
    Tree::of(packages.iter().map(package).collect(), files.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_dependencies_are_left_out() {
        let metadata = serde_json::json!({
            "workspace_root": "/somewhere",
            "packages": [{
                "name": "meta",
                "manifest_path": "/somewhere/crates/meta/Cargo.toml",
                "dependencies": [
                    { "name": "domain", "kind": null },
                    { "name": "testkit", "kind": "dev" },
                    { "name": "maker", "kind": "build" },
                ],
            }],
        });
        let packages = parse(&metadata).unwrap();
        assert_eq!(packages["meta"].manifest, "crates/meta/Cargo.toml");
        assert_eq!(packages["meta"].dependencies, ["domain", "maker"]);
    }

    #[test]
    fn the_line_of_a_dependency() {
        let manifest = "crates/a/Cargo.toml";
        let tree = planted(&[], &[(manifest, "[dependencies]\nhttp-body = \"1\"\nhttp.workspace = true\n")]);
        assert_eq!(tree.line_of(manifest, "http"), 3);
        assert_eq!(tree.line_of(manifest, "axum"), 1);
    }
}
