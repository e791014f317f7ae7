//! A directory that is not what it was: each way is named, its copies go missing at once, and a replacement is taken in.

use std::fs;

use api::Admin;
use api::admin::{AdminError, NodeInfo};
use domain::view::Health;

use crate::support::{Cluster, addr};

const CHUNKS: u32 = 40;

/// Three nodes with forty chunks on each, and the second one's directory witnessed.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.write(CHUNKS).await;
    cluster.until_degraded(0).await;
    cluster
}

/// The second node is lost, for `reason`; what it held is missing, and a replacement makes it a node that holds nothing.
async fn lost_and_replaced(cluster: &Cluster, reason: &str) {
    let node = cluster.until("the loss is noticed", &addr(2), |node| node.lost).await;
    says(&node, reason);
    says(&node, "kvfs node replace dn2:8080");
    assert_eq!(node.incarnation, None, "its answers count no more");
    cluster.until_degraded(u64::from(CHUNKS)).await;
    cluster.until("it is down", &addr(2), |node| node.health != Health::Up).await;

    let replaced = cluster.coordinator.replace_node(&addr(2)).await.expect("taken in");
    assert!(!replaced.lost && replaced.incarnation.is_some(), "{replaced:?}");
    cluster.until("it is up", &addr(2), |node| node.health == Health::Up && node.problem.is_none()).await;
    cluster.until_degraded(u64::from(CHUNKS)).await;
    let again = cluster.coordinator.replace_node(&addr(2)).await;
    assert!(matches!(&again, Err(AdminError::Conflict(why)) if why.contains("nothing to replace")), "{again:?}");
    // What is written from now on is there.
    cluster.write(CHUNKS).await;
    cluster.until_degraded(0).await;
}

fn says(node: &NodeInfo, text: &str) {
    assert!(node.problem.as_deref().unwrap_or_default().contains(text), "{node:?}, expected {text:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_directory() {
    let cluster = cluster().await;
    cluster.stop(&addr(2));
    cluster.run(&addr(2), "empty").await;
    lost_and_replaced(&cluster, "its directory is empty, and was stamped before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_incarnation() {
    let cluster = cluster().await;
    cluster.stop(&addr(2));
    // Formatted as this very node once more: a disk of an earlier life.
    let status = cluster.coordinator.status().await.unwrap();
    let cluster_id = u128::from_str_radix(&status.cluster_id, 16).unwrap();
    cluster.run("elsewhere:1", "earlier").await;
    cluster.format("elsewhere:1", cluster_id, cluster.node(&addr(2)).await.id).await;
    cluster.stop("elsewhere:1");
    cluster.run(&addr(2), "earlier").await;
    lost_and_replaced(&cluster, "not the registered one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_was_rolled_back() {
    let cluster = Cluster::start().await;
    cluster.until("it is in", &addr(2), |node| node.health == Health::Up).await;
    // A copy of the running directory, as a snapshot of its disk would be; witnesses go on being stored behind it.
    cluster.copy("2", "snapshot");
    cluster.write(CHUNKS).await;
    cluster.until_degraded(0).await;
    cluster.witnessed(&addr(2)).await;
    cluster.stop(&addr(2));
    cluster.run(&addr(2), "snapshot").await;
    lost_and_replaced(&cluster, "its directory was rolled back: it shows witness").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_opened_less_often_than_is_known() {
    let cluster = cluster().await;
    cluster.stop(&addr(2));
    cluster.copy("2", "before");
    for _ in 0..3 {
        cluster.run(&addr(2), "2").await;
        cluster.witnessed(&addr(2)).await;
    }
    cluster.stop(&addr(2));
    cluster.run(&addr(2), "before").await;
    lost_and_replaced(&cluster, "its directory was rolled back: it shows boot").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_nodes_directory() {
    let cluster = cluster().await;
    cluster.stop(&addr(2));
    cluster.stop(&addr(3));
    cluster.run(&addr(2), "3").await;
    let node = cluster.until("the loss is noticed", &addr(2), |node| node.lost).await;
    says(&node, "its directory belongs to node");
    cluster.until_degraded(u64::from(CHUNKS)).await;
    let taken = cluster.coordinator.replace_node(&addr(2)).await;
    assert!(matches!(&taken, Err(AdminError::Conflict(why)) if why.contains("belongs to node")), "{taken:?}");
    cluster.stop(&addr(2));
    cluster.run(&addr(2), "empty").await;
    cluster.coordinator.replace_node(&addr(2)).await.expect("an empty one is taken in");
    cluster.run(&addr(3), "3").await;
    cluster.until("the other one is itself", &addr(3), |node| node.health == Health::Up && !node.lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_clusters_directory() {
    let (cluster, other) = (cluster().await, Cluster::start().await);
    other.until("it is stamped", &addr(1), |node| node.incarnation.is_some()).await;
    other.stop(&addr(1));
    fs::rename(other.directory("1"), cluster.directory("foreign")).expect("on one file system");
    cluster.stop(&addr(2));
    cluster.run(&addr(2), "foreign").await;
    let node = cluster.until("the loss is noticed", &addr(2), |node| node.lost).await;
    says(&node, "belongs to another cluster");
    let taken = cluster.coordinator.replace_node(&addr(2)).await;
    assert!(matches!(&taken, Err(AdminError::Conflict(why)) if why.contains("another cluster")), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_collected_from_a_directory_that_is_not_the_nodes() {
    let (cluster, other) = (Cluster::start().await, Cluster::start().await);
    other.write(CHUNKS).await;
    other.stop(&addr(1));
    fs::rename(other.directory("1"), cluster.directory("foreign")).expect("on one file system");
    cluster.stop(&addr(2));
    cluster.run(&addr(2), "foreign").await;
    cluster.until("the loss is noticed", &addr(2), |node| node.lost).await;
    cluster.until("and told", &addr(2), |node| node.health == Health::Down).await;
    // No record of this cluster knows any of them.
    let report = cluster.coordinator.collect_garbage().await;
    assert_eq!((report.copies, cluster.chunks(&addr(2))), (0, CHUNKS as usize), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_takes_over_goes_on() {
    let cluster = cluster().await;
    cluster.stop(&addr(2));
    cluster.run(&addr(2), "empty").await;
    cluster.until("the loss is noticed", &addr(2), |node| node.lost).await;
    let cluster = cluster.restart_coordinator(|settings| settings).await;
    cluster.until_degraded(u64::from(CHUNKS)).await;
    says(&cluster.node(&addr(2)).await, "its directory is empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_only_away_is_itself() {
    let cluster = cluster().await;
    cluster.stop(&addr(2));
    cluster.until("it is missed", &addr(2), |node| node.problem.is_some()).await;
    cluster.run(&addr(2), "2").await;
    let node = cluster.until("it is back", &addr(2), |node| node.health == Health::Up).await;
    assert!(!node.lost, "{node:?}");
    cluster.until_degraded(0).await;
}
