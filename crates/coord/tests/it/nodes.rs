//! Adding, labelling, moving and removing nodes through the admin seam.

use api::admin::AdminError;
use api::{Admin, Metadata};
use domain::NodeId;
use domain::registry::NodeLabels;
use domain::view::Health;

use crate::support::{Cluster, addr};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nodes_life() {
    let cluster = Cluster::start().await;
    let admin = &cluster.coordinator;
    cluster.run(&addr(4), "4").await;
    let added = admin.add_node(&addr(4)).await.expect("added");
    assert_eq!((added.id, added.health, added.weight), (NodeId(4), Health::Up, 1));
    let labels = NodeLabels { class: Some("ssd".into()), domain: Some("rack-2".into()), weight: Some(5) };
    let labelled = admin.label_node(&addr(4), &labels).await.expect("labelled");
    assert_eq!((labelled.class.as_str(), labelled.domain.as_str(), labelled.weight), ("ssd", "rack-2", 5));
    let again = admin.add_node(&addr(4)).await.expect("added again");
    assert_eq!((again.id, again.class, again.domain, again.weight), (NodeId(4), "ssd".into(), "rack-2".into(), 5));

    let view = admin.view(0).await.expect("view");
    let node = view.node(NodeId(4)).expect("in the view");
    assert_eq!((node.domain.as_str(), node.weight), ("rack-2", 5));
    assert_eq!(view.classes[usize::from(node.class.0)], "ssd");

    cluster.stop(&addr(4));
    cluster.run("10.0.0.4:80", "4").await;
    let moved = admin.move_node(&addr(4), "10.0.0.4:80").await.expect("moved");
    assert_eq!((moved.name.as_str(), moved.addr.as_str()), ("dn4:8080", "10.0.0.4:80"));
    cluster.until("it is itself there", "10.0.0.4:80", |node| node.health == Health::Up).await;
    admin.remove_node("10.0.0.4:80").await.expect("removed");

    // Three are left, and three copies are wanted.
    let kept = admin.remove_node(&addr(3)).await;
    assert!(matches!(&kept, Err(AdminError::Conflict(why)) if why.contains("add a node first")), "{kept:?}");
    // The directory of a node that was removed is taken in as another one, if somebody says so.
    let stranger = admin.add_node("10.0.0.4:80").await.expect("added");
    assert!(stranger.problem.is_some_and(|problem| problem.contains("belongs to node")));
    let taken = admin.replace_node("10.0.0.4:80").await.expect("taken in");
    assert_eq!((taken.id, taken.incarnation.is_some()), (NodeId(5), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused() {
    let cluster = Cluster::start().await;
    let admin = &cluster.coordinator;
    for bad in ["", "dn9", "dn9:0", ":80", "a b:80", "a/b:80"] {
        assert!(matches!(admin.add_node(bad).await, Err(AdminError::Invalid(_))), "{bad:?}");
        assert!(matches!(admin.move_node(&addr(1), bad).await, Err(AdminError::Invalid(_))), "{bad:?}");
    }
    let labels = NodeLabels { weight: Some(1), ..NodeLabels::default() };
    assert!(matches!(admin.label_node("dn9:1", &labels).await, Err(AdminError::NotFound(_))));
    assert!(matches!(admin.label_node(&addr(1), &NodeLabels::default()).await, Err(AdminError::Invalid(_))));
    let odd = NodeLabels { domain: Some("a b".into()), ..NodeLabels::default() };
    assert!(matches!(admin.label_node(&addr(1), &odd).await, Err(AdminError::Invalid(_))));
    assert!(matches!(admin.remove_node("dn9:1").await, Err(AdminError::NotFound(_))));
    assert!(matches!(admin.move_node("dn9:1", "dn8:1").await, Err(AdminError::NotFound(_))));
    assert!(matches!(admin.move_node(&addr(1), &addr(2)).await, Err(AdminError::Conflict(_))));
    assert!(matches!(admin.replace_node("dn9:1").await, Err(AdminError::NotFound(_))));
    cluster.stop(&addr(1));
    assert!(matches!(admin.replace_node(&addr(1)).await, Err(AdminError::Unavailable(_))), "nobody is there");
}
