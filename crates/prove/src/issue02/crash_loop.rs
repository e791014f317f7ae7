//! `kill -9` of the whole store at random moments under writers, again and again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use client::Native;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use tokio::task::JoinSet;

use super::history::{History, State, resolve};
use crate::cluster::Up;
use crate::content::{Content, next};
use crate::report::number;

/// Writers at once.
const WRITERS: u64 = 16;

/// Reads at once while verifying.
const READERS: usize = 16;

/// Older keys read after each restart, besides those written since the last.
const OLDER: usize = 1000;

const BUCKET: &str = "crash";

/// One writer: its keys are its own.
struct Writer {
    id: u64,
    history: History,
    random: u64,
    next_key: u64,
    /// Keys written since the last kill.
    fresh: BTreeSet<String>,
}

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let (kills, acknowledged_at_least, restart_at) = if quick { (6, 500, 2_000) } else { (100, 50_000, 100_000) };
    let home = tempfile::tempdir()?;
    let mut writers: Vec<_> = (0..WRITERS).map(Writer::new).collect();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut random = 0xC0FF_EE11_u64;
    let mut starts = Vec::new();
    let mut up = Up::start(home.path(), &[]).await?;
    let mut round = 0;
    while round < kills || acknowledged.load(Ordering::Relaxed) < acknowledged_at_least {
        round += 1;
        // Every fifth kill comes within 300 ms of the restart, some of them before the store has written anything again.
        let soon = next(&mut random).is_multiple_of(5);
        let alive = Duration::from_millis(if soon { next(&mut random) % 300 } else { 300 + next(&mut random) % 1200 });
        writers = write_until_killed(&mut up, writers, alive, &acknowledged).await?;
        up = Up::start(home.path(), &[]).await.with_context(|| format!("start after kill {round}"))?;
        starts.push(up.daemon.started_in);
        verify(&up.native, &mut writers, OLDER, &mut random).await.with_context(|| format!("after kill {round}"))?;
    }
    let total = acknowledged.load(Ordering::Relaxed);
    number("kills, writes acknowledged", format!("{round}, {total}"));
    verify(&up.native, &mut writers, usize::MAX, &mut random).await?;
    let live = nothing_else(&up.native, &writers).await?;
    number("objects alive at the end, all read back identical", live);
    starts.sort();
    number(
        "start after a kill: median, longest",
        format!("{:?}, {:?}", starts[starts.len() / 2], starts[starts.len() - 1]),
    );
    restart_with_many(home.path(), up, live, restart_at).await
}

impl Writer {
    fn new(id: u64) -> Self {
        Self { id, history: History::default(), random: id + 1, next_key: 0, fresh: BTreeSet::new() }
    }

    /// A key and what to do with it: mostly new ones, some overwritten, some deleted.
    fn choose(&mut self) -> (String, State) {
        let dice = next(&mut self.random) % 100;
        let key = match dice {
            0..75 => {
                self.next_key += 1;
                self.next_key
            }
            _ => next(&mut self.random) % self.next_key.max(1) + 1,
        };
        let size = match next(&mut self.random) % 200 {
            0 => 0,
            1 => 5 << 20,
            2..10 => next(&mut self.random) % (256 << 10),
            _ => next(&mut self.random) % (8 << 10),
        };
        let content = Content { seed: next(&mut self.random), size };
        (format!("w{:02}/{key:07}", self.id), (dice < 92).then_some(content))
    }

    async fn write(&mut self, native: &Native, acknowledged: &AtomicU64) -> bool {
        let (key, state) = self.choose();
        if state.is_none() && self.history.states(&key) == [None] {
            return true;
        }
        self.history.sent(&key, state);
        self.fresh.insert(key.clone());
        let done = match state {
            Some(content) => {
                let put = native.put(BUCKET, key.as_bytes(), Some(content.size), HeaderMap::new(), content.body());
                put.await.is_ok()
            }
            None => native.delete(BUCKET, key.as_bytes()).await.is_ok(),
        };
        if done {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            self.history.acknowledged(&key, state);
        }
        done
    }
}

