//! Three coordinators: one group, whatever happens to one of them, and never two.

use api::disk::Disk;
use consensus::{Group, MembersError, ProposeError};
use testkit::sim_disk::SimDisk;

use crate::common::*;
use crate::town::*;

async fn groups(town: &[(SimDisk, consensus::Seat)]) -> Vec<Group> {
    let mut groups = Vec::new();
    for (_, seat) in town {
        groups.push(seat.seated().await.unwrap());
    }
    groups
}

#[test]
fn three_pristine_coordinators_found_one_group() {
    life(async {
        let town = Town::default();
        let seats = town.founded().await;
        let groups = groups(&seats).await;
        let all: Vec<_> = groups.iter().collect();
        let marked = insist(&all, "first").await;
        for group in &all {
            assert!(marks(group).await.contains_key(&marked), "a read at each member sees what was answered");
            assert_eq!(group.key(), all[0].key());
        }
        let mut ids: Vec<_> = all.iter().map(|group| group.node()).collect();
        ids.sort();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(all.iter().filter(|group| group.leadership().mine).count(), 1);
    });
}

#[test]
fn other_lists_found_nothing() {
    life(async {
        let town = Town::default();
        let (one, two) = (SimDisk::new(1), SimDisk::new(2));
        let first = town.start(1, &one, &[1, 2]).await.unwrap();
        let second = town.start(2, &two, &[1, 2, 3]).await.unwrap();
        until("the difference is told", || first.waiting().is_some_and(|why| why.contains("another list"))).await;
        until("the other one waits, too", || second.waiting().is_some_and(|why| why.contains("another list"))).await;
        assert!(first.group().is_none() && second.group().is_none());
    });
}

/// A founder that stops between its own identity and the others' goes on when it is started again.
#[test]
fn a_founder_that_dies_halfway_goes_on() {
    life(async {
        let town = Town::default();
        let disks: Vec<_> = (1..=3).map(SimDisk::new).collect();
        for nth in [2, 3] {
            town.start(nth, &disks[nth as usize - 1], &[1, 2, 3]).await.unwrap();
        }
        let founder = town.start(1, &disks[0], &[1, 2, 3]).await.unwrap();
        until("the founder is somebody", || founder.group().is_some()).await;
        town.kill(1, &disks[0]).await;
        let founder = town.start(1, &disks[0], &[1, 2, 3]).await.unwrap();
        let group = founder.seated().await.unwrap();
        until("the group is founded", || group.leadership().leader.is_some()).await;
        assert_eq!(group.members().len(), 3);
    });
}

/// A founder on a slow machine hangs up before the one it told its number has opened its files. That one goes on all the same: once it
/// was dropped in the middle, and when it was told again it found its own log locked by what was left of the first time.
#[test]
fn whoever_is_told_its_number_sits_though_the_founder_hangs_up() {
    life(async {
        let town = Town::default();
        let disks = [1, 2, 3].map(SimDisk::new);
        let mut seats = Vec::new();
        for nth in [2, 3, 1] {
            town.hang_up_on(nth);
            seats.push(town.start(nth, &disks[nth as usize - 1], &[1, 2, 3]).await.unwrap());
        }
        until("it sits", || seats[0].group().is_some()).await;
        town.mend();
        let group = seats[0].seated().await.unwrap();
        until("the group is founded", || group.leadership().leader.is_some()).await;
    });
}

#[test]
fn the_others_go_on_without_the_leader() {
    life(async {
        let town = Town::default();
        let mut seats = town.founded().await;
        let mut first = groups(&seats).await;
        let lost = leader(&first.iter().collect::<Vec<_>>()).await;
        let kept = insist(&first.iter().collect::<Vec<_>>(), "before").await;
        let (disk, _) = seats.remove(lost);
        let gone = first.remove(lost);
        let nth = gone.node() as u32;
        town.kill(nth, &disk).await;
        drop(gone);
        let rest: Vec<_> = first.iter().collect();
        let after = insist(&rest, "after").await;
        let back = town.start(nth, &disk, &[1, 2, 3]).await.unwrap().seated().await.unwrap();
        until("it follows again", || back.leadership().leader.is_some()).await;
        let found = marks(&back).await;
        assert!(found.contains_key(&kept) && found.contains_key(&after), "{found:?}");
    });
}

