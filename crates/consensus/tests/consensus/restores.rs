//! Backups restored: into a new life that begins where nobody has been, or not at all.

use std::path::Path;
use std::sync::Arc;

use api::disk::Disk;
use bootstrap::RealDisk;
use consensus::snapshot::{Reader, state_hash};
use consensus::{Group, Restore, RestoreError, Restored, Settings};
use meta::{Command, Table, Tables, query};
use testkit::sim_disk::SimDisk;

use crate::common::{HOME, life, marks, open_real, open_sim, propose, sim_settings, until};
use crate::town::{Town, address, insist, leader};

const FILE: &str = "/backup.kvfs";

async fn found(group: &Group) {
    group.propose(vec![Command::Found { cluster_id: 77 }]).await.unwrap();
}

async fn backup(group: &Group) -> Vec<u8> {
    let (mut stream, mut bytes) = (group.backup(1_700_000_000_000).await.unwrap(), Vec::new());
    while let Some(block) = stream.next_block().await.unwrap() {
        bytes.extend_from_slice(&block);
    }
    bytes
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    api::disk::replace(disk, path, bytes).unwrap();
}

fn how(from: &Path, force: bool) -> Restore {
    Restore { from: from.to_owned(), force, now_ms: 1_767_323_045_006, own: None }
}

fn restore_sim(disk: &SimDisk, force: bool) -> Result<Restored, RestoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    consensus::restore(&sim_settings(), &disk, &how(Path::new(FILE), force), |_| "look first".into())
}

/// A group with ten marks, a backup of it, and ten marks more that the backup does not know.
fn lived(disk: &SimDisk) -> u64 {
    life(async {
        let group = open_sim(disk).await.unwrap();
        found(&group).await;
        for n in 0..10 {
            propose(&group, &format!("old {n}")).await.unwrap();
        }
        let bytes = backup(&group).await;
        write(disk, Path::new(FILE), &bytes);
        for n in 0..10 {
            propose(&group, &format!("lost {n}")).await.unwrap();
        }
        let last = group.status().last_log;
        group.shutdown().await.unwrap();
        last
    })
}

#[test]
fn a_restored_group_leads_on_under_numbers_that_nobody_has() {
    let disk = SimDisk::new(5);
    let last = lived(&disk);
    let occupied = restore_sim(&disk, false).unwrap_err();
    assert!(matches!(&occupied, RestoreError::Occupied { .. }), "{occupied}");
    assert!(occupied.to_string().contains("--force"));

    let restored = restore_sim(&disk, true).unwrap();
    assert!(restored.index > last && restored.index.is_multiple_of(1 << 36));
    assert_eq!((restored.tables.leases, restored.tables.cluster.generation), (10, 2));
    let kept = restored.kept.unwrap();
    assert_eq!(kept, Path::new(HOME).join("before-restore-20260102T030405Z"));
    assert!(disk.list(&kept).unwrap().contains(&"tables.redb".to_string()));
    life(async {
        let group = open_sim(&disk).await.unwrap();
        let rows = group.read().await.unwrap();
        let cluster = query::cluster(&rows).unwrap().unwrap();
        assert_eq!((cluster.cluster_id, cluster.generation), (77, 2));
        assert_eq!(cluster.hold_deletes.as_deref(), Some("look first"));
        assert_eq!(marks(&group).await.len(), 0, "leases of the old life are over");
        let first = propose(&group, "new").await.unwrap();
        assert!(first.index > restored.index && first.term > restored.summary.header.term() + 1, "{first:?}");
        group.shutdown().await.unwrap();
    });
    // A backup of the new life restores again, over the first.
    let second = life(async {
        let group = open_sim(&disk).await.unwrap();
        assert_eq!(marks(&group).await.len(), 1);
        let bytes = backup(&group).await;
        write(&disk, Path::new(FILE), &bytes);
        group.shutdown().await.unwrap();
        restore_sim(&disk, true).unwrap()
    });
    assert_eq!((second.index, second.tables.cluster.generation), (2 << 36, 3));
    assert_ne!(second.kept, Some(kept), "nothing that was kept is overwritten");
    life(async { drop(open_sim(&disk).await.unwrap()) });
}

/// Wherever the power goes: the old life opens, or the new one, or nothing does until the restore is run again.
#[test]
fn a_power_cut_during_a_restore() {
    let mut seen = [0; 3];
    for change in 1.. {
        let disk = SimDisk::new(change);
        lived(&disk);
        disk.crash_at(change);
        let outcome = restore_sim(&disk, true);
        let crashed = disk.is_down();
        disk.crash();
        disk.restart();
        let generation = life(async {
            let group = open_sim(&disk).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(query::cluster(&group.read().await.unwrap()).unwrap().unwrap().generation)
        });
        match (&generation, outcome.is_ok()) {
            (Ok(1), false) => seen[0] += 1,
            (Ok(2), _) => seen[1] += 1,
            (Err(why), false) if why.contains("was not finished") => seen[2] += 1,
            other => panic!("crash at change {change}: {other:?}"),
        }
        // Run again, it ends well: without force where it had begun.
        restore_sim(&disk, generation.is_ok()).unwrap();
        life(async {
            let group = open_sim(&disk).await.unwrap();
            let cluster = query::cluster(&group.read().await.unwrap()).unwrap().unwrap();
            assert!(cluster.generation == 2 && cluster.hold_deletes.is_some(), "{cluster:?}");
            propose(&group, "new").await.unwrap();
        });
        if !crashed {
            break;
        }
    }
    assert!(seen[0] > 10 && seen[1] > 0 && seen[2] > 5, "{seen:?}");
}

