//! redb over [`api::disk::DiskFile`]: the production tables run on the simulated disk too.

use std::fmt;
use std::io;

use api::disk::DiskFile;
use redb::StorageBackend;

use crate::failure::Failure;

/// The file that redb keeps its pages in.
pub(crate) struct Backend {
    file: Box<dyn DiskFile>,
    failure: Failure,
}

impl Backend {
    pub(crate) fn new(file: Box<dyn DiskFile>, failure: Failure) -> Self {
        Self { file, failure }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

/// Reads go on after a failure; writes do not. That includes what redb would write when it is dropped. Failures themselves are noted by
/// the disk (`watched`).
impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.failure.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.failure.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.failure.check()?;
        self.file.write_at(data, offset)
    }
}
