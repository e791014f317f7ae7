//! The settings of each role: one struct each, read at once, with every problem listed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bootstrap::Secret;
use bootstrap::server::is_loopback;
use bootstrap::settings::{Problem, Reader, Resolved, Sources};
use domain::chunking::ChunkMode;
use domain::quorum;
use http::HeaderValue;

use crate::reference_settings;
use crate::tls::{self, TlsFiles};

/// What every role that listens has.
#[derive(Clone, Debug)]
pub struct Common {
    /// How the processes of the cluster recognise each other.
    pub cluster_secret: Option<Secret>,
    /// Who may administer.
    pub admin_token: Option<Secret>,
    /// Administration without a token.
    pub insecure_admin: bool,
    /// Whether `/metrics` is served.
    pub metrics: bool,
    /// TLS of the listener and of the outgoing links.
    pub tls: TlsFiles,
}

/// Settings of `up`.
#[derive(Clone, Debug)]
pub struct Up {
    /// Where to listen.
    pub addr: String,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// How many data nodes.
    pub nodes: u32,
    /// Written once the store works.
    pub ready_file: Option<PathBuf>,
    /// The object service.
    pub objects: objects::Settings,
    /// The coordinator's loops.
    pub coord: coord::Settings,
    /// The coordinator's log.
    pub log: GroupLog,
    /// Bytes each node keeps free.
    pub reserve_bytes: Option<u64>,
}

/// Settings of a data node.
#[derive(Clone, Debug)]
pub struct Dn {
    /// A name for people.
    pub id: String,
    /// Where to listen.
    pub addr: String,
    /// Where chunks are kept.
    pub data_dir: PathBuf,
    /// Written with the address once it serves.
    pub ready_file: Option<PathBuf>,
    /// Bounds of the node.
    pub options: dn::Options,
    /// Secrets.
    pub common: Common,
}

/// This process's place among several coordinators.
#[derive(Clone, Debug)]
pub struct Member {
    /// How the others reach this one: `host:port`.
    pub own: String,
    /// Those that the group is founded with, this one included; none means that it waits to be taken in.
    pub peers: Vec<String>,
}

/// Settings of a coordinator.
#[derive(Clone, Debug)]
pub struct Coord {
    /// Its place among several; `None` if it is the only one.
    pub member: Option<Member>,
    /// Where to listen.
    pub addr: String,
    /// Where metadata is kept.
    pub data_dir: PathBuf,
    /// Written with the address once it serves.
    pub ready_file: Option<PathBuf>,
    /// The loops.
    pub coord: coord::Settings,
    /// The coordinator's log.
    pub log: GroupLog,
    /// Secrets.
    pub common: Common,
    /// The first URL key's secret.
    pub url_secret: Option<Secret>,
}

/// Settings of a gateway.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Where to listen.
    pub addr: String,
    /// The coordinators; none means that this process hosts one.
    pub coord_urls: Vec<String>,
    /// The hosted coordinator's place among several; `None` if it is the only one.
    pub member: Option<Member>,
    /// Where a hosted coordinator keeps metadata.
    pub data_dir: PathBuf,
    /// Written with the address once it serves.
    pub ready_file: Option<PathBuf>,
    /// The object service.
    pub objects: objects::Settings,
    /// A hosted coordinator's loops.
    pub coord: coord::Settings,
    /// A hosted coordinator's log.
    pub log: GroupLog,
    /// Let everybody in.
    pub skip_auth: bool,
    /// The gateway that takes the writes, if this one is to refuse them.
    pub writes_go_to: Option<HeaderValue>,
    /// Secrets.
    pub common: Common,
    /// The first URL key's secret, for a hosted coordinator.
    pub url_secret: Option<Secret>,
}

/// What a coordinator keeps of what was decided, beside the tables.
#[derive(Clone, Debug)]
pub struct GroupLog {
    /// Where the audit log is written, if one is; an absolute path.
    pub audit: Option<PathBuf>,
    /// How long entries are kept for coordinators that lag; one that lags further is sent a snapshot.
    pub keep: Duration,
}

/// A role's settings, and how each came about.
pub type Read<T> = Result<(T, Vec<Resolved>)>;

