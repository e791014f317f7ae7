//! A disk of 3 GiB, filled to the brim under `kvfs up`, emptied by deletes, and used again: no restart, nothing lost.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use client::NativeError;
use http::{HeaderMap, StatusCode};
use tokio::process::Command;

use crate::cluster::Up;
use crate::content::Content;
use crate::report::number;

const MIB: u64 = 1 << 20;
const BUCKET: &str = "full";

/// Space must be back this long after the delete.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// A file system in a file, unmounted when dropped.
struct Loop {
    at: PathBuf,
}

impl Loop {
    async fn mount(home: &Path, bytes: u64) -> Result<Self> {
        let (image, at) = (home.join("disk.img"), home.join("disk"));
        std::fs::create_dir(&at)?;
        std::fs::File::create(&image)?.set_len(bytes)?;
        command("mkfs.ext4", &["-q".as_ref(), image.as_os_str()]).await?;
        command("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()]).await?;
        Ok(Self { at })
    }

    /// Free bytes, the coordinator's ballast among them: it gives that up on a full disk, and takes it back afterwards.
    fn free(&self) -> Result<u64> {
        let space = rustix::fs::statvfs(&self.at)?;
        let ballast = std::fs::metadata(self.at.join("kvfs-data/meta/ballast")).map_or(0, |file| file.len());
        Ok(space.f_bavail * space.f_frsize + ballast)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // What cannot be unmounted now is when its last user has gone.
        std::process::Command::new("umount").arg("-l").arg(&self.at).status().ok();
    }
}

async fn command(name: &str, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    let output = Command::new(name).args(arguments).output().await.with_context(|| format!("running {name}"))?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The section. Needs root, to mount a file system.
pub async fn run(quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let (disk_bytes, object) = if quick { (1024 * MIB, 8 * MIB) } else { (3072 * MIB, 8 * MIB) };
    let disk = Loop::mount(home.path(), disk_bytes).await?;
    // A twelfth of the disk is kept in reserve, instead of a GiB: on one this small the default would leave little to fill.
    let config = disk.at.join("kvfs.toml");
    std::fs::write(&config, format!("[up]\nreserve_bytes = {}\n", disk_bytes / 12))?;
    let config = config.to_str().context("a path that is text")?.to_string();
    let up = Up::start(&disk.at, &["--config", &config]).await?;

    let first = fill(&up, 0, object).await?;
    number("objects of 8 MiB stored until the disk was full", first);
    let full = disk.free()?;
    number("free when the store said 507", format!("{} MiB of {} MiB", full / MIB, disk_bytes / MIB));
    all_there(&up, 0..first, object).await.context("on the full disk")?;

    let begun = Instant::now();
    for index in 0..first / 2 {
        up.native.delete(BUCKET, key(index).as_bytes()).await.context("deleting on a full disk")?;
    }
    // Three copies of each object; what the deletes gave back before this line counts too.
    let back = until_free(&disk, full + first / 2 * object * 3 * 9 / 10, begun).await?;
    number("space of the deleted half was back after", format!("{:.1} s", back.as_secs_f64()));

    // The store looks at its room once a second; within the same minute it must take something again.
    until_taken(&up, first, object, begun).await?;
    let second = fill(&up, first + 1, object).await?;
    number("objects stored in the space that came back", second - first);
    all_there(&up, first / 2..second, object).await.context("after the delete and the second fill")?;
    number("objects alive at the end, all read back identical", second - first / 2);
    up.daemon.stop().await
}

fn key(index: u64) -> String {
    format!("o{index:05}")
}

fn content(index: u64, size: u64) -> Content {
    Content { seed: index + 1, size }
}

/// Stores objects until the store says that it is full; any other refusal is a failure. Returns the next index.
async fn fill(up: &Up, from: u64, size: u64) -> Result<u64> {
    for index in from..from + 10_000 {
        let content = content(index, size);
        let put = up.native.put(BUCKET, key(index).as_bytes(), Some(size), HeaderMap::new(), content.body()).await;
        match put {
            Ok(_) => {}
            Err(NativeError::Refused { status: StatusCode::INSUFFICIENT_STORAGE, message }) => {
                ensure!(message.contains("full"), "a 507 that does not say why: {message}");
                return Ok(index);
            }
            Err(error) => bail!("object {index} was refused with {error}, where 507 was due"),
        }
    }
    bail!("the disk never became full")
}

/// Offers one object until it is taken.
async fn until_taken(up: &Up, index: u64, size: u64, begun: Instant) -> Result<()> {
    while begun.elapsed() < BACK_WITHIN {
        let content = content(index, size);
        match up.native.put(BUCKET, key(index).as_bytes(), Some(size), HeaderMap::new(), content.body()).await {
            Ok(_) => return Ok(()),
            Err(NativeError::Refused { status: StatusCode::INSUFFICIENT_STORAGE, .. }) => {}
            Err(error) => bail!("object {index} was refused with {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("nothing could be stored {BACK_WITHIN:?} after the delete")
}

async fn all_there(up: &Up, indexes: std::ops::Range<u64>, size: u64) -> Result<()> {
    for index in indexes {
        let found = up.native.get(BUCKET, key(index).as_bytes(), HeaderMap::new()).await;
        let found = found.with_context(|| format!("object {index}"))?;
        ensure!(content(index, size).same(found).await?, "object {index} differs");
    }
    Ok(())
}

async fn until_free(disk: &Loop, bytes: u64, begun: Instant) -> Result<Duration> {
    while begun.elapsed() < BACK_WITHIN {
        if disk.free()? >= bytes {
            return Ok(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{} MiB are free {BACK_WITHIN:?} after the delete, {} MiB were expected", disk.free()? / MIB, bytes / MIB)
}
