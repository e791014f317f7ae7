//! Stripes: the rules one by one, and against a model that keeps the disks of four nodes in mind.

use std::collections::{BTreeMap, BTreeSet};

use domain::change::{Change, NewBody, Outcome, Precondition, Refusal, ShardAt, WrittenShard, WrittenStripe};
use domain::record::{BodyKind, DegradedCause, ReplicaState};
use domain::registry::LossCause;
use domain::stripe::{MAX_EXTENT_ROWS, StripeRef, Unit};
use domain::{ChunkId, ClassId, Crc32c, Incarnation, LogPosition, NodeId, Scheme, StripeId};
use meta::{Command, Reply, Table, Tables, audit, query};
use proptest::prelude::*;

use crate::state_machine::{CLASS, Cluster, chunk_of, chunks_of, incarnation, name, put, written_by};

/// Two data shards and two that may be lost, on the four nodes there are: three must answer.
fn scheme() -> Scheme {
    "2+2".parse().unwrap()
}

/// A stripe whose shards are the one-byte chunks of these letters, shard i on the i-th of `nodes`; 0 is a gap.
fn stripe(letters: &[u8; 4], nodes: [u32; 4]) -> WrittenStripe {
    let shard = |(&letter, node): (&u8, u32)| WrittenShard {
        id: chunk_of(letter).id,
        crc: chunk_of(letter).crc,
        answers: (node > 0).then_some((NodeId(node), incarnation(node))).into_iter().collect(),
    };
    let shards: Vec<_> = letters.iter().zip(nodes).map(shard).collect();
    let id = StripeId::of(scheme(), shards.iter().map(|shard| &shard.id));
    WrittenStripe { stripe: StripeRef { id, length: 2 }, shard_bytes: 1, shards }
}

fn whole(stripes: Vec<WrittenStripe>) -> NewBody {
    NewBody::WholeStripes { scheme: scheme(), stripes }
}

fn put_stripes(cluster: &mut Cluster, key: &str, stripes: Vec<WrittenStripe>) -> Result<Outcome, Refusal> {
    let bytes = stripes.iter().map(|stripe| stripe.stripe.length as usize).sum();
    cluster.change(put(key, whole(stripes), bytes))
}

fn remove(cluster: &mut Cluster, key: &str) -> Result<Outcome, Refusal> {
    cluster.change(Change::DeleteObject { name: name(key), when: Precondition::default() })
}

/// Everything that is garbage, forgotten in one go; the copies that may leave their nodes.
fn collect(cluster: &mut Cluster) -> BTreeSet<(NodeId, ChunkId)> {
    cluster.empty_trash();
    let garbage = query::garbage(&cluster.tables, u64::MAX >> 16, 1000).unwrap();
    cluster.run(Command::Barrier);
    let barrier = cluster.index;
    for (lease, _) in query::leases(&cluster.tables).unwrap() {
        cluster.run(Command::RenewLease { lease, floor: barrier });
    }
    let stripes = stripes_of(&garbage);
    let Reply::Released { copies, .. } = cluster.run(Command::ForgetStripes { barrier, stripes }) else { panic!() };
    let mut free: BTreeSet<_> = copies.into_iter().collect();
    let chunks = chunks_of(&garbage);
    let Reply::Forgotten(chunks) = cluster.run(Command::ForgetChunks { barrier, chunks }) else { panic!() };
    free.extend(chunks.into_iter().flat_map(|(id, nodes)| nodes.into_iter().map(move |node| (node, id))));
    free
}

fn stripes_of(garbage: &[(LogPosition, ClassId, Unit)]) -> Vec<(ClassId, StripeId, LogPosition)> {
    let stripe = |(since, class, unit): &(LogPosition, ClassId, Unit)| match unit {
        Unit::Stripe(id) => Some((*class, *id, *since)),
        Unit::Chunk(_) => None,
    };
    garbage.iter().filter_map(stripe).collect()
}

fn sound(cluster: &Cluster) {
    assert_eq!(audit::audit(&cluster.tables).unwrap(), Vec::<String>::new());
}

