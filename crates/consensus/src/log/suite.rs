//! openraft's own suite for log stores and state machines, run against both homes.

use std::path::Path;
use std::sync::Arc;

use api::disk::Disk;
use bootstrap::RealDisk;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use testkit::sim_disk::SimDisk;
use tokio::sync::Notify;

use super::store::LogStore;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::settings::{LogKind, Settings};
use crate::tables::Store;
use crate::types::TypeConfig;

struct Builder(LogKind);

impl StoreBuilder<TypeConfig, LogStore, Machine, Option<tempfile::TempDir>> for Builder {
    async fn build(&self) -> Result<(Option<tempfile::TempDir>, LogStore, Machine), StorageError<TypeConfig>> {
        let home = (self.0 == LogKind::Chunked).then(|| tempfile::tempdir().unwrap());
        let disk: Arc<dyn Disk> = match self.0 {
            LogKind::Chunked => Arc::new(RealDisk),
            LogKind::Inline => Arc::new(SimDisk::new(1)),
        };
        let dir = home.as_ref().map_or(Path::new("/g"), |home| home.path());
        let settings = Settings { log: self.0, log_file_bytes: 500, ..Settings::simulated(dir) };
        disk.create_dir_all(dir).unwrap();
        let failure = Failure::new(dir, disk.clone());
        let log = super::open(&settings, &disk).unwrap();
        let store = Arc::new(Store::open(dir, None, 1 << 20, disk.as_ref(), failure.clone()).unwrap());
        let machine = Machine::new(store, disk, settings, failure.clone(), Arc::new(Notify::new()));
        Ok((home, LogStore::new(log, failure), machine))
    }
}

/// Every test but the last passes; the last hands a snapshot over, as bytes, which ours are not: they go through `transfer`, whose tests have several members.
async fn passes(kind: LogKind) {
    let outcome = Suite::test_all(Builder(kind)).await;
    let refused = outcome.expect_err("the suite ends with a snapshot transfer").to_string();
    assert!(refused.contains("a snapshot without tables"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_log_passes_openrafts_suite() {
    passes(LogKind::Chunked).await;
}

#[tokio::test]
async fn inline_log_passes_openrafts_suite() {
    passes(LogKind::Inline).await;
}
