//! Strangers at every door: each path and method of every listener, asked with everything but the right credentials.
//!
//! The paths come from the route tables of the three processes, and from a list of those that such systems are known to leave open. A
//! listener that answers a stranger anything but a refusal fails, whether the path stands in a table or not; and afterwards
//! the metadata, the group and the chunk files must be what they were.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use api::{Admin, Clock, routes};
use bootstrap::{Secret, SystemClock, peer_layer};
use bytes::Bytes;
use client::{Ask, Http, HttpAdmin, TcpConnector};
use coord::http::ROUTES;
use domain::peer_auth::Signed;
use domain::{ChunkId, Crc32c, codec};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, Method};
use serde::Serialize;
use std::sync::Arc;

use super::group::{ADMIN_TOKEN, Group, USUAL};
use crate::cluster::{CLUSTER_SECRET, Daemon, free_port};
use crate::issue03::wire::{Then, exchange, request};
use crate::report::number;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];

/// What nobody here serves, and others do: theirs to try, and ours to refuse.
const LIKELY: [&str; 24] = [
    "/",
    "/ui/",
    "/debug",
    "/debug/pprof/",
    "/v1",
    "/v1/",
    "/v1/admin",
    "/v1/admin/",
    "/v1/admin/wal",
    "/v1/admin/gc",
    "/v1/admin/meta",
    "/v1/coord",
    "/v1/coord/",
    "/v1/coord/wal",
    "/v1/coord/commit",
    "/v1/coord/apply-wal",
    "/v1/coord/admin/",
    "/v1/coord/admin/meta/snapshot",
    "/v1/election/vote",
    "/v1/o/",
    "//v1/coord/rpc",
    "/v1/coord/healthz/../rpc",
    "/healthz/../chunks",
    "/node/",
];

/// What everybody may read.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/v1/coord/healthz", "/metrics"];

/// The body that a stranger sends.
const BODY: &[u8] = br#"{"action":"remove","node":1}"#;

/// The body of the same length that was signed, where one is replayed.
const SIGNED_BODY: &[u8] = br#"{"action":"nothing","node":1"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credentials {
    None,
    WrongToken,
    WrongSignature,
    OtherSecret,
    Expired,
    /// A right signature, of another body or, where there is none, of another path.
    Replayed,
}

const ALL: [Credentials; 6] = [
    Credentials::None,
    Credentials::WrongToken,
    Credentials::WrongSignature,
    Credentials::OtherSecret,
    Credentials::Expired,
    Credentials::Replayed,
];

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let group = Group::start(home.path(), USUAL).await?;
    let headers = HeaderMap::new();
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"what strangers must not touch"))]);
    group.natives[0].put("strangers", b"kept", None, headers, body).await?;
    let (hosting, _node) = hosting_edge(home.path()).await?;
    let http = Http::new(Arc::new(TcpConnector), Arc::new(SystemClock::new()), None);
    let hosted = HttpAdmin::new(http, vec![hosting.address.clone()], ADMIN_TOKEN);
    let before = (picture(&group.admin()).await?, picture(&hosted).await?, chunk_files(home.path())?);
    ensure!(!before.2.is_empty(), "there are no chunk files to look after");

    let mut doors = vec![("the hosting gateway", &hosting.address), ("a gateway", &group.edges[0].address)];
    let few = if quick { 1 } else { 3 };
    doors.extend(group.coord_addrs.iter().take(few).map(|address| ("a coordinator", address)));
    doors.extend(group.node_addrs.iter().take(few).map(|address| ("a data node", address)));
    let paths = paths();
    for (door, address) in &doors {
        let asked = knock(address, &paths).await.with_context(|| format!("{door} at {address}"))?;
        number(&format!("refused by {door}"), asked);
    }
    messages(&group).await.context("messages between coordinators")?;
    let after = (picture(&group.admin()).await?, picture(&hosted).await?, chunk_files(home.path())?);
    ensure!(before == after, "strangers changed something:\n{before:?}\n{after:?}");
    Ok(())
}

