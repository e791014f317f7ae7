//! `kvfs demo`: lists demos, and runs one or all of them.
//!
//! A demo runs processes of this very binary (or of the one that `KVFS_BIN` names). Ctrl-c drops the demo, and with it its processes and
//! its directory.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::{Context, Result};
use bootstrap::{SystemClock, shutdown};
use cli::Output;
use demos::script::Script;
use demos::{Audience, Processes, Report, net};

/// Set where this command runs inside a network namespace that was made for it.
const INSIDE: &str = "KVFS_DEMO_INSIDE";

/// Something deviated from what a script says.
const DEVIATED: u8 = 1;
/// There is no such demo.
const UNKNOWN: u8 = 2;
/// Ctrl-c, as shells count it.
const INTERRUPTED: u8 = 130;

/// Carries `kvfs demo NAME` out: `list`, `all`, or one demo; with `sabotage`, planting what its script names.
pub async fn run(name: &str, sabotage: bool, output: Output) -> Result<ExitCode> {
    let chosen = match name {
        "list" => return list(output),
        "all" => demos::all()?,
        name => demos::find(name)?.into_iter().collect(),
    };
    if chosen.is_empty() {
        eprintln!("error: there is no demo `{name}`\nhint:  `kvfs demo list` shows their names and letters");
        return Ok(ExitCode::from(UNKNOWN));
    }
    if chosen.iter().any(|script| script.header.networks) {
        in_a_network_of_its_own()?;
    }
    let stop = shutdown::on_signals()?;
    let mut reports = Vec::new();
    for script in &chosen {
        // Whichever ends first: when it is the signal, the demo is dropped where it stands.
        let ended = tokio::select! {
            ended = perform(script, sabotage, output) => ended,
            () = stop.cancelled() => return Ok(ExitCode::from(INTERRUPTED)),
        };
        reports.push(ended?);
    }
    let failed = reports.iter().filter(|report| !report.passed).count();
    match output {
        Output::Json if name == "all" => println!("{}", serde_json::to_string_pretty(&reports)?),
        Output::Json => println!("{}", serde_json::to_string_pretty(&reports[0])?),
        Output::Text if name == "all" => println!("{} passed, {failed} failed", reports.len() - failed),
        Output::Text => {}
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(DEVIATED) })
}

/// Goes on where a network can be founded, and founds it: in this process's place, this command again inside a namespace.
fn in_a_network_of_its_own() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return net::found().context("founding a network of this demo's own");
    }
    let outer = net::outer()?;
    let mut inside = Command::new(outer[0]);
    inside.args(&outer[1..]).arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    Err(inside.exec()).context("going on inside a network namespace")
}

async fn perform(script: &Script, sabotage: bool, output: Output) -> Result<Report> {
    let clock = Arc::new(SystemClock::new());
    let cluster = Box::new(Processes::new(binary()?, clock.clone(), script.header.networks)?);
    let mut stdout = std::io::stdout();
    let mut audience = match output {
        Output::Text => Audience::watching(&mut stdout),
        Output::Json => Audience::nobody(),
    };
    Ok(demos::run(script, cluster, clock, sabotage, &mut audience).await?)
}

fn binary() -> Result<PathBuf> {
    match std::env::var_os("KVFS_BIN") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().context("finding this program's own file"),
    }
}

fn list(output: Output) -> Result<ExitCode> {
    let headers: Vec<_> = demos::all()?.into_iter().map(|script| script.header).collect();
    let mut out = std::io::stdout().lock();
    output.write(&mut out, &headers, |out, headers| {
        for header in headers {
            writeln!(out, "{:<9} {}\n          {}", header.alias, header.name, header.principle)?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
