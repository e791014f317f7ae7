//! A story: a cluster, a seed, and what random users and random misfortune do to it, compared with the model at every step.
//!
//! Requests come in batches, often several at once and some over seconds, with garbage collection, renewals, probes and checkpoints
//! going on beside them as they do in production. In between and in the middle: power cuts of everything or of one machine, kills,
//! lost and repeated messages, partitions, full disks, flipped bits. After every restart all keys are listed and read. A batch
//! without a fault is *calm*, and then nothing may fail at all: a store that refuses everything is not right either.
//!
//! At the end everything is deleted and collected, and nothing may be left anywhere.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::admin::Admin;
use api::metadata::ListQuery;
use domain::record::ReplicaState;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::checks::{self, Damaged};
use crate::cluster::{BootError, Cluster, Options};
use crate::contents::Contents;
use crate::directory::Wiring;
use crate::faults::{Fault, When};
use crate::model::{Answered, Asked, Event, Key, Model, show_answer};
use crate::network::SILENCE;
use crate::plant::Plant;
use crate::power::Who;
use crate::random::Random;
use crate::requests::{Answer, Request, bucket};
use crate::tell::{Counts, Notes};

/// How long echoes and late answers may still be on their way.
const ECHOES: Duration = Duration::from_secs(12);

pub(crate) struct Story<'a> {
    notes: &'a mut Notes,
    cluster: Cluster,
    random: Random,
    model: Model,
    keys: Vec<Key>,
    contents: Contents,
    damaged: Damaged,
    /// Garbage collection's own counts when they were last looked at.
    last_gc: (u64, u64),
    /// So many of a thousand batches meet a fault.
    fault_per_mille: u64,
    moments: AtomicU64,
}

/// What became of one request of a batch.
#[derive(Default)]
struct Slot {
    begun: Option<u64>,
    ended: Option<(u64, Result<Answer, String>)>,
}

impl<'a> Story<'a> {
    /// A cluster whose shape follows the seed too.
    pub fn new(seed: u64, notes: &'a mut Notes) -> Self {
        let mut random = Random::new(seed);
        let over_http = random.chance(100);
        let options = Options {
            nodes: *random.pick(&[3, 3, 4, 5]),
            wiring: Wiring { nodes_over_http: over_http, coordinator_over_http: over_http },
            chunk_bytes: *random.pick(&[64, 512, 1024]),
            log_keep_entries: *random.pick(&[20, 200, 100_000]),
            log_file_bytes: *random.pick(&[4 << 10, 64 << 10]),
            gc_delay: Duration::from_secs(*random.pick(&[0, 0, 4])),
            ..Options::new(seed)
        };
        let contents = Contents::new(*random.pick(&[3, 12, 40]), options.chunk_bytes as usize);
        let keys = keys(*random.pick(&[3, 10, 24]));
        let fault_per_mille = *random.pick(&[15, 30, 60]);
        let cluster = Cluster::new(options);
        cluster.network().set_jitter(*random.pick(&[0, 3, 40]));
        Self {
            notes,
            cluster,
            random,
            model: Model::default(),
            keys,
            contents,
            damaged: Damaged::new(),
            last_gc: (0, 0),
            fault_per_mille,
            moments: AtomicU64::new(0),
        }
    }

    /// Tells it; errs with what cannot be.
    pub async fn run(&mut self, operations: u64, plant: Option<Plant>) -> Result<(), String> {
        self.note(format!("{:?}", self.cluster.options()));
        self.cluster.restart().await.map_err(|error| error.to_string())?;
        let objects = self.cluster.objects().ok_or("no gateway runs")?;
        objects.create_bucket(&bucket()).await.map_err(|error| error.to_string())?;
        self.cluster.plant(plant);
        while self.notes.counts.operations < operations {
            self.turn().await?;
        }
        self.cluster.plant(None);
        self.finish().await
    }

    async fn turn(&mut self) -> Result<(), String> {
        match self.random.below(1000) {
            0..30 => self.list().await?,
            30..36 => self.collect().await?,
            36..50 => self.flip().await?,
            50..60 => self.rebirth().await?,
            _ => self.batch().await?,
        }
        let pause_ms = match self.random.below(100) {
            0..80 => 0,
            80..95 => self.random.below(300),
            _ => self.random.below(6000),
        };
        if pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        Ok(())
    }