/// A gateway that hosts its coordinator, and a data node of its own.
async fn hosting_edge(dir: &Path) -> Result<(Daemon, Daemon)> {
    let addr = format!("127.0.0.1:{}", free_port()?);
    let secrets = [("KVFS_CLUSTER_SECRET", CLUSTER_SECRET), ("KVFS_ADMIN_TOKEN", ADMIN_TOKEN)];
    let node = [("DN_ID", "own"), ("DN_ADDR", &*addr), ("DN_DATA_DIR", "dn-own"), ("DN_RESERVE_BYTES", "0")];
    let node = Daemon::start(dir, "dn-own", &["dn"], &[&secrets[..], &node].concat()).await?;
    let edge = [
        ("EDGE_ADDR", "127.0.0.1:0"),
        ("EDGE_DNS", &*addr),
        ("EDGE_REPLICAS", "1"),
        ("EDGE_DATA_DIR", "hosted"),
        ("EDGE_URLKEY_SECRET", super::group::URL_SECRET),
    ];
    let edge = Daemon::start(dir, "hosting", &["edge"], &[&secrets[..], &edge].concat()).await?;
    Ok((edge, node))
}

/// Every path of every table, and the likely ones.
fn paths() -> BTreeSet<String> {
    let node = dn::http::ENDPOINTS.iter().map(|endpoint| endpoint.path);
    let coordinator = ROUTES.iter().map(|(_, path, _)| *path);
    let edge = edge::ROUTES.iter().map(|(path, _)| *path);
    let id = ChunkId::of(b"a chunk that nobody holds").to_hex();
    let all = node.chain(coordinator).chain(edge).chain(LIKELY).chain(OPEN);
    all.map(|path| path.replace("{id}", &id).replace("{bucket}", "strangers").replace("{key}", "kept")).collect()
}

/// Asks `address` everything in every wrong way; how often.
async fn knock(address: &str, paths: &BTreeSet<String>) -> Result<usize> {
    let each = paths.iter().flat_map(|path| METHODS.map(|method| (path, method)));
    let each = each.flat_map(|(path, method)| ALL.map(|with| (path, method, with)));
    let asking = stream::iter(each).map(|(path, method, with)| async move {
        let answer = exchange(address, &ask(method, path, with)?, Then::Waits).await?;
        let refused = matches!(answer.status, 401 | 403 | 404 | 405);
        let open = OPEN.contains(&path.as_str()) && matches!(method, "GET" | "HEAD");
        // Signed for other bytes: a data node says that they are not the chunk's.
        let mismatch = method == "PUT" && with == Credentials::Replayed && answer.status == 400;
        ensure!(refused || open || mismatch, "{method} {path} with {with:?} is answered: {}", answer.text);
        Ok::<_, anyhow::Error>(())
    });
    let done: Vec<()> = asking.buffer_unordered(8).try_collect().await?;
    Ok(done.len())
}

/// A request with such credentials.
fn ask(method: &str, path: &str, with: Credentials) -> Result<Vec<u8>> {
    let body = if matches!(method, "POST" | "PUT") { BODY } else { b"" };
    let replayed = if body.is_empty() { body } else { SIGNED_BODY };
    let length = if body.is_empty() { String::new() } else { body.len().to_string() };
    let crc = match (body.is_empty(), with) {
        (true, _) => String::new(),
        (false, Credentials::Replayed) => Crc32c::of(replayed).to_string(),
        (false, _) => Crc32c::of(body).to_string(),
    };
    let now = SystemClock::new().wall_ms();
    let (secret, time_ms, target) = match with {
        Credentials::OtherSecret => ("the secret of quite another cluster", now, path),
        Credentials::Expired => (CLUSTER_SECRET, now - 2 * domain::peer_auth::MAX_SKEW_MS, path),
        Credentials::Replayed if body.is_empty() => (CLUSTER_SECRET, now, "/another/path"),
        _ => (CLUSTER_SECRET, now, path),
    };
    let mut headers: Vec<(&str, String)> = Vec::new();
    if !body.is_empty() {
        headers.extend([("content-length", length.clone()), (routes::HEADER_CRC, crc.clone())]);
    }
    match with {
        Credentials::None => {}
        Credentials::WrongToken => headers.push(("authorization", "Bearer not the admin token, yet as long".into())),
        Credentials::WrongSignature => {
            headers.extend([(routes::HEADER_TIME, now.to_string()), (routes::HEADER_AUTH, "0".repeat(64))]);
        }
        Credentials::OtherSecret | Credentials::Expired | Credentials::Replayed => {
            let what = Signed { method, target, time_ms, length: &length, crc: &crc };
            headers.extend(peer_layer::signed_headers(&Secret::new(secret).context("a secret")?, &what));
        }
    }
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Ok(request(&format!("{method} {path}"), &headers, body))
}

