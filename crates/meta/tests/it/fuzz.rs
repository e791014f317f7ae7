//! Fuzz targets of records: what other processes send and what disks give back.

use bolero::check;
use domain::change::{Change, NewBody, Precondition, Session, ShardAt, Written, WrittenShard, WrittenStripe};
use domain::policy::{BucketPolicy, Keep};
use domain::record::{
    BodyRow, BucketRow, ChunkRef, ChunkRow, ClusterRow, DegradedCause, DegradedRow, Extent, LeaseRow, NodeRow,
    ObjectName, ObjectRow,
};
use domain::registry::{LossCause, NodeLabels};
use domain::secret::{CredentialRow, CredentialState, Sealed, UrlKeyRow};
use domain::stripe::{StripeExtent, StripeRef, StripeRow};
use domain::{
    BucketName, ChunkId, ClassId, Crc32c, Incarnation, LogPosition, NodeId, ObjectKey, Scheme, StripeId, codec,
};
use meta::{Batch, Command, audit};
use testkit::fuzz::{EXECUTIONS, damage};
use testkit::mem_tables::MemTables;

/// Rows: no bytes panic or make more of themselves than they are.
#[test]
fn rows() {
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let bytes = [&[1], input].concat();
        drop(codec::decode::<BucketRow>(&bytes));
        drop(codec::decode::<ObjectRow>(&bytes));
        drop(BodyRow::decode(&bytes));
        drop(BodyRow::decode(&[&[2], input].concat()));
        drop(codec::decode::<StripeRow>(&bytes));
        drop(codec::decode::<StripeExtent>(&bytes));
        drop(codec::decode::<ChunkRow>(&bytes));
        drop(codec::decode::<NodeRow>(&bytes));
        drop(codec::decode::<LeaseRow>(&bytes));
        drop(codec::decode::<ClusterRow>(&bytes));
        drop(codec::decode::<DegradedRow>(&bytes));
        drop(codec::decode::<UrlKeyRow>(&bytes));
        drop(codec::decode::<CredentialRow>(&bytes));
        if let Ok(extent) = codec::decode::<Extent>(&bytes) {
            assert!(extent.chunks.len() <= bytes.len());
        }
        if let Ok(Ok(name)) = codec::decode::<ObjectName>(&bytes).map(|name| BucketName::parse(name.bucket.as_str())) {
            assert!(!name.as_str().contains('/'));
        }
    });
}

/// Requests to the metadata: decoded or refused.
#[test]
fn requests() {
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let bytes = [&[1], input].concat();
        drop(codec::decode::<api::rpc::MetaRequest>(&bytes));
        drop(codec::decode::<api::rpc::MetaReply>(&bytes));
    });
}

/// Commands: a batch that decodes is applied without a panic, and whatever it was, the tables hold together afterwards.
#[test]
fn commands() {
    let samples: Vec<Vec<u8>> = samples().into_iter().map(|command| batch(vec![command])).collect();
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let mut tables = MemTables::default();
        let mut index = 0;
        let mut apply = |bytes: &[u8]| {
            let Ok(batch) = Batch::decode(bytes) else { return };
            index += 1;
            // A storage error would be damage, and nothing here damages the tables.
            meta::apply(&mut tables, (1, index), &batch).unwrap_or_else(|error| panic!("{batch:?}: {error}"));
        };
        samples.iter().take(4).for_each(|sample| apply(sample));
        for piece in input.chunks(9) {
            let sample = &samples[usize::from(piece[0]) % samples.len()];
            apply(&damage(sample, &piece[1..]));
        }
        let found = audit::audit(&tables).expect("storage is sound");
        assert!(found.is_empty(), "{found:?}");
    });
}

fn batch(commands: Vec<Command>) -> Vec<u8> {
    Batch { now_ms: 1, ticks_ms: 1, reign: None, commands }.encode()
}

