//! Verbs about objects: put, get, stat, rm, sign.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use client::Native;
use client::native::{Download, PutAnswer};
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::output::{Output, human};
use crate::progress::Progress;
use crate::target::Target;

/// How much of a file is read at once.
const READ_BYTES: usize = 1 << 20;

/// Options of a put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// Media type; guessed by nobody.
    pub content_type: Option<String>,
    /// Durable copies before the answer.
    pub write_quorum: Option<String>,
    /// `fixed`, or `cdc` to cut where the content says.
    pub chunk_mode: Option<String>,
    /// K+M: in stripes of so many shards.
    pub scheme: Option<String>,
    /// `If-None-Match: *`: only if there is no such object.
    pub create_only: bool,
}

/// Stores `source` (a file, or `-` for standard input) and returns after the acknowledgement.
pub async fn put(
    native: &Native,
    source: &Path,
    target: &Target,
    options: &PutOptions,
    output: Output,
    out: &mut dyn Write,
) -> Result<()> {
    let mut headers = HeaderMap::new();
    let mut header = |name: &'static str, value: &str| -> Result<()> {
        let value = HeaderValue::from_str(value).with_context(|| format!("{value:?} cannot be sent as {name}"))?;
        headers.insert(HeaderName::from_static(name), value);
        Ok(())
    };
    if let Some(kind) = &options.content_type {
        header("content-type", kind)?;
    }
    if let Some(quorum) = &options.write_quorum {
        header(api::routes::HEADER_W, quorum)?;
    }
    if let Some(mode) = &options.chunk_mode {
        header(api::routes::HEADER_CHUNK_MODE, mode)?;
    }
    if let Some(scheme) = &options.scheme {
        header(api::routes::HEADER_EC, scheme)?;
    }
    if options.create_only {
        header("if-none-match", "*")?;
    }
    let progress;
    let answer = if source == Path::new("-") {
        progress = Progress::of_one(None);
        native.put(&target.bucket, &target.key, None, headers, pieces(tokio::io::stdin(), progress.clone())).await
    } else {
        let file = tokio::fs::File::open(source).await.with_context(|| format!("opening {}", source.display()))?;
        let metadata = file.metadata().await?;
        if !metadata.is_file() {
            bail!("{} is not a file", source.display());
        }
        progress = Progress::of_one(Some(metadata.len()));
        let body = pieces(file, progress.clone());
        let stored = native.put(&target.bucket, &target.key, Some(metadata.len()), headers, body).await;
        still_has(source, metadata.len()).await?;
        stored
    };
    progress.end();
    output.write(out, &answer?, |out, answer: &PutAnswer| {
        let PutAnswer { bucket, key, size, version, .. } = answer;
        writeln!(out, "stored {bucket}/{key}: {} as version {version}", human(*size))
    })?;
    Ok(())
}

/// A reader's bytes as a stream of pieces.
pub(crate) fn pieces<R: AsyncRead + Unpin + Send + Sync + 'static>(
    reader: R,
    progress: Progress,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static {
    futures_util::stream::try_unfold((reader, progress), |(mut reader, progress)| async move {
        let mut piece = BytesMut::with_capacity(READ_BYTES);
        let read = reader.read_buf(&mut piece).await?;
        progress.moved(read as u64);
        Ok((read > 0).then(|| (piece.freeze(), (reader, progress))))
    })
}

/// What may be asked of a download.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// Only these bytes: FIRST-LAST, FIRST- or -COUNT.
    pub range: Option<String>,
    /// Whole copies that must be fetched and agree.
    pub read_quorum: Option<String>,
}

/// Fetches the object into `destination` (`-` or none: standard output) and returns after its verified last byte.
///
/// A file appears under its name only when it is complete: it is written beside it and renamed over it.
pub async fn get(native: &Native, target: &Target, destination: Option<&Path>, options: &GetOptions) -> Result<u64> {
    let mut headers = HeaderMap::new();
    if let Some(range) = &options.range {
        let value = format!("bytes={range}");
        headers.insert("range", HeaderValue::from_str(&value).with_context(|| format!("{range:?} is no range"))?);
    }
    if let Some(quorum) = &options.read_quorum {
        let value = HeaderValue::from_str(quorum).with_context(|| format!("{quorum:?} is no number of copies"))?;
        headers.insert(api::routes::HEADER_R, value);
    }
    let download = native.get(&target.bucket, &target.key, headers).await?;
    match destination.filter(|path| *path != Path::new("-")) {
        None => {
            let mut out = tokio::io::stdout();
            let bytes = copy(download, &mut out, &Progress::quiet()).await?;
            out.flush().await?;
            Ok(bytes)
        }
        Some(path) => {
            let path = match path.is_dir() {
                true => path.join(last_part(&target.key)?),
                false => path.to_path_buf(),
            };
            let progress = Progress::of_one(download.length);
            let copied = into_file(download, &path, &progress).await;
            progress.end();
            copied
        }
    }
}

/// Writes a download beside `path`, and renames it there once it is complete.
pub(crate) async fn into_file(download: Download, path: &Path, progress: &Progress) -> Result<u64> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let part = path.with_file_name(part_name(name));
    let create = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&part).await;
    let mut file = create.with_context(|| format!("creating {}", part.display()))?;
    let copied = match copy(download, &mut file, progress).await {
        Ok(bytes) => file.flush().await.map(|()| bytes).map_err(Into::into),
        Err(error) => Err(error),
    };
    let named = match copied {
        Ok(bytes) => {
            tokio::fs::rename(&part, path).await.map(|()| bytes).with_context(|| format!("writing {}", path.display()))
        }
        Err(error) => Err(error),
    };
    if named.is_err() {
        tokio::fs::remove_file(&part).await.ok();
    }
    named
}

