//! Storage classes that share bytes, and the totals of what is stored.

use domain::change::{Change, NewBody, Precondition, Refusal, Written};
use domain::registry::NodeLabels;
use domain::{ClassId, NodeId};
use meta::{Command, Reply, Table, TablesMut, audit};

use crate::state_machine::{Cluster, chunk_of, incarnation, name, put, written, written_by};

fn in_class(class: u8, key: &str, letters: &[u8]) -> Change {
    let change = put(key, NewBody::Whole(written(letters)), letters.len());
    let Change::PutObject { name, make_bucket, when, body, size, etag, content_type, user_metadata, .. } = change
    else {
        unreachable!("`put` makes a PutObject")
    };
    let class = ClassId(class);
    Change::PutObject { name, make_bucket, when, body, class, size, etag, content_type, user_metadata }
}

#[test]
fn a_copy_that_two_classes_name_outlives_one_of_them() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.change(in_class(1, "k", b"a")), Err(Refusal::NoSuchClass { class: ClassId(1) }));
    let labels = NodeLabels { class: Some("ssd".into()), ..NodeLabels::default() };
    cluster.run(Command::LabelNode { addr: "dn4:8080".into(), labels });
    cluster.change(in_class(1, "fast", b"a")).unwrap();
    let other =
        Written { answers: vec![(NodeId(2), incarnation(2)), (NodeId(4), incarnation(4))], ..written_by(b'a', &[]) };
    cluster.change(put("slow", NewBody::Whole(vec![other]), 1)).unwrap();
    cluster.change(Change::DeleteObject { name: name("fast"), when: Precondition::default() }).unwrap();
    cluster.empty_trash();
    // Nodes 1 to 3 held it for the one class; node 2 still does for the other.
    let gone = vec![NodeId(1), NodeId(3)];
    assert_eq!(cluster.forget(true), Reply::Forgotten(vec![(chunk_of(b'a').id, gone)]));
    assert_eq!(cluster.letters("slow"), Some(b"a".to_vec()));
    assert_eq!(audit::audit(&cluster.tables).unwrap(), Vec::<String>::new());
}

#[test]
fn totals_are_counted_along_the_way_and_from_the_rows_of_older_tables() {
    let mut cluster = Cluster::new();
    let totals = |cluster: &Cluster| {
        let row = meta::totals::totals(&cluster.tables).unwrap();
        (row.logical_bytes, row.unique_bytes, row.stored_bytes)
    };
    cluster.put("one", b"abc").unwrap();
    cluster.put("two", b"bcd").unwrap();
    assert_eq!(totals(&cluster), (6, 4, 12));
    cluster.put("two", b"a").unwrap();
    assert_eq!(totals(&cluster), (4, 4, 12), "what is not forgotten still takes room");
    cluster.empty_trash();
    cluster.forget(true);
    assert_eq!(totals(&cluster), (4, 3, 9));
    TablesMut::delete(&mut cluster.tables, Table::Cluster, b"totals").unwrap();
    cluster.put("three", b"z").unwrap();
    assert_eq!(totals(&cluster), (5, 4, 12));
    assert_eq!(audit::audit(&cluster.tables).unwrap(), Vec::<String>::new());
}