fn samples() -> Vec<Command> {
    let lease = LogPosition::new(4, 0);
    let session = Session { lease, request: 1, lowest: 1 };
    let name = ObjectName { bucket: BucketName::parse("b").unwrap(), key: ObjectKey::parse(b"k").unwrap() };
    let chunk = ChunkRef { id: ChunkId::of(b"hello"), length: 5, crc: Crc32c::of(b"hello") };
    let written = Written { chunk, answers: vec![(NodeId(1), Incarnation(1))], quorum: 1, copies: 1 };
    let class = ClassId(0);
    let put = Change::PutObject {
        name: name.clone(),
        make_bucket: true,
        when: Precondition::default(),
        body: NewBody::Whole(vec![written.clone()]),
        class,
        size: 5,
        etag: "x".into(),
        content_type: "y".into(),
        user_metadata: vec![("a".into(), "b".into())],
    };
    let scheme: Scheme = "1+1".parse().unwrap();
    let shard = |bytes: &[u8], node| WrittenShard {
        id: ChunkId::of(bytes),
        crc: Crc32c::of(bytes),
        answers: vec![(NodeId(node), Incarnation(1))],
    };
    let shards = vec![shard(b"hello", 1), shard(b"world", 2)];
    let id = StripeId::of(scheme, shards.iter().map(|shard| &shard.id));
    let stripe = WrittenStripe { stripe: StripeRef { id, length: 5 }, shard_bytes: 5, shards };
    let at = ShardAt { class, stripe: id, index: 1 };
    let put_stripe = Change::PutObject {
        name: name.clone(),
        make_bucket: true,
        when: Precondition::default(),
        body: NewBody::WholeStripes { scheme, stripes: vec![stripe.clone()] },
        class,
        size: 5,
        etag: "x".into(),
        content_type: "y".into(),
        user_metadata: vec![],
    };
    let late = vec![(at, NodeId(1), Incarnation(1))];
    let bad = (NodeId(2), Incarnation(1), DegradedCause::Absent);
    let labels = NodeLabels { class: Some("ssd".into()), domain: Some("r1".into()), weight: Some(2) };
    let secret = Sealed(vec![1, 2, 3]);
    let policy = BucketPolicy { keep: Keep::Stripes(scheme), write_quorum: Some(1), read_quorum: None };
    let change = |change| Command::Change { session, change };
    vec![
        Command::Found { cluster_id: 1 },
        Command::AddNode { addr: "dn1:1".into() },
        Command::StampNode { node: NodeId(1), incarnation: Incarnation(1) },
        Command::OpenLease { holder: "e".into(), known: 1 },
        change(put),
        change(Change::DeleteObject { name, when: Precondition::default() }),
        change(Change::BeginBody { class }),
        change(Change::Append { body: LogPosition::new(5, 0), extent: 0, chunks: vec![written] }),
        change(Change::Abort { body: LogPosition::new(5, 0) }),
        Command::AddNode { addr: "dn2:1".into() },
        Command::StampNode { node: NodeId(2), incarnation: Incarnation(1) },
        change(put_stripe),
        change(Change::BeginStripes { class, scheme }),
        change(Change::AppendStripes { body: LogPosition::new(5, 0), extent: 0, stripes: vec![stripe] }),
        change(Change::ConfirmShards { late }),
        change(Change::ReportShard { shard: at, node: bad.0, incarnation: bad.1, cause: bad.2 }),
        Command::ForgetStripes { barrier: 9, stripes: vec![(class, id, LogPosition::new(6, 0))] },
        Command::RenewLease { lease, floor: 3 },
        Command::ExpireLease { lease, after_ms: 1 },
        Command::CloseLease { lease },
        Command::Barrier,
        Command::EmptyTrash { body: LogPosition::new(5, 0) },
        Command::ForgetChunks { barrier: 9, chunks: vec![(class, ChunkId::of(b"hello"), LogPosition::new(6, 0))] },
        Command::HoldDeletes { reason: None },
        Command::RemoveNode { addr: "dn1:1".into(), copies: 1 },
        Command::WitnessNode { node: NodeId(1), incarnation: Incarnation(1), boot: 2, witness: 9 },
        Command::LoseNode { node: NodeId(1), incarnation: Incarnation(1), cause: LossCause::Empty },
        Command::SweepNode { node: NodeId(1), chunks: 1 },
        Command::ReplaceNode { node: NodeId(1), incarnation: Incarnation(2) },
        Command::LabelNode { addr: "dn1:1".into(), labels },
        Command::MoveNode { addr: "dn1:1".into(), to: "dn1:2".into() },
        Command::SeedUrlKey { kid: "v1".into(), secret: secret.clone() },
        Command::PutUrlKey { kid: "v2".into(), secret: secret.clone(), primary: true },
        Command::ResealUrlKey { kid: "v2".into(), was: secret.clone(), secret: secret.clone() },
        Command::RemoveUrlKey { kid: "v1".into() },
        Command::PutCredential { access_key: "AKIA1".into(), secret, user: "u".into(), state: CredentialState::Active },
        Command::SetBucketPolicy { bucket: BucketName::parse("b").unwrap(), policy },
        Command::RemoveCredential { access_key: "AKIA1".into() },
    ]
}
