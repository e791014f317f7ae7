//! The data path over nodes in memory, on a clock that moves only when everybody waits.

mod chunks;
mod stripes;

use std::sync::Arc;

use api::ChunkStore;
use domain::view::NodeView;
use testkit::mem_chunk_store::MemChunkStore;

/// Nodes that are in memory, by their numbers.
struct InMemory(Vec<Arc<MemChunkStore>>);

impl datapath::Connect for InMemory {
    fn connect(&self, node: &NodeView) -> Arc<dyn ChunkStore> {
        self.0[node.id.0 as usize].clone()
    }
}
