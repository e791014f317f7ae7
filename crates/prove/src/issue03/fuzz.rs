//! Every fuzz target, a million times. The targets stand beside the parsers (`fuzz.rs` in several crates), and run ten thousand times
//! with the other tests.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::report::number;

/// Executions of each target.
const EXECUTIONS: u64 = 1_000_000;

/// Targets that must be there: fewer would mean that some were not found.
const TARGETS: usize = 12;

/// Runs them, on the dev profile, whose arithmetic is checked.
pub fn run() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--workspace", "--locked", "--lib", "--tests", "fuzz::"])
        .env("BOLERO_RANDOM_ITERATIONS", EXECUTIONS.to_string())
        .output()
        .context("running cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    let failed: Vec<_> = text.lines().filter(|line| line.ends_with(" ... FAILED")).collect();
    number("fuzz targets", passed + failed.len());
    number("executions of each", EXECUTIONS);
    ensure!(output.status.success() && failed.is_empty(), "{failed:?}: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(passed >= TARGETS, "{passed} targets ran, expected {TARGETS}");
    Ok(())
}