/// Reads the settings of `up`.
pub fn up(sources: Sources) -> Read<Up> {
    let mut reader = Reader::new(sources);
    let addr = listener(&mut reader, "UP_ADDR", "127.0.0.1:8000");
    let data_dir = directory(&mut reader, "UP_DATA_DIR", "./kvfs-data");
    let nodes: u32 = reader.parse("UP_NODES", 3, "a number of data nodes, 1 to 100");
    let ready_file = reader.optional("UP_READY_FILE").map(PathBuf::from);
    let reserve_bytes = optional_bytes(&mut reader, "UP_RESERVE_BYTES");
    let objects = objects(&mut reader, "UP");
    let mut coord = coord_loops(&mut reader, "UP", Duration::from_secs(5));
    let log = group_log(&mut reader, "UP");
    coord.nodes = (1..=nodes).map(node_name).collect();
    coord.copies = objects.copies;
    if !(1..=100).contains(&nodes) {
        reader.problem("UP_NODES", &nodes.to_string(), "a number of data nodes, 1 to 100");
    } else if u32::from(objects.copies) > nodes {
        let remedy = format!("at most the number of data nodes, which is {nodes}: raise --nodes or lower --replicas");
        reader.problem("UP_REPLICAS", &objects.copies.to_string(), &remedy);
    }
    let settings = Up { addr, data_dir, nodes, ready_file, objects, coord, log, reserve_bytes };
    finish(reader, settings)
}

/// The name of a data node inside `up`.
pub fn node_name(number: u32) -> String {
    format!("node-{number}")
}

/// Reads the settings of a data node.
pub fn dn(sources: Sources) -> Read<Dn> {
    let mut reader = Reader::new(sources);
    let id = reader.text("DN_ID", "");
    let addr = listener(&mut reader, "DN_ADDR", "127.0.0.1:8080");
    let data_dir = directory(&mut reader, "DN_DATA_DIR", "");
    let ready_file = reader.optional("DN_READY_FILE").map(PathBuf::from);
    let queue: u64 = reader.parse("DN_QUEUE_BYTES", 64 << 20, "a number of bytes");
    let reserve_bytes = optional_bytes(&mut reader, "DN_RESERVE_BYTES");
    let common = common(&mut reader, &addr, "DN_ADDR");
    for (name, missing) in [("DN_ID", id.is_empty()), ("DN_DATA_DIR", data_dir.as_os_str().is_empty())] {
        if missing {
            reader.problem(name, "", &format!("a value: {name} is required"));
        }
    }
    refuse_unbuilt(&mut reader, &["DN_SCRUB_INTERVAL"]);
    let options = dn::Options { reserve_bytes, write_budget_bytes: queue, ..dn::Options::default() };
    finish(reader, Dn { id, addr, data_dir, ready_file, options, common })
}

/// Reads the settings of a coordinator.
pub fn coord(sources: Sources) -> Read<Coord> {
    let mut reader = Reader::new(sources);
    let addr = listener(&mut reader, "COORD_ADDR", "127.0.0.1:9000");
    let data_dir = directory(&mut reader, "COORD_DATA_DIR", "./coord-data");
    let ready_file = reader.optional("COORD_READY_FILE").map(PathBuf::from);
    let mut coord = coord_loops(&mut reader, "COORD", Duration::from_secs(3600));
    let log = group_log(&mut reader, "COORD");
    let mut common = common(&mut reader, &addr, "COORD_ADDR");
    common.tls.nodes = tls::link_files(&mut reader, "COORD_DN");
    common.tls.coords = tls::link_files(&mut reader, "COORD_PEER");
    coord.nodes = addresses(&mut reader, "COORD_DNS", ("COORD_DN_TLS_CA", common.tls.nodes.is_some()));
    let url_secret = reader.secret("EDGE_URLKEY_SECRET");
    let member = member(&mut reader, "COORD", ("COORD_PEER_TLS_CA", &common.tls));
    if member.is_some() && common.cluster_secret.is_none() {
        let remedy = "KVFS_CLUSTER_SECRET set in every process: what one coordinator seals with it, the others must be able to open";
        reader.problem("COORD_SELF_URL", "", remedy);
    }
    reference_settings::warn("COORD", &mut reader);
    finish(reader, Coord { member, addr, data_dir, ready_file, coord, log, common, url_secret })
}

