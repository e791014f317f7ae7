//! Proposals that come together share syncs.

use testkit::sim_disk::SimDisk;

use crate::common::*;

#[test]
fn sixty_four_proposals_share_syncs() {
    let disk = SimDisk::new(1);
    life(async {
        let group = open_sim(&disk).await.unwrap();
        let before = disk.counters().syncs;
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let group = group.clone();
                tokio::spawn(async move { propose(&group, &n.to_string()).await })
            })
            .collect();
        let mut indexes = Vec::new();
        for task in tasks {
            indexes.push(task.await.unwrap().unwrap().index);
        }
        let syncs = disk.counters().syncs - before;
        assert!(syncs <= 8, "{syncs} syncs for 64 proposals");
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!((indexes.len(), marks(&group).await.len()), (64, 64), "each is an entry of its own");
    });
}
