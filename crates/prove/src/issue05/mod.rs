//! Issue 05: erasure coding, content-defined chunks, topology.

mod chunking;
mod crates;
mod erasure;
mod placement;
mod releases;

use crate::report::Report;

/// Runs every section.
pub fn prove(report: &mut Report) {
    report.section("erasure", "the code, beside ISA-L and the fastest crates", erasure::run);
    report.section("chunking", "cuts by content: how fast, and what an inserted byte costs", chunking::run);
    report.section("releases", "two releases of a source tree, cut by content", |quick| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(releases::run(quick))
    });
    report.section("placement", "movement, loads and racks", placement::run);
}
