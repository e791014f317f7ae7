//! `kvfs bench meta`: how many commits a second the coordinators take, and how long each waits.
//!
//! What is measured is the last step of a put and nothing else: one command that points a key at chunks which are there. The chunks
//! are few and shared, and are put beforehand; so the commits cost their log entries, the syncs that they share, and the tables.
//! With `--objects` it fills a cluster instead: that many objects, as fast as they go in.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use api::{MetaError, Metadata};
use bytes::Bytes;
use client::Native;
use domain::change::{Change, NewBody, Precondition, Session, Written};
use domain::record::{ChunkRef, ObjectName};
use domain::view::ClusterView;
use domain::{BucketName, ChunkId, ClassId, Crc32c, LogPosition, ObjectKey};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::output::Output;

/// The bucket that it works in.
const BUCKET: &str = "kvfs-bench";

/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How long a commit whose outcome is unknown is tried again.
const DEADLINE: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Clone, Debug)]
pub struct MetaBench {
    /// Commits under way at once, one measurement each.
    pub concurrency: Vec<usize>,
    /// How long each measurement takes.
    pub length: Duration,
    /// Commits of each measurement, instead of a length: to fill a cluster.
    pub objects: Option<u64>,
    /// Chunks that all objects share.
    pub chunks: u64,
    /// Tells runs apart: part of the keys.
    pub run: u64,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Commits under way at once.
    pub concurrency: usize,
    /// Commits acknowledged.
    pub commits: u64,
    /// When it began, in seconds of Unix time: to find it in a trace.
    pub began: f64,
    /// Over how many seconds.
    pub seconds: f64,
    /// Commits a second.
    pub per_second: f64,
    /// Half of them took at most so many milliseconds.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// 999 of 1,000.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Puts the chunks, then measures, and shows a line for each concurrency.
pub async fn run(
    native: &Native,
    meta: Arc<dyn Metadata>,
    bench: &MetaBench,
    output: Output,
    out: &mut dyn Write,
) -> Result<()> {
    let chunks = Arc::new(put_chunks(native, &*meta, bench.chunks).await.context("putting the chunks")?);
    let mut all = Vec::new();
    for concurrency in &bench.concurrency {
        let writer = Writer::open(meta.clone(), chunks.clone(), bench.run, all.len()).await?;
        all.push(measure(Arc::new(writer), *concurrency, bench).await?);
    }
    output.write(out, &all, |out, all| table(out, all))?;
    Ok(())
}

/// Small objects, one chunk each, which stay: their chunks are what the commits refer to.
async fn put_chunks(native: &Native, meta: &dyn Metadata, count: u64) -> Result<Vec<Written>> {
    let view = meta.view(0).await?;
    let put = |nth: u64| {
        let view = &view;
        async move {
            let bytes = Bytes::from(format!("kvfs bench chunk {nth}"));
            let body = stream::iter([Ok::<_, io::Error>(bytes.clone())]);
            let key = format!("chunks/{nth:06}");
            let length = Some(bytes.len() as u64);
            let answer = native.put(BUCKET, key.as_bytes(), length, HeaderMap::new(), body).await?;
            let replicas = answer.chunks.first().map(|chunk| chunk.replicas.clone()).unwrap_or_default();
            written(&bytes, &replicas, view)
        }
    };
    stream::iter((0..count).map(put).collect::<Vec<_>>()).buffered(16).try_collect().await
}

fn written(bytes: &Bytes, replicas: &[String], view: &ClusterView) -> Result<Written> {
    let chunk = ChunkRef { id: ChunkId::of(bytes), length: bytes.len() as u32, crc: Crc32c::of(bytes) };
    let answer = |addr: &String| {
        let node = view.nodes.iter().find(|node| node.addr == *addr)?;
        Some((node.id, node.incarnation?))
    };
    let answers: Vec<_> = replicas.iter().filter_map(answer).collect();
    let copies = u8::try_from(answers.len()).context("more copies than 255")?;
    if copies == 0 {
        bail!("the gateway names no node of the registry that holds the chunk: {replicas:?}");
    }
    Ok(Written { chunk, answers, quorum: copies, copies })
}

/// Commits under a lease of its own.
struct Writer {
    meta: Arc<dyn Metadata>,
    chunks: Arc<Vec<Written>>,
    lease: LogPosition,
    prefix: String,
    requests: AtomicU64,
    /// Numbers without an answer.
    open: Mutex<BTreeSet<u64>>,
    answered: AtomicU64,
    took: Mutex<Vec<u32>>,
}

impl Writer {
    async fn open(meta: Arc<dyn Metadata>, chunks: Arc<Vec<Written>>, run: u64, part: usize) -> Result<Self> {
        let grant = meta.open_lease("kvfs bench meta").await?;
        let prefix = format!("{run:x}/{part}/");
        let (requests, answered) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self {
            meta,
            chunks,
            lease: grant.lease,
            prefix,
            requests,
            answered,
            open: Mutex::default(),
            took: Mutex::default(),
        })
    }

