//! Issue 03: the worst input of an attacker, and the first minutes of a user.

mod demos;
mod docs;
mod fuzz;
mod hostile;
mod idle;
mod reference;
mod requests;
mod sandbox;
mod settings;
mod slow;
pub mod wire;

use anyhow::Result;

use crate::report::Report;

/// Runs every section.
pub fn prove(report: &mut Report) {
    report.section("hostile", "wrong requests, each with its exact answer", |quick| run(hostile::run(quick)));
    if !report.quick {
        // In the short form the tests do these two, with fewer executions and without the limit of time.
        report.section("fuzz", "every parser, a million times", |_| fuzz::run());
        report.section("demos", "five demos, as they are and sabotaged", |_| run(demos::run()));
    }
    report.section("slow", "senders and readers that are too slow, and connections that do nothing", |quick| {
        run(slow::run(quick))
    });
    report.section("settings", "wrong settings, each with its exact message", |_| run(settings::run()));
    report.section("reference", "the flows of the reference's users, unchanged", |_| run(reference::run()));
    report.section("docs", "every command of the documentation", |_| run(docs::run()));
}

/// The other end of a section: a program of its own, so that its file descriptors are its own.
pub async fn helper(arguments: &[String]) -> Result<()> {
    idle::hold(arguments).await
}

/// Runs a section on a runtime of its own.
fn run(section: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(section)
}
