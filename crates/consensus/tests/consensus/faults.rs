//! A disk that fails: nothing is acknowledged, nothing is retried, the group says so and is over.

use std::path::Path;

use api::disk::Disk;
use consensus::{ConsensusError, ProposeError, ReadError};
use testkit::sim_disk::SimDisk;

use crate::common::*;

#[test]
fn a_failed_sync_of_the_log_ends_the_group() {
    let disk = SimDisk::new(3);
    life(async {
        let group = open_sim(&disk).await.unwrap();
        propose(&group, "before").await.unwrap();
        disk.fail_sync(1);
        let failed = propose(&group, "lost").await.unwrap_err();
        assert!(matches!(&failed, ProposeError::Failed(why) if why.contains("failed a sync")), "{failed}");
        assert!(group.failed().await.contains("failed a sync"));

        let syncs = disk.counters();
        assert!(matches!(propose(&group, "after").await, Err(ProposeError::Failed(_))));
        assert!(matches!(group.read().await, Err(ReadError::Failed(_))));
        assert!(group.checkpoint().await.is_err() && group.shutdown().await.is_err());
        assert_eq!(disk.counters(), syncs, "the disk was not touched again");
    });
    let refused = life(open_sim(&disk)).unwrap_err();
    assert!(
        matches!(&refused, ConsensusError::Poisoned { reason, .. } if reason.contains("failed a sync")),
        "{refused}"
    );
    disk.crash();
    disk.restart();
    assert!(matches!(life(open_sim(&disk)), Err(ConsensusError::Poisoned { .. })), "until a person has looked");
    disk.remove(&marker()).unwrap();
    life(async {
        let group = open_sim(&disk).await.unwrap();
        assert_eq!(marks(&group).await.into_keys().collect::<Vec<_>>(), ["before"]);
    });
}

#[test]
fn a_failed_checkpoint_ends_the_group() {
    let disk = SimDisk::new(4);
    life(async {
        let group = open_sim(&disk).await.unwrap();
        propose(&group, "before").await.unwrap();
        disk.fail_sync(1);
        // The next sync is the checkpoint's own: it is due by time, and time passes only while nobody works.
        assert!(group.failed().await.contains("tables.redb"));
        assert!(matches!(propose(&group, "after").await, Err(ProposeError::Failed(_))));
    });
    disk.crash();
    disk.restart();
    disk.remove(&marker()).unwrap();
    life(async {
        let group = open_sim(&disk).await.unwrap();
        assert_eq!(marks(&group).await.len(), 1);
    });
}

fn marker() -> std::path::PathBuf {
    Path::new(HOME).join("poisoned")
}

/// Entries that were purged are nowhere but in the tables: without them nothing may go on.
#[test]
fn lost_tables_are_noticed() {
    let disk = SimDisk::new(9);
    life(async {
        let settings = consensus::Settings { log_keep_entries: 3, ..sim_settings() };
        let group = open_sim_with(&disk, settings).await.unwrap();
        for n in 0..30 {
            propose(&group, &n.to_string()).await.unwrap();
        }
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while group.status().purged == 0 {
            assert!(tokio::time::Instant::now() < deadline, "nothing is purged");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await; // waits: in simulated time, for a purge
        }
        group.shutdown().await.unwrap();
    });
    disk.remove(&Path::new(HOME).join("tables.redb")).unwrap();
    let error = life(open_sim(&disk)).unwrap_err();
    assert!(error.to_string().contains("the tables end at entry 0"), "{error}");
}

/// What an earlier process left is synced before it is believed; if that fails, it is over at once.
#[test]
fn a_failed_sync_at_the_start_poisons_too() {
    // The first is the test's own, of the directory above.
    for sync in 2..=7 {
        let disk = SimDisk::new(8);
        life(async {
            let group = open_sim(&disk).await.unwrap();
            propose(&group, "before").await.unwrap();
            group.shutdown().await.unwrap();
        });
        disk.fail_sync(sync);
        let refused = life(open_sim(&disk)).unwrap_err();
        assert!(matches!(&refused, ConsensusError::Poisoned { .. }), "sync {sync}: {refused}");
        assert!(matches!(life(open_sim(&disk)), Err(ConsensusError::Poisoned { .. })), "sync {sync}, again");
    }
}

/// Found by the simulated cluster, as a start that never came to an end: the log's directory was empty, the tables were not,
/// and terms began at 1 again.
#[test]
fn a_lost_log_is_noticed() {
    let disk = SimDisk::new(7);
    life(async {
        let group = open_sim(&disk).await.unwrap();
        propose(&group, "before").await.unwrap();
        group.shutdown().await.unwrap();
    });
    let log = Path::new(HOME).join("log");
    disk.list(&log).unwrap().iter().for_each(|name| disk.remove(&log.join(name)).unwrap());
    let error = life(open_sim(&disk)).unwrap_err();
    assert!(error.to_string().contains("the log knows no vote after term 0"), "{error}");
}

#[test]
fn a_damaged_log_is_not_opened() {
    let disk = SimDisk::new(5);
    life(async {
        let group = open_sim(&disk).await.unwrap();
        for n in 0..5 {
            propose(&group, &n.to_string()).await.unwrap();
        }
    });
    let log = Path::new(HOME).join("log");
    let first = disk.list(&log).unwrap().into_iter().min().unwrap();
    disk.crash();
    disk.restart();
    assert!(disk.corrupt(&log.join(first), 40));
    let error = life(open_sim(&disk)).unwrap_err();
    assert!(matches!(&error, ConsensusError::Storage { .. }) && error.to_string().contains("damaged"), "{error}");
}

/// After a failed sync the page cache shows what the disk does not have. Should a process start again while the machine stays up
/// (the last one was killed before it could leave its marker), it must not build on that: what it answers would stand behind a hole.
#[test]
fn a_start_believes_the_disk_and_not_its_cache() {
    for (what, sync) in [("the log", 1), ("the tables", 2)] {
        let disk = SimDisk::new(6);
        life(async {
            let group = open_sim(&disk).await.unwrap();
            propose(&group, "before").await.unwrap();
            disk.fail_sync(sync);
            let _ = propose(&group, "lost, or in the log").await;
            group.failed().await;
        });
        disk.remove(&marker()).unwrap();
        life(async {
            let group = open_sim(&disk).await.unwrap();
            propose(&group, "after").await.unwrap();
        });
        disk.crash();
        disk.restart();
        life(async {
            let group = open_sim(&disk).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let marks = marks(&group).await;
            assert!(marks.contains_key("before") && marks.contains_key("after"), "{what}: {marks:?}");
        });
    }
}
