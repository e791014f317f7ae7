//! Backups under load, damaged backups, and restores against nodes that have gone on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::Admin;
use client::Native;

use super::group::{Group, Shape};
use super::objects::{is_there, put, put_all};
use crate::cluster::{binary, chunk_files};
use crate::content::next;
use crate::report::number;

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let (objects, flips) = if quick { (100, 30) } else { (3_000, 1_000) };
    let home = tempfile::tempdir()?;
    let mut group = Group::start(home.path(), Shape { coords: 3, edges: 1, nodes: 3 }).await?;
    put_all(&group, 0..objects).await?;
    let (before, after) = under_load(&group, objects).await?;
    flipped(&group, flips).await?;
    restored(&mut group, objects, before, after).await
}

/// A backup while one writer goes on, object after object: those acknowledged before it was begun, and those begun before it was done.
async fn under_load(group: &Group, first: u64) -> Result<(u64, u64)> {
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(first)), Arc::new(AtomicBool::new(false)));
    let writer = {
        let (native, acknowledged, stop) = (group.natives[0].clone(), acknowledged.clone(), stop.clone());
        tokio::spawn(async move {
            for nth in first.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                put(&native, nth).await?;
                acknowledged.store(nth + 1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        })
    };
    until(|| acknowledged.load(Ordering::Relaxed) > first + 20).await?;
    let before = acknowledged.load(Ordering::Relaxed);
    group.kvfs(&["meta", "backup", "--out", "backup.kvfs", "--coord", &group.coords_list()]).await?;
    let after = acknowledged.load(Ordering::Relaxed) + 1;
    until(|| acknowledged.load(Ordering::Relaxed) > after + 20).await?;
    stop.store(true, Ordering::Relaxed);
    writer.await??;
    number("objects acknowledged before the backup, begun at its end", format!("{before}, {after}"));
    Ok((before, after))
}

async fn until(holds: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !holds() {
        ensure!(begun.elapsed() < Duration::from_secs(60), "the writer does not get on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// One byte flipped at each of many places: `kvfs meta verify` finds every one.
async fn flipped(group: &Group, flips: u64) -> Result<()> {
    let (backup, spoilt) = (group.dir.join("backup.kvfs"), group.dir.join("spoilt.kvfs"));
    let mut bytes = std::fs::read(&backup)?;
    ensure!(verifies(&backup).await?, "the backup itself does not verify");
    let mut random = 3;
    for _ in 0..flips {
        let place = (next(&mut random) % bytes.len() as u64) as usize;
        let bits = (next(&mut random) % 255 + 1) as u8;
        bytes[place] ^= bits;
        std::fs::write(&spoilt, &bytes)?;
        ensure!(!verifies(&spoilt).await?, "byte {place} was changed by {bits:#x}, and verify did not find it");
        bytes[place] ^= bits;
    }
    number("flipped bytes found", format!("{flips} of {flips}, in {} bytes", bytes.len()));
    Ok(())
}

async fn verifies(file: &Path) -> Result<bool> {
    let output =
        tokio::process::Command::new(binary()?).args(["meta", "verify"]).arg(file).env_clear().output().await?;
    Ok(output.status.success())
}

/// A restore against nodes that have gone on: the state of one log position, nothing deleted before the hold is released, and what is
/// missing is named.
async fn restored(group: &mut Group, objects: u64, before: u64, after: u64) -> Result<()> {
    put_all(group, after + 1_000..after + 1_020).await?;
    for nth in 0..3 {
        group.stop_coord(nth).await?;
    }
    let files = files(group)?;
    let own = group.coord_addrs[0].clone();
    let restore = ["meta", "restore", "--from", "backup.kvfs", "--data-dir", "coord0", "--force", "--self-url", &own];
    group.kvfs(&restore).await?;
    group.restart_coord(0).await?;
    group.until_led().await?;
    let last = prefix(group, objects, before, after).await?;
    number("restored: the state of one log position", format!("objects up to {last}, and none after"));
    // Several passes of the garbage collector go by.
    let passes = group.admin().status().await?.gc.passes;
    let begun = Instant::now();
    while group.admin().status().await?.gc.passes < passes + 3 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "the garbage collector does nothing at all");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(self::files(group)? == files, "files were deleted while deletes are on hold");
    lose(group, 7)?;
    let refused = group.kvfs(&["meta", "release-hold", "--coord", &own]).await;
    let told = refused.err().context("the hold was lifted in spite of a loss")?.to_string();
    ensure!(told.contains("0000007"), "an object that lacks its chunk is not named: {told}");
    ensure!(group.admin().status().await?.hold_deletes.is_some(), "the hold was lifted in spite of a loss");
    group.kvfs(&["meta", "release-hold", "--force", "--coord", &own]).await?;
    ensure!(group.admin().status().await?.hold_deletes.is_none(), "the hold was not lifted by force");
    number("nothing was deleted before the release, the lost object was named", "yes");
    Ok(())
}

/// The last object there is: all before it are, none after it is, and that is between what was acknowledged before and begun after.
async fn prefix(group: &Group, objects: u64, before: u64, after: u64) -> Result<u64> {
    let native = &group.natives[0];
    let mut last = None;
    for nth in objects..after + 1_020 {
        match (told(native, nth).await?, last) {
            (true, None) => {}
            (false, None) => last = Some(nth),
            (true, Some(gap)) => bail!("object {nth} is there, and {gap} before it is not"),
            (false, Some(_)) => {}
        }
    }
    let last = last.context("everything is there, also what came after the backup")?;
    ensure!((before..=after).contains(&last), "{last} objects; the backup was begun at {before} and done at {after}");
    for nth in 0..objects {
        ensure!(told(native, nth).await?, "object {nth} is gone");
    }
    Ok(last)
}

/// Whether object `nth` is there, from a gateway that needs a lease of the new generation first, and says 503 until it has one.
async fn told(native: &Native, nth: u64) -> Result<bool> {
    let begun = Instant::now();
    loop {
        match is_there(native, nth).await {
            Ok(there) => return Ok(there),
            Err(error) if begun.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// All chunk files of all nodes.
fn files(group: &Group) -> Result<Vec<std::path::PathBuf>> {
    let mut all = Vec::new();
    for nth in 0..group.node_addrs.len() {
        all.extend(chunk_files(&group.dir.join(format!("dn{nth}")))?);
    }
    Ok(all)
}

/// Removes every copy of object `nth`'s chunk.
fn lose(group: &Group, nth: u64) -> Result<()> {
    let id = domain::ChunkId::of(format!("object {nth} and nothing else").as_bytes()).to_hex();
    let mut lost = 0;
    for file in files(group)?.iter().filter(|file| file.ends_with(&id[2..])) {
        std::fs::remove_file(file)?;
        lost += 1;
    }
    ensure!(lost > 0, "object {nth} has no copies to lose");
    Ok(())
}
