//! Why a restarted leader must stand for election again.
//!
//! By default openraft lets a process that led before a restart lead on at once, in the *same term*. A term's leader hands out
//! (term, index) once each, and remembers which by its log; but a power cut can take the end of the log that was not synced
//! yet. Followers get an entry as soon as it is appended, before the leader's own sync: in a group of three, the two others may
//! have made it durable, and so committed. The restored leader, who lost it, gives its log id to the next command, and two
//! different entries are committed under one name.
//!
//! Here the group is one and the in-flight entry reaches nobody, yet the reuse itself can be seen; with our default it is gone.

use consensus::Settings;
use testkit::sim_disk::SimDisk;

use crate::common::*;

/// Cuts the power between the append of an entry and its sync. Whether the next life, in which that entry is lost, gives its
/// log id to another.
fn reuses_a_log_id(seed: u64, leader_restore: bool) -> bool {
    let disk = SimDisk::new(seed);
    let settings = Settings { leader_restore, log_file_bytes: 1 << 20, ..sim_settings() };
    let (term, in_flight) = life(async {
        let group = open_sim_with(&disk, settings.clone()).await.unwrap();
        let before = propose(&group, "answered").await.unwrap();
        disk.crash_at(2); // The write of the next entry, then its sync.
        propose(&group, "in flight").await.unwrap_err();
        assert!(disk.is_down());
        (before.term, before.index + 1)
    });
    disk.restart();
    life(async {
        let group = open_sim_with(&disk, settings).await.unwrap();
        let next = propose(&group, "next").await.unwrap();
        let marks = marks(&group).await;
        assert!(marks.contains_key("answered"));
        !marks.contains_key("in flight") && (next.term, next.index) == (term, in_flight)
    })
}

#[test]
fn a_restored_leader_gives_a_log_id_out_twice() {
    assert!((0..20).any(|seed| reuses_a_log_id(seed, true)), "the danger is there");
    assert!(!(0..20).any(|seed| reuses_a_log_id(seed, false)), "and our default avoids it");
}
