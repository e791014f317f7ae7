//! Shell scripts as a person would type them, in an empty directory, with a network and a process table of their own.
//!
//! So a page of the documentation may use the ports it names, whatever else runs on this machine, and what it left running is gone
//! when it ends. `kvfs` is in PATH; so is a `cargo` that stands for the build that has been done already: `cargo run
//! --release -- up` is `kvfs up`.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::cluster::binary;

/// How long a script may take.
const WITHIN: Duration = Duration::from_secs(300);

/// What a script did.
pub struct Ran {
    /// Whether it ended with 0.
    pub success: bool,
    /// Everything that it and its children printed.
    pub text: String,
}

/// Runs `script` with `bash -e` in `dir`.
pub async fn run(dir: &Path, script: &str) -> Result<Ran> {
    let tools = tempfile::tempdir()?;
    let kvfs = binary()?.canonicalize().context("the binary under test")?;
    symlink(&kvfs, tools.path().join("kvfs"))?;
    let cargo = tools.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\n[ \"$1 $2 $3\" = 'run --release --' ] || exit 2\nshift 3\nexec kvfs \"$@\"\n")?;
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755))?;
    let file = tools.path().join("script");
    std::fs::write(&file, script)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let running = Command::new("unshare")
        .args(["--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["bash", "-c", "ip link set lo up && exec 2>&1 && exec bash -e \"$0\""])
        .arg(&file)
        .current_dir(dir)
        .env_clear()
        .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", tools.path().display()))
        .env("HOME", dir)
        .env("KVFS_LOG", "warn")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, running).await;
    let output =
        output.with_context(|| format!("the script took longer than {WITHIN:?}"))?.context("running unshare")?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok(Ran { success: output.status.success(), text })
}

/// Like [`run`]; errs with what was printed if it fails.
pub async fn must_run(dir: &Path, script: &str) -> Result<String> {
    let ran = run(dir, script).await?;
    ensure!(ran.success, "the script failed; it printed:\n{}", ran.text);
    Ok(ran.text)
}
