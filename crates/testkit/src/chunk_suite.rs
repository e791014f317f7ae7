//! What every `ChunkStore` must do, as one suite that all of them pass: disk, memory, or behind HTTP.
//!
//! ```ignore
//! testkit::chunk_suite::run(|| async { MySubject::new() }).await;
//! ```

use std::collections::BTreeSet;

use api::chunk_store::{Held, NodeIdentity, Restamp};
use api::{ChunkError, ChunkStore};
use async_trait::async_trait;
use bytes::Bytes;
use domain::chunking::MAX_CHUNK_BYTES;
use domain::merkle::Inventory;
use domain::{ChunkId, Crc32c, NodeId, Token, merkle};

/// How stored bytes get damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit is flipped.
    FlippedBit,
    /// The end is cut off.
    Truncated,
    /// Nothing is left but the name.
    Emptied,
}

/// A store under test, and what can be done to it from outside.
#[async_trait]
pub trait Subject: Send {
    /// The store; unformatted when it is new.
    fn store(&self) -> &dyn ChunkStore;
    /// Closes it and opens it anew on what it stored; false if it cannot.
    async fn reopen(&mut self) -> bool {
        false
    }
    /// Damages the stored bytes of a chunk; false if it cannot.
    fn damage(&self, _: ChunkId, _: Damage) -> bool {
        false
    }
}

/// Runs all cases, each with a new store.
///
/// # Panics
/// If the store breaks a rule of the seam.
pub async fn run<S: Subject, F: Future<Output = S>>(make: impl Fn() -> F) {
    unformatted_stores_refuse(make().await).await;
    stamps_only_move_on(formatted(make().await).await).await;
    puts_are_idempotent_and_reads_verified(formatted(make().await).await).await;
    wrong_bytes_are_refused(formatted(make().await).await).await;
    what_is_not_there_is_missing(formatted(make().await).await).await;
    ranges(formatted(make().await).await).await;
    tokens(formatted(make().await).await).await;
    tokens_end_with_the_boot(formatted(make().await).await).await;
    inventories_agree(formatted(make().await).await).await;
    damage_is_found_and_healed(formatted(make().await).await).await;
}

/// The chunk with these bytes: its id, its checksum, and they.
pub fn chunk(bytes: impl Into<Bytes>) -> (ChunkId, Crc32c, Bytes) {
    let bytes = bytes.into();
    (ChunkId::of(&bytes), Crc32c::of(&bytes), bytes)
}

async fn formatted<S: Subject>(subject: S) -> S {
    subject.store().format(7, 1, NodeId(3)).await.expect("a new store can be formatted");
    subject
}

async fn unformatted_stores_refuse<S: Subject>(subject: S) {
    let store = subject.store();
    let (id, crc, bytes) = chunk("hello");
    assert_eq!(store.status().await.expect("status").identity, None);
    assert!(matches!(store.put(id, crc, bytes).await, Err(ChunkError::NotThisNode { .. })), "put");
    assert!(matches!(store.get(id, None).await, Err(ChunkError::NotThisNode { .. })), "get");
    assert!(
        matches!(store.delete(id, Token { boot: 1, draw: 0 }).await, Err(ChunkError::NotThisNode { .. })),
        "delete"
    );
    let identity = store.format(7, 1, NodeId(3)).await.expect("format");
    assert_eq!((identity.cluster_id, identity.generation, identity.node, identity.boot), (7, 1, NodeId(3), 1));
    assert_eq!(store.format(7, 1, NodeId(3)).await, Ok(identity), "formatting again changes nothing");
    assert!(matches!(store.format(7, 1, NodeId(4)).await, Err(ChunkError::NotThisNode { .. })), "another node");
    assert!(matches!(store.format(8, 1, NodeId(3)).await, Err(ChunkError::NotThisNode { .. })), "another cluster");
    assert_eq!(store.status().await.expect("status").identity, Some(identity));

    let raised = store.format(7, 3, NodeId(3)).await.expect("restored metadata are obeyed");
    assert_eq!(raised, NodeIdentity { generation: 3, ..identity }, "nothing else changes");
    let older = store.format(7, 2, NodeId(3)).await;
    assert_eq!(older, Err(ChunkError::Superseded { named: 2, obeyed: 3 }));
    assert_eq!(store.status().await.expect("status").identity, Some(raised));
}

