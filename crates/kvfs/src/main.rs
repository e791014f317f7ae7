//! The one binary: roles, `up`, and the command line. It wires the parts together and decides nothing.

mod admin_side;
mod args;
mod certs;
mod client_side;
mod coord_role;
mod demo;
mod dn_role;
mod edge_role;
mod front;
mod home;
mod hosting;
mod late;
mod manual;
mod measure;
mod meta_args;
mod meta_verbs;
mod processes;
mod reference_settings;
mod settings;
mod tls;
mod up;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, LogFormat, Verb};

/// Chunk buffers come and go by the thousand, on many threads: this allocator gives their pages back, where the system's keeps
/// them scattered.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for blocking work (disk): each may hold a chunk, so their number bounds memory.
const BLOCKING_THREADS: usize = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    bootstrap::system::raise_file_limit();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING_THREADS).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli));
            // A hung disk must not keep a process that was told to stop.
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error).context("starting the runtime")),
    };
    outcome.unwrap_or_else(|error| report(&error))
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Some(role) = role(&cli.verb) else {
        return match cli.verb {
            Verb::Demo { name, sabotage } => demo::run(&name, sabotage, cli.reach.output.into()).await,
            verb => client_side::run(verb, &cli.reach, cli.config.as_deref()).await,
        };
    };
    // What a role keeps is its own: secrets, keys in the tables, people's bytes.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let json = cli.log_format == LogFormat::Json;
    let logging = bootstrap::logging::start(cli.log.as_deref(), json, role).map_err(anyhow::Error::msg)?;
    let config = cli.config.as_deref();
    let outcome = match cli.verb {
        Verb::Up { flags, processes: false } => up::run(flags.sources(config)?).await,
        Verb::Up { flags, processes: true } => processes::run(flags.sources(config)?).await,
        Verb::Dn(flags) => dn_role::run(flags.sources(config)?).await,
        Verb::Coord { flags, verb: None } => coord_role::run(flags.sources(config)?).await,
        Verb::Edge(flags) => edge_role::run(flags.sources(config)?).await,
        verb => client_side::run(verb, &cli.reach, config).await,
    };
    logging.close().await;
    outcome
}

/// The name of a verb that is a server's role.
fn role(verb: &Verb) -> Option<&'static str> {
    match verb {
        Verb::Up { .. } => Some("up"),
        Verb::Dn(_) => Some("dn"),
        Verb::Coord { verb: None, .. } => Some("coord"),
        Verb::Edge(_) => Some("edge"),
        _ => None,
    }
}

/// Prints an error as what went wrong, why, and what helps.
fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("cause: {cause}");
    }
    if let Some(hint) = client_side::hint(error) {
        eprintln!("hint:  {hint}");
    }
    ExitCode::from(client_side::exit_code(error))
}
