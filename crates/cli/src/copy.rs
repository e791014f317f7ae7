//! `kvfs cp`: files and directories into the store, and back out of it.
//!
//! What is equal already is not copied again, so a copy that was interrupted goes on where it was when it is run again. Equal
//! means: the same size and the same entity tag, which is computed from the local file ([`domain::etag`]). That trusts no time stamp.
//!
//! Keys are any bytes, and file names are not: a key that would lead out of the directory (`..`, `//`, a zero byte) is not fetched but
//! reported, and so is a key that is a file and a directory at the same time (`a` and `a/b`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use client::Native;
use domain::cdc::{Cutter, Profile};
use domain::chunking::{ChunkMode, DEFAULT_CHUNK_BYTES};
use domain::etag::{EtagHasher, chunks_of};
use domain::{ChunkId, id};
use futures_util::StreamExt;
use http::HeaderMap;
use serde::Serialize;

use crate::objects;
use crate::output::{Output, human};
use crate::progress::Progress;
use crate::target::Target;

/// Problems that are listed; further ones are counted.
const MAX_PROBLEMS: usize = 20;

/// Options of a copy.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Whole directories.
    pub recursive: bool,
    /// Files at the same time.
    pub jobs: usize,
    /// Copy what is equal too.
    pub force: bool,
}

/// What a copy came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    copied: u64,
    equal: u64,
    skipped: u64,
    failed: u64,
    bytes: u64,
    seconds: f64,
    problems: Vec<String>,
}

/// One file to copy.
struct Item {
    local: PathBuf,
    key: Vec<u8>,
    bytes: u64,
    /// The object's tag, where there is an object.
    etag: Option<String>,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Copies `source` to `destination`. A source that is a file or directory here goes up; any other is `BUCKET/KEY`, and comes down.
pub async fn cp(
    native: &Native,
    source: &str,
    destination: &str,
    options: &CopyOptions,
    output: Output,
    out: &mut dyn Write,
) -> Result<()> {
    let begun = Instant::now();
    let local = Path::new(source);
    let (way, bucket, items, mut report) = if !source.starts_with(REMOTE) && local.exists() {
        let target = Target::prefix(destination.strip_prefix(REMOTE).unwrap_or(destination))?;
        let (items, skipped) = upload_plan(native, local, &target, options).await?;
        (Way::Up, target.bucket, items, Report { skipped, ..Report::default() })
    } else {
        if local.is_absolute() || source.starts_with('.') {
            bail!("there is no {source} here to copy");
        }
        let target = Target::prefix(source.strip_prefix(REMOTE).unwrap_or(source))?;
        let (items, report) = download_plan(native, &target, Path::new(destination), options).await?;
        (Way::Down, target.bucket, items, report)
    };
    let progress = match output {
        Output::Text => Progress::of_many(items.len() as u64, items.iter().map(|item| item.bytes).sum()),
        Output::Json => Progress::quiet(),
    };
    let copying = items.iter().map(|item| one(native, way, &bucket, item, options.force, &progress));
    let mut copying = futures_util::stream::iter(copying).buffer_unordered(options.jobs.max(1));
    while let Some(outcome) = copying.next().await {
        match outcome {
            Ok(Some(bytes)) => (report.copied, report.bytes) = (report.copied + 1, report.bytes + bytes),
            Ok(None) => report.equal += 1,
            Err(error) => report.problem(format!("{error:#}")),
        }
    }
    drop(copying);
    progress.end();
    report.seconds = begun.elapsed().as_secs_f64();
    output.write(out, &report, |out, report| report.show(out))?;
    match report.failed {
        0 => Ok(()),
        failed => bail!(
            "{failed} of {} were not copied; run it again to try only those",
            failed + report.copied + report.equal
        ),
    }
}

/// What marks a name as one in the store, where a file of that name exists here too.
const REMOTE: &str = "kvfs:";

impl Report {
    fn problem(&mut self, text: String) {
        self.failed += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(text);
        }
    }