async fn stamps_only_move_on<S: Subject>(mut subject: S) {
    let store = subject.store();
    let first = store.status().await.expect("status").identity.expect("formatted");
    assert_eq!(first.witness, 0);
    let witnessed = NodeIdentity { witness: 9, ..first };
    assert_eq!(store.witness(9).await, Ok(witnessed));
    assert_eq!(store.witness(8).await, Ok(witnessed), "an older one changes nothing");
    assert_eq!(store.format(7, 1, NodeId(3)).await, Ok(witnessed), "nor does formatting");

    let (id, crc, bytes) = chunk("hello");
    let token = store.put(id, crc, bytes.clone()).await.expect("put").token;
    let stamp = Restamp { cluster_id: 7, generation: 1, node: NodeId(3), was: first.incarnation, boot: 20 };
    let alien = Restamp { cluster_id: 8, ..stamp };
    assert!(matches!(store.restamp(alien).await, Err(ChunkError::NotThisNode { .. })), "another cluster's");
    let anew = store.restamp(stamp).await.expect("restamp");
    assert_eq!((anew.node, anew.boot, anew.witness), (NodeId(3), 21, 0));
    assert_ne!(anew.incarnation, first.incarnation);
    assert_eq!(store.restamp(stamp).await, Ok(anew), "repeating it changes nothing");
    assert!(matches!(store.restamp(Restamp { node: NodeId(4), ..stamp }).await, Err(ChunkError::NotThisNode { .. })));
    assert_eq!(store.status().await.expect("status").identity, Some(anew));
    assert_eq!(store.get(id, Some(crc)).await, Ok(bytes), "what it holds stays");
    assert!(matches!(store.delete(id, token).await, Err(ChunkError::Touched { .. })), "under another token");
    assert_eq!(store.touch(id).await.expect("touch").incarnation, anew.incarnation);
    store.witness(30).await.expect("witness");
    if subject.reopen().await {
        let kept = NodeIdentity { boot: anew.boot + 1, witness: 30, ..anew };
        assert_eq!(
            subject.store().status().await.expect("status").identity,
            Some(kept),
            "a stamp outlives its process"
        );
    }
}

async fn puts_are_idempotent_and_reads_verified<S: Subject>(subject: S) {
    let store = subject.store();
    let identity = store.status().await.expect("status").identity.expect("formatted");
    for bytes in [Bytes::new(), Bytes::from("hello"), Bytes::from(vec![9; 3 << 20])] {
        let (id, crc, bytes) = chunk(bytes);
        let first = store.put(id, crc, bytes.clone()).await.expect("first put");
        let second = store.put(id, crc, bytes.clone()).await.expect("second put");
        assert_eq!((first.present, second.present), (false, true));
        assert_eq!((first.incarnation, second.incarnation), (identity.incarnation, identity.incarnation));
        assert_ne!(first.token, second.token, "every put draws a token");
        assert_eq!(store.get(id, Some(crc)).await.as_ref(), Ok(&bytes));
        assert_eq!(store.get(id, None).await.as_ref(), Ok(&bytes));
        assert_eq!(store.verify(id).await, Ok(()));
        assert_eq!(store.get(id, Some(Crc32c(!crc.0))).await, Err(ChunkError::Damaged { id }), "another CRC");
    }
    assert_eq!(store.status().await.expect("status").chunks, 3);
}

