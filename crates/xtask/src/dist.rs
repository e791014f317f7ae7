//! `cargo xtask dist`: what is given to users, in `target/dist`: the binary, its manual pages and completions, licence and texts.
//!
//! Pages and completions are made by the binary itself from the description of its command line, so they cannot disagree with it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::prove::target;
use crate::steps::{self, cargo};

/// Completions: the shell, and the name under which it looks for them.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "kvfs.bash"), ("zsh", "_kvfs"), ("fish", "kvfs.fish")];

/// Builds and packs. Always true: what goes wrong is an error.
pub fn run(root: &Path) -> Result<bool> {
    steps::run(cargo(root, &["build", "--release", "--locked", "--package", "kvfs"]))?;
    let target = target(root)?;
    let binary = target.join("release").join("kvfs");
    let version = output(&binary, &["--version"])?;
    let name = format!("{}-{}", version.trim().replace(' ', "-"), std::env::consts::ARCH);
    let dist = target.join("dist").join(&name);
    fs::remove_dir_all(&dist).ok();
    fs::create_dir_all(dist.join("completions")).with_context(|| format!("making {}", dist.display()))?;
    fs::copy(&binary, dist.join("kvfs")).context("copying the binary")?;
    for file in ["README.md", "LICENSE", "CHANGELOG.md"] {
        fs::copy(root.join(file), dist.join(file)).with_context(|| format!("copying {file}"))?;
    }
    for (shell, file) in COMPLETIONS {
        fs::write(dist.join("completions").join(file), output(&binary, &["completions", shell])?)?;
    }
    let pages = dist.join("man");
    output(&binary, &["man", &pages.to_string_lossy()])?;
    let archive = format!("{name}.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["-czf", &archive, &name]).current_dir(target.join("dist"));
    steps::run(tar)?;
    println!("packed {}", target.join("dist").join(archive).display());
    Ok(true)
}

fn output(binary: &Path, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(binary).args(arguments).output().with_context(|| format!("running {}", binary.display()))?;
    ensure!(output.status.success(), "kvfs {arguments:?} ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
