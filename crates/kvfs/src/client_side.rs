//! The client's verbs: find the store, do the thing, say how it went.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use api::{Admin, AdminError, Entropy};
use bootstrap::settings::{Problem, Reader, Sources};
use bootstrap::{SystemClock, SystemEntropy, durations};
use cli::bench::{self, erasure::ErasureBench};
use cli::bench_meta::MetaBench;
use cli::buckets::Layout;
use cli::copy::CopyOptions;
use cli::objects::{GetOptions, PutOptions, SignRequest};
use cli::placement_sim::{self, Picture, Simulation, layout};
use cli::{ClientFile, Output, Target};
use client::{Connector, Http, HttpAdmin, Native, NativeError, TcpConnector, http_metadata};
use consensus::{ConsensusError, RestoreError};
use http::StatusCode;

use crate::args::{BenchVerb, CertsVerb, ConfigVerb, CoordVerb, MembersVerb, PutFlags, Reach, Role, SimFlags, Verb};
use crate::home::{FIRST_KID, default_client_file};
use crate::meta_args::MetaVerb;
use crate::settings::{self, SettingsError};
use crate::tls::{self, Link};
use crate::{admin_side, certs, manual, meta_verbs};

/// Carries a client's verb out.
pub async fn run(verb: Verb, reach: &Reach, config: Option<&Path>) -> Result<ExitCode> {
    let output = reach.output();
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = std::io::BufWriter::new(stdout);
    let done = match verb {
        Verb::PlacementSim(flags) => simulate(&flags, reach, output, &mut out).await,
        Verb::Completions { shell } => manual::completions(shell, &mut out),
        Verb::Man { directory } => manual::pages(&directory, &mut out),
        Verb::Certs { verb: CertsVerb::Dev { directory, hosts } } => certs::dev(&directory, &hosts, output, &mut out),
        Verb::Config { verb: ConfigVerb::Show { role } } => show_config(role, config, output, &mut out),
        Verb::Coord { verb: Some(CoordVerb::Init { data_dir, self_url }), .. } => {
            meta_verbs::init(&data_dir, &host_port(&self_url), output, &mut out)
        }
        Verb::Coord {
            verb: Some(CoordVerb::Members { verb: MembersVerb::Recover { data_dir, self_url, accept_loss } }),
            ..
        } => meta_verbs::recover(&data_dir, &host_port(&self_url), accept_loss, output, &mut out),
        Verb::Meta { verb: MetaVerb::Verify { file } } => meta_verbs::verify(&file, output, &mut out),
        Verb::Meta { verb: MetaVerb::Hash { file: Some(file) } } => meta_verbs::hash(&file, output, &mut out),
        Verb::Meta { verb: MetaVerb::Replay { file, from } } => {
            meta_verbs::replay(&file, from.as_deref(), output, &mut out)
        }
        Verb::Meta { verb: MetaVerb::Restore { from, data_dir, self_url, force } } => {
            let own = self_url.as_deref().map(host_port);
            meta_verbs::restore((&from, &data_dir), own.as_deref(), force, output, &mut out)
        }
        Verb::Node { .. }
        | Verb::Dns { .. }
        | Verb::Bucket { .. }
        | Verb::Urlkey { .. }
        | Verb::Heartbeat
        | Verb::Role
        | Verb::Inspect { .. }
        | Verb::Status
        | Verb::Stat { object: None }
        | Verb::Coord { .. }
        | Verb::Meta { .. } => admin_side::run(verb, reach, output, &mut out).await,
        Verb::Bench { verb } => measure(verb, reach, output, &mut out).await,
        verb => use_objects(verb, reach, output, terminal, &mut out).await,
    };
    // A reader that has seen enough is no failure of ours.
    match done.and_then(|()| out.flush().map_err(Into::into)) {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn use_objects(verb: Verb, reach: &Reach, output: Output, terminal: bool, out: &mut dyn Write) -> Result<()> {
    let native = if matches!(verb, Verb::Sign { .. }) { signer(reach)? } else { native(reach)? };
    match verb {
        Verb::Put { file, object, flags } => {
            let PutFlags { content_type, write_quorum, chunk_mode, ec, create } = flags;
            let options = PutOptions { content_type, write_quorum, chunk_mode, scheme: ec, create_only: create };
            cli::objects::put(&native, &file, &Target::object(&object)?, &options, output, out).await
        }
        Verb::Get { object, file, range, read_quorum } => {
            let target = Target::object(&object)?;
            let options = GetOptions { range, read_quorum };
            let bytes = cli::objects::get(&native, &target, file.as_deref(), &options).await?;
            match (&file, output) {
                (Some(file), Output::Json) if file != Path::new("-") => {
                    Ok(writeln!(out, "{}", serde_json::json!({ "object": object, "file": file, "bytes": bytes }))?)
                }
                _ => Ok(()),
            }
        }
        Verb::Cp { source, destination, recursive, jobs, force } => {
            let options = CopyOptions { recursive, jobs: jobs.into(), force };
            cli::copy::cp(&native, &source, &destination, &options, output, out).await
        }
        Verb::Ls { target } => {
            let target = target.as_deref().map(Target::prefix).transpose()?;
            let layout = if terminal { Layout::Table } else { Layout::Keys };
            cli::buckets::ls(&native, target.as_ref(), layout, output, out).await
        }
        Verb::Stat { object } => {
            let object = object.unwrap_or_default();
            cli::objects::stat(&native, &Target::object(&object)?, output, out).await
        }
        Verb::Rm { object } => cli::objects::rm(&native, &Target::object(&object)?, output, out).await,
        Verb::Mb { bucket } => cli::buckets::mb(&native, &bucket, output, out).await,
        Verb::Rb { bucket } => cli::buckets::rb(&native, &bucket, output, out).await,
        Verb::Sign { method, path, method_flag, path_flag, base, ttl } => {
            let ttl = durations::parse(&ttl).map_err(|error| anyhow!("--ttl {ttl:?}: {error}"))?;
            let (method, path) =
                (method.or(method_flag).unwrap_or_else(|| "GET".into()), path.or(path_flag).unwrap_or_default());
            let request = SignRequest { method: &method, path: &path, base: &base, ttl_s: ttl.as_secs() as i64 };
            cli::objects::sign(&native, &request, output, out)
        }
        _ => bail!("this verb is not a client's"),
    }
}

async fn simulate(flags: &SimFlags, reach: &Reach, output: Output, out: &mut dyn Write) -> Result<()> {
    let made_up = |count| layout::made_up(count, flags.racks, &flags.weights);
    let before = match flags.cluster {
        true => layout::of_cluster(&admin(reach)?.status().await?.nodes),
        false => made_up(flags.nodes),
    };
    let after = match flags.cluster {
        true => before.clone(),
        false => made_up(flags.nodes.saturating_add(flags.add).saturating_sub(flags.remove)),
    };
    let after = layout::changed(&after, &flags.change)?;
    let picture = if flags.svg { Picture::Svg } else { Picture::Table };
    let simulation = Simulation { before, after, chunks: flags.chunks, replicas: flags.replicas };
    placement_sim::run(&simulation, picture, output, out)
}

async fn measure(verb: BenchVerb, reach: &Reach, output: Output, out: &mut dyn Write) -> Result<()> {
    let (concurrency, length, objects, chunks) = match verb {
        BenchVerb::Meta { concurrency, length, objects, chunks } => (concurrency, length, objects, chunks),
        BenchVerb::Erasure { shapes, shard_bytes, effort } => {
            let shapes = shapes.iter().map(|shape| bench::erasure::shape(shape)).collect::<Result<_>>()?;
            return bench::erasure::run(&ErasureBench { shapes, shard_bytes, effort: effort.into() }, output, out);
        }
        BenchVerb::Chunking { body_bytes, effort } => {
            return bench::chunking::run(body_bytes, effort.into(), output, out);
        }
        BenchVerb::Placement { nodes, effort } => return bench::placement::run(&nodes, effort.into(), output, out),
        BenchVerb::Urlkey { effort } => return bench::urlkey::run(effort.into(), output, out),
        BenchVerb::Hash { bytes, effort } => return bench::hash::run(&bytes, effort.into(), output, out),
    };
    let length = durations::parse(&length).map_err(|error| anyhow!("--length {length:?}: {error}"))?;
    let entropy: &dyn Entropy = &SystemEntropy;
    let bench = MetaBench { concurrency, length, objects, chunks: chunks.max(1), run: entropy.u64() };
    let coord = reach.coord.clone().ok_or_else(|| anyhow!("name the coordinators with --coord HOST:PORT,…"))?;
    let secret = std::env::var("KVFS_CLUSTER_SECRET").ok().filter(|secret| !secret.is_empty());
    let secret = secret.map(|secret| Arc::from(secret.as_bytes()));
    let (addresses, connector) = reached(&coord)?;
    let http = Http::new(connector, Arc::new(SystemClock::new()), secret);
    let meta = Arc::new(http_metadata(http, addresses));
    cli::bench_meta::run(&native(reach)?, meta, &bench, output, out).await
}

/// `host:port` of each of a comma list, and the way there: TLS if `KVFS_TLS_CA` is set, else plain HTTP.
///
/// Errs if an address has the scheme of the other way.
fn reached(list: &str) -> Result<(Vec<String>, Arc<dyn Connector>)> {
    let mut reader = Reader::new(Sources::from_process());
    let files = tls::any_link(&mut reader);
    reader.finish().map_err(SettingsError)?;
    let one = |address: &str| {
        let value = address.trim();
        tls::bare(value, files.is_some(), "KVFS_TLS_CA").map(str::to_owned).map_err(|expected| {
            let name = "the address of the store".to_owned();
            SettingsError(vec![Problem { name, value: value.to_owned(), expected }])
        })
    };
    let addresses = list.split(',').map(one).collect::<Result<_, _>>()?;
    Ok((addresses, Link::open(files)?.connector()))
}

/// The client file that applies: the one named, or this directory's, or none.
fn client_file(reach: &Reach) -> Result<Option<ClientFile>> {
    client_path(reach).map(|path| ClientFile::read(&path)).transpose()
}

/// Where the client file that applies is.
pub fn client_path(reach: &Reach) -> Option<PathBuf> {
    reach.client.clone().or_else(|| Some(default_client_file()).filter(|path| path.exists()))
}

fn native(reach: &Reach) -> Result<Native> {
    let file = client_file(reach)?;
    let endpoint = reach.endpoint.clone().or(file.as_ref().map(|file| file.endpoint.clone()));
    let endpoint = endpoint.ok_or_else(|| anyhow!(NoStore))?;
    // A gateway that lets everybody in takes any signature.
    let (kid, secret) = url_key(file)?.unwrap_or_else(|| (FIRST_KID.into(), b"unsigned".to_vec()));
    let (mut addresses, connector) = reached(&endpoint)?;
    Ok(Native::new(connector, Arc::new(SystemClock::new()), addresses.swap_remove(0), &kid, &secret))
}

/// A client that only signs: it needs a key, and no store.
fn signer(reach: &Reach) -> Result<Native> {
    let (kid, secret) = url_key(client_file(reach)?)?.ok_or_else(|| anyhow!(NoKey))?;
    Ok(Native::new(Arc::new(TcpConnector), Arc::new(SystemClock::new()), "", &kid, &secret))
}

/// The URL key: the environment's, or the client file's.
fn url_key(file: Option<ClientFile>) -> Result<Option<(String, Vec<u8>)>> {
    let from_env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match from_env("EDGE_URLKEY_SECRET") {
        Some(secret) => {
            let kid = from_env("EDGE_URLKEY_PRIMARY_KID").unwrap_or_else(|| FIRST_KID.into());
            Ok(Some((kid, secret.into_bytes())))
        }
        None => file.map(|file| Ok((file.kid.clone(), file.secret_bytes()?))).transpose(),
    }
}

pub fn admin(reach: &Reach) -> Result<HttpAdmin> {
    let file = client_file(reach)?;
    let named = reach.coord.clone().or(reach.endpoint.clone());
    let known = file.as_ref().map(|file| file.admin.clone().unwrap_or_else(|| file.endpoint.clone()));
    let address = named.or(known).ok_or_else(|| anyhow!(NoStore))?;
    let token = std::env::var("KVFS_ADMIN_TOKEN").ok().filter(|token| !token.is_empty());
    let token = token.or(file.and_then(|file| file.admin_token)).unwrap_or_default();
    let (addresses, connector) = reached(&address)?;
    Ok(HttpAdmin::new(Http::new(connector, Arc::new(SystemClock::new()), None), addresses, token))
}

fn host_port(endpoint: &str) -> String {
    endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).trim_end_matches('/').to_string()
}

fn show_config(role: Role, config: Option<&Path>, output: Output, out: &mut dyn Write) -> Result<()> {
    let mut sources = Sources::from_process();
    if let Some(path) = config {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        sources = sources.with_file(&text)?;
    }
    let resolved = match role {
        Role::Up => settings::up(sources)?.1,
        Role::Dn => settings::dn(sources)?.1,
        Role::Coord => settings::coord(sources)?.1,
        Role::Edge => settings::edge(sources)?.1,
    };
    let json: Vec<_> = resolved
        .iter()
        .map(|one| serde_json::json!({ "name": one.name, "value": one.value, "source": one.origin.to_string() }))
        .collect();
    output.write(out, &json, |out, _| {
        resolved.iter().try_for_each(|one| writeln!(out, "{:<26} {:<32} {}", one.name, one.value, one.origin))
    })?;
    Ok(())
}

/// There is nothing to sign with.
#[derive(Debug)]
struct NoKey;

impl std::fmt::Display for NoKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no URL key: set EDGE_URLKEY_SECRET, or run this where `kvfs up` keeps its kvfs-data")
    }
}