/// A name beside a file for what is not complete yet: of its own for each download, however alike the files' names are.
fn part_name(name: &OsStr) -> OsString {
    static DOWNLOADS: AtomicU64 = AtomicU64::new(0);
    let mut part = OsString::from(".");
    // Names may be 255 bytes long, and this one must not be longer.
    part.push(OsStr::from_bytes(&name.as_bytes()[..name.len().min(200)]));
    part.push(format!(".{}.{}.part", std::process::id(), DOWNLOADS.fetch_add(1, Ordering::Relaxed)));
    part
}

/// Errs if a file is not as long as it was when it was announced: what was stored then is a piece of it.
pub(crate) async fn still_has(path: &Path, bytes: u64) -> Result<()> {
    let found = tokio::fs::metadata(path).await.with_context(|| format!("reading {}", path.display()))?.len();
    if found != bytes {
        bail!(
            "{} changed while it was stored: {bytes} bytes were announced, and it has {found} now; store it again",
            path.display()
        );
    }
    Ok(())
}

async fn copy(
    mut download: Download,
    out: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    progress: &Progress,
) -> Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = download.next().await? {
        out.write_all(&piece).await.context("writing what was fetched")?;
        bytes += piece.len() as u64;
        progress.moved(piece.len() as u64);
    }
    match download.length {
        Some(length) if length != bytes => bail!("{bytes} of {length} bytes came; try again"),
        _ => Ok(bytes),
    }
}

/// What a key gives as a file's name: its last part that is one.
pub(crate) fn last_part(key: &[u8]) -> Result<String> {
    let key = String::from_utf8_lossy(key).into_owned();
    match key.rsplit('/').find(|part| !part.is_empty() && *part != "." && *part != "..") {
        Some(part) => Ok(part.to_string()),
        None => bail!("{key:?} gives no file name; name the file"),
    }
}

/// What is known of an object.
#[derive(Debug, Serialize)]
struct Stat {
    bucket: String,
    key: String,
    size: u64,
    version: u64,
    etag: String,
    content_type: String,
    last_modified: String,
    chunks: u64,
}

/// Shows what is known of an object.
pub async fn stat(native: &Native, target: &Target, output: Output, out: &mut dyn Write) -> Result<()> {
    let headers = native.head(&target.bucket, &target.key).await?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string();
    let stat = Stat {
        bucket: target.bucket.clone(),
        key: String::from_utf8_lossy(&target.key).into_owned(),
        size: text("content-length").parse().unwrap_or(0),
        version: text(api::routes::HEADER_VERSION).parse().unwrap_or(0),
        etag: text("etag").trim_matches('"').to_string(),
        content_type: text("content-type"),
        last_modified: text("last-modified"),
        chunks: text(api::routes::HEADER_CHUNKS).parse().unwrap_or(0),
    };
    output.write(out, &stat, |out, stat| {
        writeln!(out, "{}/{}", stat.bucket, stat.key)?;
        writeln!(out, "  size      {} ({} bytes)", human(stat.size), stat.size)?;
        writeln!(out, "  version   {}", stat.version)?;
        writeln!(out, "  modified  {}", stat.last_modified)?;
        writeln!(out, "  type      {}", stat.content_type)?;
        writeln!(out, "  etag      {}", stat.etag)?;
        writeln!(out, "  chunks    {}", stat.chunks)
    })?;
    Ok(())
}

/// Removes an object.
pub async fn rm(native: &Native, target: &Target, output: Output, out: &mut dyn Write) -> Result<()> {
    native.delete(&target.bucket, &target.key).await?;
    let name = format!("{}/{}", target.bucket, String::from_utf8_lossy(&target.key));
    output.write(out, &serde_json::json!({ "removed": name }), |out, _| writeln!(out, "removed {name}"))?;
    Ok(())
}

/// What to sign.
#[derive(Clone, Copy, Debug)]
pub struct SignRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path as it will stand in the URL, or `BUCKET/KEY`.
    pub path: &'a str,
    /// What is printed before the path.
    pub base: &'a str,
    /// For how many seconds it is good.
    pub ttl_s: i64,
}

/// Prints `path?query` that lets its holder do the method to the path for a while.
pub fn sign(native: &Native, request: &SignRequest<'_>, output: Output, out: &mut dyn Write) -> Result<()> {
    let SignRequest { method, path, base, ttl_s } = *request;
    let path = match path.starts_with('/') {
        true => path.to_string(),
        false => {
            let target = Target::object(path)?;
            Native::object_path(&target.bucket, &target.key)
        }
    };
    let signed = format!("{base}{}", native.sign(&method.to_uppercase(), &path, ttl_s));
    output.write(out, &serde_json::json!({ "url": signed }), |out, _| writeln!(out, "{signed}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_complete_yet_has_a_name_of_its_own() {
        let names = [&b"a"[..], b"a", b"\xff", b"\xfe", &[b'x'; 255]].map(|name| part_name(OsStr::from_bytes(name)));
        for (nth, name) in names.iter().enumerate() {
            assert!(name.len() <= 255 && !names[..nth].contains(name), "{name:?}");
        }
    }
}
