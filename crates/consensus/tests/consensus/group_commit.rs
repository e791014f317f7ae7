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
        let mut places = Vec::new();
        for task in tasks {
            let proposed = task.await.unwrap().unwrap();
            places.push(match proposed.replies[..] {
                [meta::Reply::Lease(place)] if place.index() == proposed.index => place,
                ref other => panic!("{other:?}"),
            });
        }
        let syncs = disk.counters().syncs - before;
        assert!(syncs <= 8, "{syncs} syncs for 64 proposals");
        places.sort_unstable();
        places.dedup();
        assert_eq!((places.len(), marks(&group).await.len()), (64, 64), "each has a place of its own");
        let entries = places.iter().map(|place| place.index()).collect::<std::collections::BTreeSet<_>>().len();
        assert!(entries <= 4, "{entries} entries for 64 proposals that wait together");
    });
}
