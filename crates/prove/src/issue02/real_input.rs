//! Real input: a large file and the machine's own files, in and out, and what that costs in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use client::Native;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::cluster::Up;
use crate::content::{Content, digest};
use crate::report::number;

const MIB: u64 = 1 << 20;

/// Streams of the memory test.
const STREAMS: u64 = 16;

/// Requests at once for small files.
const AT_ONCE: usize = 16;

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    one_large_stream(if quick { 128 * MIB } else { 1024 * MIB }).await?;
    many_streams(if quick { 24 * MIB } else { 256 * MIB }).await?;
    a_tree(if quick { 400 } else { 20_000 }).await
}

async fn one_large_stream(size: u64) -> Result<()> {
    let home = tempfile::tempdir()?;
    let up = Up::start(home.path(), &[]).await?;
    let content = Content { seed: 77, size };
    let begun = Instant::now();
    up.native.put("big", b"one", Some(size), HeaderMap::new(), content.body()).await?;
    let put = begun.elapsed();
    let begun = Instant::now();
    ensure!(content.same(up.native.get("big", b"one", HeaderMap::new()).await?).await?, "the large file differs");
    let get = begun.elapsed();
    let rate = |took: std::time::Duration| format!("{:.0} MiB/s", (size / MIB) as f64 / took.as_secs_f64());
    number(&format!("{} MiB in one stream: put, get", size / MIB), format!("{}, {}", rate(put), rate(get)));
    bounded(&up, "one stream in and out", 160).await?;
    up.daemon.stop().await
}

async fn many_streams(size: u64) -> Result<()> {
    let home = tempfile::tempdir()?;
    let up = Up::start(home.path(), &[]).await?;
    let begun = Instant::now();
    let put = |seed| {
        let (native, content) = (up.native.clone(), Content { seed, size });
        async move {
            let key = format!("stream-{seed}");
            native.put("big", key.as_bytes(), Some(size), HeaderMap::new(), content.body()).await.map(drop)
        }
    };
    stream::iter(0..STREAMS).map(put).buffer_unordered(STREAMS as usize).try_collect::<()>().await?;
    let all = (STREAMS * size / MIB) as f64;
    number(
        &format!("{STREAMS} streams of {} MiB at once: put", size / MIB),
        format!("{:.0} MiB/s", all / begun.elapsed().as_secs_f64()),
    );
    let begun = Instant::now();
    let get = |seed| {
        let (native, content) = (up.native.clone(), Content { seed, size });
        async move {
            let found = native.get("big", format!("stream-{seed}").as_bytes(), HeaderMap::new()).await?;
            anyhow::Ok(content.same(found).await?)
        }
    };
    let same: Vec<bool> = stream::iter(0..STREAMS).map(get).buffer_unordered(STREAMS as usize).try_collect().await?;
    ensure!(same.iter().all(|same| *same), "a stream differs");
    number(
        &format!("{STREAMS} streams of {} MiB at once: get", size / MIB),
        format!("{:.0} MiB/s", all / begun.elapsed().as_secs_f64()),
    );
    bounded(&up, "16 streams in and out", 256 + 128).await?;
    up.daemon.stop().await
}

async fn bounded(up: &Up, what: &str, limit_mib: u64) -> Result<()> {
    let peak = up.daemon.memory_kib("VmHWM")? / 1024;
    number(&format!("peak resident memory, {what}"), format!("{peak} MiB (limit {limit_mib})"));
    ensure!(peak <= limit_mib, "{what}: {peak} MiB resident, {limit_mib} allowed");
    Ok(())
}

async fn a_tree(wanted: usize) -> Result<()> {
    let files = files_below(Path::new("/usr"), wanted)?;
    ensure!(files.len() == wanted, "/usr has only {} files", files.len());
    let home = tempfile::tempdir()?;
    let up = Up::start(home.path(), &[]).await?;
    let begun = Instant::now();
    let hashes: BTreeMap<String, [u8; 32]> = stream::iter(files)
        .map(|file| store_file(up.native.clone(), file))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    number(
        &format!("{wanted} files of /usr: put"),
        format!("{:.0} files/s", wanted as f64 / begun.elapsed().as_secs_f64()),
    );

    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = up.native.list("usr", b"", after.as_deref()).await?;
        listed.extend(page.objects.into_iter().map(|object| object.key));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    ensure!(listed.iter().eq(hashes.keys()), "the list differs from what was stored");

    let begun = Instant::now();
    let compare = |(key, hash): (String, [u8; 32])| {
        let native = up.native.clone();
        async move {
            let found = digest(native.get("usr", key.as_bytes(), HeaderMap::new()).await?).await?;
            ensure!(found == hash, "{key} differs");
            Ok(())
        }
    };
    stream::iter(hashes).map(compare).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    number(
        &format!("{wanted} files of /usr: get"),
        format!("{:.0} files/s, all identical", wanted as f64 / begun.elapsed().as_secs_f64()),
    );
    up.daemon.stop().await
}

async fn store_file(native: Native, file: PathBuf) -> Result<(String, [u8; 32])> {
    let bytes = tokio::fs::read(&file).await.with_context(|| format!("reading {}", file.display()))?;
    let key = file.to_str().context("a name that is text")?.trim_start_matches('/').to_string();
    let (hash, length) = (Sha256::digest(&bytes).into(), bytes.len() as u64);
    let body = stream::iter([Ok::<_, std::io::Error>(bytes.into())]);
    let stored = native.put("usr", key.as_bytes(), Some(length), HeaderMap::new(), body).await;
    stored.with_context(|| format!("storing {key}"))?;
    Ok((key, hash))
}

/// At most `wanted` plain files, with names that are text, below `root`.
fn files_below(root: &Path, wanted: usize) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.path().to_str().is_some() {
                files.push(entry.path());
                if files.len() == wanted {
                    return Ok(files);
                }
            }
        }
    }
    Ok(files)
}
