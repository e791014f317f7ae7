//! `cargo xtask test`: everything that must hold before a change goes in, cheapest first.
//!
//! Cargo compiles a dependency once per set of features, and the set depends on which packages and targets are asked for. So
//! everything that runs here comes from one request, the whole workspace with all targets on the dev profile.

use std::path::Path;

use anyhow::{Result, bail};

use crate::steps::{self, Steps, cargo};
use crate::summary::{self, Counts};
use crate::{needs, prove, tidy};

/// Runs all steps. Whether all succeeded.
pub fn run(root: &Path) -> Result<bool> {
    let mut steps = Steps::default();
    let quiet = |work: Result<()>| work.map(|()| Counts::default());
    steps.step("what is needed", || quiet(needs::provide(root)));
    steps.step("format", || quiet(steps::run(cargo(root, &["fmt", "--all", "--check"]))));
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    steps.step("clippy", || quiet(steps::run(cargo(root, &clippy))));
    steps.step("tidy", || match tidy::run(root)? {
        true => Ok(Counts::default()),
        false => bail!("the tree breaks rules; they are listed above"),
    });
    if steps.step("build", || quiet(prove::build_dev(root))) {
        steps.step("tests", || tests(root));
        steps.step("doc tests", || doc_tests(root));
        steps.step("proof 02, short", || prove::quick(root, "02"));
        steps.step("proof 03, short", || prove::quick(root, "03"));
        steps.step("proof 04, short", || prove::quick(root, "04"));
        steps.step("proof 05, short", || prove::quick(root, "05"));
    } else {
        let proofs = ["proof 02, short", "proof 03, short", "proof 04, short", "proof 05, short"];
        ["tests", "doc tests"].into_iter().chain(proofs).for_each(|title| steps.skip(title));
    }
    Ok(steps.finish())
}

fn tests(root: &Path) -> Result<Counts> {
    if needs::is_there(root, &["cargo", "nextest", "--version"]) {
        let words = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast"];
        let (output, success) = steps::run_and_keep(cargo(root, &words))?;
        return summary::counts(&output, success, summary::nextest);
    }
    let words = ["test", "--workspace", "--lib", "--bins", "--tests", "--locked", "--no-fail-fast"];
    let (output, success) = steps::run_and_keep(cargo(root, &words))?;
    summary::counts(&output, success, summary::libtest)
}

/// Examples in the documentation, which nextest does not run.
fn doc_tests(root: &Path) -> Result<Counts> {
    let (output, success) = steps::run_and_keep(cargo(root, &["test", "--workspace", "--doc", "--locked"]))?;
    summary::counts(&output, success, summary::libtest)
}