    /// Some requests at once, perhaps with a fault among them.
    async fn batch(&mut self) -> Result<(), String> {
        let random = &mut self.random;
        let fault = random.chance(self.fault_per_mille).then(|| Fault::draw(random, self.cluster.options().nodes));
        let slow = random.chance(if fault.is_some() { 200 } else { 10 });
        let size = if fault.is_some() || random.chance(300) { 1 + random.below(7) } else { 1 };
        let mut requests = Vec::new();
        for _ in 0..size {
            let mut request = Request::draw(random, &self.keys, &self.contents, &self.model, slow);
            let spread_ms = if slow { 8000 } else { *random.pick(&[1, 1, 30]) };
            request.after = Duration::from_millis(if size > 1 { random.below(spread_ms) } else { 0 });
            requests.push(request);
        }
        let calm = fault.is_none();
        if let Some(fault) = &fault {
            self.notes.counts.faults += 1;
            self.note(format!("fault: {fault:?}"));
        }
        let slots = self.make_all(&requests, fault).await?;
        let events = self.answers(&requests, slots, calm)?;
        self.model.settle(&events).map_err(|wrong| wrong.to_string())?;
        match calm {
            true => Ok(()),
            false => self.recover().await,
        }
    }

    /// Garbage that is wanted again while it is being collected.
    async fn rebirth(&mut self) -> Result<(), String> {
        let requests = Request::rebirth(&mut self.random, &self.keys, &self.contents, &self.model);
        let slots = self.make_all(&requests, None).await?;
        let events = self.answers(&requests, slots, true)?;
        self.model.settle(&events).map_err(|wrong| wrong.to_string())
    }

    /// Makes the requests until all are answered or the gateway is gone.
    async fn make_all(&mut self, requests: &[Request], fault: Option<Fault>) -> Result<Vec<Slot>, String> {
        let objects = self.cluster.objects().ok_or("no gateway runs")?;
        let gateway = self.cluster.power().process(Who::Gateway);
        let over = CancellationToken::new();
        let misfortune = fault.map(|fault| tokio::spawn(fault.run(self.cluster.clone(), over.clone())));
        let slots: Vec<Mutex<Slot>> = requests.iter().map(|_| Mutex::default()).collect();
        let moments = &self.moments;
        let objects = &objects;
        let make = async |(request, slot): (&Request, &Mutex<Slot>)| {
            if !request.after.is_zero() {
                tokio::time::sleep(request.after).await;
            }
            slot.lock().begun = Some(moments.fetch_add(1, Ordering::Relaxed));
            let answer = request.make(objects).await;
            slot.lock().ended = Some((moments.fetch_add(1, Ordering::Relaxed), answer));
        };
        let all = join_all(requests.iter().zip(&slots).map(make));
        tokio::select! {
            biased;
            _ = all => {}
            () = gateway.ended() => {}
        }
        over.cancel();
        if requests.iter().any(|request| request.patience.is_some()) {
            // What was under way when its client left ends before anything else is asked.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if let Some(misfortune) = misfortune {
            match misfortune.await.map_err(|error| error.to_string())? {
                Ok(()) | Err(BootError::Cut) => {}
                Err(BootError::Broken(why)) => return Err(why),
            }
        }
        Ok(slots.into_iter().map(Mutex::into_inner).collect())
    }

