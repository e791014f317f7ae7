//! Nodes, stamps and keys: what each command does, and what it refuses.

use domain::change::{Change, Precondition};
use domain::record::{DegradedCause, NodeRow, ObjectName, ReplicaState};
use domain::registry::{LossCause, NodeLabels};
use domain::secret::{CredentialState, MAX_URL_KEYS, Sealed};
use domain::{BucketName, Incarnation, NodeId, ObjectKey};
use meta::{Command, Reply, Table, Tables, audit, query};
use proptest::prelude::*;

use super::state_machine::{CLASS, Cluster, chunk_of, incarnation};

fn addr(number: u32) -> String {
    format!("dn{number}:8080")
}

fn row(cluster: &Cluster, number: u32) -> NodeRow {
    let nodes = query::nodes(&cluster.tables).unwrap();
    nodes.into_iter().find(|(id, _)| *id == NodeId(number)).expect("a registered node").1
}

fn epoch(cluster: &Cluster) -> u64 {
    query::cluster(&cluster.tables).unwrap().unwrap().epoch
}

fn refused(reply: Reply, with: &str) {
    assert!(matches!(&reply, Reply::Refused(why) if why.contains(with)), "{reply:?}, expected {with:?}");
}

/// How many copies on `number` are believed to be there.
fn held(cluster: &Cluster, letters: &[u8], number: u32) -> usize {
    let rows =
        letters.iter().map(|&letter| query::chunk(&cluster.tables, CLASS, &chunk_of(letter).id).unwrap().unwrap());
    rows.filter(|row| row.held().any(|node| node == NodeId(number))).count()
}

#[test]
fn labels_stay_with_a_node() {
    let mut cluster = Cluster::new();
    let label = |labels| Command::LabelNode { addr: addr(1), labels };
    let all = NodeLabels { class: Some("ssd".into()), domain: Some("rack-1".into()), weight: Some(3) };
    let before = epoch(&cluster);
    assert_eq!(cluster.run(label(all.clone())), Reply::Node(NodeId(1)));
    assert!(epoch(&cluster) > before, "placement may look at labels");
    assert_eq!(cluster.run(label(NodeLabels { weight: Some(4), ..NodeLabels::default() })), Reply::Node(NodeId(1)));
    let labelled = row(&cluster, 1);
    assert_eq!((labelled.class.0, labelled.domain.as_str(), labelled.weight), (1, "rack-1", 4));

    let before = epoch(&cluster);
    assert_eq!(cluster.run(Command::AddNode { addr: addr(1) }), Reply::Node(NodeId(1)), "added again");
    cluster.run(label(NodeLabels { domain: Some("rack-1".into()), ..NodeLabels::default() }));
    assert_eq!((row(&cluster, 1), epoch(&cluster)), (labelled, before), "nothing changed");

    cluster.run(Command::LabelNode { addr: addr(2), labels: NodeLabels { class: Some("hdd".into()), ..all.clone() } });
    cluster.run(label(NodeLabels { class: Some(String::new()), ..NodeLabels::default() }));
    assert_eq!((row(&cluster, 1).class.0, row(&cluster, 2).class.0), (0, 2));
    assert_eq!(query::cluster(&cluster.tables).unwrap().unwrap().classes, ["", "ssd", "hdd"]);

    refused(cluster.run(label(NodeLabels { weight: Some(0), ..NodeLabels::default() })), "weight of 0");
    refused(cluster.run(label(NodeLabels { domain: Some("a b".into()), ..NodeLabels::default() })), "not a label");
    assert!(matches!(cluster.run(Command::LabelNode { addr: addr(9), labels: all }), Reply::NoSuch(_)));
}

#[test]
fn classes_have_an_end() {
    let mut cluster = Cluster::new();
    for number in 1..256 {
        let labels = NodeLabels { class: Some(format!("c{number}")), ..NodeLabels::default() };
        assert_eq!(cluster.run(Command::LabelNode { addr: addr(1), labels }), Reply::Node(NodeId(1)));
    }
    assert_eq!(row(&cluster, 1).class.0, 255);
    let labels = NodeLabels { class: Some("one-more".into()), ..NodeLabels::default() };
    refused(cluster.run(Command::LabelNode { addr: addr(1), labels }), "256 storage classes");
}