/// Once, a group of one voter never said that it leads: there is nobody whose answers could be counted.
#[test]
fn a_sole_voter_leads_a_majority() {
    life(async {
        let town = Town::default();
        let disk = SimDisk::new(1);
        let group = town.start(1, &disk, &[1]).await.unwrap().seated().await.unwrap();
        until("it leads", || group.leads_a_majority()).await;
    });
}

/// A leader that is cut off answers nothing as if it still led: neither reads nor proposals.
#[test]
fn a_leader_that_is_cut_off_answers_nothing() {
    life(async {
        let town = Town::default();
        let seats = town.founded().await;
        let groups = groups(&seats).await;
        let all: Vec<_> = groups.iter().collect();
        let old = leader(&all).await;
        until("it hears from a majority", || all[old].leads_a_majority()).await;
        town.cut_off(all[old].node() as u32);
        let rest: Vec<_> = all.iter().enumerate().filter(|(nth, _)| *nth != old).map(|(_, group)| *group).collect();
        insist(&rest, "elsewhere").await;
        let read = tokio::time::timeout(std::time::Duration::from_secs(5), all[old].read()).await;
        assert!(!matches!(read, Ok(Ok(_))), "it read without a majority");
        let lost = tokio::time::timeout(std::time::Duration::from_secs(5), propose(all[old], "lost")).await;
        assert!(!matches!(lost, Ok(Ok(_))), "it proposed without a majority: {lost:?}");
        assert!(!all[old].leads_a_majority(), "it says that it leads, and nobody follows");
        assert_eq!(rest.iter().filter(|group| group.leads_a_majority()).count(), 1, "one of the others does");
        town.mend();
        let mended = insist(&all, "mended").await;
        let (here, there) = (marks(all[old]).await, marks(rest[0]).await);
        assert!(here == there && here.contains_key(&mended) && !here.contains_key("lost"), "{here:?}");
    });
}

/// What a leader planned is refused when it is applied under the next one.
#[test]
fn plans_do_not_outlive_their_reign() {
    life(async {
        let town = Town::default();
        let seats = town.founded().await;
        let groups = groups(&seats).await;
        let all: Vec<_> = groups.iter().collect();
        let leader = leader(&all).await;
        let term = all[leader].leadership().term;
        let own = all[leader].propose_in(Some(term), vec![mark("planned")]).await.unwrap();
        assert!(matches!(own.replies[..], [meta::Reply::Lease(_)]));
        let late = all[leader].propose_in(Some(term - 1), vec![mark("outlived")]).await.unwrap();
        assert!(matches!(&late.replies[..], [meta::Reply::Refused(why)] if why.contains("term")), "{late:?}");
        assert!(!marks(all[leader]).await.contains_key("outlived"));
    });
}

/// Two of three lose their disks. They found no second group, say who holds the first, and the third keeps what it has.
#[test]
fn two_that_lost_their_disks_found_nothing() {
    life(async {
        let town = Town::default();
        let seats = town.founded().await;
        let groups = groups(&seats).await;
        let all: Vec<_> = groups.iter().collect();
        let kept = insist(&all, "kept").await;
        for group in &all {
            assert!(marks(group).await.contains_key(&kept));
        }
        let mut wiped = Vec::new();
        for nth in [1, 2] {
            town.kill(nth, &seats[nth as usize - 1].0).await;
            wiped.push(town.start(nth, &SimDisk::new(u64::from(nth) + 10), &[1, 2, 3]).await.unwrap());
        }
        for seat in &wiped {
            let told = || {
                seat.waiting()
                    .is_some_and(|why| why.contains("coord3:9000 is coordinator 3") && why.contains("members"))
            };
            until("it says where the group is", told).await;
        }
        tokio::time::advance(std::time::Duration::from_secs(30)).await;
        assert!(wiped.iter().all(|seat| seat.group().is_none()), "no second group");
        let survivor = seats[2].1.group().unwrap();
        assert!(survivor.read().await.is_err(), "one of three is no majority");
        let rows = survivor.stale_read().unwrap();
        assert!(meta::Tables::count(&rows, meta::Table::Leases).unwrap() >= 1, "and yet it has its rows");
    });
}

