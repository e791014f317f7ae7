//! Issue 04: coordinators that survive.

mod backups;
mod commits;
mod failover;
mod five;
pub(crate) mod group;
mod keys;
mod linear;
mod lost;
mod objects;
mod partitions;
mod proxy;
mod race;
mod restarts;
mod strangers;

use anyhow::Result;

use crate::report::Report;

/// Runs every section.
pub fn prove(report: &mut Report) {
    report.section("commits", "what a commit costs, alone and with others", |quick| run(commits::run(quick)));
    report.section("failover", "the leader killed every 5 s, and no client notices", |quick| run(failover::run(quick)));
    report.section("partitions", "cut, stopped, slow, with wrong clocks: linearizable", |quick| {
        run(partitions::run(quick))
    });
    report.section("race", "fifty writers at once, and one winner", |quick| run(race::run(quick)));
    report.section("strangers", "every path of every listener, without the right credentials", |quick| {
        run(strangers::run(quick))
    });
    report.section("lost", "coordinators that lose their disks", |quick| run(lost::run(quick)));
    report.section("five", "five coordinators, of which two are lost", |quick| run(five::run(quick)));
    report.section("restarts", "everything restarted, and nodes that are not themselves", |quick| {
        run(restarts::run(quick))
    });
    report.section("backups", "under load, damaged, and restored", |quick| run(backups::run(quick)));
    report.section("keys", "rotated under load", |quick| run(keys::run(quick)));
}

/// What runs in a network namespace of its own.
pub fn inside(quick: bool) -> Result<()> {
    run(partitions::inside(quick))
}

/// Runs a section on a runtime of its own.
fn run(section: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(section)
}