    /// The answers as events for the model; errs if one is wrong in itself, or is an error in calm weather.
    fn answers(&mut self, requests: &[Request], slots: Vec<Slot>, calm: bool) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for (request, slot) in requests.iter().zip(slots) {
            self.notes.counts.operations += 1;
            let Some(begun) = slot.begun else { continue };
            let (ended, answered, trouble) = match slot.ended {
                None => (u64::MAX, Answered::Unknown, None),
                Some((at, answer)) => {
                    let Answer { answered, trouble } = answer?;
                    let at = if matches!(answered, Answered::Unknown) { u64::MAX } else { at };
                    (at, answered, trouble)
                }
            };
            self.notes.counts.acknowledged += u64::from(matches!(answered, Answered::Put(_) | Answered::Deleted));
            self.notes.counts.unknown += u64::from(matches!(answered, Answered::Unknown));
            let key = String::from_utf8_lossy(&request.key).into_owned();
            let why = trouble.as_deref().unwrap_or("");
            self.note(format!("{begun}: {request} -> {} {why}", show_answer(&answered)));
            if let Some(trouble) = trouble.filter(|_| calm) {
                return Err(format!("{key}: nothing was wrong, and yet: {trouble}"));
            }
            events.push(Event { key: request.key.clone(), begun, ended, asked: request.asked(), answered });
        }
        Ok(events)
    }

    /// Lists the bucket, or what begins with a prefix, and compares.
    async fn list(&mut self) -> Result<(), String> {
        self.notes.counts.operations += 1;
        let prefix = self.random.pick(&[&b""[..], b"a/", b"b", b"none"]).to_vec();
        let limit = *self.random.pick(&[1, 2, 7, 1000]);
        self.compare_list(&prefix, limit).await
    }

    async fn compare_list(&mut self, prefix: &[u8], limit: usize) -> Result<(), String> {
        let objects = self.cluster.objects().ok_or("no gateway runs")?;
        let mut query = ListQuery { bucket: bucket(), prefix: prefix.to_vec(), after: None, limit };
        let mut seen: Vec<Event> = Vec::new();
        let moment = self.moments.fetch_add(1, Ordering::Relaxed);
        let look = |key: Key, answered| Event { key, begun: moment, ended: moment, asked: Asked::Look, answered };
        loop {
            let page = objects.list(&query).await.map_err(|error| format!("a list failed: {error}"))?;
            if page.objects.len() > limit || (page.more && page.objects.len() < limit) || !page.bucket_exists {
                return Err(format!("a page of {limit} has {} entries: {page:?}", page.objects.len()));
            }
            for (name, row) in page.objects {
                let key = name.key.as_bytes().to_vec();
                let after = query.after.as_ref().is_none_or(|after| *after < key);
                if !after || !self.keys.contains(&key) || !key.starts_with(prefix) {
                    return Err(format!("{name} is listed, which nobody put, or out of order"));
                }
                let (size, etag, revision) = (row.size, row.etag, row.revision);
                query.after = Some(key.clone());
                seen.push(look(key, Answered::Seen { size, etag, revision, part: None }));
            }
            if !page.more {
                break;
            }
        }
        let listed: BTreeSet<Key> = seen.iter().map(|event| event.key.clone()).collect();
        let absent = self.keys.iter().filter(|key| key.starts_with(prefix) && !listed.contains(*key));
        let absent: Vec<_> = absent.map(|key| look(key.clone(), Answered::Absent)).collect();
        self.note(format!("{moment}: list {:?}: {} objects", String::from_utf8_lossy(prefix), seen.len()));
        seen.extend(absent);
        self.model.settle(&seen).map_err(|wrong| format!("listed: {wrong}"))
    }

    /// Brings everything up again, perhaps with another power cut on the way, and compares all there is.
    async fn recover(&mut self) -> Result<(), String> {
        // Whoever is about to end does.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let down = self.cluster.down();
        self.notes.counts.crashes += down.len() as u64;
        self.notes.counts.power_cuts += u64::from(down.len() == self.cluster.power().all().len());
        self.cluster.network().mend();
        if !down.is_empty() {
            self.note(format!("down: {down:?}"));
        }
        let mut cuts = if self.random.chance(250) { 1 + self.random.below(2) } else { 0 };
        loop {
            if cuts > 0 && !self.cluster.down().is_empty() {
                cuts -= 1;
                let When::Change(n) = When::draw(&mut self.random, 3000) else { continue };
                self.cluster.power().cut_at_change(&self.cluster.power().all(), n);
                self.note(format!("the power goes during recovery, at change {n}"));
            }
            let outcome = self.cluster.restart().await;
            self.cluster.power().disarm();
            match outcome {
                Ok(()) if self.cluster.down().is_empty() => break,
                Ok(()) | Err(BootError::Cut) => {}
                Err(BootError::Broken(why)) => return Err(why),
            }
        }
        let objects = self.cluster.objects().ok_or("no gateway runs")?;
        // A lease that ran out in the meantime is noticed at its next renewal, which may begin only when a lost one is given up.
        tokio::time::sleep(objects::lease::RENEW_EVERY + SILENCE + Duration::from_secs(1)).await;
        let ready = tokio::time::timeout(Duration::from_secs(60), objects.until_ready(true)).await;
        ready.map_err(|_| format!("the gateway is not ready a minute after all came up: {:?}", objects.not_ready()))?;
        self.notes.counts.restarts += u64::from(!down.is_empty());
        self.last_gc = if down.contains(&Who::Coordinator) { (0, 0) } else { self.last_gc };
        self.compare_all().await?;
        if self.random.chance(300) {
            self.sound().await?;
        }
        Ok(())
    }

    /// Lists everything, and reads every key.
    async fn compare_all(&mut self) -> Result<(), String> {
        let limit = *self.random.pick(&[3, 1000]);
        self.compare_list(b"", limit).await?;
        let keys: Vec<Key> = self.model.keys().cloned().collect();
        let requests: Vec<_> = keys.iter().map(|key| Request::whole(key.clone())).collect();
        let before = self.notes.counts;
        for some in requests.chunks(8) {
            let slots = self.make_all(some, None).await?;
            let events = self.answers(some, slots, true)?;
            self.model.settle(&events).map_err(|wrong| format!("read back: {wrong}"))?;
        }
        self.notes.counts = Counts { verified: before.verified + keys.len() as u64, ..before };
        Ok(())
    }

    async fn sound(&mut self) -> Result<(), String> {
        checks::sound(&self.cluster, &mut self.damaged).await
    }

    /// Flips a bit in copies of a chunk, never in the last good one.
    async fn flip(&mut self) -> Result<(), String> {
        let tables = checks::tables(&self.cluster).await?;
        let chunks: Vec<_> = checks::chunks(&tables)?.into_iter().filter(|(_, row)| row.count > 0).collect();
        let machines = checks::machines(&tables)?;
        if chunks.is_empty() {
            return Ok(());
        }
        let (chunk, row) = self.random.pick(&chunks).clone();
        let held = row.replicas.iter().filter(|replica| replica.state == ReplicaState::Held);
        let held: Vec<usize> = held.map(|replica| machines[&replica.node]).collect();
        let good: Vec<usize> = held.into_iter().filter(|nth| checks::is_whole(&self.cluster, *nth, chunk)).collect();
        let victims = good.len().saturating_sub(1 + self.random.below(2) as usize);
        for nth in good.into_iter().take(victims) {
            let at = self.random.below(u64::from(row.length)) as usize;
            self.cluster.node_disk(nth).corrupt(&self.cluster.chunk_path(nth, chunk), at);
            self.damaged.insert((nth, chunk));
            self.notes.counts.flipped += 1;
            self.note(format!("flipped a bit of {chunk} on node {nth}"));
        }
        Ok(())
    }

    /// A pass of garbage collection, which must come to its end.
    async fn collect(&mut self) -> Result<(), String> {
        let coordinator = self.cluster.coordinator().ok_or("no coordinator runs")?;
        let report = coordinator.collect_garbage().await;
        self.note(format!("{report:?}"));
        match report.note {
            None => self.count_gc().await,
            Some(note) => Err(format!("garbage collection: {note}")),
        }
    }

    async fn count_gc(&mut self) -> Result<(), String> {
        let coordinator = self.cluster.coordinator().ok_or("no coordinator runs")?;
        let status = coordinator.status().await.map_err(|error| error.to_string())?;
        if let Some(reason) = status.hold_deletes {
            return Err(format!("deletes are on hold: {reason}"));
        }
        self.notes.counts.collected += status.gc.copies.saturating_sub(self.last_gc.0);
        self.notes.counts.spared += status.gc.spared.saturating_sub(self.last_gc.1);
        self.last_gc = (status.gc.copies, status.gc.spared);
        Ok(())
    }

    /// The end: all in order, then all deleted, and nothing left.
    async fn finish(&mut self) -> Result<(), String> {
        self.cluster.network().set_jitter(0);
        self.recover().await?;
        tokio::time::sleep(ECHOES).await;
        self.collect().await?;
        self.sound().await?;
        checks::no_strangers(&self.cluster).await?;
        let keys: Vec<Key> = self.model.keys().cloned().collect();
        for key in keys {
            let request = Request::delete(key);
            let slots = self.make_all(std::slice::from_ref(&request), None).await?;
            let events = self.answers(std::slice::from_ref(&request), slots, true)?;
            self.model.settle(&events).map_err(|wrong| wrong.to_string())?;
        }
        // One pass empties bodies and chunks, the next sweeps copies that the records of the first did not name.
        self.collect().await?;
        self.collect().await?;
        self.sound().await?;
        checks::empty(&self.cluster).await
    }

    fn note(&mut self, line: String) {
        self.notes.add(line);
    }
}

/// Keys that share prefixes, one with bytes that are no text.
fn keys(count: usize) -> Vec<Key> {
    let key = |nth: usize| match nth % 4 {
        0 => format!("a/{nth}").into_bytes(),
        1 => format!("b{nth}").into_bytes(),
        2 => vec![b'b', 0, nth as u8],
        _ => vec![0xff, nth as u8],
    };
    (0..count).map(key).collect()
}
