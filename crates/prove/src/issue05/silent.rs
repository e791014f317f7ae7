//! What a node that is stopped, or killed, costs those who read.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::striped::Striped;
use crate::content::Content;
use crate::report::number;

const OBJECT: Content = Content { seed: 80, size: 64 << 20 };

/// How often each read is measured.
const READS: usize = 5;

/// What is allowed: the first read so much longer than a healthy one, later ones so many times as long.
const FIRST: Duration = Duration::from_millis(50);
const LATER: f64 = 1.5;

/// The section: an object in stripes, and one in copies.
pub async fn run(quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut striped = Striped::start(home.path(), 6, "4+2").await?;
    for (key, scheme) in [("stripes", "4+2"), ("copies", "")] {
        striped.put(key, scheme, OBJECT).await?;
    }
    striped.until_nothing_is_degraded().await?;
    for key in ["stripes", "copies"] {
        let limits = Limits { of: healthy(&striped, key).await?, enforced: !quick };
        number(&format!("{key}: a healthy read of 64 MiB"), milliseconds(limits.of));
        let mut first = Vec::new();
        for _ in 0..READS {
            let node = striped.group.nodes[0].as_ref().context("that node is down")?;
            node.signal(Signal::STOP)?;
            first.push(read(&striped, key).await?);
            if first.len() < READS {
                striped.group.nodes[0].as_ref().context("that node is down")?.signal(Signal::CONT)?;
                until_all_answer(&striped).await?;
            }
        }
        let later = several(&striped, key).await?;
        striped.group.nodes[0].as_ref().context("that node is down")?.signal(Signal::CONT)?;
        until_all_answer(&striped).await?;
        limits.judge(&format!("{key}, a node stopped"), median(&mut first), later)?;

        let mut first = Vec::new();
        let mut later = Duration::ZERO;
        for _ in 0..READS {
            striped.group.nodes[0].take().context("that node is down")?.kill().await?;
            first.push(read(&striped, key).await?);
            if first.len() == READS {
                later = several(&striped, key).await?;
            }
            striped.group.restart_node(0).await?;
            striped.group.until_up(0).await?;
            until_all_answer(&striped).await?;
        }
        limits.judge(&format!("{key}, a node killed"), median(&mut first), later)?;
    }
    Ok(())
}

/// How long healthy reads take, and whether others must be as fast: a short run on a busy machine only looks at the bytes.
struct Limits {
    of: Duration,
    enforced: bool,
}

impl Limits {
    fn judge(&self, what: &str, first: Duration, later: Duration) -> Result<()> {
        let longer = first.saturating_sub(self.of);
        let times = later.as_secs_f64() / self.of.as_secs_f64();
        number(&format!("{what}: the first read"), format!("{} (+{})", milliseconds(first), milliseconds(longer)));
        number(&format!("{what}: later ones"), format!("{} ({times:.2} times)", milliseconds(later)));
        ensure!(
            !self.enforced || longer <= FIRST,
            "{what}: the first read took {longer:?} longer, {FIRST:?} are allowed"
        );
        ensure!(
            !self.enforced || times <= LATER,
            "{what}: later reads took {times:.2} times as long, {LATER} are allowed"
        );
        Ok(())
    }
}

/// The usual time of a read, once connections are open and nothing is new.
async fn healthy(striped: &Striped, key: &str) -> Result<Duration> {
    read(striped, key).await?;
    several(striped, key).await
}

async fn several(striped: &Striped, key: &str) -> Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..READS {
        took.push(read(striped, key).await?);
    }
    Ok(median(&mut took))
}

/// One read: the time until its last byte. That the bytes are right is seen afterwards, so that no comparison is measured.
async fn read(striped: &Striped, key: &str) -> Result<Duration> {
    let begun = Instant::now();
    let mut download = striped.get(key, None).await?;
    let mut pieces = Vec::new();
    while let Some(piece) = download.next().await? {
        pieces.push(piece);
    }
    let took = begun.elapsed();
    ensure!(pieces.concat() == *expected(), "{key}: other bytes came than were put");
    Ok(took)
}

/// Waits until the gateway finds no node silent any more, as its metrics tell.
async fn until_all_answer(striped: &Striped) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let metrics = striped.metrics().await?;
        if metrics.lines().any(|line| line == "kvfs_dns_silent 0") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the gateway does not use the node again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The object's bytes, made once.
fn expected() -> &'static Vec<u8> {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| OBJECT.bytes())
}

fn median(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}