#[test]
fn a_node_that_moves_keeps_its_name() {
    let mut cluster = Cluster::new();
    let relocate = |from: &str, to: &str| Command::MoveNode { addr: from.into(), to: to.into() };
    assert_eq!(cluster.run(relocate("dn1:8080", "10.0.0.1:80")), Reply::Node(NodeId(1)));
    let moved = row(&cluster, 1);
    assert_eq!((moved.name.as_str(), moved.addr.as_str()), ("dn1:8080", "10.0.0.1:80"));
    assert_eq!(moved.incarnation, Some(incarnation(1)), "it is the same directory");
    refused(cluster.run(relocate("dn2:8080", "10.0.0.1:80")), "is the address of");
    refused(cluster.run(relocate("dn2:8080", "dn1:8080")), "still names");
    refused(cluster.run(Command::AddNode { addr: addr(1) }), "still names");
    assert_eq!(cluster.run(relocate("10.0.0.1:80", "dn1:8080")), Reply::Node(NodeId(1)), "and back");
    assert!(matches!(cluster.run(relocate("10.0.0.1:80", "x:1")), Reply::NoSuch(_)));
}

#[test]
fn enough_nodes_always_remain() {
    let mut cluster = Cluster::new();
    let remove = |number, copies| Command::RemoveNode { addr: addr(number), copies };
    refused(cluster.run(remove(4, 4)), "there would be 3 data nodes, and chunks are wanted in 4 copies");
    // Written in three copies, on the first three: the fourth may go, and then nobody any more, even once all is empty.
    cluster.put("k", b"a").unwrap();
    assert_eq!(cluster.run(remove(4, 1)), Reply::Done);
    assert_eq!(cluster.run(Command::AddNode { addr: addr(5) }), Reply::Node(NodeId(5)));
    assert_eq!(cluster.run(remove(5, 1)), Reply::Done, "one that was never stamped goes too");
    cluster.run(Command::AddNode { addr: addr(6) });
    refused(cluster.run(remove(1, 1)), "1 chunks have a copy");
    assert_eq!(cluster.run(remove(6, 3)), Reply::Done);
    assert_eq!(cluster.run(remove(6, 3)), Reply::Done, "gone already");
    let name = ObjectName { bucket: BucketName::parse("b").unwrap(), key: ObjectKey::parse(b"k").unwrap() };
    cluster.change(Change::DeleteObject { name, when: Precondition::default() }).unwrap();
    cluster.empty_trash();
    cluster.forget(true);
    refused(cluster.run(remove(1, 1)), "wanted in 3 copies");
}

#[test]
fn a_lost_directory_takes_its_copies_along() {
    let mut cluster = Cluster::new();
    let letters: Vec<u8> = (0..40).collect();
    cluster.put("k", &letters).unwrap();
    let lose = Command::LoseNode { node: NodeId(1), incarnation: incarnation(1), cause: LossCause::Empty };
    let other = Command::LoseNode { node: NodeId(1), incarnation: Incarnation(5), cause: LossCause::Empty };
    assert_eq!(cluster.run(other), Reply::Done);
    assert_eq!(row(&cluster, 1).lost, None, "an incarnation that is not registered cannot be lost");
    assert_eq!(cluster.run(lose.clone()), Reply::Done);
    let lost = row(&cluster, 1);
    assert_eq!(lost.incarnation, None, "its answers count no more");
    assert_eq!(lost.lost.map(|loss| (loss.was, loss.cause)), Some((incarnation(1), LossCause::Empty)));
    assert_eq!(cluster.run(lose), Reply::Done);
    assert!(cluster.put("k2", &[3]).is_ok(), "the other two make a quorum");
    refused(cluster.run(Command::StampNode { node: NodeId(1), incarnation: Incarnation(8) }), "taken in anew");

    let sweep = Command::SweepNode { node: NodeId(1), chunks: 15 };
    assert_eq!(held(&cluster, &letters, 1), 40);
    assert_eq!(cluster.run(sweep.clone()), Reply::More);
    assert_eq!(held(&cluster, &letters, 1), 25, "a command looks at so many and no more");
    assert_eq!(cluster.run(sweep.clone()), Reply::More);
    assert_eq!(cluster.run(sweep.clone()), Reply::Done);
    assert_eq!(held(&cluster, &letters, 1), 0);
    assert_eq!((row(&cluster, 1).sweep, cluster.run(sweep)), (None, Reply::Done));
    assert_eq!(cluster.tables.count(Table::Degraded).unwrap(), 40);
    let key = meta::keys::chunk(CLASS, &chunk_of(7).id);
    let degraded = cluster.tables.get(Table::Degraded, &key).unwrap().unwrap();
    let degraded: domain::record::DegradedRow = domain::codec::decode(&degraded).unwrap();
    assert_eq!(degraded.cause, DegradedCause::Lost);
    assert_eq!(audit::audit(&cluster.tables).unwrap(), Vec::<String>::new());

    refused(cluster.run(Command::ReplaceNode { node: NodeId(1), incarnation: incarnation(1) }), "is lost");
    assert_eq!(cluster.run(Command::ReplaceNode { node: NodeId(1), incarnation: Incarnation(8) }), Reply::Done);
    let anew = row(&cluster, 1);
    assert_eq!((anew.incarnation, anew.lost, anew.sweep, anew.boot), (Some(Incarnation(8)), None, None, 0));
    assert_eq!(held(&cluster, &letters, 1), 0, "it holds nothing that anybody put there");
    let late = vec![(CLASS, chunk_of(7).id, NodeId(1), Incarnation(8))];
    cluster.change(Change::Confirm { late }).unwrap();
    assert_eq!(held(&cluster, &letters, 1), 1, "until somebody does");
}

