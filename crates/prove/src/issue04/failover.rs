//! The leader killed every few seconds, under clients that notice nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use client::{Native, NativeError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::group::{Group, Setup, USUAL};
use crate::content::{Content, next};
use crate::report::number;

const CLIENTS: u64 = 32;
const KEYS: u64 = 40;
const BUCKET: &str = "failover";

/// How long a request may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the load has done.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    requests: AtomicU64,
    /// When each request of more than a fifth of a second began, and how long it took.
    slow: Mutex<Vec<(Instant, Duration)>>,
}

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let (kills, calm) = if quick { (2, Duration::from_secs(3)) } else { (120, Duration::from_secs(600)) };
    let home = tempfile::tempdir()?;
    // Garbage is collected meanwhile: under kills it must delete nothing that is named, and two million files left
    // behind would take longer to remove than the section takes.
    let coord_extra = (0..USUAL.coords).map(|nth| (nth, "COORD_GC_DELAY", "5s".to_string())).collect();
    let setup = Setup { coord_extra, ..Setup::default() };
    let mut group = Group::start_as(home.path(), USUAL, setup).await?;
    quiet(&group, calm).await.context("without kills")?;
    let most = if quick { DEADLINE } else { Duration::from_millis(2_500) };
    kill_after_kill(&mut group, kills, most).await.context("with kills")
}

/// A time without kills: the same leader from beginning to end.
async fn quiet(group: &Group, length: Duration) -> Result<()> {
    group.until_led().await?;
    let before = group.term().await?;
    let (load, clients) = begin(group, 0);
    // The length is the point: nothing may happen for so long.
    tokio::time::sleep(length).await;
    end(&load, clients, group).await?;
    let after = group.term().await?;
    number(&format!("{} s without kills: requests", length.as_secs()), load.requests.load(Ordering::Relaxed));
    number("elections meanwhile", after - before);
    ensure!(before == after, "the term went from {before} to {after} without a kill");
    Ok(())
}

async fn kill_after_kill(group: &mut Group, kills: u64, most: Duration) -> Result<()> {
    let (load, clients) = begin(group, 1);
    let mut random = 4;
    let mut moments = Vec::new();
    for _ in 0..kills {
        let leader = group.until_led().await?;
        group.kill_coord(leader).await?;
        moments.push(Instant::now());
        let down = if next(&mut random).is_multiple_of(2) { 300 } else { 3_000 };
        tokio::time::sleep(Duration::from_millis(down)).await;
        group.restart_coord(leader).await.context("a killed coordinator comes back")?;
        tokio::time::sleep(Duration::from_millis(5_000 - down)).await;
        ensure!(!clients.is_empty(), "the load ended");
    }
    end(&load, clients, group).await?;
    let slow = load.slow.lock().clone();
    let mut gaps: Vec<_> = moments.iter().map(|kill| longest_around(&slow, *kill)).collect();
    gaps.sort();
    let at = |percent: usize| gaps[(gaps.len() * percent / 100).min(gaps.len() - 1)];
    number("leaders killed", kills);
    number("requests, none of which failed", load.requests.load(Ordering::Relaxed));
    number("longest request around a kill: median", format!("{:.2?}", at(50)));
    number("longest request around a kill: p99", format!("{:.2?}", at(99)));
    ensure!(at(99) < most, "p99 of the time without service is {:?}", at(99));
    Ok(())
}

/// The longest request that was under way, or began, within five seconds of a kill.
fn longest_around(slow: &[(Instant, Duration)], kill: Instant) -> Duration {
    let touched =
        |(begun, took): &&(Instant, Duration)| *begun + *took > kill && *begun < kill + Duration::from_secs(5);
    slow.iter().filter(touched).map(|(_, took)| *took).max().unwrap_or_default()
}

type Clients = JoinSet<Result<(Native, BTreeMap<String, Option<Content>>)>>;

fn begin(group: &Group, era: u64) -> (Arc<Load>, Clients) {
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for nth in 0..CLIENTS {
        let native = group.natives[nth as usize % group.natives.len()].clone();
        clients.spawn(client(native, load.clone(), era * CLIENTS + nth));
    }
    (load, clients)
}