impl std::error::Error for NoKey {}

/// No store was named and none is here.
#[derive(Debug)]
struct NoStore;

impl std::fmt::Display for NoStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no store is named, and none runs in this directory")
    }
}

impl std::error::Error for NoStore {}

/// What helps against an error, if something is known to.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    if error.is::<NoStore>() {
        return Some("start one here with `kvfs up`, or name one with --endpoint HOST:PORT or --client FILE".into());
    }
    match error.downcast_ref::<NativeError>() {
        Some(NativeError::Unreachable { .. }) => {
            Some("is the store running? `kvfs up` starts one in this directory".into())
        }
        Some(NativeError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => {
            Some("the key in the client file or EDGE_URLKEY_SECRET is not one of this store's".into())
        }
        _ => None,
    }
}

/// The exit code that an error means, as `--help` lists them.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<SettingsError>()
        || error.is::<admin_side::NowhereToKeep>()
        || error.is::<NoStore>()
        || error.is::<NoKey>()
        || error.is::<domain::id::ParseError>()
    {
        return 2;
    }
    if let Some(ConsensusError::Poisoned { .. }) = error.downcast_ref() {
        return api::poison::EXIT_POISONED;
    }
    match error.downcast_ref::<RestoreError>() {
        Some(RestoreError::Directory(ConsensusError::Poisoned { .. })) => return api::poison::EXIT_POISONED,
        Some(RestoreError::Occupied { .. }) => return 4,
        _ => {}
    }
    if error.downcast_ref::<crate::processes::Poisoned>().is_some() {
        return api::poison::EXIT_POISONED;
    }
    match error.downcast_ref::<NativeError>() {
        Some(NativeError::Unreachable { .. } | NativeError::Broken { .. }) => return 5,
        Some(NativeError::Refused { status, .. }) => return of_status(*status),
        None => {}
    }
    match error.downcast_ref::<AdminError>() {
        Some(AdminError::NotFound(_)) => 3,
        Some(AdminError::Invalid(_)) => 2,
        Some(AdminError::Conflict(_) | AdminError::Refused(_)) => 4,
        Some(AdminError::Unavailable(_)) => 5,
        None => 1,
    }
}

fn of_status(status: StatusCode) -> u8 {
    match status {
        StatusCode::NOT_FOUND => 3,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => 4,
        status if status.is_server_error() => 5,
        _ => 1,
    }
}
