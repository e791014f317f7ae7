//! One suite, four stores: a simulated disk, a real one, a node behind HTTP, and the double in memory.

use std::path::Path;
use std::sync::Arc;

use api::ChunkStore;
use async_trait::async_trait;
use bootstrap::RealDisk;
use domain::ChunkId;
use testkit::chunk_suite::{self, Damage, Subject};
use testkit::mem_chunk_store::MemChunkStore;
use testkit::sim_disk::SimDisk;

use crate::support::{DiskSubject, HOME};

#[tokio::test]
async fn on_a_simulated_disk() {
    chunk_suite::run(|| DiskSubject::new(Arc::new(SimDisk::new(1)), Path::new(HOME), false)).await;
}

#[tokio::test]
async fn on_a_real_disk() {
    let home = tempfile::tempdir().expect("a place for files");
    let number = std::cell::Cell::new(0);
    let make = || {
        number.set(number.get() + 1);
        let path = home.path().join(format!("dn{}", number.get()));
        async move { DiskSubject::new(Arc::new(RealDisk), &path, false).await }
    };
    chunk_suite::run(make).await;
}

#[tokio::test]
async fn behind_http() {
    chunk_suite::run(|| DiskSubject::new(Arc::new(SimDisk::new(1)), Path::new(HOME), true)).await;
}

#[tokio::test]
async fn in_memory() {
    chunk_suite::run(|| async { Memory(MemChunkStore::new(1)) }).await;
}

struct Memory(MemChunkStore);

#[async_trait]
impl Subject for Memory {
    fn store(&self) -> &dyn ChunkStore {
        &self.0
    }

    async fn reopen(&mut self) -> bool {
        self.0.restart();
        true
    }

    fn damage(&self, id: ChunkId, damage: Damage) -> bool {
        self.0.alter(id, |bytes| match damage {
            Damage::FlippedBit => bytes[7] ^= 1,
            Damage::Truncated => bytes.truncate(bytes.len() - 1),
            Damage::Emptied => bytes.clear(),
        })
    }
}
