//! Issue 02: store and read back real files.

mod crash_loop;
mod faults;
mod fsync_trace;
mod full_disk;
mod history;
mod real_input;
mod simulated;
mod start;

use anyhow::Result;

use crate::report::Report;

/// Runs every section.
pub fn prove(report: &mut Report) {
    report.section("start", "serves within 2 s, and the next two commands work", |_| run(start::run()));
    report.section("input", "real files come back, in bounded memory", |quick| run(real_input::run(quick)));
    report.section("crash", "kill -9 at random moments under writers", |quick| run(crash_loop::run(quick)));
    report.section("faults", "nodes killed, stopped and damaged under load", |quick| run(faults::run(quick)));
    report.section("fsync", "no 201 before the disks have it", |quick| run(fsync_trace::run(quick)));
    report.section("model", "random operations and crashes against the model", simulated::run);
    report.section("full", "a full disk, deletes, and on", |quick| run(full_disk::run(quick)));
}

/// Runs a section on a runtime of its own.
fn run(section: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(section)
}
