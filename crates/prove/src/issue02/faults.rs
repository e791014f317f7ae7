//! Five nodes as processes, under load, one fault at a time, and then two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use client::Native;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::cluster::Fleet;
use crate::content::{Content, next};
use crate::report::number;

const NODES: usize = 5;
const READERS: u64 = 6;
const WRITERS: u64 = 3;
const BUCKET: &str = "faults";

/// What the load measured in one phase.
#[derive(Default)]
struct Measured {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
}

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let (objects, seconds) = if quick { (60, 2) } else { (1_500, 15) };
    let home = tempfile::tempdir()?;
    let mut fleet = Fleet::start(home.path(), NODES).await?;
    fill(&fleet.native, objects).await?;
    let phase = Duration::from_secs(seconds);
    let healthy = under_load(&fleet, objects, phase).await?;
    show("healthy", healthy);

    fleet.kill_node(0).await?;
    show("a node killed", under_load(&fleet, objects, phase).await?);
    read_all(&fleet.native, objects).await.context("with a node killed")?;
    fleet.restart_node(0).await?;
    settle(&fleet, objects).await?;

    fleet.node(1)?.signal(Signal::STOP)?;
    let stopped = under_load(&fleet, objects, phase).await?;
    let (reads, writes) = (percentile(&stopped.reads, 99), percentile(&stopped.writes, 99));
    show("a node stopped by SIGSTOP", stopped);
    ensure!(reads < Duration::from_secs(1), "p99 of reads under SIGSTOP: {reads:?}");
    ensure!(writes < Duration::from_secs(2), "p99 of writes under SIGSTOP: {writes:?}");
    read_all(&fleet.native, objects).await.context("with a node stopped")?;
    fleet.node(1)?.signal(Signal::CONT)?;
    settle(&fleet, objects).await?;

    let damaged = damage(&fleet, 2)?;
    number("chunk files corrupted, truncated or deleted on one node", damaged);
    show("a node's chunk files damaged", under_load(&fleet, objects, phase).await?);
    read_all(&fleet.native, objects).await.context("with a node damaged")?;

    fleet.kill_node(4).await?;
    show("that node damaged and another killed", under_load(&fleet, objects, phase).await?);
    read_all(&fleet.native, objects).await.context("with a node damaged and another killed")?;
    number("objects read back identical after each fault", objects);
    Ok(())
}

fn content(index: u64) -> Content {
    let mut random = index + 99;
    let size = match next(&mut random) % 20 {
        0 => 5 << 20,
        1..4 => next(&mut random) % (512 << 10),
        _ => next(&mut random) % (16 << 10),
    };
    Content { seed: next(&mut random), size }
}

fn key(index: u64) -> String {
    format!("o{index:06}")
}

async fn put(native: &Native, key: &str, content: Content) -> Result<()> {
    let put = native.put(BUCKET, key.as_bytes(), Some(content.size), HeaderMap::new(), content.body());
    put.await.map(drop).with_context(|| format!("putting {key}"))
}

async fn check(native: &Native, key: &str, content: Content) -> Result<()> {
    let found = native.get(BUCKET, key.as_bytes(), HeaderMap::new()).await;
    let same = content.same(found.with_context(|| format!("getting {key}"))?).await;
    ensure!(same.with_context(|| format!("getting {key}"))?, "{key} differs");
    Ok(())
}

async fn fill(native: &Native, objects: u64) -> Result<()> {
    let puts = (0..objects).map(|index| async move { put(native, &key(index), content(index)).await });
    stream::iter(puts.collect::<Vec<_>>()).buffer_unordered(8).try_collect().await
}

async fn read_all(native: &Native, objects: u64) -> Result<()> {
    let reads = (0..objects).map(|index| async move { check(native, &key(index), content(index)).await });
    stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(8).try_collect().await
}

/// Runs readers and writers for `phase`; no request may fail.
async fn under_load(fleet: &Fleet, objects: u64, phase: Duration) -> Result<Measured> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for worker in 0..READERS + WRITERS {
        let (native, stop) = (fleet.native.clone(), stop.clone());
        let mut random = worker * 7919 + WRITTEN.load(Ordering::Relaxed) + 1;
        load.spawn(async move {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                if worker < READERS {
                    let index = next(&mut random) % objects;
                    check(&native, &key(index), content(index)).await?;
                } else {
                    let written = WRITTEN.fetch_add(1, Ordering::Relaxed);
                    let key = format!("new-{written}");
                    put(&native, &key, content(written + 1_000_000)).await?;
                }
                took.push(begun.elapsed());
            }
            anyhow::Ok((worker < READERS, took))
        });
    }
    // The length of the phase is the point: load runs for as long.
    tokio::time::sleep(phase).await;
    stop.store(true, Ordering::Relaxed);
    let mut measured = Measured::default();
    while let Some(worker) = load.join_next().await {
        let (reader, took) = worker??;
        if reader { measured.reads.extend(took) } else { measured.writes.extend(took) }
    }
    Ok(measured)
}

/// Waits until requests run as if nothing had been: the stopped or killed node is used again.
async fn settle(fleet: &Fleet, objects: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let measured = under_load(fleet, objects, Duration::from_millis(500)).await?;
        if percentile(&measured.reads, 95) < Duration::from_millis(250) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("reads are still slow 20 s after the fault was over");
        }
    }
}

fn percentile(took: &[Duration], percent: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn show(what: &str, measured: Measured) {
    let line = |took: &[Duration]| {
        let (p50, p99, most) = (percentile(took, 50), percentile(took, 99), percentile(took, 100));
        format!("{} in all, p50 {p50:.1?}, p99 {p99:.1?}, longest {most:.1?}", took.len())
    };
    number(&format!("{what}: reads"), line(&measured.reads));
    number(&format!("{what}: writes"), line(&measured.writes));
}

/// Flips a byte in, cuts, or removes every chunk file of a node, a third each.
fn damage(fleet: &Fleet, node: usize) -> Result<usize> {
    let files = fleet.chunk_files(node)?;
    for (index, file) in files.iter().enumerate() {
        match index % 3 {
            0 => {
                let mut bytes = std::fs::read(file)?;
                if let Some(byte) = bytes.get_mut(index % 1024) {
                    *byte ^= 0x40;
                } else if let Some(byte) = bytes.first_mut() {
                    *byte ^= 0x40;
                }
                std::fs::write(file, bytes)?;
            }
            1 => {
                let bytes = std::fs::read(file)?;
                std::fs::write(file, &bytes[..bytes.len() / 2])?;
            }
            _ => std::fs::remove_file(file)?,
        }
    }
    Ok(files.len())
}