/// One of three loses its disk: it comes back under another number, by snapshot, while commands go on.
#[test]
fn one_that_lost_its_disk_is_replaced() {
    life(async {
        let town = Town::default();
        let seats = town.founded().await;
        let groups = groups(&seats).await;
        let all: Vec<_> = groups.iter().collect();
        let at = leader(&all).await;
        // Enough that the log begins after some of it: the newcomer needs a snapshot.
        for nth in 0..120 {
            propose(all[at], &format!("row{nth}")).await.unwrap();
        }
        until("the log was purged", || all[at].status().purged > 0).await;
        let lost = (0..3).find(|nth| *nth != at).unwrap();
        let (nth, old) = (all[lost].node() as u32, all[lost].node());
        town.kill(nth, &seats[lost].0).await;
        let newcomer = town.start(nth, &SimDisk::new(77), &[1, 2, 3]).await.unwrap();
        until("it knows that it is new", || newcomer.waiting().is_some_and(|why| why.contains("lost its disk"))).await;
        let node = all[at].add_member(&address(nth)).await.unwrap();
        assert!(node > 1_000, "a number that nobody had: {node}");
        let group = newcomer.seated().await.unwrap();
        for nth in 0..30 {
            propose(all[at], &format!("meanwhile{nth}")).await.unwrap();
        }
        let reached = || group.status().applied >= all[at].status().applied;
        until("the newcomer has caught up", reached).await;
        until("the leader knows", || {
            all[at].members().iter().any(|member| member.node == node && member.matched.is_some())
        })
        .await;
        all[at].replace_member(old, node).await.unwrap();
        let replaced = || {
            let members = all[at].members();
            members.iter().all(|member| member.node != old) && members.iter().filter(|member| member.voter).count() == 3
        };
        until("it has the vote of the lost one", replaced).await;
        assert_eq!(marks(&group).await, marks(all[at]).await);
        assert!(marks(&group).await.len() >= 150);
        // Its vote counts: with it and the leader alone the group goes on.
        let third = (0..3).find(|nth| *nth != at && *nth != lost).unwrap();
        town.cut_off(all[third].node() as u32);
        insist(&[all[at], &group], "two of three").await;
    });
}

#[test]
fn members_are_changed_with_care() {
    life(async {
        let town = Town::default();
        let seats = town.founded().await;
        let groups = groups(&seats).await;
        let all: Vec<_> = groups.iter().collect();
        let at = leader(&all).await;
        let refused = |result: Result<(), MembersError>| matches!(result, Err(MembersError::Refused(_)));
        assert!(refused(all[at].promote_member(99).await) && refused(all[at].remove_member(99).await));
        assert!(refused(all[at].add_member(&address(2)).await.map(drop)), "a member already");
        assert!(refused(all[at].add_member(&address(8)).await.map(drop)), "nobody there");
        let follower = (0..3).find(|nth| *nth != at).unwrap();
        let elsewhere = all[follower].remove_member(all[at].node()).await;
        assert!(matches!(elsewhere, Err(MembersError::NotLeader(_))), "{elsewhere:?}");
        // A fourth as a learner, then with a vote, then gone again.
        let fourth = town.start(4, &SimDisk::new(4), &[]).await.unwrap();
        let node = all[at].add_member(&address(4)).await.unwrap();
        let group = fourth.seated().await.unwrap();
        assert!(all[at].members().iter().any(|member| member.node == node && !member.voter));
        until("it has caught up", || {
            all[at].members().iter().any(|member| member.node == node && member.matched > Some(0))
        })
        .await;
        all[at].promote_member(node).await.unwrap();
        assert!(all[at].members().iter().any(|member| member.node == node && member.voter));
        until("it knows the leader", || group.leadership().leader.is_some()).await;
        let elsewhere = propose(&group, "here").await;
        assert!(matches!(elsewhere, Err(ProposeError::Unavailable(_))), "{elsewhere:?}");
        all[at].remove_member(node).await.unwrap();
        assert_eq!(all[at].members().len(), 3);
        insist(&all, "three again").await;
    });
}

