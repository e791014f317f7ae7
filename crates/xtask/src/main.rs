//! What developers and CI run: `cargo xtask test`, `tidy`, `prove NN`, `dist`.
//!
//! It uses none of the other crates, so that it builds in seconds and can judge a tree that does not compile.

mod dist;
mod needs;
mod prove;
mod steps;
mod summary;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test                  everything CI runs: format, clippy, tidy, tests, doc tests, a short proof
  tidy                  rules that no compiler checks: arrows between crates, walls, docs, leftovers, links
  prove NN [--quick]    show what issue NN promises, with numbers; --quick is a short form on the dev profile
  dist                  pack the binary, manual pages and completions into target/dist";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is well.
fn run(words: &[&str]) -> Result<bool> {
    let root = root()?;
    match words {
        ["test"] => test::run(&root),
        ["tidy"] => tidy::run(&root),
        ["prove", number] => prove::run(&root, number, false),
        ["prove", number, "--quick"] | ["prove", "--quick", number] => prove::run(&root, number, true),
        ["dist"] => dist::run(&root),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => bail!("these arguments are not understood: {words:?}\n{USAGE}"),
    }
}

/// The repository's root: two levels above this package.
fn root() -> Result<PathBuf> {
    // Cargo sets the variable at run time too, so that a moved tree is found where it is now.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").context("start me as `cargo xtask`")?;
    let root = Path::new(&own).ancestors().nth(2).context("this package is not below a root")?;
    Ok(root.to_path_buf())
}