async fn wrong_bytes_are_refused<S: Subject>(subject: S) {
    let store = subject.store();
    let (id, crc, bytes) = chunk("hello");
    let refused = |result: Result<_, ChunkError>| matches!(result, Err(ChunkError::Mismatch { .. }));
    assert!(refused(store.put(id, Crc32c(!crc.0), bytes.clone()).await.map(drop)), "wrong checksum");
    let long = Bytes::from(vec![0; MAX_CHUNK_BYTES as usize + 1]);
    assert!(refused(store.put(id, Crc32c::of(&long), long).await.map(drop)), "too long");
    assert_eq!(store.stat(&[id]).await, Ok(vec![]), "nothing was stored");
    store.put(id, crc, bytes.clone()).await.expect("the right bytes");
    let other = Bytes::from("jello");
    assert!(refused(store.put(id, Crc32c::of(&other), other).await.map(drop)), "another chunk's bytes");
    assert_eq!(store.get(id, None).await, Ok(bytes), "the stored copy stays");
}

async fn what_is_not_there_is_missing<S: Subject>(subject: S) {
    let store = subject.store();
    let id = ChunkId::of(b"nowhere");
    let missing = ChunkError::Missing { id };
    assert_eq!(store.get(id, None).await, Err(missing.clone()));
    assert_eq!(store.get_range(id, Crc32c(0), 0..1).await, Err(missing.clone()));
    assert_eq!(store.touch(id).await, Err(missing.clone()));
    assert_eq!(store.verify(id).await, Err(missing.clone()));
    assert_eq!(store.delete(id, Token { boot: 1, draw: 0 }).await, Err(missing));
    assert_eq!(store.stat(&[id]).await, Ok(vec![]));
    assert_eq!(store.stat(&[]).await, Ok(vec![]));
}

async fn ranges<S: Subject>(subject: S) {
    let store = subject.store();
    let (id, crc, bytes) = chunk((0..=255).cycle().take(10_000).collect::<Vec<u8>>());
    store.put(id, crc, bytes.clone()).await.expect("put");
    for range in [0..10_000u32, 0..1, 9_999..10_000, 17..4_711, 5..5, 10_000..10_000] {
        let part = bytes.slice(range.start as usize..range.end as usize);
        let part_crc = Crc32c::of(&part);
        assert_eq!(store.get_range(id, crc, range.clone()).await, Ok((part, part_crc)), "{range:?}");
    }
    for range in [0..10_001, 10_000..10_001, 20_000..20_000] {
        let refused = store.get_range(id, crc, range.clone()).await;
        assert!(matches!(refused, Err(ChunkError::Mismatch { .. })), "{range:?} gave {refused:?}");
    }
    assert_eq!(
        store.get_range(id, Crc32c(!crc.0), 0..1).await,
        Err(ChunkError::Damaged { id }),
        "the whole is checked"
    );
}

async fn tokens<S: Subject>(subject: S) {
    let store = subject.store();
    let (id, crc, bytes) = chunk("hello");
    let put = store.put(id, crc, bytes.clone()).await.expect("put").token;
    assert_eq!(store.stat(&[id]).await, Ok(vec![Held { id, length: 5, token: put }]));
    let touched = store.touch(id).await.expect("touch");
    assert!(touched.present && touched.token != put);
    let stale = |named, present| Err(ChunkError::Touched { id, named, present });
    assert_eq!(store.delete(id, put).await, stale(put, touched.token), "a touch came between");
    let again = store.put(id, crc, bytes.clone()).await.expect("put").token;
    assert_eq!(store.delete(id, touched.token).await, stale(touched.token, again), "a put came between");
    assert_eq!(store.get(id, Some(crc)).await, Ok(bytes.clone()), "it is still there");
    assert_eq!(store.delete(id, again).await, Ok(()));
    assert_eq!(store.get(id, Some(crc)).await, Err(ChunkError::Missing { id }));
    assert_eq!(store.delete(id, again).await, Err(ChunkError::Missing { id }));
    let reborn = store.put(id, crc, bytes).await.expect("put");
    assert!(!reborn.present && ![put, touched.token, again].contains(&reborn.token), "tokens never come back");
    assert_eq!(store.delete(id, again).await, stale(again, reborn.token), "a delayed delete does nothing");
}