#[test]
fn a_bad_backup_touches_nothing() {
    let disk = SimDisk::new(5);
    lived(&disk);
    let good = api::disk::read(&disk, Path::new(FILE)).unwrap();
    for (case, bytes) in [("cut", good[..good.len() - 1].to_vec()), ("empty", Vec::new()), ("other", b"zip".to_vec())] {
        write(&disk, Path::new(FILE), &bytes);
        let error = restore_sim(&disk, true).unwrap_err();
        assert!(matches!(error, RestoreError::Backup { .. }), "{case}: {error}");
    }
    let unfounded = SimDisk::new(6);
    let bytes = life(async {
        let group = open_sim(&unfounded).await.unwrap();
        propose(&group, "x").await.unwrap();
        backup(&group).await
    });
    write(&disk, Path::new(FILE), &bytes);
    let error = restore_sim(&disk, true).unwrap_err().to_string();
    assert!(error.contains("never founded"), "{error}");
    life(async {
        let group = open_sim(&disk).await.unwrap();
        assert_eq!(marks(&group).await.len(), 20, "the old life goes on");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_directory_is_restored_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (Settings::new(home.path().join("old")), Settings::new(home.path().join("new")));
    let group = open_real(old.clone()).await;
    found(&group).await;
    group.propose(vec![Command::AddNode { addr: "dn1:8080".into() }]).await.unwrap();
    let file = home.path().join("backup.kvfs");
    let bytes = backup(&group).await;
    std::fs::write(&file, &bytes).unwrap();
    let mut reader = Reader::new();
    reader.push(&bytes, &mut |_| Ok(())).unwrap();
    let hash = state_hash(&group.read().await.unwrap()).unwrap();
    assert_eq!(reader.finish().unwrap().rows[&Table::Nodes], 1);
    group.shutdown().await.unwrap();

    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let restored = consensus::restore(&new, &disk, &how(&file, false), |_| "look first".into()).unwrap();
    assert_eq!(restored.kept, None);
    let group = open_real(new.clone()).await;
    assert_eq!(group.read().await.unwrap().count(Table::Nodes), Ok(1));
    assert_ne!(state_hash(&group.read().await.unwrap()).unwrap(), hash, "another generation");
    group.propose(vec![Command::Barrier]).await.unwrap();
    group.shutdown().await.unwrap();
    let group = open_real(new.clone()).await;
    assert!(group.status().applied > restored.index);
    let running = consensus::restore(&new, &disk, &how(&file, true), |_| String::new()).unwrap_err();
    assert!(running.to_string().contains("in use by another process") || format!("{running:?}").contains("in use"));
    group.shutdown().await.unwrap();
}

/// Three coordinators, and a fourth machine that begins the cluster's next life from a follower's backup: it leads alone, takes another one
/// in by snapshot, and those of the old life neither hear from it nor get through to it.
#[test]
fn a_restored_member_takes_others_in_anew() {
    life(async {
        let town = Town::default();
        let seats = town.founded().await;
        let mut old = Vec::new();
        for (_, seat) in &seats {
            old.push(seat.seated().await.unwrap());
        }
        let all: Vec<_> = old.iter().collect();
        let leads = leader(&all).await;
        all[leads].propose(vec![Command::Found { cluster_id: all[0].key().cluster }]).await.unwrap();
        all[leads].propose(vec![Command::AddNode { addr: "dn1:8080".into() }]).await.unwrap();
        let bytes = backup(all[(leads + 1) % 3]).await;

        let (fourth, fifth) = (SimDisk::new(44), SimDisk::new(55));
        fourth.create_dir_all("/kvfs".as_ref()).unwrap();
        write(&fourth, Path::new(FILE), &bytes);
        let disk: Arc<dyn Disk> = Arc::new(fourth.clone());
        let how = Restore { own: Some(address(4)), ..how(Path::new(FILE), false) };
        consensus::restore(&sim_settings(), &disk, &how, |_| "look first".into()).unwrap();
        let new = town.start(4, &fourth, &[]).await.unwrap().seated().await.unwrap();
        until("it leads", || new.leadership().mine).await;
        assert_eq!((new.key().cluster, new.key().generation), (all[0].key().cluster, 2));

        let joiner = town.start(5, &fifth, &[]).await.unwrap();
        let node = new.add_member(&address(5)).await.unwrap();
        let joined = joiner.seated().await.unwrap();
        until("the snapshot is there", || *joined.applied().borrow() > 1 << 36).await;
        assert_eq!(joined.stale_read().unwrap().count(Table::Nodes), Ok(1));
        until("it can vote", || new.members().iter().any(|member| member.node == node)).await;

        insist(&all, "the old life goes on by itself").await;
        assert_eq!(new.leadership().leader.map(|(_, at)| at), Some(address(4)));
        assert_eq!(query::cluster(&new.stale_read().unwrap()).unwrap().unwrap().generation, 2);
    });
}
