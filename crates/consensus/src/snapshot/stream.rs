//! The writing end for callers that must not block.

use std::io;
use std::sync::Arc;

use api::disk::Disk;
use bytes::Bytes;

use super::{Header, Writer};
use crate::blocking;

/// A snapshot on its way: each block is read where blocking is allowed, when it is asked for.
pub struct Stream {
    disk: Arc<dyn Disk>,
    header: Header,
    /// `None` while a block is being read, and after an error.
    writer: Option<Writer>,
}

impl Stream {
    pub(crate) fn new(writer: Writer, disk: Arc<dyn Disk>) -> Self {
        Self { disk, header: writer.header().clone(), writer: Some(writer) }
    }

    /// What the stream says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next piece of the stream; `None` after the last. Not cancel-safe: a stream whose call was dropped is broken.
    pub async fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        let writer = self.writer.take().ok_or_else(|| io::Error::other("the snapshot broke off before"))?;
        let read = move || {
            let mut writer = writer;
            let block = writer.next_block()?;
            Ok((writer, block))
        };
        let (writer, block) = blocking::run(&self.disk, read).await?;
        self.writer = Some(writer);
        Ok(block)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream of entry {}", self.header.index())
    }
}