async fn write_until_killed(
    up: &mut Up,
    writers: Vec<Writer>,
    alive: Duration,
    acknowledged: &Arc<AtomicU64>,
) -> Result<Vec<Writer>> {
    let killed = Arc::new(AtomicBool::new(false));
    let mut running = JoinSet::new();
    for mut writer in writers {
        let (native, killed, acknowledged) = (up.native.clone(), killed.clone(), acknowledged.clone());
        running.spawn(async move {
            let failed_early = loop {
                if !writer.write(&native, &acknowledged).await {
                    break !killed.load(Ordering::SeqCst);
                }
            };
            (writer, failed_early)
        });
    }
    // The moment is the point of this wait: nothing is waited for.
    tokio::time::sleep(alive).await;
    killed.store(true, Ordering::SeqCst);
    up.daemon.kill().await?;
    let finished = running.join_all().await;
    ensure!(!finished.iter().any(|(_, early)| *early), "a write failed before the kill");
    Ok(finished.into_iter().map(|(writer, _)| writer).collect())
}

/// Reads every key written since the last kill, and so many older ones.
async fn verify(native: &Native, writers: &mut [Writer], older: usize, random: &mut u64) -> Result<()> {
    let mut wanted: Vec<(usize, String)> = Vec::new();
    for (index, writer) in writers.iter_mut().enumerate() {
        let fresh = std::mem::take(&mut writer.fresh);
        let share = older / WRITERS as usize;
        let every = (writer.history.len() / share.max(1)).max(1);
        let skip = (next(random) as usize) % every;
        let old = writer.history.keys().skip(skip).step_by(every).filter(|key| !fresh.contains(*key));
        let old: Vec<_> = old.cloned().collect();
        wanted.extend(fresh.into_iter().chain(old).map(|key| (index, key)));
    }
    let read = |(index, key): (usize, String)| {
        let states = writers[index].history.states(&key);
        async move { anyhow::Ok((index, key.clone(), resolve(native, BUCKET, &key, &states).await?)) }
    };
    let reads: Vec<_> = wanted.into_iter().map(read).collect();
    let found: Vec<_> = stream::iter(reads).buffer_unordered(READERS).try_collect().await?;
    for (index, key, state) in found {
        writers[index].history.resolved(&key, state);
    }
    Ok(())
}

/// Lists everything: nothing is there that should not be, and nothing is missing.
async fn nothing_else(native: &Native, writers: &[Writer]) -> Result<u64> {
    let mut expected = BTreeSet::new();
    for writer in writers {
        expected.extend(writer.history.keys().filter(|key| writer.history.states(key) != [None]).cloned());
    }
    let mut listed = BTreeSet::new();
    let mut after = None;
    loop {
        let page = native.list(BUCKET, b"", after.as_deref()).await?;
        listed.extend(page.objects.into_iter().map(|object| object.key));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let unexpected: Vec<_> = listed.difference(&expected).take(3).collect();
    let missing: Vec<_> = expected.difference(&listed).take(3).collect();
    ensure!(unexpected.is_empty() && missing.is_empty(), "unexpected: {unexpected:?}, missing: {missing:?}");
    Ok(listed.len() as u64)
}

/// Fills up to so many objects, kills, and times the start.
async fn restart_with_many(dir: &Path, mut up: Up, live: u64, wanted: u64) -> Result<()> {
    let begun = Instant::now();
    let fill = live..wanted.max(live);
    let more = fill.end - fill.start;
    let put = |seed| {
        let (native, content) = (up.native.clone(), Content { seed: seed << 20, size: 100 });
        async move {
            let key = format!("fill/{seed:07}");
            native.put(BUCKET, key.as_bytes(), Some(content.size), HeaderMap::new(), content.body()).await.map(drop)
        }
    };
    stream::iter(fill).map(put).buffer_unordered(32).try_collect::<()>().await?;
    if more > 0 {
        number("small puts, 32 at once", format!("{:.0}/s", more as f64 / begun.elapsed().as_secs_f64()));
    }
    up.daemon.kill().await?;
    let up = Up::start(dir, &[]).await?;
    number(&format!("start with {wanted} objects after a kill"), format!("{:?}", up.daemon.started_in));
    ensure!(up.daemon.started_in < Duration::from_secs(2), "the start took {:?}", up.daemon.started_in);
    up.daemon.stop().await
}