/// Reads the settings of a gateway.
pub fn edge(sources: Sources) -> Read<Edge> {
    let mut reader = Reader::new(sources);
    let addr = listener(&mut reader, "EDGE_ADDR", "127.0.0.1:8000");
    let mut common = common(&mut reader, &addr, "EDGE_ADDR");
    common.tls.nodes = tls::link_files(&mut reader, "EDGE_DN");
    common.tls.coords = tls::link_files(&mut reader, "EDGE_COORD");
    let to_coords = ("EDGE_COORD_TLS_CA", common.tls.coords.is_some());
    let coord_urls = addresses(&mut reader, "EDGE_COORD_URL", to_coords);
    let data_dir = directory(&mut reader, "EDGE_DATA_DIR", "./edge-data");
    let ready_file = reader.optional("EDGE_READY_FILE").map(PathBuf::from);
    let mut objects = objects(&mut reader, "EDGE");
    objects.lookup_ttl = reader.duration("EDGE_COORD_LOOKUP_CACHE_TTL", Duration::ZERO);
    let writes_go_to = writes_go_to(&mut reader);
    let mut coord = coord_loops(&mut reader, "EDGE", Duration::from_secs(3600));
    let log = group_log(&mut reader, "EDGE");
    coord.nodes = addresses(&mut reader, "EDGE_DNS", ("EDGE_DN_TLS_CA", common.tls.nodes.is_some()));
    coord.copies = objects.copies;
    let skip_auth = reader.flag("EDGE_SKIP_AUTH", false);
    let url_secret = reader.secret("EDGE_URLKEY_SECRET");
    if skip_auth && !is_loopback(&addr) {
        reader.problem("EDGE_SKIP_AUTH", "1", "0, unless the gateway listens on loopback only");
    }
    if coord_urls.is_empty() && !coord.nodes.is_empty() && coord.nodes.len() < usize::from(objects.copies) {
        let remedy = format!(
            "at most the number of data nodes in EDGE_DNS, which is {}: name more nodes, or lower EDGE_REPLICAS",
            coord.nodes.len()
        );
        reader.problem("EDGE_REPLICAS", &objects.copies.to_string(), &remedy);
    }
    let member = member(&mut reader, "EDGE", ("EDGE_COORD_TLS_CA", &common.tls));
    if member.is_some() && !coord_urls.is_empty() {
        let remedy = "no value beside EDGE_COORD_URL: a gateway either asks coordinators or is one of them";
        reader.problem("EDGE_SELF_URL", "", remedy);
    }
    if member.is_some() && common.cluster_secret.is_none() {
        let remedy = "KVFS_CLUSTER_SECRET set in every process: the gateways' coordinators talk to each other";
        reader.problem("EDGE_SELF_URL", "", remedy);
    }
    reference_settings::warn("EDGE", &mut reader);
    let settings = Edge {
        addr,
        coord_urls,
        member,
        data_dir,
        ready_file,
        objects,
        coord,
        log,
        skip_auth,
        writes_go_to,
        common,
        url_secret,
    };
    finish(reader, settings)
}

/// Where writes are to go instead, of a gateway that is told to refuse them.
fn writes_go_to(reader: &mut Reader) -> Option<HeaderValue> {
    let role = reader.text("EDGE_ROLE", "primary");
    let primary = reader.text("EDGE_PRIMARY_URL", "");
    match role.as_str() {
        "primary" => return None,
        "follower" => {}
        _ => reader.problem("EDGE_ROLE", &role, "primary, which takes writes, or follower, which refuses them"),
    }
    if primary.is_empty() {
        let remedy = "the URL of a gateway that takes writes: EDGE_ROLE=follower sends writers there";
        reader.problem("EDGE_PRIMARY_URL", "", remedy);
    }
    let url = HeaderValue::from_str(&primary).ok();
    if url.is_none() {
        reader.problem("EDGE_PRIMARY_URL", &primary, "a URL such as http://gateway:8000");
    }
    url
}

fn finish<T>(reader: Reader, settings: T) -> Read<T> {
    match reader.finish() {
        Ok(resolved) => Ok((settings, resolved)),
        Err(problems) => Err(anyhow!(SettingsError(problems))),
    }
}

/// Settings that cannot be used, all of them.
#[derive(Debug)]
pub struct SettingsError(pub Vec<Problem>);

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the settings cannot be used")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for SettingsError {}

