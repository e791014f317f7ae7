//! fsync is real: system calls in the order in which they happened, and no `201` before its syncs.
//!
//! `strace` writes one line a system call (two, where another thread's calls come between its beginning and its end). For each
//! acknowledged put the chunk's id is known; so on the timeline, before the `201` leaves, the chunk's temporary file must have
//! been synced, renamed to that id, and its directory synced, on W nodes, and then the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use domain::ChunkId;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use tokio::process::Command;

use crate::cluster::Up;
use crate::content::Content;
use crate::report::number;

/// Write quorum of the store under trace.
const W: usize = 2;

/// Puts at once: enough that equal chunks are on their way together.
const AT_ONCE: usize = 8;

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let requests = if quick { 100 } else { 1_000 };
    let home = tempfile::tempdir()?;
    let trace = home.path().join("trace");
    let up = Up::start(home.path(), &[]).await?;
    let mut strace = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "400",
            "-e",
            "trace=fdatasync,fsync,rename,renameat,renameat2,write,writev,sendto,sendmsg",
        ])
        .arg("-o")
        .arg(&trace)
        .args(["-p", &up.daemon.id()?.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting strace; is it installed?")?;
    until_attached(&up, &trace).await?;
    // Every content is put twice, at nearly the same time: half of the puts find their chunk present, or being written.
    let put = |request: u64| {
        let (native, content) = (up.native.clone(), content(request));
        async move {
            let key = format!("k{request:05}");
            native.put("fsync", key.as_bytes(), Some(content.size), HeaderMap::new(), content.body()).await.map(drop)
        }
    };
    stream::iter(0..requests).map(put).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    up.daemon.stop().await?;
    let ended = tokio::time::timeout(Duration::from_secs(20), strace.wait()).await;
    ended.context("strace did not end with its process")??;
    let verdict = judge(&std::fs::read_to_string(&trace)?, requests)?;
    number("acknowledged puts on the timeline", verdict.acknowledged);
    number("of these, found their chunk present", verdict.acknowledged - verdict.written_first);
    number(
        "syncs: of chunk files, of directories, of the log",
        format!("{}, {}, {}", verdict.files, verdict.directories, verdict.log),
    );
    ensure!(verdict.acknowledged == requests as usize, "only {} of {requests} were found", verdict.acknowledged);
    Ok(())
}

fn content(request: u64) -> Content {
    Content { seed: request / 2 + 1, size: 2_000 }
}

/// Sends small puts until one of them shows on the trace.
async fn until_attached(up: &Up, trace: &Path) -> Result<()> {
    for attempt in 0..2_000_u64 {
        let content = Content { seed: attempt << 32, size: 10 };
        let key = format!("attach-{attempt}");
        up.native.put("warmup", key.as_bytes(), Some(10), HeaderMap::new(), content.body()).await?;
        if std::fs::read_to_string(trace).unwrap_or_default().contains("\\\"key\\\":\\\"attach-") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("strace shows nothing of the process")
}

/// What the timeline showed.
#[derive(Debug, Default)]
struct Verdict {
    acknowledged: usize,
    written_first: usize,
    files: usize,
    directories: usize,
    log: usize,
}

/// One finished call: the lines at which it began and ended.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    text: String,
    began: usize,
    ended: usize,
}

fn judge(trace: &str, requests: u64) -> Result<Verdict> {
    let calls = calls(trace);
    let mut verdict = Verdict::default();
    let timeline = Timeline::of(&calls, &mut verdict);
    let mut seen = BTreeSet::new();
    for call in calls.iter().filter(|call| call.text.contains("HTTP/1.1 201")) {
        let Some(key) = text_between(&call.text, "\\\"key\\\":\\\"k", "\\\"") else { continue };
        let request: u64 = key.parse()?;
        ensure!(request < requests, "a 201 for a request that was never sent: {key}");
        let chunk = ChunkId::of(&content(request).bytes()).to_hex();
        timeline.allows(&chunk, call.began).with_context(|| format!("request {request} was acknowledged too early"))?;
        verdict.acknowledged += 1;
        verdict.written_first += usize::from(seen.insert(chunk));
    }
    Ok(verdict)
}

/// What was durable when.
#[derive(Default)]
struct Timeline {
    /// By chunk and node: the line at which its directory's sync ended, after rename, after its data's sync.
    durable: BTreeMap<(String, String), usize>,
    /// Each sync of the log: began, ended.
    log: Vec<(usize, usize)>,
}

impl Timeline {
    fn of(calls: &[Call], verdict: &mut Verdict) -> Self {
        let mut timeline = Timeline::default();
        let mut synced_files: HashMap<String, usize> = HashMap::new();
        // By directory: chunks renamed into it and not yet synced, with the line at which the rename ended.
        let mut renamed: HashMap<String, Vec<(String, String, usize)>> = HashMap::new();
        for call in calls {
            match call.name.as_str() {
                "fdatasync" | "fsync" => {
                    let Some(path) = text_between(&call.text, "<", ">") else { continue };
                    if path.contains("/meta/log") {
                        timeline.log.push((call.began, call.ended));
                        verdict.log += 1;
                    } else if let Some(waiting) = renamed.get_mut(path) {
                        verdict.directories += 1;
                        for (chunk, node, _) in waiting.extract_if(.., |(_, _, at)| *at < call.began) {
                            timeline.durable.entry((chunk, node)).or_insert(call.ended);
                        }
                    } else if path.contains("/nodes/") {
                        verdict.files += 1;
                        synced_files.insert(path.to_string(), call.ended);
                    }
                }
                _ if call.name.starts_with("rename") => {
                    let paths: Vec<_> = call.text.split('"').skip(1).step_by(2).collect();
                    let [from, to] = paths[..] else { continue };
                    let synced = synced_files.iter().find(|(path, _)| path.ends_with(from) || from.ends_with(*path));
                    let (Some((_, at)), Some((directory, chunk, node))) = (synced, chunk_path(to)) else { continue };
                    if *at < call.began {
                        renamed.entry(directory).or_default().push((chunk, node, call.ended));
                    }
                }
                _ => {}
            }
        }
        timeline
    }

    /// Whether a `201` at line `at` for this chunk was allowed: durable on W nodes before, and the log synced after that.
    fn allows(&self, chunk: &str, at: usize) -> Result<()> {
        let mut nodes: Vec<usize> =
            self.durable.iter().filter(|((id, _), _)| id == chunk).map(|(_, ended)| *ended).collect();
        nodes.sort_unstable();
        let Some(&written) = nodes.get(W - 1) else {
            bail!("chunk {chunk} became durable on {} nodes in all", nodes.len());
        };
        ensure!(written < at, "chunk {chunk} was durable on {W} nodes at line {written}, the 201 left at line {at}");
        ensure!(
            self.log.iter().any(|(began, ended)| *began > written && *ended < at),
            "the log was not synced between line {written} and the 201 at line {at}"
        );
        Ok(())
    }
}

/// Directory as `strace -y` shows it, chunk id and node of a chunk's path.
fn chunk_path(path: &str) -> Option<(String, String, String)> {
    let (directory, rest) = path.rsplit_once('/')?;
    let (parent, bucket) = directory.rsplit_once('/')?;
    let node = parent.strip_suffix("/chunks")?.rsplit('/').next()?;
    let absolute = match path.starts_with('/') {
        true => directory.to_string(),
        false => directory.trim_start_matches("./").to_string(),
    };
    Some((absolute, format!("{bucket}{rest}"), node.to_string()))
}

fn text_between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let from = text.find(before)? + before.len();
    Some(&text[from..from + text[from..].find(after)?])
}

