//! `cargo xtask prove NN`: builds the store and the package `prove`, and lets the one examine the other.
//!
//! In full, `prove` runs against the release binary, built as a user builds it. `--quick` takes the dev binary of the test
//! build instead, so that CI compiles nothing twice. Either way the path of the binary under test is in `KVFS_BIN`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::steps::{self, cargo};
use crate::summary::{self, Counts};

/// Proves what issue `number` promises. Whether it holds.
pub fn run(root: &Path, number: &str, short: bool) -> Result<bool> {
    check(number)?;
    let counts = match short {
        true => build_dev(root).and_then(|()| quick(root, number))?,
        false => full(root, number)?,
    };
    Ok(counts.failed == 0)
}

/// Builds everything that tests and short proofs use: all packages, all targets, dev profile.
pub fn build_dev(root: &Path) -> Result<()> {
    steps::run(cargo(root, &["build", "--workspace", "--all-targets", "--locked"]))
}

/// The short form, on what [`build_dev`] built.
pub fn quick(root: &Path, number: &str) -> Result<Counts> {
    let built = target(root)?.join("debug");
    let mut prove = steps::command(root, built.join("prove"), &[number, "--quick"]);
    prove.env("KVFS_BIN", built.join("kvfs"));
    examine(prove)
}

fn full(root: &Path, number: &str) -> Result<Counts> {
    steps::run(cargo(root, &["build", "--release", "--locked", "--package", "kvfs"]))?;
    let mut prove = cargo(root, &["run", "--release", "--locked", "--package", "prove", "--", number]);
    prove.env("KVFS_BIN", target(root)?.join("release").join("kvfs"));
    examine(prove)
}

fn examine(prove: Command) -> Result<Counts> {
    let (output, success) = steps::run_and_keep(prove).context("is there a package `prove` in this workspace?")?;
    summary::counts(&output, success, summary::plain)
}

/// Issues have two digits: `02`.
fn check(number: &str) -> Result<()> {
    match number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(()),
        false => bail!("`{number}` is no issue's number: expected two digits, as in `cargo xtask prove 02`"),
    }
}

/// Where cargo puts what it builds.
pub fn target(root: &Path) -> Result<PathBuf> {
    let output = cargo(root, &["metadata", "--no-deps", "--format-version", "1"]).output().context("cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("reading what cargo metadata says")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(target.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_digits() {
        assert!(check("02").is_ok());
        for wrong in ["2", "002", "ab", "", "--quick"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