#[test]
fn a_stripe_needs_its_answers_on_nodes_of_their_own() {
    let good = stripe(b"abcd", [1, 2, 3, 4]);
    let with = |change: fn(&mut WrittenStripe)| {
        let mut stripe = good.clone();
        change(&mut stripe);
        stripe
    };
    // (case, stripe, part of the refusal; none if it is taken)
    let table = [
        ("all four", good.clone(), None),
        ("three are enough", stripe(b"abcd", [1, 2, 0, 4]), None),
        ("K are not", stripe(b"abcd", [1, 2, 0, 0]), Some("2 of 3 shards")),
        ("one node twice counts once", stripe(b"abcd", [1, 2, 2, 1]), Some("2 of 3 shards")),
        ("an unknown node does not count", stripe(b"abcd", [1, 2, 9, 0]), Some("2 of 3 shards")),
        (
            "another incarnation does not count",
            with(|s| {
                s.shards[0].answers[0].1 = Incarnation(5);
                s.shards[1].answers.clear();
            }),
            Some("2 of 3 shards"),
        ),
        ("a shard too few", with(|s| _ = s.shards.pop()), Some("has 3 shards, and a stripe of 2+2 has 4")),
        ("another id", with(|s| s.shards.swap(0, 1)), Some("is not the stripe of its shards")),
        ("no bytes", with(|s| s.stripe.length = 0), Some("has 0 bytes, and 1 to 2 fit")),
        ("too many bytes", with(|s| s.stripe.length = 3), Some("has 3 bytes, and 1 to 2 fit")),
    ];
    for (case, stripe, refusal) in table {
        let mut cluster = Cluster::new();
        let before = cluster.tables.clone();
        let outcome = put_stripes(&mut cluster, "k", vec![stripe]);
        match refusal {
            None => assert!(outcome.is_ok(), "{case}: {outcome:?}"),
            Some(part) => {
                assert!(outcome.unwrap_err().to_string().contains(part), "{case}");
                for table in Table::ALL.into_iter().filter(|table| !matches!(table, Table::Sessions | Table::Leases)) {
                    let rows = |tables: &testkit::mem_tables::MemTables| tables.scan(table, &[], &[], usize::MAX);
                    assert_eq!(rows(&cluster.tables), rows(&before), "{case}: {}", table.name());
                }
            }
        }
        sound(&cluster);
    }
}

#[test]
fn a_stripe_is_what_it_was_known_as() {
    let mut cluster = Cluster::new();
    put_stripes(&mut cluster, "k", vec![stripe(b"abcd", [1, 2, 3, 4])]).unwrap();
    let mut other = stripe(b"abcd", [1, 2, 3, 4]);
    other.shards[3].crc = Crc32c(1);
    assert!(matches!(put_stripes(&mut cluster, "l", vec![other.clone()]), Err(Refusal::StripeDiffers { .. })));
    let fresh = stripe(b"efgh", [1, 2, 3, 4]);
    let mut twin = fresh.clone();
    twin.shard_bytes = 9;
    let twins = put_stripes(&mut cluster, "l", vec![fresh, twin]);
    assert!(matches!(twins, Err(Refusal::StripeDiffers { .. })), "two in one command disagree");
    let many = vec![stripe(b"abcd", [1, 2, 3, 4]); MAX_EXTENT_ROWS / 8 + 1];
    assert!(matches!(put_stripes(&mut cluster, "l", many), Err(Refusal::TooMany { .. })));
    sound(&cluster);
}

#[test]
fn a_body_is_of_one_kind() {
    let mut cluster = Cluster::new();
    let (chunk, shards) = (vec![written_by(b'a', &[1, 2, 3])], vec![stripe(b"abcd", [1, 2, 3, 4])]);
    let Ok(Outcome::Body(chunks)) = cluster.change(Change::BeginBody { class: CLASS }) else { panic!() };
    let begin = Change::BeginStripes { class: CLASS, scheme: scheme() };
    let Ok(Outcome::Body(stripes)) = cluster.change(begin) else { panic!() };
    let kind = |body| Err(Refusal::BodyKind { body });
    let append = Change::AppendStripes { body: chunks, extent: 0, stripes: shards.clone() };
    assert_eq!(cluster.change(append), kind(chunks));
    let append = Change::Append { body: stripes, extent: 0, chunks: chunk.clone() };
    assert_eq!(cluster.change(append), kind(stripes));
    let finish = NewBody::Finish { body: stripes, last: chunk };
    assert_eq!(cluster.change(put("k", finish, 1)), kind(stripes));

    let append = Change::AppendStripes { body: stripes, extent: 0, stripes: shards.clone() };
    cluster.change(append).unwrap();
    let finish = NewBody::FinishStripes { body: stripes, last: shards };
    cluster.change(put("k", finish, 4)).unwrap();
    let body = query::body(&cluster.tables, stripes).unwrap().unwrap();
    assert_eq!((body.kind, body.size, body.extents), (BodyKind::Stripes(scheme()), 4, 2));
    let id = stripe(b"abcd", [0; 4]).stripe.id;
    assert_eq!(query::stripe(&cluster.tables, CLASS, &id).unwrap().unwrap().count, 2);
    let Ok(Some(query::LocatedExtent::Stripes(located))) = query::extent(&cluster.tables, stripes, 1) else { panic!() };
    assert_eq!(located[0].shards[2].nodes, [NodeId(3)]);
    sound(&cluster);
}