#[test]
fn a_node_replaced_before_anybody_noticed_is_swept_too() {
    let mut cluster = Cluster::new();
    let letters: Vec<u8> = (0..5).collect();
    cluster.put("k", &letters).unwrap();
    assert_eq!(cluster.run(Command::ReplaceNode { node: NodeId(1), incarnation: Incarnation(8) }), Reply::Done);
    let late = vec![(CLASS, chunk_of(3).id, NodeId(1), Incarnation(8))];
    cluster.change(Change::Confirm { late }).unwrap();
    while cluster.run(Command::SweepNode { node: NodeId(1), chunks: 2 }) == Reply::More {}
    assert_eq!(held(&cluster, &letters, 1), 1, "what was written to the new directory stays");
    assert_eq!(cluster.run(Command::ReplaceNode { node: NodeId(1), incarnation: Incarnation(8) }), Reply::Done);
    assert_eq!(row(&cluster, 1).sweep, None, "repeating it changes nothing");
}

#[test]
fn what_a_directory_was_known_to_hold_is_never_forgotten() {
    let mut cluster = Cluster::new();
    let before = epoch(&cluster);
    let witness = |boot, witness| Command::WitnessNode { node: NodeId(1), incarnation: incarnation(1), boot, witness };
    assert_eq!(cluster.run(witness(3, 30)), Reply::Done);
    assert_eq!(cluster.run(witness(2, 40)), Reply::Done);
    assert_eq!(cluster.run(witness(2, 35)), Reply::Done);
    let kept = row(&cluster, 1);
    assert_eq!((kept.boot, kept.witness, epoch(&cluster)), (3, 40, before), "the layout is as it was");
    let other = Command::WitnessNode { node: NodeId(1), incarnation: Incarnation(5), boot: 9, witness: 99 };
    assert!(matches!(cluster.run(other), Reply::NoSuch(_)));
    assert_eq!(row(&cluster, 1), kept);
}

fn keys(cluster: &Cluster) -> Vec<(String, bool)> {
    query::url_keys(&cluster.tables).unwrap().into_iter().map(|(kid, row)| (kid, row.primary)).collect()
}

fn put_key(kid: &str, primary: bool) -> Command {
    Command::PutUrlKey { kid: kid.into(), secret: Sealed(kid.into()), primary }
}

fn remove_key(kid: &str) -> Command {
    Command::RemoveUrlKey { kid: kid.into() }
}

#[test]
fn keys_rotate_and_the_first_survives() {
    let mut cluster = Cluster::new();
    let revision = |cluster: &Cluster| query::cluster(&cluster.tables).unwrap().unwrap().keys_revision;
    let seed = Command::SeedUrlKey { kid: "v1".into(), secret: Sealed(vec![1]) };
    assert_eq!(cluster.run(seed.clone()), Reply::Done);
    assert_eq!(revision(&cluster), 1);
    refused(cluster.run(remove_key("v1")), "last URL key");
    refused(cluster.run(put_key("v1", false)), "primary URL key");
    assert_eq!(cluster.run(put_key("v2", true)), Reply::Done);
    assert_eq!(keys(&cluster), [("v1".into(), false), ("v2".into(), true)]);
    assert_eq!((cluster.run(seed), revision(&cluster)), (Reply::Done, 2), "an old setting brings nothing back");
    refused(cluster.run(remove_key("v2")), "primary");
    assert!(matches!(cluster.run(remove_key("v3")), Reply::NoSuch(_)));
    assert_eq!(cluster.run(remove_key("v1")), Reply::Done);
    assert_eq!((keys(&cluster), revision(&cluster)), (vec![("v2".into(), true)], 3));
    for bad in ["", "a/b", "a b", &"x".repeat(65)] {
        refused(cluster.run(put_key(bad, false)), "cannot name a key");
    }
    refused(
        cluster.run(Command::PutUrlKey { kid: "v4".into(), secret: Sealed(vec![0; 5000]), primary: false }),
        "4096",
    );
    for number in 1..MAX_URL_KEYS {
        assert_eq!(cluster.run(put_key(&format!("k{number}"), false)), Reply::Done);
    }
    refused(cluster.run(put_key("one-more", true)), "64 URL keys");
    assert_eq!(cluster.run(put_key("k1", true)), Reply::Done, "a known one can still change");
}

