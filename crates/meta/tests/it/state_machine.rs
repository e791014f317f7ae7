//! The state machine against a model of a few lines, and the stories of single rules.

use std::collections::{BTreeMap, BTreeSet};

use domain::change::{Change, NewBody, Outcome, Precondition, Refusal, Session, Written};
use domain::record::{ChunkRef, DegradedCause, ObjectName, ReplicaState};
use domain::stripe::Unit;
use domain::{BucketName, ChunkId, ClassId, Crc32c, Incarnation, LogPosition, NodeId, ObjectKey};
use meta::{Batch, Command, Reply, Table, Tables, audit, query};
use proptest::prelude::*;
use testkit::mem_tables::MemTables;

pub(crate) const CLASS: ClassId = ClassId(0);

/// A state machine in memory, with a log index that grows.
pub(crate) struct Cluster {
    pub(crate) tables: MemTables,
    pub(crate) index: u64,
    ticks_ms: u64,
    pub(crate) lease: LogPosition,
    request: u64,
}

impl Cluster {
    /// Four stamped nodes, of which three are wanted for each chunk, and a lease.
    pub(crate) fn new() -> Self {
        let mut cluster =
            Self { tables: MemTables::default(), index: 0, ticks_ms: 0, lease: LogPosition::default(), request: 0 };
        cluster.run(Command::Found { cluster_id: 7 });
        for number in 1..=4 {
            cluster.run(Command::AddNode { addr: format!("dn{number}:8080") });
            cluster.run(Command::StampNode { node: NodeId(number), incarnation: incarnation(number) });
        }
        cluster.lease = cluster.open_lease();
        cluster
    }

    pub(crate) fn run(&mut self, command: Command) -> Reply {
        self.index += 1;
        let batch = Batch { now_ms: self.index * 10, ticks_ms: self.ticks_ms, reign: None, commands: vec![command] };
        let batch = Batch::decode(&batch.encode()).expect("what is logged reads back");
        meta::apply(&mut self.tables, (1, self.index), &batch).expect("storage is sound").remove(0)
    }

