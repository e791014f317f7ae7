//! Issue 05: erasure coding, content-defined chunks, topology.

mod chunking;
mod crates;
mod erasure;
mod hanging;
mod overheads;
mod placement;
mod releases;
mod silent;
mod striped;
mod stripes;

use anyhow::Result;

use crate::report::Report;

/// Runs every section.
pub fn prove(report: &mut Report) {
    report.section("erasure", "the code, beside ISA-L and the fastest crates", erasure::run);
    report.section("chunking", "cuts by content: how fast, and what an inserted byte costs", chunking::run);
    report.section("releases", "two releases of a source tree, cut by content", |quick| run(releases::run(quick)));
    report.section("placement", "movement, loads and racks", placement::run);
    report.section("stripes", "large objects with M shards of each stripe gone, and with one more", |quick| {
        run(stripes::run(quick))
    });
    report.section("silent", "what a stopped or killed node costs a read", |quick| run(silent::run(quick)));
    report.section("hanging", "writes while nodes hang", |quick| run(hanging::run(quick)));
    report.section("overheads", "bytes on disk", |quick| run(overheads::run(quick)));
}

/// On a runtime of its own.
fn run(section: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(section)
}