async fn tokens_end_with_the_boot<S: Subject>(mut subject: S) {
    let (id, crc, bytes) = chunk("hello");
    let before = subject.store().status().await.expect("status").identity.expect("formatted");
    let old = subject.store().put(id, crc, bytes.clone()).await.expect("put").token;
    if !subject.reopen().await {
        return;
    }
    let store = subject.store();
    let after = store.status().await.expect("status").identity.expect("formatted");
    assert_eq!((after.incarnation, after.node, after.cluster_id), (before.incarnation, before.node, before.cluster_id));
    assert!(after.boot > before.boot);
    let untouched = Token { boot: after.boot, draw: 0 };
    assert_eq!(store.stat(&[id]).await, Ok(vec![Held { id, length: 5, token: untouched }]));
    assert_eq!(store.delete(id, old).await, Err(ChunkError::Touched { id, named: old, present: untouched }));
    assert!(store.put(id, crc, bytes).await.expect("put").present, "it survived");
    assert!(matches!(store.delete(id, untouched).await, Err(ChunkError::Touched { .. })), "the put drew another");
    let now = store.stat(&[id]).await.expect("stat")[0].token;
    assert_eq!(store.delete(id, now).await, Ok(()));
}

async fn inventories_agree<S: Subject>(subject: S) {
    let store = subject.store();
    let root = |summary: &api::chunk_store::MerkleSummary| domain::id::hex(&summary.root);
    let empty = store.merkle().await.expect("merkle");
    assert_eq!(root(&empty), "0e89e7ed74c9a5944c886585d634e3c68f4dccd0a31968fe52d6df0873ccdec6");
    let (hello, crc, bytes) = chunk("hello");
    store.put(hello, crc, bytes).await.expect("put");
    let one = store.merkle().await.expect("merkle");
    assert_eq!(root(&one), "58769bb16f07440e0de644aaaff5ef53880d86fb6a9fb1f3e50f792cc57184d6");
    assert_eq!((one.total, one.buckets.len(), one.buckets[0x2c].1), (1, 256, 1));

    let mut expected = BTreeSet::from([hello]);
    for n in 0..20u32 {
        let (id, crc, bytes) = chunk(vec![n as u8; 100 + n as usize]);
        store.put(id, crc, bytes).await.expect("put");
        expected.insert(id);
    }
    let mut paged = Vec::new();
    loop {
        let page = store.inventory(paged.last().copied(), 6).await.expect("page");
        assert!(page.len() <= 6);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert!(paged.iter().eq(&expected), "pages in order are the inventory");
    let mut model = Inventory::default();
    expected.iter().for_each(|id| {
        model.insert(*id);
    });
    let summary = store.merkle().await.expect("merkle");
    assert_eq!((summary.root, summary.total), (merkle::root(&model.buckets()), 21));
    for bucket in [0x2c, paged[0].as_bytes()[0], 0] {
        let ids: Vec<_> = model.bucket_ids(bucket).copied().collect();
        let deep = store.deep_scan(bucket).await.expect("deep scan");
        assert_eq!(deep.iter().map(|held| held.id).collect::<Vec<_>>(), ids);
        assert_eq!(deep, store.stat(&ids).await.expect("stat"));
        assert_eq!(store.merkle_bucket(bucket).await, Ok(ids));
    }
}

async fn damage_is_found_and_healed<S: Subject>(subject: S) {
    let store = subject.store();
    let (id, crc, bytes) = chunk(vec![5; 2000]);
    for damage in [Damage::FlippedBit, Damage::Truncated, Damage::Emptied] {
        store.put(id, crc, bytes.clone()).await.expect("put");
        if !subject.damage(id, damage) {
            return;
        }
        let damaged = ChunkError::Damaged { id };
        assert_eq!(store.get(id, Some(crc)).await, Err(damaged.clone()), "{damage:?}");
        assert_eq!(store.get(id, None).await, Err(damaged.clone()), "{damage:?}");
        assert_eq!(store.get_range(id, crc, 0..1).await, Err(damaged.clone()), "{damage:?}");
        assert_eq!(store.verify(id).await, Err(damaged), "{damage:?}");
        assert!(!store.put(id, crc, bytes.clone()).await.expect("put").present, "{damage:?} is no present chunk");
        assert_eq!(store.get(id, Some(crc)).await, Ok(bytes.clone()), "{damage:?} was healed");
    }
}