/// What must not change: rows, keys, members, and who leads in which term.
async fn picture(admin: &HttpAdmin) -> Result<String> {
    let (info, status) = (admin.meta_info().await?, admin.status().await?);
    let members = admin.coordinators().await?;
    let members: Vec<_> = members.iter().map(|one| (one.node, &one.addr, one.voter, one.leader)).collect();
    let keys = admin.list_url_keys().await?;
    let rows = (info.buckets, info.objects, info.chunks, info.nodes, info.url_keys);
    Ok(format!("{rows:?} {members:?} {keys:?} {:?} term {}", status.hold_deletes, status.consensus.term))
}

/// The chunk files below `dir`, with their lengths.
fn chunk_files(dir: &Path) -> Result<BTreeSet<(String, u64)>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        match kind?.is_dir() {
            true => found.extend(chunk_files(&path)?),
            false => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if name.len() >= 60 && name.bytes().take(60).all(|byte| byte.is_ascii_hexdigit()) {
                    found.insert((path.display().to_string(), path.metadata()?.len()));
                }
            }
        }
    }
    Ok(found)
}

/// The messages of `consensus::wire`, as far as they are forged here.
#[derive(Serialize)]
enum Message {
    #[expect(dead_code, reason = "it holds the place of the first variant")]
    Who,
    Sit((u128, u64), u64),
    Member {
        key: (u128, u64),
        from: u64,
        to: u64,
        ask: Question,
    },
}

/// Questions among members, in the order of `consensus::wire::Ask`.
#[derive(Clone, Serialize)]
enum Question {
    #[expect(dead_code, reason = "it holds the place of the first variant")]
    Append,
    /// Term, granted, node; no last entry; not a transfer of leadership.
    Vote((u64, bool, u64), Option<(u64, u64)>, bool),
    #[expect(dead_code, reason = "it holds the place of the third variant")]
    PreVote,
    ReadIndex,
}

/// Forged messages under the right signature: wrong cluster, generation or addressee, another seat, garbage.
async fn messages(group: &Group) -> Result<()> {
    let secret: Arc<[u8]> = CLUSTER_SECRET.as_bytes().into();
    let http = Http::new(Arc::new(TcpConnector), Arc::new(SystemClock::new()), Some(secret));
    let cluster = u128::from_str_radix(&group.admin().status().await?.cluster_id, 16)?;
    let members = group.admin().coordinators().await?;
    let leader = members.iter().find(|member| member.leader).context("somebody leads")?;
    let other = members.iter().find(|member| !member.leader).context("there are others")?.node;
    let vote = Question::Vote((1_000_000, false, other), Some((1_000_000, 1_000_000)), false);
    let member = |cluster: u128, generation: u64, to: u64, ask: &Question| {
        codec::encode(&Message::Member { key: (cluster, generation), from: other, to, ask: ask.clone() })
    };
    let send = async |body: Vec<u8>| -> Result<u8> {
        let reply = http.send(&leader.addr, &Ask::new(Method::POST, routes::COORD_RAFT).body(body)).await?;
        reply.body.get(1).copied().with_context(|| format!("{}: {}", reply.status, reply.text()))
    };
    // Without this, forgeries that are merely unreadable would count as refused.
    let right = send(member(cluster, 1, leader.node, &Question::ReadIndex)).await?;
    ensure!(right == READ_INDEX, "a right message is answered with {right}");
    let forged = [
        ("another cluster", member(cluster ^ 1, 1, leader.node, &vote)),
        ("another generation", member(cluster, 2, leader.node, &vote)),
        ("a former generation", member(cluster, 0, leader.node, &vote)),
        ("another addressee", member(cluster, 1, other, &vote)),
        ("nobody", member(cluster, 1, u64::MAX, &vote)),
        ("another seat", codec::encode(&Message::Sit((cluster, 1), other))),
        ("another cluster's seat", codec::encode(&Message::Sit((cluster ^ 1, 1), leader.node))),
        ("nothing", Vec::new()),
        ("garbage", vec![0xff; 4096]),
        ("a message that breaks off", member(cluster, 1, leader.node, &vote)[..12].to_vec()),
    ];
    number("forged messages between coordinators", forged.len());
    for (what, body) in forged {
        let answered = send(body).await?;
        ensure!(answered == REFUSED, "a message for {what} is answered with {answered}");
    }
    Ok(())
}

/// The variants of `consensus::wire::Answer` that matter here.
const READ_INDEX: u8 = 4;
const REFUSED: u8 = 6;