#[test]
fn a_key_is_sealed_anew_only_as_it_was() {
    let mut cluster = Cluster::new();
    cluster.run(put_key("v1", true));
    let created = query::url_keys(&cluster.tables).unwrap()[0].1.created_ms;
    let reseal =
        |was: &str| Command::ResealUrlKey { kid: "v1".into(), was: Sealed(was.into()), secret: Sealed(vec![9]) };
    cluster.run(reseal("other"));
    assert_eq!(query::url_keys(&cluster.tables).unwrap()[0].1.secret, Sealed("v1".into()));
    cluster.run(reseal("v1"));
    let row = query::url_keys(&cluster.tables).unwrap().remove(0).1;
    assert_eq!((row.secret, row.primary, row.created_ms), (Sealed(vec![9]), true, created));
}

#[test]
fn credentials_come_and_go() {
    let mut cluster = Cluster::new();
    let put = |key: &str, state| Command::PutCredential {
        access_key: key.into(),
        secret: Sealed(key.into()),
        user: "alice".into(),
        state,
    };
    let remove = |key: &str| Command::RemoveCredential { access_key: key.into() };
    assert_eq!(cluster.run(put("B", CredentialState::Active)), Reply::Done);
    assert_eq!(cluster.run(put("A", CredentialState::Active)), Reply::Done);
    assert_eq!(cluster.run(put("B", CredentialState::Disabled)), Reply::Done);
    let page = query::credentials(&cluster.tables, None, 1).unwrap();
    assert_eq!((page.len(), page[0].0.as_str()), (1, "A"));
    let page = query::credentials(&cluster.tables, Some("A"), 9).unwrap();
    assert_eq!((page.len(), page[0].1.state, page[0].1.user.as_str()), (1, CredentialState::Disabled, "alice"));
    refused(cluster.run(put("a/b", CredentialState::Active)), "cannot name a key");
    assert_eq!(cluster.run(remove("A")), Reply::Done);
    assert!(matches!(cluster.run(remove("A")), Reply::NoSuch(_)));
    assert!(!format!("{:?}", query::credentials(&cluster.tables, None, 9)).contains("66"), "no secret is shown");
}

proptest! {
    /// Whatever is asked, there is exactly one primary as soon as there is a key.
    #[test]
    fn one_key_is_always_primary(ops in proptest::collection::vec((0u8..4, 0u8..3, any::<bool>()), 1..40)) {
        let mut cluster = Cluster::new();
        let mut ever = false;
        for (key, op, primary) in ops {
            let kid = format!("v{key}");
            match op {
                0 => cluster.run(Command::SeedUrlKey { kid, secret: Sealed(vec![]) }),
                1 => cluster.run(put_key(&kid, primary)),
                _ => cluster.run(remove_key(&kid)),
            };
            let keys = keys(&cluster);
            ever |= !keys.is_empty();
            prop_assert_eq!(keys.iter().filter(|(_, primary)| *primary).count(), usize::from(ever), "{:?}", keys);
        }
    }

    /// Losing and replacing nodes in any order leaves no copy that the registry does not believe in, and sound tables.
    #[test]
    fn no_copy_outlives_its_directory(ops in proptest::collection::vec((1u32..5, 0u8..4), 1..30)) {
        let mut cluster = Cluster::new();
        let letters: Vec<u8> = (0..12).collect();
        cluster.put("k", &letters).unwrap();
        let mut drawn = 100;
        for (number, op) in ops {
            let node = NodeId(number);
            let known = row(&cluster, number).incarnation;
            match (op, known) {
                (0, Some(incarnation)) => { cluster.run(Command::LoseNode { node, incarnation, cause: LossCause::Empty }); }
                (1, _) => {
                    drawn += 1;
                    cluster.run(Command::ReplaceNode { node, incarnation: Incarnation(drawn) });
                }
                (2, Some(incarnation)) => {
                    let late = letters.iter().map(|&letter| (CLASS, chunk_of(letter).id, node, incarnation)).collect();
                    cluster.change(Change::Confirm { late }).unwrap();
                }
                _ => { cluster.run(Command::SweepNode { node, chunks: 5 }); }
            }
        }
        for number in 1..5 {
            while cluster.run(Command::SweepNode { node: NodeId(number), chunks: 5 }) == Reply::More {}
        }
        for &letter in &letters {
            let chunk = query::chunk(&cluster.tables, CLASS, &chunk_of(letter).id).unwrap().unwrap();
            for copy in chunk.replicas.iter().filter(|copy| copy.state == ReplicaState::Held) {
                prop_assert_eq!(row(&cluster, copy.node.0).incarnation, Some(copy.incarnation));
            }
        }
        prop_assert_eq!(audit::audit(&cluster.tables).unwrap(), Vec::<String>::new());
    }
}
