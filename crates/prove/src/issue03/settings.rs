//! Wrong settings: the process does not start, says what is wrong with each, and ends with 2.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::cluster::binary;
use crate::report::number;

/// Arguments, variables, `kvfs.toml`, and what must be said.
type Row = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str, &'static str);

const SECRET: (&str, &str) = ("KVFS_CLUSTER_SECRET", "a secret of sixteen bytes or more");
const DN: [(&str, &str); 2] = [("DN_ID", "dn1"), ("DN_DATA_DIR", "dn1")];

const TABLE: &[Row] = &[
    (&["up", "--nodes", "0"], &[], "", "UP_NODES=\"0\": expected a number of data nodes, 1 to 100"),
    (&["up", "--nodes", "-1"], &[], "", "-1"),
    (&["up", "--nodes", "101"], &[], "", "1 to 100"),
    (&["up", "--nodes", "many"], &[], "", "UP_NODES=\"many\""),
    (&["up", "--nodes", "2"], &[], "", "raise --nodes or lower --replicas"),
    (&["up", "--replicas", "0"], &[], "", "UP_REPLICAS"),
    (&["up", "--replicas", "99"], &[], "", "UP_REPLICAS"),
    (&["up"], &[("UP_QUORUM_WRITE", "4")], "", "at most 3, the number of copies"),
    (&["up"], &[("UP_CHUNK_SIZE", "16777217")], "", "at most 16777216 bytes"),
    (&["up"], &[("UP_CHUNK_SIZE", "4 MiB")], "", "a number of bytes"),
    (&["up"], &[("UP_CHUNK_MODE", "random")], "", "UP_CHUNK_MODE"),
    (&["up"], &[("UP_BODY_BUDGET", "1")], "", "at least 33554432 bytes"),
    (&["up"], &[("UP_GC_DELAY", "5 minutes")], "", "UP_GC_DELAY"),
    (&["up"], &[("UP_GC_INTERVAL", "-5s")], "", "UP_GC_INTERVAL"),
    (&["up", "--addr", "nowhere"], &[], "", "nowhere"),
    (&["up", "--addr", "127.0.0.1:99999"], &[], "", "127.0.0.1:99999"),
    (&["up", "--config", "nothing.toml"], &[], "", "nothing.toml"),
    (&["up", "--config", "kvfs.toml"], &[], "[up]\nnodse = 3\n", "UP_NODSE"),
    (&["up", "--config", "kvfs.toml"], &[], "[up\nnodes = 3\n", "kvfs.toml"),
    (&["up", "--config", "kvfs.toml"], &[], "[up]\nnodes = \"three\"\n", "UP_NODES=\"three\""),
    (&["up", "--config", "kvfs.toml"], &[], "[up]\nnodes = [3, 4]\n", "UP_NODES=\"3,4\""),
    (&["up", "--config", "kvfs.toml"], &[], "[upp]\nnodes = 3\n", "UPP_NODES"),
    (&["dn"], &[], "", "DN_ID is required"),
    (&["dn"], &[("DN_ID", "dn1")], "", "DN_DATA_DIR is required"),
    (&["dn"], &[DN[0], DN[1], ("DN_ADDR", ":0")], "", "KVFS_CLUSTER_SECRET"),
    (&["dn"], &[DN[0], DN[1], ("DN_ADDR", "0.0.0.0:0")], "", "KVFS_CLUSTER_SECRET"),
    (&["dn"], &[DN[0], DN[1], ("KVFS_CLUSTER_SECRET", "short")], "", "KVFS_CLUSTER_SECRET"),
    (&["dn"], &[DN[0], DN[1], ("DN_QUEUE_BYTES", "lots")], "", "DN_QUEUE_BYTES=\"lots\""),
    (&["dn"], &[DN[0], DN[1], ("DN_TLS_CERT", "x.pem")], "", "a certificate and its key come together"),
    (&["coord"], &[("COORD_ADDR", ":0")], "", "KVFS_CLUSTER_SECRET"),
    (&["coord"], &[("COORD_DNS", "dn1")], "", "host:port"),
    (&["coord"], &[("COORD_DNS", "dn1:0")], "", "host:port"),
    (&["coord"], &[("COORD_PEERS", "a:1,b:2")], "", "COORD_SELF_URL"),
    (&["coord"], &[("COORD_DNS", "https://a:1")], "", "KVFS_TLS_CA"),
    (&["dn"], &[DN[0], DN[1], ("DN_TLS_CLIENT_CA", "x.pem")], "", "only over TLS can clients show theirs"),
    (&["coord"], &[("KVFS_ADMIN_TOKEN", "short")], "", "KVFS_ADMIN_TOKEN"),
    (&["edge"], &[("EDGE_ADDR", ":0"), SECRET, ("EDGE_SKIP_AUTH", "1")], "", "EDGE_SKIP_AUTH"),
    (&["edge"], &[SECRET, ("EDGE_ROLE", "follower")], "", "EDGE_PRIMARY_URL"),
    (&["edge"], &[SECRET, ("EDGE_ROLE", "leader")], "", "primary, which takes writes, or follower"),
    (&["edge"], &[SECRET, ("EDGE_COORD_LOOKUP_CACHE_TTL", "soon")], "", "EDGE_COORD_LOOKUP_CACHE_TTL=\"soon\""),
    (&["edge"], &[("EDGE_SKIP_AUTH", "perhaps")], "", "EDGE_SKIP_AUTH=\"perhaps\""),
    (&["edge"], &[("EDGE_DNS", "a:1,b:2")], "", "EDGE_REPLICAS"),
    (&["edge"], &[("EDGE_COORD_URL", "ftp://x:1")], "", "EDGE_COORD_URL"),
    (&["edge"], &[("KVFS_INSECURE_ADMIN", "1"), ("EDGE_ADDR", ":0"), SECRET], "", "KVFS_INSECURE_ADMIN"),
];

/// Runs every row in an empty directory.
pub async fn run() -> Result<()> {
    let mut wrong = Vec::new();
    for (arguments, variables, toml, says) in TABLE {
        let home = tempfile::tempdir()?;
        std::fs::write(home.path().join("kvfs.toml"), toml)?;
        let (code, text) = start(home.path(), arguments, variables).await?;
        let left: Vec<_> =
            std::fs::read_dir(home.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
        let secret_shown = variables.iter().any(|(name, value)| name.contains("SECRET") && text.contains(value));
        if code != Some(2) || !text.contains(says) || !text.starts_with("error: ") || left.len() != 1 || secret_shown {
            wrong.push(format!("   {arguments:?} {variables:?} {toml:?}: {code:?}, left {left:?}: {text}"));
        }
    }
    number("wrong settings in the table", TABLE.len());
    ensure!(wrong.is_empty(), "{} are not as they must be (2, {{says}}):\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

async fn start(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<(Option<i32>, String)> {
    let running = Command::new(binary()?)
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(20), running).await;
    let Ok(output) = output else { return Ok((None, "these were taken for good settings".into())) };
    let output = output.context("running kvfs")?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}
