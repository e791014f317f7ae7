//! What a read shows, and the limits of a proposal.

use std::time::Duration;

use consensus::{MAX_ENTRY_BYTES, ProposeError, ReadError};
use domain::codec;
use domain::record::ClusterRow;
use meta::{Command, Reply, Table, Tables};
use testkit::sim_disk::SimDisk;

use crate::common::*;

#[test]
fn a_read_shows_what_was_answered_and_stays_as_it_is() {
    life(async {
        let group = open_sim(&SimDisk::new(1)).await.unwrap();
        let first = propose(&group, "one").await.unwrap();
        let snapshot = group.read().await.unwrap();
        assert!(snapshot.index() >= first.index);
        propose(&group, "two").await.unwrap();
        assert_eq!(snapshot.count(Table::Leases), Ok(1), "a snapshot does not move");
        let later = group.read().await.unwrap();
        assert_eq!(later.count(Table::Leases), Ok(2));
        assert!(later.index() > snapshot.index());
        assert_eq!(*group.applied().borrow(), later.index());

        let shared = std::sync::Arc::new(later);
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let shared = shared.clone();
                tokio::spawn(async move { shared.count(Table::Leases) })
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.await.unwrap(), Ok(2));
        }
    });
}

#[test]
fn the_commands_of_an_entry_are_answered_in_order() {
    life(async {
        let group = open_sim(&SimDisk::new(1)).await.unwrap();
        let proposed = group.propose(vec![mark("a"), Command::Barrier, mark("b")]).await.unwrap();
        let at = |slot| Reply::Lease(domain::LogPosition::new(proposed.index, slot));
        assert_eq!(proposed.replies, [at(0), Reply::Done, at(2)]);
    });
}

#[test]
fn an_entry_has_a_limit() {
    life(async {
        let group = open_sim(&SimDisk::new(1)).await.unwrap();
        let long = "x".repeat(MAX_ENTRY_BYTES);
        assert!(matches!(propose(&group, &long).await, Err(ProposeError::TooLarge { .. })));
        propose(&group, &long[..MAX_ENTRY_BYTES - 100]).await.unwrap();
    });
}

#[test]
fn after_a_shutdown_nothing_is_done() {
    life(async {
        let group = open_sim(&SimDisk::new(1)).await.unwrap();
        group.shutdown().await.unwrap();
        assert!(matches!(
            propose(&group, "late").await,
            Err(ProposeError::Unavailable(_) | ProposeError::OutcomeUnknown(_))
        ));
        assert!(matches!(group.read().await, Err(ReadError::Unavailable(_))));
    });
}

/// Ticks count time under a leader. They go on from where they were, and time between two lives is not in them.
#[test]
fn ticks_go_on_after_a_restart() {
    let disk = SimDisk::new(1);
    let mut last = 0;
    for _ in 0..2 {
        let ticks = life(async {
            let group = open_sim(&disk).await.unwrap();
            // waits: simulated time is what ticks are made of.
            tokio::time::sleep(Duration::from_secs(100)).await;
            group.propose(vec![Command::HoldDeletes { reason: Some("test".into()) }]).await.unwrap();
            let row = group.read().await.unwrap().get(Table::Cluster, b"cluster").unwrap().unwrap();
            group.shutdown().await.unwrap();
            codec::decode::<ClusterRow>(&row).unwrap().ticks_ms
        });
        assert!((last + 100_000..last + 101_000).contains(&ticks), "{ticks} after {last}");
        last = ticks;
    }
}