#[test]
fn gaps_are_queued_until_a_late_answer_fills_them() {
    let mut cluster = Cluster::new();
    let queued = |cluster: &Cluster| cluster.tables.count(Table::Degraded).unwrap();
    put_stripes(&mut cluster, "k", vec![stripe(b"abcd", [1, 2, 0, 4])]).unwrap();
    assert_eq!(queued(&cluster), 1, "a gap");
    sound(&cluster);
    let shard = stripe(b"abcd", [0; 4]).shards[2].id;
    assert!(query::is_shard(&cluster.tables, &shard).unwrap(), "a sweep must not delete what would close the gap");
    let at = ShardAt { class: CLASS, stripe: stripe(b"abcd", [0; 4]).stripe.id, index: 2 };
    let confirm = |at, node, incarnation| Change::ConfirmShards { late: vec![(at, NodeId(node), incarnation)] };
    cluster.change(confirm(at, 3, Incarnation(1))).unwrap();
    assert_eq!(queued(&cluster), 1, "a wiped directory cannot vouch");
    cluster.change(confirm(at, 4, incarnation(4))).unwrap();
    assert_eq!(queued(&cluster), 1, "two shards on one node are one loss");
    cluster.change(confirm(ShardAt { index: 200, ..at }, 3, incarnation(3))).unwrap();
    assert_eq!(queued(&cluster), 1, "no such shard");
    cluster.change(confirm(at, 3, incarnation(3))).unwrap();
    sound(&cluster);
    assert_eq!((queued(&cluster), cluster.tables.count(Table::Misplaced).unwrap()), (0, 0), "whole again");
    let row = query::stripe(&cluster.tables, CLASS, &at.stripe).unwrap().unwrap();
    assert_eq!(row.standing(), 4, "node 4 has two, and is counted for the one that is nowhere else");
    let (node, cause) = (NodeId(3), DegradedCause::Damaged);
    let report = Change::ReportShard { shard: at, node, incarnation: incarnation(3), cause };
    cluster.change(report).unwrap();
    assert_eq!(queued(&cluster), 1, "found damaged");
    let row = query::stripe(&cluster.tables, CLASS, &at.stripe).unwrap().unwrap();
    let copy = row.shards[2].replicas.iter().find(|copy| copy.node == NodeId(3)).unwrap();
    assert!(matches!(copy.state, ReplicaState::Missing { .. }));
    sound(&cluster);
}

/// Once, of two shards with equal bytes on one node, which are one file, only the one that was read counted as gone.
#[test]
fn a_file_that_is_gone_is_gone_for_all_shards_that_it_is() {
    let mut cluster = Cluster::new();
    put_stripes(&mut cluster, "k", vec![stripe(b"aaaa", [1, 2, 3, 4])]).unwrap();
    put_stripes(&mut cluster, "l", vec![stripe(b"aaaa", [2, 1, 3, 4])]).unwrap();
    assert_eq!(cluster.tables.count(Table::Degraded).unwrap(), 0);
    let shard = ShardAt { class: CLASS, stripe: stripe(b"aaaa", [0; 4]).stripe.id, index: 0 };
    let (node, cause) = (NodeId(1), DegradedCause::Absent);
    cluster.change(Change::ReportShard { shard, node, incarnation: incarnation(1), cause }).unwrap();
    assert_eq!(cluster.tables.count(Table::Degraded).unwrap(), 1);
    let row = query::stripe(&cluster.tables, CLASS, &shard.stripe).unwrap().unwrap();
    assert_eq!(row.standing(), 3);
    sound(&cluster);
}

