//! What cuts by content save on two releases of a real source tree, against fixed cuts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use crate::cluster::{Up, binary};
use crate::report::number;

/// A crate that this workspace is built with, the release it is built with, and the one before.
const CRATE: &str = "windows-sys";
const RELEASES: [&str; 2] = ["0.61.1", "0.61.2"];

/// The section. Its short form asks for the same: it takes seconds.
pub async fn run(_quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut archives = Vec::new();
    for release in RELEASES {
        archives.push(archive(home.path(), release)?);
    }
    let up = Up::start(home.path(), &[]).await?;
    let bytes = archives.iter().map(|archive| Ok(archive.metadata()?.len())).collect::<Result<Vec<_>>>()?;
    number("two releases as archives: bytes", format!("{} {}, {} {}", RELEASES[0], bytes[0], RELEASES[1], bytes[1]));
    let fixed = stored(&up, home.path(), "fixed", &archives).await?;
    let cdc = stored(&up, home.path(), "cdc", &archives).await?;
    let share = |unique: u64| format!("{unique} bytes, {:.1} % saved", 100.0 - unique as f64 * 100.0 / fixed.0 as f64);
    number("cut every 4 MiB: each chunk once", share(fixed.1));
    number("cut by content: each chunk once", share(cdc.1));
    ensure!(fixed.0 == bytes.iter().sum::<u64>() && cdc.0 == fixed.0, "the objects' sizes are not the archives'");
    ensure!(cdc.1 < fixed.1, "cuts by content save nothing");
    up.daemon.stop().await
}

/// Fetches a release as a build would, and makes one archive of it, the same on every machine.
fn archive(home: &Path, release: &str) -> Result<PathBuf> {
    let project = home.join(release);
    std::fs::create_dir_all(project.join("src"))?;
    std::fs::write(project.join("src/lib.rs"), "")?;
    let manifest = format!(
        "[package]\nname = \"fetches\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{CRATE} = \"={release}\"\n\n[workspace]\n"
    );
    std::fs::write(project.join("Cargo.toml"), manifest)?;
    let output = Command::new("cargo").args(["metadata", "--format-version", "1"]).current_dir(&project).output()?;
    ensure!(output.status.success(), "fetching {CRATE} {release}: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let package = packages.iter().find(|package| package["name"] == CRATE).context("the crate is not among them")?;
    let manifest = package["manifest_path"].as_str().context("a package without its manifest")?;
    let tree = Path::new(manifest).parent().context("a manifest without its folder")?;
    let archive = home.join(format!("{release}.tar"));
    let tar = Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rw,go=r", "-cf"])
        .args([archive.as_path(), Path::new("-C"), tree, Path::new(".")])
        .status()
        .context("running tar")?;
    ensure!(tar.success(), "tar ended with {tar}");
    Ok(archive)
}

/// Stores the archives, cut in this way: the bytes of all objects, and of each chunk once.
async fn stored(up: &Up, home: &Path, mode: &'static str, archives: &[PathBuf]) -> Result<(u64, u64)> {
    let before = totals(home)?;
    for archive in archives {
        let file = tokio::fs::File::open(archive).await?;
        let length = file.metadata().await?.len();
        let key = archive.file_name().context("an archive without a name")?.as_encoded_bytes();
        let headers = HeaderMap::from_iter([("x-kvfs-chunk-mode".parse()?, HeaderValue::from_static(mode))]);
        up.native.put(mode, key, Some(length), headers, ReaderStream::new(file)).await?;
    }
    let after = totals(home)?;
    Ok((after.0 - before.0, after.1 - before.1))
}

fn totals(home: &Path) -> Result<(u64, u64)> {
    let output = Command::new(binary()?).args(["stat", "--output", "json"]).current_dir(home).output()?;
    ensure!(output.status.success(), "kvfs stat: {}", String::from_utf8_lossy(&output.stderr));
    let totals: Value = serde_json::from_slice(&output.stdout)?;
    let bytes = |field: &str| totals[field].as_u64().with_context(|| format!("kvfs stat says no {field}"));
    Ok((bytes("logical_bytes")?, bytes("unique_bytes")?))
}
