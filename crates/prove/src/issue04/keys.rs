//! URL keys rotated under load: no request that a live key signed is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use client::{Native, NativeError};
use http::StatusCode;
use parking_lot::RwLock;
use tokio::task::JoinSet;

use super::group::{Group, URL_SECRET, USUAL};
use super::objects::{is_there, put, put_all};
use crate::cluster::native;
use crate::report::number;

const CLIENTS: u64 = 16;

/// Live keys: id and secret.
type Keys = Arc<RwLock<Vec<(String, String)>>>;

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let rotations = if quick { 4 } else { 40 };
    let home = tempfile::tempdir()?;
    let group = Group::start(home.path(), USUAL).await?;
    put_all(&group, 0..CLIENTS).await?;
    let keys: Keys = Arc::new(RwLock::new(vec![("v1".into(), URL_SECRET.into())]));
    let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for nth in 0..CLIENTS {
        let edge = group.edges[nth as usize % group.edges.len()].address.clone();
        clients.spawn(client(edge, keys.clone(), stop.clone(), requests.clone(), nth));
    }
    let mut slowest = Duration::ZERO;
    for nth in 0..rotations {
        slowest = slowest.max(rotate(&group, &keys, nth).await.with_context(|| format!("rotation {nth}"))?);
        ensure!(!clients.is_empty(), "the load ended");
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client??;
    }
    number("rotations", rotations);
    number("requests by live keys, none refused", requests.load(Ordering::Relaxed));
    number("slowest until both gateways took a new key", format!("{slowest:.2?}"));
    ensure!(
        quick || slowest < Duration::from_secs(1),
        "a new key is known everywhere within a second, not {slowest:?}"
    );
    Ok(())
}

/// A new primary, used as soon as both gateways take it; then the oldest key goes, once nobody uses it any more.
async fn rotate(group: &Group, keys: &Keys, nth: u64) -> Result<Duration> {
    let (kid, file) = (format!("key-{nth}"), format!("key-{nth}.secret"));
    let coords = group.coords_list();
    group.kvfs(&["urlkey", "rotate", "--kid", &kid, "--secret-file", &file, "--coord", &coords]).await?;
    let begun = Instant::now();
    let secret = std::fs::read_to_string(group.dir.join(&file))?.trim().to_string();
    for edge in &group.edges {
        let native = native(&edge.address, &kid, &secret);
        while !accepted(is_there(&native, 0).await)? {
            ensure!(begun.elapsed() < Duration::from_secs(40), "the gateway does not take the new key");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let took = begun.elapsed();
    let retired = {
        let mut keys = keys.write();
        keys.push((kid, secret));
        (keys.len() > 2).then(|| keys.remove(0).0)
    };
    if let Some(retired) = retired {
        // Requests that it signed may be on their way: they are done within a moment, and then it is live no more.
        tokio::time::sleep(Duration::from_secs(1)).await;
        group.kvfs(&["urlkey", "remove", &retired, "--coord", &coords]).await?;
    }
    Ok(took)
}

/// Whether the key was taken; any other error than a refusal is one.
fn accepted(outcome: Result<bool>) -> Result<bool> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) => match error.downcast_ref::<NativeError>() {
            Some(NativeError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) => Ok(false),
            _ => Err(error),
        },
    }
}

async fn client(edge: String, keys: Keys, stop: Arc<AtomicBool>, requests: Arc<AtomicU64>, nth: u64) -> Result<()> {
    let mut turn = nth;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let (kid, secret) = {
            let keys = keys.read();
            keys[turn as usize % keys.len()].clone()
        };
        let native: Native = native(&edge, &kid, &secret);
        match turn % 3 {
            0 => put(&native, nth).await,
            _ => is_there(&native, nth).await.map(drop),
        }
        .with_context(|| format!("a request signed by {kid}"))?;
        requests.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
