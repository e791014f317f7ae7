//! Issue 05: erasure coding, content-defined chunks, topology.

mod chunking;
mod placement;

use crate::report::Report;

/// Runs every section.
pub fn prove(report: &mut Report) {
    report.section("chunking", "cuts by content: how fast, and what an inserted byte costs", chunking::run);
    report.section("placement", "movement, loads and racks", placement::run);
}
