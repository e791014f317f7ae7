//! Partitions, a stopped leader, wrong clocks and bad lines: what clients saw is linearizable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use client::{Native, NativeError};
use demos::net;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::group::{Group, Setup, USUAL};
use super::linear::{self, Answered, Asked, Operation};
use super::proxy::{Proxy, Weather};
use crate::content::next;
use crate::report::number;

const CLIENTS: u64 = 240;
const KEYS: u64 = 20;
const BUCKET: &str = "registers";

/// What is done to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LeaderAlone,
    FollowerAlone,
    FullSplit,
    LeaderDeafToFollowers,
    LeaderStopped,
    LeaderClockAhead,
    FollowerClockBehind,
    SlowLines,
    RequestsLostToLeader,
    AnswersLostFromLeader,
}

const FAULTS: [Fault; 10] = [
    Fault::LeaderAlone,
    Fault::FollowerAlone,
    Fault::FullSplit,
    Fault::LeaderDeafToFollowers,
    Fault::LeaderStopped,
    Fault::LeaderClockAhead,
    Fault::FollowerClockBehind,
    Fault::SlowLines,
    Fault::RequestsLostToLeader,
    Fault::AnswersLostFromLeader,
];

/// How long a run, and its fault, takes; and what makes it count.
struct Bounds {
    run: Duration,
    fault: Duration,
    operations: usize,
    in_flight: i64,
}

/// The section: everything in a network namespace of its own, by way of this program again.
pub async fn run(quick: bool) -> Result<()> {
    let mut inside = tokio::process::Command::new("unshare");
    inside.arg("--net").arg(std::env::current_exe()?).arg("inside");
    if quick {
        inside.arg("--quick");
    }
    let status = inside.kill_on_drop(true).status().await.context("making a network namespace (are you root?)")?;
    ensure!(status.success(), "inside its network namespace it ended with {status}");
    Ok(())
}

/// The section, inside.
pub async fn inside(quick: bool) -> Result<()> {
    net::found()?;
    let (faults, bounds) = match quick {
        true => {
            let bounds =
                Bounds { run: Duration::from_secs(8), fault: Duration::from_secs(3), operations: 200, in_flight: 50 };
            (vec![Fault::LeaderAlone, Fault::AnswersLostFromLeader], bounds)
        }
        false => {
            let bounds = Bounds {
                run: Duration::from_secs(60),
                fault: Duration::from_secs(10),
                operations: 10_000,
                in_flight: 200,
            };
            (FAULTS.iter().chain(&FAULTS).copied().collect(), bounds)
        }
    };
    let mut total = 0;
    for (nth, fault) in faults.iter().enumerate() {
        let home = tempfile::tempdir()?;
        let seen = one(home.path(), *fault, &bounds, nth as u64).await;
        let seen = seen.with_context(|| format!("run {nth}, {fault:?}"))?;
        total += seen;
    }
    number("runs, all linearizable", faults.len());
    number("operations in all of them", total);
    Ok(())
}

/// One run: a fresh group, load, a fault in the middle, and the verdict on what was seen.
async fn one(home: &Path, fault: Fault, bounds: &Bounds, seed: u64) -> Result<usize> {
    let clock = home.join("clock");
    std::fs::write(&clock, "+0\n")?;
    let (setup, proxies) = set_up(fault, &clock).await?;
    let group = Group::start_as(home, USUAL, setup).await?;
    let load = Arc::new(Load { begun: Instant::now(), ..Load::default() });
    let mut clients = JoinSet::new();
    for nth in 0..CLIENTS {
        let native = group.natives[nth as usize % group.natives.len()].clone();
        clients.spawn(client(native, load.clone(), seed * CLIENTS + nth));
    }
    tokio::time::sleep((bounds.run - bounds.fault) / 2).await;
    let leader = group.until_led().await?;
    // Where the clock is wrong, it is coordinator 0's: the leader's, or a follower's, as it comes.
    plant(&group, fault, leader, true, &proxies, &clock)?;
    let in_flight = load.in_flight.load(Ordering::Relaxed);
    tokio::time::sleep(bounds.fault).await;
    plant(&group, fault, leader, false, &proxies, &clock)?;
    tokio::time::sleep((bounds.run - bounds.fault) / 2).await;
    load.stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client?;
    }
    let history = std::mem::take(&mut *load.history.lock());
    verdict(&history, fault, in_flight, bounds)
}

