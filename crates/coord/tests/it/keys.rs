//! URL keys through the admin seam: rotation, what is refused, and who can open them.

use std::time::Duration;

use api::admin::AdminError;
use api::keys::Rotation;
use api::{Admin, Metadata};
use coord::Settings;
use coord::seal::Sealer;
use domain::urlkey::UrlKey;

use crate::support::Cluster;

const FIRST: &[u8] = b"the first url key of a cluster";
const CLUSTER: &[u8] = b"the secret of the whole cluster";
const FILE: &[u8] = b"what stands in a cluster.key....";

fn seeded(sealer: Sealer) -> impl FnOnce(Settings) -> Settings {
    let url_key = Some(UrlKey { kid: "v1".into(), secret: FIRST.into(), primary: true, created_ms: 1 });
    move |settings| Settings { url_key, sealer, ..settings }
}

fn rotation(kid: &str) -> Rotation {
    Rotation { kid: kid.into(), secret_hex: "ab".repeat(32), is_primary: None }
}

fn summary(keys: &[UrlKey]) -> Vec<(&str, &[u8], bool)> {
    keys.iter().map(|key| (key.kid.as_str(), key.secret.as_slice(), key.primary)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_told_at_once_and_spares_the_first_key() {
    let cluster = Cluster::start_with(seeded(Sealer::new([CLUSTER]))).await;
    let coordinator = cluster.coordinator.clone();
    let before = coordinator.view(0).await.expect("view");
    let watching = coordinator.clone();
    let told = tokio::spawn(async move {
        let mut known = before.revision;
        loop {
            let view = watching.view(known).await.expect("view");
            if view.keys_revision != before.keys_revision {
                return;
            }
            known = view.revision;
        }
    });
    let listed = coordinator.rotate_url_key(&rotation("v2")).await.expect("rotated");
    tokio::time::timeout(Duration::from_secs(1), told).await.expect("told within a second").expect("told");
    assert_eq!(
        listed.iter().map(|key| (key.kid.as_str(), key.is_primary)).collect::<Vec<_>>(),
        [("v1", false), ("v2", true)]
    );
    let keys = coordinator.url_keys().await.expect("keys");
    assert_eq!(summary(&keys), [("v1", FIRST, false), ("v2", &[0xab; 32][..], true)]);
    assert!(!serde_json::to_string(&listed).unwrap().contains("abab"), "no list holds a secret");

    let primary = coordinator.remove_url_key("v2").await;
    assert!(matches!(&primary, Err(AdminError::Conflict(why)) if why.contains("primary")), "{primary:?}");
    assert!(matches!(coordinator.remove_url_key("v9").await, Err(AdminError::NotFound(_))));
    coordinator.remove_url_key("v1").await.expect("the old one goes");
    let last = coordinator.remove_url_key("v2").await;
    assert!(matches!(&last, Err(AdminError::Conflict(why)) if why.contains("last")), "{last:?}");

    let cluster = cluster.restart_coordinator(seeded(Sealer::new([CLUSTER]))).await;
    let keys = cluster.coordinator.url_keys().await.expect("keys");
    assert_eq!(summary(&keys), [("v2", &[0xab; 32][..], true)], "and does not come back with a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_makes_no_sense_is_refused() {
    let cluster = Cluster::start_with(seeded(Sealer::new([CLUSTER]))).await;
    let short = Rotation { secret_hex: "abcd".into(), ..rotation("v2") };
    let odd = Rotation { secret_hex: "xyz".into(), ..rotation("v2") };
    for wish in [short, odd, rotation(""), rotation("a/b")] {
        let refused = cluster.coordinator.rotate_url_key(&wish).await;
        assert!(matches!(refused, Err(AdminError::Invalid(_))), "{wish:?}: {refused:?}");
    }
    let demoted = Rotation { is_primary: Some(false), ..rotation("v1") };
    assert!(matches!(cluster.coordinator.rotate_url_key(&demoted).await, Err(AdminError::Conflict(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_gets_a_secret_later_keeps_its_keys() {
    let cluster = Cluster::start_with(seeded(Sealer::new([FILE]))).await;
    let cluster = cluster.restart_coordinator(seeded(Sealer::new([CLUSTER, FILE]))).await;
    assert_eq!(summary(&cluster.coordinator.url_keys().await.expect("keys")), [("v1", FIRST, true)]);
    // Sealed anew at that start: whoever knows only the secret can open it now.
    let cluster = cluster.restart_coordinator(seeded(Sealer::new([CLUSTER]))).await;
    assert_eq!(summary(&cluster.coordinator.url_keys().await.expect("keys")), [("v1", FIRST, true)]);
    let cluster = cluster.restart_coordinator(seeded(Sealer::new([FILE]))).await;
    assert_eq!(summary(&cluster.coordinator.url_keys().await.expect("keys")), [], "and nobody else");
}