#[test]
fn a_lost_directory_takes_its_shards_along_after_its_chunks() {
    let mut cluster = Cluster::new();
    cluster.put("chunks", b"xyz").unwrap();
    for (n, letters) in [b"abcd", b"efgh", b"ijkl"].into_iter().enumerate() {
        put_stripes(&mut cluster, &format!("k{n}"), vec![stripe(letters, [1, 2, 3, 4])]).unwrap();
    }
    let lose = Command::LoseNode { node: NodeId(2), incarnation: incarnation(2), cause: LossCause::Empty };
    cluster.run(lose);
    let mut steps = 1;
    while cluster.run(Command::SweepNode { node: NodeId(2), chunks: 2 }) == Reply::More {
        steps += 1;
        sound(&cluster);
    }
    assert_eq!(steps, 4, "two pages of chunks, two of stripes");
    assert_eq!(cluster.tables.count(Table::Degraded).unwrap(), 6);
    let row = query::stripe(&cluster.tables, CLASS, &stripe(b"efgh", [0; 4]).stripe.id).unwrap().unwrap();
    assert_eq!(row.standing(), 3);
    sound(&cluster);
}

#[test]
fn a_chunk_leaves_a_node_only_when_no_record_places_it_there() {
    let mut cluster = Cluster::new();
    let a = chunk_of(b'a').id;
    put_stripes(&mut cluster, "one", vec![stripe(b"abcd", [1, 2, 3, 4])]).unwrap();
    put_stripes(&mut cluster, "two", vec![stripe(b"aefg", [1, 2, 3, 4])]).unwrap();
    cluster.change(put("three", NewBody::Whole(vec![written_by(b'a', &[1, 2])]), 1)).unwrap();

    remove(&mut cluster, "one").unwrap();
    let free = collect(&mut cluster);
    assert!(!free.iter().any(|(_, id)| *id == a), "a stripe and a chunk still place it on node 1");
    assert_eq!(free.len(), 3);
    remove(&mut cluster, "three").unwrap();
    assert_eq!(collect(&mut cluster), BTreeSet::from([(NodeId(2), a)]), "the other stripe has it on node 1 alone");
    remove(&mut cluster, "two").unwrap();
    assert!(collect(&mut cluster).contains(&(NodeId(1), a)));
    for table in [Table::Stripes, Table::Shards, Table::Chunks, Table::Bodies, Table::Extents, Table::Garbage] {
        assert_eq!(cluster.tables.count(table).unwrap(), 0, "{}", table.name());
    }
}

#[test]
fn stripes_are_forgotten_only_past_every_floor_and_never_under_a_hold() {
    let mut cluster = Cluster::new();
    put_stripes(&mut cluster, "k", vec![stripe(b"abcd", [1, 2, 3, 4])]).unwrap();
    remove(&mut cluster, "k").unwrap();
    cluster.empty_trash();
    let stripes = stripes_of(&query::garbage(&cluster.tables, u64::MAX >> 16, 9).unwrap());
    cluster.run(Command::Barrier);
    let forget = Command::ForgetStripes { barrier: cluster.index, stripes: stripes.clone() };
    assert!(matches!(cluster.run(forget), Reply::Refused(why) if why.contains("may still rely")));
    let forget = Command::ForgetStripes { barrier: 0, stripes };
    cluster.run(Command::HoldDeletes { reason: Some("drill".into()) });
    assert!(matches!(cluster.run(forget.clone()), Reply::Refused(why) if why.contains("drill")));
    cluster.run(Command::HoldDeletes { reason: None });
    // It came back and went again: the plan is about another garbage.
    put_stripes(&mut cluster, "k", vec![stripe(b"abcd", [1, 2, 3, 4])]).unwrap();
    remove(&mut cluster, "k").unwrap();
    cluster.empty_trash();
    assert_eq!(cluster.run(forget), Reply::Released { stripes: 0, copies: vec![] });
    assert_eq!(collect(&mut cluster).len(), 4);
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Vec<([u8; 4], usize, usize)>),
    Chunk(u8, u8, u32),
    Remove(u8),
    Collect,
    Bad(usize, u8, u32),
}