async fn set_up(fault: Fault, clock: &Path) -> Result<(Setup, Vec<Proxy>)> {
    let mut setup = Setup { namespaces: true, ..Setup::default() };
    let mut proxies = Vec::new();
    match fault {
        Fault::SlowLines | Fault::RequestsLostToLeader | Fault::AnswersLostFromLeader => {
            for nth in 0..USUAL.coords {
                proxies.push(Proxy::start(&net::hub(), format!("{}:9000", net::address(nth))).await?);
            }
            setup.coord_urls = Some(proxies.iter().map(|proxy| proxy.address.clone()).collect());
        }
        Fault::LeaderClockAhead | Fault::FollowerClockBehind => {
            let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
            ensure!(Path::new(library).exists(), "{library} is missing: install Debian's package faketime");
            setup.coord_extra = vec![
                (0, "LD_PRELOAD", library.into()),
                (0, "FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
                (0, "FAKETIME_NO_CACHE", "1".into()),
                (0, "FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ];
        }
        _ => {}
    }
    Ok((setup, proxies))
}

/// Does it, or undoes it.
fn plant(group: &Group, fault: Fault, leader: usize, on: bool, proxies: &[Proxy], clock: &Path) -> Result<()> {
    let follower = (leader + 1) % group.coords.len();
    let process = |nth: usize| group.coords[nth].as_ref().context("a coordinator is down");
    let weather = |weather: Weather| if on { weather } else { Weather::default() };
    match fault {
        Fault::LeaderAlone => Ok(net::cable(leader, !on)?),
        Fault::FollowerAlone => Ok(net::cable(follower, !on)?),
        Fault::FullSplit => (0..group.coords.len()).try_for_each(|nth| Ok(net::cable(nth, !on)?)),
        Fault::LeaderDeafToFollowers => {
            let others: Vec<_> = (0..group.coords.len()).filter(|nth| *nth != leader).collect();
            Ok(net::blackhole(process(leader)?.id()?, &others, on)?)
        }
        Fault::LeaderStopped => process(leader)?.signal(if on { Signal::STOP } else { Signal::CONT }),
        Fault::LeaderClockAhead => Ok(std::fs::write(clock, if on { "+3600\n" } else { "+0\n" })?),
        Fault::FollowerClockBehind => Ok(std::fs::write(clock, if on { "-3600\n" } else { "+0\n" })?),
        Fault::SlowLines => {
            let slow = weather(Weather { delay: Duration::from_millis(40), ..Weather::default() });
            proxies.iter().for_each(|proxy| proxy.set(slow));
            Ok(())
        }
        Fault::RequestsLostToLeader => {
            proxies[leader].set(weather(Weather { lose_requests: true, ..Weather::default() }));
            Ok(())
        }
        Fault::AnswersLostFromLeader => {
            proxies[leader].set(weather(Weather { lose_answers: true, ..Weather::default() }));
            Ok(())
        }
    }
}

type History = BTreeMap<u64, Vec<Operation>>;

fn verdict(history: &History, fault: Fault, in_flight: i64, bounds: &Bounds) -> Result<usize> {
    let all = || history.values().flatten();
    let operations = all().filter(|one| one.answered != Answered::Unknown).count();
    let unknown = all().count() - operations;
    let mut planted = 0;
    for (key, operations) in history {
        linear::check(operations).with_context(|| format!("key {key} of {}", operations.len()))?;
        // The checker is as good as what it finds: each history is spoilt twice, and both must be told.
        let found = |spoilt: Vec<Operation>| linear::check(&spoilt).is_err();
        ensure!(found(linear::lost_write(operations)), "a planted lost write was not found on key {key}");
        planted += usize::from(found(linear::stale_read(operations)));
    }
    ensure!(planted > 0, "no planted stale read was found");
    let shown = format!("{operations} answered, {unknown} unknown, {in_flight} in flight, linearizable");
    number(&format!("{fault:?}"), shown);
    ensure!(operations >= bounds.operations, "{operations} operations are too few for a verdict");
    ensure!(in_flight >= bounds.in_flight, "{in_flight} in flight across the fault are too few for a verdict");
    Ok(operations)
}

/// What clients share.
struct Load {
    stop: AtomicBool,
    begun: Instant,
    values: AtomicU64,
    in_flight: AtomicI64,
    history: Mutex<History>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            stop: AtomicBool::new(false),
            begun: Instant::now(),
            values: AtomicU64::new(1),
            in_flight: AtomicI64::new(0),
            history: Mutex::default(),
        }
    }
}

impl Load {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}

async fn client(native: Native, load: Arc<Load>, seed: u64) {
    let mut random = seed * 104_729 + 1;
    // What this client saw last in each key: its entity tag and its value.
    let mut seen: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    while !load.stop.load(Ordering::Relaxed) {
        let key = next(&mut random) % KEYS;
        let value = load.values.fetch_add(1, Ordering::Relaxed);
        let asked = match next(&mut random) % 10 {
            0..=4 => Asked::Get,
            5..=6 => Asked::Put(value),
            7 => Asked::Create(value),
            8 => match seen.get(&key) {
                Some((_, expected)) => Asked::Swap(value, *expected),
                None => Asked::Get,
            },
            _ => Asked::Delete,
        };
        let tag = seen.get(&key).map(|(tag, _)| tag.clone());
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        let begun = load.now();
        let (answered, tag) = ask(&native, key, asked, tag).await;
        let ended = load.now();
        load.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let (Some(tag), Some(value)) = (tag, value_of(asked, answered)) {
            seen.insert(key, (tag, value));
        }
        load.history.lock().entry(key).or_default().push(Operation { begun, ended, asked, answered });
    }
}

/// The value that is known to have been there when the answer was made.
fn value_of(asked: Asked, answered: Answered) -> Option<u64> {
    match (asked, answered) {
        (_, Answered::Found(found)) => found,
        (Asked::Put(value) | Asked::Create(value) | Asked::Swap(value, _), Answered::Done) => Some(value),
        _ => None,
    }
}

/// Asks, and says what was answered; with the entity tag that came along.
async fn ask(native: &Native, key: u64, asked: Asked, tag: Option<String>) -> (Answered, Option<String>) {
    let name = format!("register-{key:02}");
    let mut headers = HeaderMap::new();
    let value = match asked {
        Asked::Get => return get(native, &name).await,
        Asked::Delete => {
            return (write_answer(native.delete(BUCKET, name.as_bytes()).await.map(|()| String::new())).0, None);
        }
        Asked::Put(value) => value,
        Asked::Create(value) => {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
            value
        }
        Asked::Swap(value, _) => {
            if let Ok(tag) = HeaderValue::from_str(&tag.unwrap_or_default()) {
                headers.insert(header::IF_MATCH, tag);
            }
            value
        }
    };
    let bytes = Bytes::from(value.to_string());
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes.clone())]);
    let put = native.put(BUCKET, name.as_bytes(), Some(bytes.len() as u64), headers, body).await;
    write_answer(put.map(|answer| answer.etag))
}

fn write_answer(answer: Result<String, NativeError>) -> (Answered, Option<String>) {
    match answer {
        Ok(tag) => (Answered::Done, Some(format!("\"{}\"", tag.trim_matches('"')))),
        Err(NativeError::Refused { status: StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND, .. }) => {
            (Answered::Refused, None)
        }
        // Whatever else it was: nobody need believe that it was not done.
        Err(_) => (Answered::Unknown, None),
    }
}

async fn get(native: &Native, name: &str) -> (Answered, Option<String>) {
    match read(native, name).await {
        Ok(Some((value, tag))) => (Answered::Found(Some(value)), Some(tag)),
        Ok(None) => (Answered::Found(None), None),
        Err(_) => (Answered::Unknown, None),
    }
}

async fn read(native: &Native, name: &str) -> Result<Option<(u64, String)>> {
    let mut download = match native.get(BUCKET, name.as_bytes(), HeaderMap::new()).await {
        Ok(download) => download,
        Err(NativeError::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
        Err(error) => bail!("{error}"),
    };
    let tag = download.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_string();
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(Some((std::str::from_utf8(&bytes)?.parse()?, tag)))
}
