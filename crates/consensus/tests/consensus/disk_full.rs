//! A disk that fills up: the ballast comes and goes, and a write without room is a failure like any other.

use std::path::Path;

use api::disk::Disk;
use consensus::{ProposeError, Settings};
use testkit::sim_disk::SimDisk;

use crate::common::*;

const MIB: u64 = 1 << 20;

#[test]
fn the_ballast_makes_room_and_is_taken_on_again() {
    let disk = SimDisk::new(1);
    life(async {
        let settings = Settings { ballast_bytes: 3 * MIB, reserve_bytes: 20 * MIB, ..sim_settings() };
        disk.set_capacity(64 * MIB);
        let group = open_sim_with(&disk, settings).await.unwrap();
        let ballast = Path::new(HOME).join("ballast");
        assert_eq!(disk.len(&ballast).unwrap(), 3 * MIB);
        let used = 64 * MIB - group.disk_space().await.unwrap().free;

        disk.set_capacity(used + 19 * MIB);
        assert_eq!(group.ballast_tick().await.unwrap().free, 22 * MIB, "its room is there again");
        assert!(disk.len(&ballast).is_err());
        propose(&group, "a delete").await.unwrap();

        group.ballast_tick().await.unwrap();
        assert!(disk.len(&ballast).is_err(), "it does not come back at the very edge");
        disk.set_capacity(64 * MIB);
        group.ballast_tick().await.unwrap();
        assert_eq!(disk.len(&ballast).unwrap(), 3 * MIB);
    });
}

#[test]
fn a_full_disk_ends_the_group() {
    let disk = SimDisk::new(2);
    life(async {
        let group = open_sim(&disk).await.unwrap();
        propose(&group, "before").await.unwrap();
        disk.set_capacity(0);
        assert!(matches!(propose(&group, "lost").await, Err(ProposeError::Failed(_))));
        group.failed().await;
    });
    disk.set_capacity(64 * MIB);
    disk.crash();
    disk.restart();
    life(async {
        let group = open_sim(&disk).await.unwrap();
        assert!(marks(&group).await.contains_key("before"));
    });
}