/// Ends the load, and reads every key back through another gateway than it was written through.
async fn end(load: &Load, mut clients: Clients, group: &Group) -> Result<()> {
    load.stop.store(true, Ordering::Relaxed);
    let mut keys = 0;
    while let Some(client) = clients.join_next().await {
        let (_, model) = client??;
        for (nth, (key, state)) in model.iter().enumerate() {
            let native = &group.natives[nth % group.natives.len()];
            check(native, key, *state).await.with_context(|| format!("{key} at the end"))?;
            keys += 1;
        }
    }
    number("keys as acknowledged at the end", keys);
    Ok(())
}

/// One client, which nobody else's keys concern: every answer is known beforehand.
async fn client(native: Native, load: Arc<Load>, nth: u64) -> Result<(Native, BTreeMap<String, Option<Content>>)> {
    let mut model: BTreeMap<String, Option<Content>> = BTreeMap::new();
    let mut random = nth * 7_919 + 13;
    while !load.stop.load(Ordering::Relaxed) {
        let key = format!("c{nth:03}/k{:03}", next(&mut random) % KEYS);
        let known = model.get(&key).copied().flatten();
        let begun = Instant::now();
        let step = step(&native, &mut model, &key, known, nth, &mut random);
        let done = tokio::time::timeout(DEADLINE, step).await;
        let took = begun.elapsed();
        done.with_context(|| format!("{key}: no answer within {DEADLINE:?}"))?.with_context(|| key.clone())?;
        load.requests.fetch_add(1, Ordering::Relaxed);
        if took > Duration::from_millis(200) {
            load.slow.lock().push((begun, took));
        }
    }
    Ok((native, model))
}

async fn step(
    native: &Native,
    model: &mut BTreeMap<String, Option<Content>>,
    key: &str,
    known: Option<Content>,
    nth: u64,
    random: &mut u64,
) -> Result<()> {
    match next(random) % 10 {
        0..=3 => check(native, key, known).await,
        4..=5 => {
            let content = Content { seed: next(random), size: next(random) % 8_192 };
            put(native, key, content, HeaderMap::new()).await?;
            model.insert(key.into(), Some(content));
            Ok(())
        }
        6..=7 => {
            // Only if nothing is there: exactly then it must succeed.
            let content = Content { seed: next(random), size: next(random) % 8_192 };
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
            match (put(native, key, content, headers).await, known) {
                (Ok(()), None) => drop(model.insert(key.into(), Some(content))),
                (Err(NativeError::Refused { status: StatusCode::PRECONDITION_FAILED, .. }), Some(_)) => {}
                (other, known) => bail!("a put that must not replace found {known:?} there: {other:?}"),
            }
            Ok(())
        }
        8 => {
            match (native.delete(BUCKET, key.as_bytes()).await, known) {
                (Ok(()), Some(_)) | (Err(NativeError::Refused { status: StatusCode::NOT_FOUND, .. }), None) => {}
                (other, known) => bail!("a delete found {known:?} there: {other:?}"),
            }
            model.insert(key.into(), None);
            Ok(())
        }
        _ => {
            let prefix = format!("c{nth:03}/");
            let listed = match native.list(BUCKET, prefix.as_bytes(), None).await {
                Ok(page) => page.objects.into_iter().map(|object| object.key).collect(),
                // Nobody has put anything yet.
                Err(NativeError::Refused { status: StatusCode::NOT_FOUND, .. }) => Vec::new(),
                Err(error) => return Err(error.into()),
            };
            let there = model.iter().filter(|(_, state)| state.is_some()).map(|(key, _)| key.clone());
            let there: Vec<_> = there.collect();
            ensure!(listed == there, "listed {listed:?}, stored {there:?}");
            Ok(())
        }
    }
}

async fn put(native: &Native, key: &str, content: Content, headers: HeaderMap) -> Result<(), NativeError> {
    native.put(BUCKET, key.as_bytes(), Some(content.size), headers, content.body()).await.map(drop)
}

async fn check(native: &Native, key: &str, known: Option<Content>) -> Result<()> {
    match (native.get(BUCKET, key.as_bytes(), HeaderMap::new()).await, known) {
        (Ok(download), Some(content)) => ensure!(content.same(download).await?, "other bytes than were acknowledged"),
        (Err(NativeError::Refused { status: StatusCode::NOT_FOUND, .. }), None) => {}
        (Err(error), known) => bail!("a get of {known:?}: {error}"),
        (Ok(_), None) => bail!("a get found what was deleted or never put"),
    }
    Ok(())
}