    /// One commit, tried again under its number while its outcome is unknown.
    async fn commit(&self) -> Result<()> {
        let (request, lowest) = {
            let mut open = self.open.lock();
            let request = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
            open.insert(request);
            (request, open.first().copied().unwrap_or(request))
        };
        let change = self.change(request)?;
        let session = Session { lease: self.lease, request, lowest };
        let begun = Instant::now();
        loop {
            match self.meta.change(session, change.clone()).await {
                Ok(changed) => {
                    changed.outcome.map_err(|refusal| anyhow!("a commit was refused: {refusal}"))?;
                    self.took.lock().push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    self.open.lock().remove(&request);
                    return Ok(());
                }
                Err(MetaError::Unavailable { .. } | MetaError::NotLeader { .. } | MetaError::OutcomeUnknown { .. })
                    if begun.elapsed() < DEADLINE =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn change(&self, request: u64) -> Result<Change> {
        let written = self.chunks[(request % self.chunks.len() as u64) as usize].clone();
        let key = format!("{}{request:09}", self.prefix);
        Ok(Change::PutObject {
            name: ObjectName { bucket: BucketName::parse(BUCKET)?, key: ObjectKey::parse(key.as_bytes())? },
            make_bucket: true,
            when: Precondition::default(),
            size: u64::from(written.chunk.length),
            etag: written.chunk.id.to_hex(),
            body: NewBody::Whole(vec![written]),
            class: ClassId::default(),
            content_type: "application/octet-stream".into(),
            user_metadata: Vec::new(),
        })
    }
}

async fn measure(writer: Arc<Writer>, concurrency: usize, bench: &MetaBench) -> Result<Measured> {
    let (keeper, lease) = (writer.meta.clone(), writer.lease);
    let renewing = tokio::spawn(async move {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            keeper.renew_lease(lease, 0).await.ok();
        }
    });
    let (begun, began) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64());
    let left = Arc::new(AtomicU64::new(bench.objects.unwrap_or(u64::MAX)));
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let (writer, left, length) = (writer.clone(), left.clone(), bench.length);
        let filling = bench.objects.is_some();
        workers.spawn(async move {
            let take = |left: u64| left.checked_sub(1);
            while (filling || begun.elapsed() < length)
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
            {
                writer.commit().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    renewing.abort();
    writer.meta.close_lease(lease).await.ok();
    let mut took = std::mem::take(&mut *writer.took.lock());
    took.sort_unstable();
    let commits = writer.answered.load(Ordering::Relaxed);
    let at = |share: f64| {
        let place = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
        took.get(place).map_or(0.0, |micros| f64::from(*micros) / 1e3)
    };
    Ok(Measured {
        concurrency,
        commits,
        began,
        seconds,
        per_second: commits as f64 / seconds,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: at(1.0),
    })
}

fn table(out: &mut dyn Write, all: &[Measured]) -> io::Result<()> {
    writeln!(
        out,
        "{:>8} {:>10} {:>12} {:>10} {:>10} {:>10} {:>10}",
        "AT ONCE", "COMMITS", "PER SECOND", "P50 MS", "P99 MS", "P99.9 MS", "MAX MS"
    )?;
    for one in all {
        let Measured { concurrency, commits, per_second, p50_ms, p99_ms, p999_ms, max_ms, .. } = one;
        writeln!(
            out,
            "{concurrency:>8} {commits:>10} {per_second:>12.0} {p50_ms:>10.2} {p99_ms:>10.2} {p999_ms:>10.2} {max_ms:>10.2}"
        )?;
    }
    Ok(())
}