    fn show(&self, out: &mut dyn Write) -> std::io::Result<()> {
        self.problems.iter().try_for_each(|problem| writeln!(out, "not copied: {problem}"))?;
        let rate = human((self.bytes as f64 / self.seconds.max(0.001)) as u64);
        write!(out, "copied {} ({}, {rate}/s)", self.copied, human(self.bytes))?;
        for (count, what) in
            [(self.equal, "equal already"), (self.skipped, "neither files nor directories"), (self.failed, "failed")]
        {
            if count > 0 {
                write!(out, ", {count} {what}")?;
            }
        }
        writeln!(out)
    }
}

/// Copies one file; the bytes moved, or `None` if it was equal.
async fn one(
    native: &Native,
    way: Way,
    bucket: &str,
    item: &Item,
    force: bool,
    progress: &Progress,
) -> Result<Option<u64>> {
    let outcome = match !force && is_equal(item).await {
        true => {
            progress.spared(item.bytes);
            Ok(None)
        }
        false => match way {
            Way::Up => upload(native, bucket, item, progress).await.map(Some),
            Way::Down => download(native, bucket, item, progress).await.map(Some),
        },
    };
    progress.file_done();
    outcome.with_context(|| match way {
        Way::Up => item.local.display().to_string(),
        Way::Down => format!("{bucket}/{}", String::from_utf8_lossy(&item.key)),
    })
}

async fn upload(native: &Native, bucket: &str, item: &Item, progress: &Progress) -> Result<u64> {
    let file = tokio::fs::File::open(&item.local).await.context("opening it")?;
    let body = objects::pieces(file, progress.clone());
    native.put(bucket, &item.key, Some(item.bytes), HeaderMap::new(), body).await?;
    objects::still_has(&item.local, item.bytes).await?;
    Ok(item.bytes)
}

async fn download(native: &Native, bucket: &str, item: &Item, progress: &Progress) -> Result<u64> {
    if let Some(parent) = item.local.parent() {
        tokio::fs::create_dir_all(parent).await.with_context(|| format!("making {}", parent.display()))?;
    }
    let found = native.get(bucket, &item.key, HeaderMap::new()).await?;
    objects::into_file(found, &item.local, progress).await
}

/// Whether the local file holds what the object's tag says.
async fn is_equal(item: &Item) -> bool {
    let Some(etag) = item.etag.clone() else { return false };
    let (path, bytes) = (item.local.clone(), item.bytes);
    if tokio::fs::metadata(&path).await.map_or(true, |found| found.len() != bytes || !found.is_file()) {
        return false;
    }
    // Other chunk lengths give other tags: then it counts as different, and is copied.
    let chunks = chunks_of(&etag);
    for mode in [ChunkMode::Fixed, ChunkMode::ContentDefined].into_iter().filter(|mode| possible(*mode, bytes, chunks))
    {
        let path = path.clone();
        let tag = tokio::task::spawn_blocking(move || tag_of(&path, mode)).await;
        if matches!(tag, Ok(Ok(tag)) if tag == etag) {
            return true;
        }
    }
    false
}

/// Whether `bytes` bytes can have been cut into that many chunks.
fn possible(mode: ChunkMode, bytes: u64, chunks: u64) -> bool {
    let least = |longest: u32| bytes.div_ceil(u64::from(longest)).max(1);
    match mode {
        ChunkMode::Fixed => chunks == least(DEFAULT_CHUNK_BYTES),
        ChunkMode::ContentDefined => (least(Profile::DEFAULT.max())..=least(Profile::DEFAULT.min())).contains(&chunks),
    }
}

