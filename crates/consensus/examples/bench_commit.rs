//! Commits per second and reopening time on the real disk. `cargo run --release -p consensus --example bench_commit [dir]`
//!
//! Prints; asserts nothing about time. Commands are small leases and barriers, so this measures the log and the tables' row of
//! bookkeeping, not the state machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::clock::Clock;
use api::disk::Disk;
use bootstrap::{RealDisk, SystemClock};
use consensus::{Group, Settings};
use meta::Command;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "target/bench_commit".into());
    let _ = std::fs::remove_dir_all(&dir);
    let (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>) = (Arc::new(RealDisk), Arc::new(SystemClock::default()));

    let at = Instant::now();
    let group = Group::open(Settings::new(&dir), disk.clone(), clock.clone()).await?;
    println!("open, pristine:            {:?}", at.elapsed());
    for proposers in [1, 8, 64, 256] {
        load(&group, proposers, Duration::from_secs(5)).await?;
    }
    let at = Instant::now();
    for _ in 0..10_000 {
        group.read().await?;
    }
    println!("reads, one at a time:      {:.0}/s", 10_000.0 / at.elapsed().as_secs_f64());

    let at = Instant::now();
    fill(&group, 100_000).await?;
    println!("100,000 commands more:     {:?}, {:?}", at.elapsed(), group.status());
    // What a crash would leave, as far as a copy can show it: no last checkpoint.
    let crashed = format!("{dir}-crashed");
    let _ = std::fs::remove_dir_all(&crashed);
    copy(dir.as_ref(), crashed.as_ref())?;
    group.shutdown().await?;
    for (how, dir) in [("after a crash", &crashed), ("after a shutdown", &dir)] {
        let at = Instant::now();
        let group = Group::open(Settings::new(dir), disk.clone(), clock.clone()).await?;
        println!("reopen {how:<20}{:?}, {:?}", at.elapsed(), group.status());
        let at = Instant::now();
        group.shutdown().await?;
        println!("shutdown:                  {:?}", at.elapsed());
    }
    Ok(())
}

/// Small commands from many tasks for a while: rate and latency.
async fn load(group: &Group, proposers: usize, time: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let end = Instant::now() + time;
    let tasks: Vec<_> = (0..proposers)
        .map(|_| {
            let group = group.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    let at = Instant::now();
                    group.propose(vec![command()]).await.expect("committed");
                    took.push(at.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await?);
    }
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{proposers:>3} proposers: {:>8.0} commits/s, p50 {:?}, p99 {:?}, max {:?}",
        took.len() as f64 / time.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

async fn fill(group: &Group, commands: usize) -> Result<(), Box<dyn std::error::Error>> {
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let group = group.clone();
            tokio::spawn(async move {
                for _ in 0..commands / 200 {
                    group.propose(vec![command()]).await.expect("committed");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    Ok(())
}

fn command() -> Command {
    Command::OpenLease { holder: "bench".into(), known: 1 }
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(std::fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}