fn common(reader: &mut Reader, addr: &str, addr_name: &str) -> Common {
    let cluster_secret = reader.secret("KVFS_CLUSTER_SECRET");
    let admin_token = reader.secret("KVFS_ADMIN_TOKEN");
    let insecure_admin = reader.flag("KVFS_INSECURE_ADMIN", false);
    if !is_loopback(addr) && cluster_secret.is_none() {
        let remedy =
            "a loopback address, or KVFS_CLUSTER_SECRET (16 bytes or more) set in every process of the cluster";
        reader.problem(addr_name, addr, remedy);
    }
    if insecure_admin && !is_loopback(addr) {
        reader.problem("KVFS_INSECURE_ADMIN", "1", "0, unless the process listens on loopback only");
    }
    let role = addr_name.trim_end_matches("_ADDR");
    let metrics = reader.flag(&format!("{role}_METRICS"), true);
    let tls = TlsFiles { server: tls::server_files(reader, role), ..TlsFiles::default() };
    Common { cluster_secret, admin_token, insecure_admin, metrics, tls }
}

fn objects(reader: &mut Reader, role: &str) -> objects::Settings {
    let defaults = objects::Settings::default();
    let copies: u8 = reader.parse(&format!("{role}_REPLICAS"), defaults.copies, "a number of copies, 1 to 16");
    let quorum: u8 = reader.parse(&format!("{role}_QUORUM_WRITE"), 0, "a number of copies, or 0 for more than half");
    let chunk: u32 = reader.parse(&format!("{role}_CHUNK_SIZE"), 0, "a number of bytes, 1 to 16777216, or 0 for 4 MiB");
    let budget: usize = reader.parse(&format!("{role}_BODY_BUDGET"), defaults.budget_bytes, "a number of bytes");
    let mode = reader.text(&format!("{role}_CHUNK_MODE"), "fixed");
    if !(1..=16).contains(&copies) {
        reader.problem(&format!("{role}_REPLICAS"), &copies.to_string(), "a number of copies, 1 to 16");
    }
    if quorum > copies {
        reader.problem(
            &format!("{role}_QUORUM_WRITE"),
            &quorum.to_string(),
            &format!("at most {copies}, the number of copies"),
        );
    }
    if chunk > domain::chunking::MAX_CHUNK_BYTES {
        reader.problem(&format!("{role}_CHUNK_SIZE"), &chunk.to_string(), "at most 16777216 bytes");
    }
    if budget < 2 * domain::chunking::MAX_CHUNK_BYTES as usize {
        reader.problem(
            &format!("{role}_BODY_BUDGET"),
            &budget.to_string(),
            "at least 33554432 bytes, two of the largest chunks",
        );
    }
    let chunk_mode = ChunkMode::parse(&mode).unwrap_or_else(|| {
        reader.problem(&format!("{role}_CHUNK_MODE"), &mode, "fixed or cdc");
        defaults.chunk_mode
    });
    let prefer = reader.optional(&format!("{role}_PLACEMENT_PREFER"));
    objects::Settings {
        holder: role.to_lowercase(),
        copies,
        write_quorum: if quorum == 0 { quorum::default_write(copies) } else { quorum },
        chunk_bytes: if chunk == 0 { domain::chunking::DEFAULT_CHUNK_BYTES } else { chunk },
        chunk_mode,
        prefer,
        shard_bytes: (chunk != 0).then_some(chunk),
        budget_bytes: budget,
        ..defaults
    }
}

fn coord_loops(reader: &mut Reader, role: &str, gc_delay: Duration) -> coord::Settings {
    let defaults = coord::Settings::default();
    let backups = backups(reader, role);
    // What a backup refers to must outlive it for a while.
    let gc_delay = if backups.is_some() { defaults.gc_delay } else { gc_delay };
    coord::Settings {
        gc_every: reader.duration(&format!("{role}_GC_INTERVAL"), defaults.gc_every),
        gc_delay: reader.duration(&format!("{role}_GC_DELAY"), gc_delay),
        sweep_every: reader.duration(&format!("{role}_SWEEP_INTERVAL"), defaults.sweep_every),
        backups,
        ..defaults
    }
}

