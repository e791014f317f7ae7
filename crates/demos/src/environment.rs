//! What each process of a demo is told at its start: its environment.
//!
//! Secrets are drawn by nobody: a cluster that lives for seconds and listens on loopback needs none that are secret.

use crate::cluster::{GatewaySettings, Shape, Who};

const CLUSTER_SECRET: &str = "the cluster secret of a demo";

/// The admin token of a demo.
pub const ADMIN_TOKEN: &str = "the admin token of a demo";

/// The secret behind the URL key `v1`, which a cluster is founded with.
pub const URL_SECRET: &str = "the url key of a demo";

/// What an operator's command needs to know.
pub const SECRETS: [(&str, &str); 3] =
    [("KVFS_CLUSTER_SECRET", CLUSTER_SECRET), ("KVFS_ADMIN_TOKEN", ADMIN_TOKEN), ("EDGE_URLKEY_SECRET", URL_SECRET)];

/// Each short name of a gateway's setting, and its environment variable after `EDGE_`.
const OF_GATEWAYS: &[(&str, &str)] = &[
    ("copies", "REPLICAS"),
    ("write-quorum", "QUORUM_WRITE"),
    ("chunk-size", "CHUNK_SIZE"),
    ("chunk-mode", "CHUNK_MODE"),
    ("body-budget", "BODY_BUDGET"),
    ("skip-auth", "SKIP_AUTH"),
];

/// The same for whoever holds metadata, after `EDGE_` or `COORD_`.
const OF_HOSTS: &[(&str, &str)] = &[
    ("gc-delay", "GC_DELAY"),
    ("gc-every", "GC_INTERVAL"),
    ("sweep-every", "SWEEP_INTERVAL"),
    ("backup-every", "SNAPSHOT_INTERVAL"),
    ("backup-keep", "SNAPSHOT_KEEP"),
];

/// What a process must know of the others.
pub struct Around<'a> {
    /// Where it listens.
    pub address: String,
    /// Its directory.
    pub home: String,
    /// The data nodes' addresses.
    pub nodes: Vec<String>,
    /// The addresses of those that hold metadata; empty for one that does so alone.
    pub hosts: Vec<String>,
    /// What the script chose.
    pub settings: &'a GatewaySettings,
    /// What there is.
    pub shape: Shape,
}

/// The secret of the URL key with that name.
pub fn url_secret(kid: &str) -> String {
    if kid == "v1" { URL_SECRET.into() } else { format!("the url key {kid} of a demo") }
}

/// The subcommand that runs it.
pub fn role(who: Who) -> &'static str {
    match who {
        Who::Node(_) => "dn",
        Who::Coord(_) => "coord",
        Who::Gateway(_) => "edge",
    }
}

/// Where the scheduled backups of a process go, below the demo's directory.
pub fn backups_of(who: Who) -> String {
    format!("{who}.backups")
}

/// The audit log of a process, below the demo's directory.
pub fn audit_log_of(who: Who) -> String {
    format!("{who}.audit.jsonl")
}

/// The environment of `who`.
pub fn variables(who: Who, around: &Around<'_>) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = vec![("KVFS_CLUSTER_SECRET".into(), CLUSTER_SECRET.into())];
    let prefix = match who {
        Who::Node(_) => "DN",
        Who::Coord(_) => "COORD",
        Who::Gateway(_) => "EDGE",
    };
    let mut add = |name: &str, value: String| variables.push((format!("{prefix}_{name}"), value));
    add("ADDR", around.address.clone());
    match who {
        Who::Node(_) => {
            add("ID", who.to_string());
            add("DATA_DIR", around.home.clone());
            // The disk may be nearly full: what a demo writes is small and goes away.
            add("RESERVE_BYTES", "0".into());
            return variables;
        }
        Who::Gateway(_) => {
            for (short, name) in OF_GATEWAYS {
                around.settings.get(*short).into_iter().for_each(|value| add(name, value.clone()));
            }
            if around.shape.coordinators > 0 {
                add("COORD_URL", around.hosts.join(","));
            } else {
                host(who, around, &mut add);
            }
        }
        Who::Coord(_) => host(who, around, &mut add),
    }
    variables.push(("KVFS_ADMIN_TOKEN".into(), ADMIN_TOKEN.into()));
    variables.push(("EDGE_URLKEY_SECRET".into(), URL_SECRET.into()));
    variables
}

/// What whoever holds metadata is told besides.
fn host(who: Who, around: &Around<'_>, add: &mut impl FnMut(&str, String)) {
    add("DATA_DIR", around.home.clone());
    add("DNS", around.nodes.join(","));
    if around.hosts.len() > 1 {
        add("PEERS", around.hosts.join(","));
        add("SELF_URL", format!("http://{}", around.address));
    }
    for (short, name) in OF_HOSTS {
        around.settings.get(*short).into_iter().for_each(|value| add(name, value.clone()));
    }
    if around.settings.contains_key("backup-every") {
        add("SNAPSHOT_DIR", backups_of(who));
    }
    if around.settings.get("audit-log").is_some_and(|wanted| wanted == "1") {
        add("WAL_PATH", audit_log_of(who));
    }
}

/// The chosen settings as a shell takes them: `EDGE_REPLICAS=1 `.
pub fn shown(settings: &GatewaySettings) -> String {
    let of = |(short, name): &(&str, &str)| settings.get(*short).map(|value| format!("EDGE_{name}={value} "));
    OF_GATEWAYS.iter().chain(OF_HOSTS).filter_map(of).collect()
}
