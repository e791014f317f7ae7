//! A restart finds what was answered, whatever the log lives in.

use std::path::Path;
use std::time::Duration;

use consensus::Settings;
use testkit::sim_disk::SimDisk;

use crate::common::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_and_a_start_keep_everything() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { ballast_bytes: 0, ..Settings::new(home.path().join("g")) };
    let mut last = 0;
    for life in 0..3 {
        let group = open_real(settings.clone()).await;
        assert_eq!(marks(&group).await.len(), life * 50, "before life {life}");
        for n in 0..50 {
            let proposed = propose(&group, &format!("{life}-{n}")).await.unwrap();
            assert!(proposed.index > last, "indexes only grow");
            last = proposed.index;
        }
        group.shutdown().await.unwrap();
        let status = group.status();
        assert_eq!((status.applied, status.checkpointed), (last, last), "shutdown leaves nothing to replay");
    }
}

/// The files as they are without a checkpoint: the log has everything, the tables nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_alone_brings_everything_back() {
    let home = tempfile::tempdir().unwrap();
    let never = Duration::from_secs(3600);
    let settings = Settings { ballast_bytes: 0, checkpoint_after: never, ..Settings::new(home.path().join("g")) };
    let group = open_real(settings.clone()).await;
    for n in 0..200 {
        propose(&group, &n.to_string()).await.unwrap();
    }
    assert_eq!(group.status().checkpointed, 0);
    let crashed = home.path().join("crashed");
    copy(&settings.dir, &crashed);
    let reopened = open_real(Settings { dir: crashed, ..settings }).await;
    assert_eq!(marks(&reopened).await, marks(&group).await);
    assert!(reopened.status().term > group.status().term, "a restart is a new term");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_keeps_what_a_restart_needs() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings {
        ballast_bytes: 0,
        log_file_bytes: 4000,
        log_keep_entries: 20,
        checkpoint_after: Duration::from_millis(10),
        ..Settings::new(home.path().join("g"))
    };
    let group = open_real(settings.clone()).await;
    for n in 0..300 {
        propose(&group, &n.to_string()).await.unwrap();
    }
    until("old entries are purged", || group.status().purged > 200).await;
    assert!(group.status().purged <= group.status().checkpointed - 20);
    until("their files go", || std::fs::read_dir(settings.dir.join("log")).unwrap().count() < 8).await;
    group.shutdown().await.unwrap();
    assert_eq!(marks(&open_real(settings).await).await.len(), 300);
}

/// Time in a simulation moves only when everybody waits, so this also shows that nothing here spins.
#[test]
fn the_simulated_group_checkpoints_and_purges() {
    let disk = SimDisk::new(1);
    life(async {
        let group = open_sim(&disk).await.unwrap();
        for n in 0..200 {
            propose(&group, &n.to_string()).await.unwrap();
        }
        until("a checkpoint is made", || group.status().checkpointed == group.status().applied).await;
        until("old entries are purged", || group.status().purged > 100).await;
    });
    disk.crash();
    disk.restart();
    life(async {
        let group = open_sim(&disk).await.unwrap();
        assert_eq!(marks(&group).await.len(), 200);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { ballast_bytes: 0, ..Settings::new(home.path().join("g")) };
    let group = open_real(settings.clone()).await;
    let second = consensus::Group::open(
        settings.clone(),
        std::sync::Arc::new(bootstrap::RealDisk),
        std::sync::Arc::new(bootstrap::SystemClock::new()),
    );
    assert!(second.await.unwrap_err().to_string().contains("in use by another process"));
    group.shutdown().await.unwrap();
    open_real(settings).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}