fn tag_of(path: &Path, mode: ChunkMode) -> std::io::Result<String> {
    use std::io::Read;
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut chunk) = (EtagHasher::default(), Vec::new());
    let longest = match mode {
        ChunkMode::Fixed => DEFAULT_CHUNK_BYTES,
        ChunkMode::ContentDefined => Profile::DEFAULT.max(),
    };
    loop {
        let missing = u64::from(longest) - chunk.len() as u64;
        Read::take(&mut file, missing).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(hasher.finish());
        }
        let cut = match mode {
            ChunkMode::Fixed => None,
            ChunkMode::ContentDefined => Cutter::new(Profile::DEFAULT).feed(&chunk),
        };
        let rest = chunk.split_off(cut.unwrap_or(chunk.len()));
        hasher.add(&ChunkId::of(&chunk));
        chunk = rest;
    }
}

/// Everything below `local`, under the keys it gets; and how many entries are neither files nor directories.
async fn upload_plan(
    native: &Native,
    local: &Path,
    target: &Target,
    options: &CopyOptions,
) -> Result<(Vec<Item>, u64)> {
    if !local.is_dir() {
        let key = match target.key.is_empty() || target.key.ends_with(b"/") {
            true => [target.key.as_slice(), name_of(local)?.as_bytes()].concat(),
            false => target.key.clone(),
        };
        let found = std::fs::metadata(local).with_context(|| format!("reading {}", local.display()))?;
        if !found.is_file() {
            bail!("{} is not a file; `kvfs put -` takes what a pipe brings", local.display());
        }
        let bytes = found.len();
        let etag = native
            .head(&target.bucket, &key)
            .await
            .ok()
            .and_then(|head| Some(head.get("etag")?.to_str().ok()?.trim_matches('"').to_string()));
        return Ok((vec![Item { local: local.to_path_buf(), key, bytes, etag }], 0));
    }
    if !options.recursive {
        bail!("{} is a directory; copy it with -r", local.display());
    }
    let known = objects_below(native, target).await?;
    let (mut items, mut skipped, mut open) = (Vec::new(), 0, vec![local.to_path_buf()]);
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
            let kind = entry.file_type()?;
            let path = entry.path();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                let below = path.strip_prefix(local)?.as_os_str().as_bytes();
                let key = [below_prefix(&target.key).as_slice(), below].concat();
                let bytes = entry.metadata()?.len();
                let etag = known.get(&key).filter(|(size, _)| *size == bytes).map(|(_, etag)| etag.clone());
                items.push(Item { local: path, key, bytes, etag });
            } else {
                skipped += 1;
            }
        }
    }
    items.sort_by(|a, b| a.key.cmp(&b.key));
    Ok((items, skipped))
}

/// The objects that `target` names, and the files they become.
async fn download_plan(
    native: &Native,
    target: &Target,
    destination: &Path,
    options: &CopyOptions,
) -> Result<(Vec<Item>, Report)> {
    if !options.recursive {
        let head = native.head(&target.bucket, &target.key).await;
        let head = head.with_context(|| "an object is copied by its name, and all objects below a name with -r")?;
        let text = |name: &str| head.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string();
        let key = target.key.clone();
        let local = match destination.is_dir() {
            true => destination.join(objects::last_part(&key)?),
            false => destination.to_path_buf(),
        };
        let (bytes, etag) = (text("content-length").parse().unwrap_or(0), text("etag").trim_matches('"').to_string());
        return Ok((vec![Item { local, key, bytes, etag: Some(etag) }], Report::default()));
    }
    let (mut items, mut report) = (Vec::new(), Report::default());
    for (key, (bytes, etag)) in objects_below(native, target).await? {
        let below = &key[below_prefix(&target.key).len()..];
        match file_name(below) {
            Some(path) => items.push(Item { local: destination.join(path), key, bytes, etag: Some(etag) }),
            None => {
                report.problem(format!("{}/{}: its key is no file name", target.bucket, String::from_utf8_lossy(&key)))
            }
        }
    }
    if items.is_empty() && report.failed == 0 {
        bail!("there are no objects below {}/{}", target.bucket, String::from_utf8_lossy(&target.key));
    }
    Ok((items, report))
}

