//! The audit log: through crashes it has each entry once, and gives the state back.

use std::path::Path;
use std::sync::Arc;

use api::disk::Disk;
use consensus::snapshot::state_hash;
use consensus::{Group, Replayed, Settings};
use meta::Command;
use testkit::sim_disk::SimDisk;

use crate::common::{life, open_sim_with, propose, sim_settings};

const LOG: &str = "/audit/log.jsonl";

fn settings() -> Settings {
    Settings { audit_log: Some(LOG.into()), ..sim_settings() }
}

fn replay(disk: &SimDisk, from: Option<&Path>, scratch: &str) -> std::io::Result<Replayed> {
    let seam: Arc<dyn Disk> = Arc::new(disk.clone());
    seam.create_dir_all(scratch.as_ref())?;
    consensus::replay(Path::new(LOG), from, scratch.as_ref(), &seam)
}

async fn hash(group: &Group) -> (u64, [u8; 32]) {
    let rows = group.read().await.unwrap();
    (rows.index(), state_hash(&rows).unwrap())
}

/// Lives that end in power cuts at any moment; then one that ends well, whose file is replayed.
#[test]
fn a_replay_reaches_the_same_state() {
    for seed in 0..30 {
        let disk = SimDisk::new(seed);
        for crash in 0..4 {
            if crash > 0 {
                disk.crash_at(seed * 7 % 90 + 20 * crash);
            }
            life(async {
                let Ok(group) = open_sim_with(&disk, settings()).await else { return };
                let found = vec![Command::Found { cluster_id: u128::MAX - 1 }];
                if group.propose(found).await.is_err() {
                    return;
                }
                for n in 0..40 {
                    if propose(&group, &format!("{seed} {crash} {n}")).await.is_err() {
                        return;
                    }
                }
            });
            disk.crash();
            disk.restart();
        }
        let expected = life(async {
            let group = open_sim_with(&disk, settings()).await.unwrap();
            propose(&group, "last").await.unwrap();
            let expected = hash(&group).await;
            assert_eq!(group.audited(), Some(expected.0));
            group.shutdown().await.unwrap();
            expected
        });
        let replayed = replay(&disk, None, "/scratch").unwrap();
        assert_eq!((replayed.index, replayed.hash), expected, "seed {seed}");
    }
}

/// Begun later, or with a line taken out, it says what is missing; a backup of the right moment fills it in.
#[test]
fn a_gap_is_named_and_a_backup_fills_it() {
    let disk = SimDisk::new(3);
    let expected = life(async {
        let group = open_sim_with(&disk, sim_settings()).await.unwrap();
        group.propose(vec![Command::Found { cluster_id: 7 }]).await.unwrap();
        propose(&group, "before the audit log").await.unwrap();
        group.shutdown().await.unwrap();
        let group = open_sim_with(&disk, settings()).await.unwrap();
        let (mut backup, mut bytes) = (group.backup(1_700_000_000_000).await.unwrap(), Vec::new());
        while let Some(block) = backup.next_block().await.unwrap() {
            bytes.extend_from_slice(&block);
        }
        api::disk::replace(&disk, Path::new("/backup.kvfs"), &bytes).unwrap();
        for n in 0..5 {
            propose(&group, &format!("after it {n}")).await.unwrap();
        }
        let expected = hash(&group).await;
        group.shutdown().await.unwrap();
        expected
    });
    let error = replay(&disk, None, "/one").unwrap_err().to_string();
    assert!(error.contains("entries are missing") && error.contains("--from"), "{error}");
    let backup = Some(Path::new("/backup.kvfs"));
    let replayed = replay(&disk, backup, "/two").unwrap();
    assert_eq!((replayed.index, replayed.hash), expected);

    let text = String::from_utf8(api::disk::read(&disk, Path::new(LOG)).unwrap()).unwrap();
    let without: Vec<_> = text.lines().enumerate().filter(|(nth, _)| *nth != 3).map(|(_, line)| line).collect();
    api::disk::replace(&disk, Path::new(LOG), format!("{}\n", without.join("\n")).as_bytes()).unwrap();
    let error = replay(&disk, backup, "/three").unwrap_err().to_string();
    assert!(error.contains("entries are missing"), "{error}");
    let garbled = text.replacen("commands", "commandz", 1).replacen("\"term\"", "\"trem\"", 1);
    api::disk::replace(&disk, Path::new(LOG), garbled.as_bytes()).unwrap();
    let error = replay(&disk, backup, "/four").unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}