fn ops() -> impl Strategy<Value = Op> {
    let letters = proptest::array::uniform4(b'a'..b'd');
    let stripes = proptest::collection::vec((letters, 0usize..4, 0usize..5), 0..3);
    prop_oneof![
        4 => (0u8..4, stripes).prop_map(|(key, stripes)| Op::Put(key, stripes)),
        2 => (0u8..4, b'a'..b'd', 1u32..4).prop_map(|(key, letter, node)| Op::Chunk(key, letter, node)),
        2 => (0u8..4).prop_map(Op::Remove),
        2 => Just(Op::Collect),
        1 => (0usize..99, 0u8..4, 1u32..5).prop_map(|(nth, index, node)| Op::Bad(nth, index, node)),
    ]
}

proptest! {
    /// Whatever is written, shared, found bad, removed and collected: what an object needs is never released from a node, what
    /// nothing needs is, and the books balance.
    #[test]
    fn nothing_needed_is_released(ops in proptest::collection::vec(ops(), 1..40)) {
        let mut cluster = Cluster::new();
        let mut disks: BTreeSet<(NodeId, ChunkId)> = BTreeSet::new();
        // By key: where each unit of its body was written.
        let mut model: BTreeMap<u8, Vec<Vec<(NodeId, ChunkId)>>> = BTreeMap::new();
        let mut known = Vec::new();
        for op in ops {
            match op {
                Op::Put(key, list) => {
                    let stripes: Vec<_> = list.into_iter().map(|(letters, turn, gap)| {
                        let mut nodes = [1, 2, 3, 4];
                        nodes.rotate_left(turn);
                        if let Some(node) = nodes.get_mut(gap) { *node = 0; }
                        stripe(&letters, nodes)
                    }).collect();
                    let at = |stripe: &WrittenStripe| {
                        let shards = stripe.shards.iter();
                        shards.flat_map(|shard| shard.answers.iter().map(|(node, _)| (*node, shard.id))).collect()
                    };
                    let places: Vec<Vec<_>> = stripes.iter().map(at).collect();
                    known.extend(stripes.iter().map(|stripe| stripe.stripe.id));
                    disks.extend(places.iter().flatten());
                    prop_assert!(put_stripes(&mut cluster, &key.to_string(), stripes).is_ok());
                    model.insert(key, places);
                }
                Op::Chunk(key, letter, node) => {
                    let nodes = [node, node + 1];
                    let places: Vec<_> = nodes.iter().map(|node| (NodeId(*node), chunk_of(letter).id)).collect();
                    disks.extend(&places);
                    let body = NewBody::Whole(vec![written_by(letter, &nodes)]);
                    prop_assert!(cluster.change(put(&key.to_string(), body, 1)).is_ok());
                    model.insert(key, vec![places]);
                }
                Op::Remove(key) => {
                    prop_assert_eq!(remove(&mut cluster, &key.to_string()).is_ok(), model.remove(&key).is_some());
                }
                Op::Collect => {
                    for copy in collect(&mut cluster) {
                        prop_assert!(disks.remove(&copy), "released what was not there: {copy:?}");
                    }
                }
                Op::Bad(nth, index, node) => if let Some(stripe) = known.get(nth % known.len().max(1)) {
                    let shard = ShardAt { class: CLASS, stripe: *stripe, index };
                    let (node, incarnation, cause) = (NodeId(node), incarnation(node), DegradedCause::Absent);
                    cluster.change(Change::ReportShard { shard, node, incarnation, cause }).unwrap();
                },
            }
            let problems = audit::audit(&cluster.tables).unwrap();
            prop_assert!(problems.is_empty(), "{problems:?}");
            for place in model.values().flatten().flatten() {
                prop_assert!(disks.contains(place), "{place:?} was released and is needed");
            }
        }
        for key in model.keys() {
            remove(&mut cluster, &key.to_string()).unwrap();
        }
        for copy in collect(&mut cluster) {
            disks.remove(&copy);
        }
        prop_assert!(disks.is_empty(), "nothing needs {disks:?}");
        prop_assert_eq!(cluster.tables.count(Table::Shards).unwrap(), 0);
    }
}