/// All objects below a prefix that is read as a directory, with size and tag.
async fn objects_below(native: &Native, target: &Target) -> Result<BTreeMap<Vec<u8>, (u64, String)>> {
    let (prefix, mut after) = (below_prefix(&target.key), None::<String>);
    let mut found = BTreeMap::new();
    loop {
        let page = native.list(&target.bucket, &prefix, after.as_deref()).await?;
        for object in page.objects {
            let key = match &object.key_hex {
                Some(hex) => {
                    let mut key = vec![0; hex.len() / 2];
                    if !id::unhex(hex, &mut key) {
                        bail!("the gateway listed a key that is none: {hex}");
                    }
                    key
                }
                None => object.key.into_bytes(),
            };
            found.insert(key, (object.size, object.etag));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// `a` and `a/` are the same directory; nothing is the top.
fn below_prefix(prefix: &[u8]) -> Vec<u8> {
    match prefix.is_empty() || prefix.ends_with(b"/") {
        true => prefix.to_vec(),
        false => [prefix, b"/"].concat(),
    }
}

/// A key as a path that stays where it is put; `None` if it would not.
fn file_name(key: &[u8]) -> Option<PathBuf> {
    let sane = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    key.split(|byte| *byte == b'/').all(sane).then(|| PathBuf::from(OsStr::from_bytes(key)))
}

fn name_of(path: &Path) -> Result<&OsStr> {
    path.file_name().with_context(|| format!("{} has no name of its own; name the object", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_lead_elsewhere_are_no_files() {
        for (key, file) in [
            ("a", true),
            ("a/b.c", true),
            ("...", true),
            ("a/..b", true),
            ("", false),
            ("/etc/passwd", false),
            ("../a", false),
            ("a/../../b", false),
            ("a//b", false),
            ("a/", false),
            (".", false),
            ("a\0b", false),
        ] {
            assert_eq!(file_name(key.as_bytes()).is_some(), file, "{key:?}");
        }
        assert_eq!(file_name(b"\xff/x").unwrap().as_os_str().as_bytes(), b"\xff/x");
    }

    #[test]
    fn a_files_tag_is_the_objects() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let tag = |mode| tag_of(file.path(), mode).unwrap();
        assert_eq!(tag(ChunkMode::Fixed), ChunkId::of(b"").to_hex());
        std::fs::write(file.path(), b"hello").unwrap();
        for mode in [ChunkMode::Fixed, ChunkMode::ContentDefined] {
            assert_eq!(tag(mode), ChunkId::of(b"hello").to_hex());
        }
        let bytes: Vec<u8> = (0..20_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(tag(ChunkMode::Fixed).ends_with("-5"));
        let mut hasher = EtagHasher::default();
        domain::cdc::cuts(&bytes, Profile::DEFAULT).for_each(|cut| hasher.add(&ChunkId::of(&bytes[cut])));
        assert_eq!(tag(ChunkMode::ContentDefined), hasher.finish());
    }

    #[test]
    fn how_many_chunks_there_can_be() {
        let mib = 1 << 20;
        for (mode, bytes, chunks, expected) in [
            (ChunkMode::Fixed, 0, 1, true),
            (ChunkMode::Fixed, 8 * mib, 2, true),
            (ChunkMode::Fixed, 8 * mib + 1, 2, false),
            (ChunkMode::ContentDefined, 17 * mib, 1, false),
            (ChunkMode::ContentDefined, 17 * mib, 2, true),
            (ChunkMode::ContentDefined, 17 * mib, 17, true),
            (ChunkMode::ContentDefined, 17 * mib, 18, false),
        ] {
            assert_eq!(possible(mode, bytes, chunks), expected, "{mode:?} {bytes} {chunks}");
        }
    }
}