/// This process's place among several coordinators: `…_SELF_URL` and `…_PEERS`.
fn member(reader: &mut Reader, role: &str, (ca_name, tls): (&str, &TlsFiles)) -> Option<Member> {
    let (own_name, peers_name) = (format!("{role}_SELF_URL"), format!("{role}_PEERS"));
    let secure = tls.coords.is_some();
    let peers = addresses(reader, &peers_name, (ca_name, secure));
    let own = addresses(reader, &own_name, (ca_name, secure));
    if !own.is_empty() && secure != tls.server.is_some() {
        let remedy = format!(
            "both {role}_TLS_CERT and {ca_name}, or neither: coordinators reach each other by one kind of link"
        );
        reader.problem(&own_name, &own.join(","), &remedy);
    }
    let shown = own.join(",");
    match own.as_slice() {
        [] if peers.is_empty() => None,
        [own] if peers.is_empty() || peers.contains(own) => Some(Member { own: own.clone(), peers }),
        [_] => {
            let remedy = format!("an address that {peers_name} lists too, written the same way");
            reader.problem(&own_name, &shown, &remedy);
            None
        }
        _ => {
            let remedy = "one address: how the other coordinators reach this one, as the list of peers has it";
            reader.problem(&own_name, &shown, remedy);
            None
        }
    }
}

/// Scheduled backups of the metadata; none without a directory, or with an interval of 0.
fn backups(reader: &mut Reader, role: &str) -> Option<coord::BackupSchedule> {
    let dir = reader.text(&format!("{role}_SNAPSHOT_DIR"), "");
    let every = reader.duration(&format!("{role}_SNAPSHOT_INTERVAL"), Duration::from_secs(3600));
    let keep: u32 = reader.parse(&format!("{role}_SNAPSHOT_KEEP"), 7, "a number of backups, at least 1");
    if keep == 0 {
        reader.problem(&format!("{role}_SNAPSHOT_KEEP"), "0", "a number of backups, at least 1");
    }
    let dir = std::path::absolute(&dir).ok().filter(|_| !dir.is_empty() && !every.is_zero())?;
    Some(coord::BackupSchedule { dir, every, keep })
}

fn group_log(reader: &mut Reader, role: &str) -> GroupLog {
    let path = reader.text(&format!("{role}_WAL_PATH"), "");
    let keep = reader.duration(&format!("{role}_LOG_KEEP"), Duration::from_secs(15 * 60));
    GroupLog { audit: std::path::absolute(&path).ok().filter(|_| !path.is_empty()), keep }
}

/// Where to listen: `host:port`, or `:port` for all interfaces.
fn listener(reader: &mut Reader, name: &str, default: &str) -> String {
    let address = reader.text(name, default);
    if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        reader.problem(name, &address, "an address such as 127.0.0.1:8080, or :8080 for all interfaces");
    }
    address
}

/// A directory, as an absolute path, so that it stays the same wherever it is used or shown; empty if it is not set.
fn directory(reader: &mut Reader, name: &str, default: &str) -> PathBuf {
    let text = reader.text(name, default);
    std::path::absolute(&text).unwrap_or_else(|_| text.into())
}

fn optional_bytes(reader: &mut Reader, name: &str) -> Option<u64> {
    match reader.parse(name, -1_i64, "a number of bytes, or -1 for 1 GiB or 2 % of the disk") {
        bytes if bytes >= 0 => Some(bytes as u64),
        _ => None,
    }
}

/// A comma list of `host:port`, each with or without the scheme of its link; blanks and repeats are dropped.
fn addresses(reader: &mut Reader, name: &str, (ca_name, secure): (&str, bool)) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for entry in reader.text(name, "").split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let address = match tls::bare(entry, secure, ca_name) {
            Ok(address) => address,
            Err(expected) => {
                reader.problem(name, entry, &expected);
                continue;
            }
        };
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) || address.contains('/') {
            reader.problem(name, entry, "host:port, or a list of them separated by commas");
        } else if !list.iter().any(|known| known == address) {
            list.push(address.to_string());
        }
    }
    list
}

/// Names of the reference that ask for what is not built here: refused, because passing them over would be less than was asked.
fn refuse_unbuilt(reader: &mut Reader, names: &[&str]) {
    for name in names {
        if let Some(value) = reader.optional(name) {
            reader.problem(name, &value, "no value: this is not built");
        }
    }
}