/// The calls of a trace, in the order in which they ended; a call that was cut in two is put together again.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: HashMap<&str, (String, usize)> = HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, rest)) = text.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix("<unfinished ...>") {
            open.insert(thread, (beginning.to_string(), line));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let end = resumed.split_once('>').map_or("", |(_, end)| end);
            let Some((beginning, began)) = open.remove(thread) else { continue };
            calls.push(call(format!("{beginning}{end}"), began, line));
        } else {
            calls.push(call(rest.to_string(), line, line));
        }
    }
    calls
}

fn call(text: String, began: usize, ended: usize) -> Call {
    let name = text.split('(').next().unwrap_or_default().to_string();
    Call { name, text, began, ended }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(acknowledge_early: bool) -> String {
        let chunk = ChunkId::of(&content(0).bytes()).to_hex();
        let (bucket, rest) = chunk.split_at(2);
        let put = |node: u32| {
            format!(
                "1{node} fdatasync(9</d/nodes/node-{node}/tmp/x{node}> <unfinished ...>\n\
                 77 write(1</dev/null>, \"x\", 1) = 1\n\
                 1{node} <... fdatasync resumed>) = 0\n\
                 1{node} rename(\"/d/nodes/node-{node}/tmp/x{node}\", \"/d/nodes/node-{node}/chunks/{bucket}/{rest}\") = 0\n\
                 1{node} fsync(8</d/nodes/node-{node}/chunks/{bucket}>) = 0\n"
            )
        };
        let answer = "5 writev(3<socket>, [{iov_base=\"HTTP/1.1 201 Created..{\\\"bucket\\\":\\\"b\\\",\\\"key\\\":\\\"k00000\\\"\"}]) = 9\n";
        let log = "6 fdatasync(4</d/meta/log/r1>) = 0\n";
        match acknowledge_early {
            false => format!("{}{}{log}{answer}", put(1), put(2)),
            true => format!("{}{log}{answer}{}", put(1), put(2)),
        }
    }

    #[test]
    fn a_201_after_its_syncs_is_accepted_and_one_before_them_is_not() {
        assert_eq!(judge(&trace(false), 1).unwrap().acknowledged, 1);
        assert!(judge(&trace(true), 1).is_err(), "one node is not a quorum");
        let without_log: String =
            trace(false).lines().filter(|line| !line.contains("/log/")).map(|line| format!("{line}\n")).collect();
        assert!(judge(&without_log, 1).is_err(), "the log was never synced");
        let unsynced: String = trace(false).replace("fsync(8", "close(8");
        assert!(judge(&unsynced, 1).is_err(), "the directory was never synced");
    }
}