/// A directory of a group of one is no member's, and says so.
#[test]
fn a_directory_without_identity_is_refused() {
    life(async {
        let disk = SimDisk::new(9);
        let alone = open_sim(&disk).await.unwrap();
        propose(&alone, "mine").await.unwrap();
        alone.shutdown().await.unwrap();
        assert!(disk.list(HOME.as_ref()).unwrap().iter().any(|name| name == "tables.redb"));
        let refused = Town::default().start(1, &disk, &[1, 2, 3]).await.unwrap_err();
        assert!(refused.to_string().contains("start it as it was"), "{refused}");
    });
}

/// Two of three are lost for good. The third becomes a group of its own, with everything it had; others join it, and the lost ones are nobody's.
#[test]
fn a_survivor_begins_a_new_generation() {
    use std::sync::Arc;
    let town_life = || {
        life(async {
            let town = Town::default();
            let seats = town.founded().await;
            let groups = groups(&seats).await;
            let all: Vec<_> = groups.iter().collect();
            let found = meta::Command::Found { cluster_id: all[0].key().cluster };
            all[leader(&all).await].propose(vec![found]).await.unwrap();
            let kept = insist(&all, "kept").await;
            assert!(marks(all[2]).await.contains_key(&kept));
            let disks: Vec<_> = seats.iter().map(|(disk, _)| disk.clone()).collect();
            for nth in [1, 2, 3] {
                town.kill(nth, &disks[nth as usize - 1]).await;
            }
            (disks, kept)
        })
    };
    let (disks, kept) = town_life();
    let survivor: Arc<dyn Disk> = Arc::new(disks[2].clone());
    let recovered = life(async {
        consensus::recover(&sim_settings(), &survivor, &address(3), 1_700_000_000_000, |_| "recovered".into()).unwrap()
    });
    assert_eq!(recovered.tables.cluster.generation, 2);
    assert_eq!(recovered.tables.cluster.hold_deletes.as_deref(), Some("recovered"));
    life(async {
        let town = Town::default();
        let seat = town.start(3, &disks[2], &[1, 2, 3]).await.unwrap();
        let group = seat.seated().await.unwrap();
        until("it leads by itself", || group.leadership().mine).await;
        // Leases do not outlive a generation, so the mark is gone; what was counted says that it was there.
        assert!(recovered.tables.leases >= 1, "{kept} was in the tables: {recovered:?}");
        insist(&[&group], "in the new generation").await;
        // A lost one comes back as it was: it is of another generation, and cannot join or vote.
        let lost = town.start(1, &disks[0], &[1, 2, 3]).await.unwrap();
        let stranger = group.add_member(&address(1)).await.unwrap_err();
        assert!(matches!(&stranger, MembersError::Refused(why) if why.contains("generation 1")), "{stranger}");
        assert!(lost.group().is_some_and(|old| !old.leadership().mine));
        // Emptied, it is taken in.
        let pristine = town.start(2, &SimDisk::new(22), &[1, 2, 3]).await.unwrap();
        let node = group.add_member(&address(2)).await.unwrap();
        let second = pristine.seated().await.unwrap();
        until("it has caught up", || second.status().applied >= group.status().applied).await;
        until("the leader knows", || {
            group.members().iter().any(|member| member.node == node && member.matched > Some(0))
        })
        .await;
        group.promote_member(node).await.unwrap();
        insist(&[&group, &second], "with a second voter").await;
    });
}

/// A group can be founded by one coordinator that is told to, and by no other; it takes others in.
#[test]
fn one_coordinator_founds_when_it_is_told_to() {
    life(async {
        let town = Town::default();
        let disk = SimDisk::new(5);
        let entropy = testkit::entropy::SeededEntropy::new(5);
        let key = consensus::init(HOME.as_ref(), &disk, &address(1), &entropy).unwrap();
        let again = consensus::init(HOME.as_ref(), &disk, &address(1), &entropy).unwrap_err();
        assert!(again.to_string().contains("already"), "{again}");
        let group = town.start(1, &disk, &[1, 2, 3]).await.unwrap().seated().await.unwrap();
        until("it leads by itself", || group.leadership().mine).await;
        assert_eq!((group.key(), group.members().len()), (key, 1));
        let second = town.start(2, &SimDisk::new(6), &[1, 2, 3]).await.unwrap();
        let node = group.add_member(&address(2)).await.unwrap();
        assert_eq!(second.seated().await.unwrap().node(), node);
    });
}