    pub(crate) fn open_lease(&mut self) -> LogPosition {
        match self.run(Command::OpenLease { holder: "edge".into(), known: self.index }) {
            Reply::Lease(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn change(&mut self, change: Change) -> Result<Outcome, Refusal> {
        self.request += 1;
        self.change_as(self.request, change)
    }

    fn change_as(&mut self, request: u64, change: Change) -> Result<Outcome, Refusal> {
        let session = Session { lease: self.lease, request, lowest: request.saturating_sub(3) };
        match self.run(Command::Change { session, change }) {
            Reply::Changed(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn put(&mut self, key: &str, letters: &[u8]) -> Result<Outcome, Refusal> {
        self.change(put(key, NewBody::Whole(written(letters)), letters.len()))
    }

    pub(crate) fn letters(&self, key: &str) -> Option<Vec<u8>> {
        let (_, row) = query::object(&self.tables, &name(key)).unwrap()?;
        let body = query::body(&self.tables, row.body).unwrap().expect("an object has a body");
        let mut letters = Vec::new();
        for extent in 0..body.extents {
            let chunks = query::extent(&self.tables, row.body, extent).unwrap().expect("a body has its extents");
            let query::LocatedExtent::Chunks(chunks) = chunks else { panic!("{chunks:?}") };
            letters.extend(chunks.iter().map(|(chunk, nodes)| {
                assert!(!nodes.is_empty(), "a committed chunk is somewhere");
                (0..=255).find(|&letter| chunk_of(letter).id == chunk.id).expect("a known chunk")
            }));
        }
        Some(letters)
    }

    pub(crate) fn empty_trash(&mut self) {
        while let Some(body) = query::trash(&self.tables, 1).unwrap().pop() {
            self.run(Command::EmptyTrash { body });
        }
    }

    /// Everything that is garbage now, by a barrier that the lease has passed or not.
    pub(crate) fn forget(&mut self, floor_passes: bool) -> Reply {
        let garbage = query::garbage(&self.tables, u64::MAX >> 16, 100).unwrap();
        let chunks = chunks_of(&garbage);
        self.run(Command::Barrier);
        let barrier = self.index;
        if floor_passes {
            for (lease, _) in query::leases(&self.tables).unwrap() {
                self.run(Command::RenewLease { lease, floor: barrier });
            }
        }
        self.run(Command::ForgetChunks { barrier, chunks })
    }
}

/// The chunks among what is garbage.
pub(crate) fn chunks_of(garbage: &[(LogPosition, ClassId, Unit)]) -> Vec<(ClassId, ChunkId, LogPosition)> {
    let chunk = |(since, class, unit): &(LogPosition, ClassId, Unit)| match unit {
        Unit::Chunk(id) => Some((*class, *id, *since)),
        Unit::Stripe(_) => None,
    };
    garbage.iter().filter_map(chunk).collect()
}

pub(crate) fn incarnation(node: u32) -> Incarnation {
    Incarnation(u64::from(node) * 1000)
}

pub(crate) fn name(key: &str) -> ObjectName {
    ObjectName { bucket: BucketName::parse("b").unwrap(), key: ObjectKey::parse(key.as_bytes()).unwrap() }
}

/// A chunk of one byte, so that sizes count chunks.
pub(crate) fn chunk_of(letter: u8) -> ChunkRef {
    ChunkRef { id: ChunkId::of(&[letter]), length: 1, crc: Crc32c::of(&[letter]) }
}

pub(crate) fn written_by(letter: u8, nodes: &[u32]) -> Written {
    let answers = nodes.iter().map(|&node| (NodeId(node), incarnation(node))).collect();
    Written { chunk: chunk_of(letter), answers, quorum: 2, copies: 3 }
}

pub(crate) fn written(letters: &[u8]) -> Vec<Written> {
    letters.iter().map(|&letter| written_by(letter, &[1, 2, 3])).collect()
}

pub(crate) fn put(key: &str, body: NewBody, size: usize) -> Change {
    Change::PutObject {
        name: name(key),
        make_bucket: true,
        when: Precondition::default(),
        body,
        class: CLASS,
        size: size as u64,
        etag: format!("{size}"),
        content_type: "text/plain".into(),
        user_metadata: vec![],
    }
}

#[test]
fn a_request_sent_twice_is_carried_out_once() {
    let mut cluster = Cluster::new();
    let first = cluster.put("k", b"ab");
    let again = cluster.change_as(cluster.request, put("k", NewBody::Whole(written(b"ab")), 2));
    assert_eq!(first, again);
    assert_eq!(query::object(&cluster.tables, &name("k")).unwrap().unwrap().1.revision, 1);

    for _ in 0..20 {
        cluster.put("other", b"c").unwrap();
    }
    let late = cluster.change_as(1, put("k", NewBody::Whole(written(b"zz")), 2));
    assert_eq!(late, Err(Refusal::Forgotten { request: 1 }), "a delayed copy of a request must not run again");
    assert!(cluster.tables.count(Table::Sessions).unwrap() < 10, "replies do not pile up");
}

#[test]
fn a_refused_change_leaves_nothing_but_its_reply() {
    let mut cluster = Cluster::new();
    cluster.put("k", b"ab").unwrap();
    let short =
        Written { answers: vec![(NodeId(1), incarnation(1)), (NodeId(2), Incarnation(5))], ..written(b"x").remove(0) };
    let alien = Written { answers: vec![(NodeId(9), incarnation(9)); 3], ..written(b"x").remove(0) };
    let twice = Written { answers: vec![(NodeId(1), incarnation(1)); 2], ..written(b"x").remove(0) };
    let mut other_crc = written(b"a").remove(0);
    other_crc.chunk.crc = Crc32c(1);
    let gone = LogPosition(1 << 30);
    let refused: Vec<(&str, Change)> = vec![
        ("another incarnation does not count", put("n", NewBody::Whole(vec![short]), 1)),
        ("an unknown node does not count", put("n", NewBody::Whole(vec![alien]), 1)),
        ("one node twice counts once", put("n", NewBody::Whole(vec![twice]), 1)),
        ("a known chunk with another checksum", put("n", NewBody::Whole(vec![other_crc]), 1)),
        ("a size that is not the chunks'", put("n", NewBody::Whole(written(b"xy")), 3)),
        ("a body that is not there", put("n", NewBody::Finish { body: gone, last: vec![] }, 0)),
        ("too many chunks", put("n", NewBody::Whole(written(&[7; 1025])), 1025)),
        ("an extent of a body that is not there", Change::Append { body: gone, extent: 0, chunks: vec![] }),
        ("an abort of a body that is not there", Change::Abort { body: gone }),
        ("a bucket that is there", Change::CreateBucket { bucket: name("k").bucket }),
        ("a bucket that is not empty", Change::DeleteBucket { bucket: name("k").bucket }),
        ("an object that is not there", Change::DeleteObject { name: name("n"), when: Precondition::default() }),
    ];
    for (case, change) in refused {
        let before = cluster.tables.clone();
        assert!(cluster.change(change).is_err(), "{case}");
        for table in Table::ALL.into_iter().filter(|table| !matches!(table, Table::Sessions | Table::Leases)) {
            let rows = |tables: &MemTables| tables.scan(table, &[], &[], usize::MAX).unwrap();
            assert_eq!(rows(&cluster.tables), rows(&before), "{case}: {}", table.name());
        }
    }
}

#[test]
fn without_a_lease_nothing_is_changed() {
    let mut cluster = Cluster::new();
    cluster.run(Command::CloseLease { lease: cluster.lease });
    assert_eq!(cluster.put("k", b"a"), Err(Refusal::LeaseGone));
    assert_eq!(cluster.run(Command::RenewLease { lease: cluster.lease, floor: 1 }), Reply::LeaseGone);
}

#[test]
fn a_lease_expires_by_ticks_and_takes_its_uploads_along() {
    let mut cluster = Cluster::new();
    let Ok(Outcome::Body(body)) = cluster.change(Change::BeginBody { class: CLASS }) else { panic!() };
    cluster.change(Change::Append { body, extent: 0, chunks: written(b"abc") }).unwrap();
    let expire = Command::ExpireLease { lease: cluster.lease, after_ms: 60_000 };
    cluster.ticks_ms = 59_000;
    cluster.run(expire.clone());
    assert_eq!(query::leases(&cluster.tables).unwrap().len(), 1, "not yet");
    cluster.ticks_ms = 60_000;
    cluster.run(expire);
    assert_eq!(query::leases(&cluster.tables).unwrap(), []);
    assert_eq!(query::trash(&cluster.tables, 9).unwrap(), [body]);
    assert_eq!(audit::audit(&cluster.tables).unwrap(), Vec::<String>::new());
}

#[test]
fn a_chunk_is_forgotten_only_past_every_floor_and_never_under_a_hold() {
    let mut cluster = Cluster::new();
    cluster.put("k", b"a").unwrap();
    cluster.change(Change::DeleteObject { name: name("k"), when: Precondition::default() }).unwrap();
    cluster.empty_trash();
    assert!(matches!(cluster.forget(false), Reply::Refused(why) if why.contains("may still rely")));
    cluster.run(Command::HoldDeletes { reason: Some("drill".into()) });
    assert!(matches!(cluster.forget(true), Reply::Refused(why) if why.contains("drill")));
    cluster.run(Command::HoldDeletes { reason: None });
    let nodes = vec![NodeId(1), NodeId(2), NodeId(3)];
    assert_eq!(cluster.forget(true), Reply::Forgotten(vec![(chunk_of(b'a').id, nodes)]));
    assert_eq!(cluster.tables.count(Table::Chunks).unwrap(), 0);
}

#[test]
fn a_chunk_that_came_back_is_not_forgotten_by_an_old_plan() {
    let mut cluster = Cluster::new();
    let remove = || Change::DeleteObject { name: name("k"), when: Precondition::default() };
    cluster.put("k", b"a").unwrap();
    cluster.change(remove()).unwrap();
    cluster.empty_trash();
    let plan = query::garbage(&cluster.tables, u64::MAX >> 16, 9).unwrap();
    cluster.put("k", b"a").unwrap();
    cluster.change(remove()).unwrap();
    cluster.empty_trash();
    cluster.run(Command::RenewLease { lease: cluster.lease, floor: cluster.index });
    let chunks = chunks_of(&plan);
    assert_eq!(cluster.run(Command::ForgetChunks { barrier: 1, chunks }), Reply::Forgotten(vec![]));
}

#[test]
fn queues_hold_what_is_not_where_it_should_be() {
    let mut cluster = Cluster::new();
    let id = chunk_of(b'q').id;
    let names: Vec<_> = (1..=4).map(|n| format!("dn{n}:8080")).collect();
    let order: Vec<u32> = domain::placement::order(&id.to_hex(), &names).iter().map(|&i| i as u32 + 1).collect();
    let queued = |cluster: &Cluster| {
        let has = |table| cluster.tables.count(table).unwrap() > 0;
        (has(Table::Degraded), has(Table::Misplaced))
    };
    let put_on = |nodes: &[u32]| put("k", NewBody::Whole(vec![written_by(b'q', nodes)]), 1);

    cluster.change(put_on(&order[..2])).unwrap();
    assert_eq!(queued(&cluster), (true, false), "the third copy is missing");
    cluster.change(Change::Confirm { late: vec![(CLASS, id, NodeId(order[3]), incarnation(order[3]))] }).unwrap();
    assert_eq!(queued(&cluster), (true, true), "a stand-in has it");
    cluster.change(Change::Confirm { late: vec![(CLASS, id, NodeId(order[2]), Incarnation(3))] }).unwrap();
    assert_eq!(queued(&cluster), (true, true), "a wiped directory cannot vouch");
    cluster.change(Change::Confirm { late: vec![(CLASS, id, NodeId(order[2]), incarnation(order[2]))] }).unwrap();
    assert_eq!(queued(&cluster), (false, true), "all are there, and one too many");

    let (node, cause) = (NodeId(order[0]), DegradedCause::Damaged);
    let report = Change::Report { class: CLASS, chunk: id, node, incarnation: incarnation(order[0]), cause };
    cluster.change(report).unwrap();
    assert_eq!(queued(&cluster), (true, true), "a copy was found damaged");
    let row = query::chunk(&cluster.tables, CLASS, &id).unwrap().unwrap();
    assert!(matches!(row.replicas[0].state, ReplicaState::Missing { .. }));
    let readers =
        query::extent(&cluster.tables, query::object(&cluster.tables, &name("k")).unwrap().unwrap().1.body, 0);
    let Some(query::LocatedExtent::Chunks(readers)) = readers.unwrap() else { panic!("chunks") };
    assert_eq!(readers[0].1.last(), Some(&node), "the doubtful copy is asked last");
}

#[test]
fn a_node_that_copies_name_cannot_be_removed() {
    let mut cluster = Cluster::new();
    cluster.put("k", b"a").unwrap();
    let remove = |n| Command::RemoveNode { addr: format!("dn{n}:8080"), copies: 1 };
    assert!(matches!(cluster.run(remove(1)), Reply::Refused(why) if why.contains("1 chunks")));
    assert_eq!(cluster.run(remove(4)), Reply::Done);
    let again = Command::StampNode { node: NodeId(1), incarnation: Incarnation(5) };
    assert!(matches!(cluster.run(again), Reply::Refused(_)), "a stamped node is not stamped anew");
}

#[test]
fn lists_page_through_keys_of_any_bytes() {
    let mut cluster = Cluster::new();
    for key in ["a", "a/", "a/b", "a\0", "a\0b", "b", "ab"] {
        cluster.put(key, b"x").unwrap();
    }
    let bucket = name("k").bucket;
    let keys = |prefix: &str, after: Option<&str>, limit| {
        let page = query::list(&cluster.tables, &bucket, prefix.as_bytes(), after.map(str::as_bytes), limit).unwrap();
        (page.0.iter().map(|(name, _)| name.key.to_string()).collect::<Vec<_>>(), page.1)
    };
    let all = ["a", "a\0", "a\0b", "a/", "a/b", "ab", "b"].map(String::from).to_vec();
    assert_eq!(keys("", None, 100), (all.clone(), false));
    assert_eq!(keys("a/", None, 100).0, ["a/", "a/b"]);
    assert_eq!(keys("a", Some("a\0"), 2), (vec!["a\0b".into(), "a/".into()], true));
    assert_eq!(keys("a/", Some("b"), 2), (vec![], false), "after the prefix");
    assert_eq!(keys("b", Some("a"), 2).0, ["b"], "before the prefix");
    let mut paged = Vec::new();
    while let (page, more) = keys("", paged.last().map(String::as_str), 2)
        && (more || !page.is_empty())
    {
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Vec<u8>),
    Long(u8, Vec<Vec<u8>>),
    Abandon(Vec<u8>),
    Delete(u8),
    Repeat,
    NewLease,
    EmptyTrash,
    Forget(bool),
    Bad(u8, u32),
}

fn ops() -> impl Strategy<Value = Op> {
    let letters = || proptest::collection::vec(0u8..6, 0..5);
    prop_oneof![
        4 => (0u8..5, letters()).prop_map(|(key, letters)| Op::Put(key, letters)),
        2 => (0u8..5, proptest::collection::vec(letters(), 1..4)).prop_map(|(key, parts)| Op::Long(key, parts)),
        1 => letters().prop_map(Op::Abandon),
        3 => (0u8..5).prop_map(Op::Delete),
        1 => Just(Op::Repeat),
        1 => Just(Op::NewLease),
        2 => Just(Op::EmptyTrash),
        2 => any::<bool>().prop_map(Op::Forget),
        1 => (0u8..6, 1u32..5).prop_map(|(letter, node)| Op::Bad(letter, node)),
    ]
}

proptest! {
    /// Whatever happens, keys map to what was last put there, every count is what a full count finds, and no chunk
    /// that an object names is ever forgotten.
    #[test]
    fn the_machine_is_its_model(ops in proptest::collection::vec(ops(), 1..60)) {
        let mut cluster = Cluster::new();
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut last: Option<(u64, Change, Result<Outcome, Refusal>)> = None;
        for op in ops {
            match op {
                Op::Put(key, letters) => {
                    let key = format!("k{key}");
                    let change = put(&key, NewBody::Whole(written(&letters)), letters.len());
                    let outcome = cluster.change(change.clone());
                    prop_assert!(outcome.is_ok());
                    last = Some((cluster.request, change, outcome));
                    model.insert(key, letters);
                }
                Op::Long(key, parts) => {
                    let key = format!("k{key}");
                    let Ok(Outcome::Body(body)) = cluster.change(Change::BeginBody { class: CLASS }) else { panic!() };
                    let (tail, heads) = parts.split_last().unwrap();
                    for (extent, part) in heads.iter().enumerate() {
                        let chunks = written(part);
                        cluster.change(Change::Append { body, extent: extent as u32, chunks }).unwrap();
                    }
                    let all = parts.concat();
                    cluster.change(put(&key, NewBody::Finish { body, last: written(tail) }, all.len())).unwrap();
                    model.insert(key, all);
                }
                Op::Abandon(letters) => {
                    let Ok(Outcome::Body(body)) = cluster.change(Change::BeginBody { class: CLASS }) else { panic!() };
                    cluster.change(Change::Append { body, extent: 0, chunks: written(&letters) }).unwrap();
                    cluster.change(Change::Abort { body }).unwrap();
                }
                Op::Delete(key) => {
                    let key = format!("k{key}");
                    let outcome = cluster.change(Change::DeleteObject { name: name(&key), when: Precondition::default() });
                    prop_assert_eq!(outcome.is_ok(), model.remove(&key).is_some());
                }
                Op::Repeat => if let Some((request, change, outcome)) = last.clone() && cluster.request == request {
                    prop_assert_eq!(cluster.change_as(request, change), outcome);
                },
                Op::NewLease => {
                    cluster.run(Command::CloseLease { lease: cluster.lease });
                    cluster.lease = cluster.open_lease();
                    (cluster.request, last) = (0, None);
                }
                Op::EmptyTrash => cluster.empty_trash(),
                Op::Forget(passes) => { cluster.forget(passes); }
                Op::Bad(letter, node) => {
                    let chunk = chunk_of(letter).id;
                    let (node, incarnation) = (NodeId(node), incarnation(node));
                    let cause = DegradedCause::Absent;
                    cluster.change(Change::Report { class: CLASS, chunk, node, incarnation, cause }).unwrap();
                }
            }
            prop_assert_eq!(audit::audit(&cluster.tables).unwrap(), Vec::<String>::new());
        }
        for (key, letters) in &model {
            let found = cluster.letters(key);
            prop_assert_eq!(found.as_ref(), Some(letters));
        }
        let (listed, _) = query::list(&cluster.tables, &name("k").bucket, b"", None, 100).unwrap();
        let listed: BTreeSet<_> = listed.iter().map(|(name, _)| name.key.to_string()).collect();
        prop_assert_eq!(listed, model.keys().cloned().collect::<BTreeSet<_>>());

        // Everything that nothing names any more can be forgotten, and then nothing is left but what is named.
        cluster.run(Command::CloseLease { lease: cluster.lease });
        cluster.empty_trash();
        cluster.forget(true);
        let named: BTreeSet<u8> = model.values().flatten().copied().collect();
        prop_assert_eq!(cluster.tables.count(Table::Chunks).unwrap(), named.len() as u64);
    }
}

/// A plan of a former leader comes too late: refused, whatever it is.
#[test]
fn plans_of_an_earlier_term_are_refused() {
    let mut cluster = Cluster::new();
    let run = |cluster: &mut Cluster, reign, term| {
        cluster.index += 1;
        let command = Command::HoldDeletes { reason: Some("planned".into()) };
        let batch = Batch { now_ms: 1, ticks_ms: 1, reign, commands: vec![command.clone(), command] };
        meta::apply(&mut cluster.tables, (term, cluster.index), &batch).unwrap()
    };
    let late = run(&mut cluster, Some(4), 5);
    assert!(late.len() == 2 && late.iter().all(|reply| matches!(reply, Reply::Refused(why) if why.contains("term 4"))));
    let held = |cluster: &Cluster| meta::query::cluster(&cluster.tables).unwrap().unwrap().hold_deletes;
    assert_eq!(held(&cluster), None);
    assert_eq!(run(&mut cluster, Some(5), 5), [Reply::Done, Reply::Done]);
    assert_eq!(held(&cluster).as_deref(), Some("planned"));
}

/// A new life after a restore: nobody's leases and uploads, nothing dangling, nothing deleted before somebody has looked.
#[test]
fn a_restore_begins_a_new_life() {
    let mut cluster = Cluster::new();
    cluster.put("kept", b"abc").unwrap();
    let building = match cluster.change(Change::BeginBody { class: CLASS }).unwrap() {
        Outcome::Body(body) => body,
        other => panic!("{other:?}"),
    };
    cluster.change(Change::Append { body: building, extent: 0, chunks: written(b"cde") }).unwrap();
    cluster.put("gone", b"x").unwrap();
    cluster.change(Change::DeleteObject { name: name("gone"), when: Precondition::default() }).unwrap();
    cluster.open_lease();
    assert_eq!(cluster.tables.count(Table::Uploads), Ok(1));

    let before = query::cluster(&cluster.tables).unwrap().unwrap();
    cluster.index += 1000;
    let restored = meta::restore(&mut cluster.tables, cluster.index, "look first".into()).unwrap();
    assert_eq!((restored.leases, restored.bodies), (2, 1));
    assert_eq!((restored.cluster.generation, restored.cluster.cluster_id), (before.generation + 1, before.cluster_id));
    assert_eq!(query::cluster(&cluster.tables).unwrap(), Some(restored.cluster));
    for table in [Table::Leases, Table::Sessions, Table::Uploads] {
        assert_eq!(cluster.tables.count(table), Ok(0), "{table:?}");
    }
    assert_eq!(audit::audit(&cluster.tables), Ok(Vec::new()));
    assert_eq!(cluster.letters("kept"), Some(b"abc".to_vec()));
    let session = Session { lease: cluster.lease, request: 99, lowest: 0 };
    let change = put("late", NewBody::Whole(written(b"z")), 1);
    let late = cluster.run(Command::Change { session, change });
    assert_eq!(late, Reply::Changed(Err(Refusal::LeaseGone)), "who lived before the restore commits nothing");

    for body in query::trash(&cluster.tables, 10).unwrap() {
        while cluster.run(Command::EmptyTrash { body }) == Reply::More {}
    }
    assert_eq!(audit::audit(&cluster.tables), Ok(Vec::new()));
    let chunks: Vec<_> = query::garbage(&cluster.tables, u64::MAX >> 16, 100).unwrap();
    let chunks = chunks_of(&chunks);
    assert_eq!(chunks.len(), 3, "d, e and x");
    let held = cluster.run(Command::ForgetChunks { barrier: 0, chunks: chunks.clone() });
    assert_eq!(held, Reply::Refused("deletes are on hold: look first".into()));
    cluster.run(Command::HoldDeletes { reason: None });
    assert!(
        matches!(cluster.run(Command::ForgetChunks { barrier: 0, chunks }), Reply::Forgotten(gone) if gone.len() == 3)
    );

    let unfounded = meta::restore(&mut MemTables::default(), 1, String::new());
    assert!(unfounded.unwrap_err().to_string().contains("never founded"));
}
