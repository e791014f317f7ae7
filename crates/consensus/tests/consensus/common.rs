//! What the tests share: runtimes, a command whose effect can be counted, and waiting for conditions.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Clock;
use api::disk::Disk;
use bootstrap::{RealDisk, SystemClock};
use consensus::{ConsensusError, Group, ProposeError, Proposed, Settings};
use domain::codec;
use domain::record::LeaseRow;
use meta::{Command, Table, Tables};
use testkit::clock::SimClock;
use testkit::sim_disk::SimDisk;

/// Where the simulated group lives.
pub const HOME: &str = "/kvfs/group";

/// Runs a life of a process on one thread with paused time. When it returns, nothing of it is left.
pub fn life<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(story)
}

/// Opens a group on a simulated disk. Small files and early purges, so that a short story sees them all.
pub async fn open_sim(disk: &SimDisk) -> Result<Group, ConsensusError> {
    open_sim_with(disk, sim_settings()).await
}

pub fn sim_settings() -> Settings {
    Settings {
        log_file_bytes: 2000,
        log_keep_entries: 20,
        checkpoint_bytes: 2000,
        table_cache_bytes: 1 << 20,
        ..Settings::simulated(HOME)
    }
}

pub async fn open_sim_with(disk: &SimDisk, settings: Settings) -> Result<Group, ConsensusError> {
    let parent = disk.create_dir_all("/kvfs".as_ref()).and_then(|()| disk.sync_dir("/".as_ref()));
    parent.map_err(|source| ConsensusError::Storage { doing: "making /kvfs".into(), source })?;
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(1_700_000_000_000));
    Group::open(settings, disk, clock).await
}

/// Opens a group on a real directory.
pub async fn open_real(settings: Settings) -> Group {
    Group::open(settings, Arc::new(RealDisk), Arc::new(SystemClock::new())).await.unwrap()
}

/// A command that leaves a row with `name` in it.
pub fn mark(name: &str) -> Command {
    Command::OpenLease { holder: name.into(), known: 1 }
}

pub async fn propose(group: &Group, name: &str) -> Result<Proposed, ProposeError> {
    group.propose(vec![mark(name)]).await
}

/// The marks in the tables: name → log index.
pub async fn marks(group: &Group) -> BTreeMap<String, u64> {
    try_marks(group).await.unwrap()
}

pub async fn try_marks(group: &Group) -> Result<BTreeMap<String, u64>, Box<dyn std::error::Error>> {
    let rows = group.read().await?.scan(Table::Leases, &[], &[0xff; 9], usize::MAX)?;
    let mark = |(key, value): &meta::Row| {
        let row: LeaseRow = codec::decode(value).unwrap();
        (row.holder, meta::keys::parse_position(key).unwrap().index())
    };
    let marks: BTreeMap<_, _> = rows.iter().map(mark).collect();
    assert_eq!(marks.len(), rows.len(), "no mark was applied twice");
    Ok(marks)
}

/// Waits until `holds`, which must happen within a minute.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        // waits: between two looks at the condition above, which has a deadline.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
