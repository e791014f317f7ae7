//! Fifty writers, one winner, again and again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use client::{Native, NativeError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::group::{Group, USUAL};
use crate::content::next;
use crate::report::number;

const WRITERS: usize = 50;
const BUCKET: &str = "race";

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let rounds = if quick { 20 } else { 200 };
    let home = tempfile::tempdir()?;
    let mut group = Group::start(home.path(), USUAL).await?;
    let mut random = 11;
    let mut kills = 0;
    let mut winners = vec![0; group.natives.len()];
    for round in 0..rounds {
        let key = format!("round-{round:03}");
        let killing = round % 10 == 5;
        let leader = group.until_led().await?;
        let (start, mut writers) = line_up(&group.natives, &key);
        start.wait().await;
        if killing {
            tokio::time::sleep(Duration::from_millis(next(&mut random) % 20)).await;
            group.kill_coord(leader).await?;
            kills += 1;
        }
        let mut won = Vec::new();
        while let Some(writer) = writers.join_next().await {
            let (edge, writer, did) = writer?;
            if did.with_context(|| format!("writer {writer} in {key}"))? {
                won.push((edge, writer));
            }
        }
        ensure!(won.len() == 1, "{key} has {} winners: {won:?}", won.len());
        check(&group, &key, won[0].1).await.with_context(|| key.clone())?;
        winners[won[0].0] += 1;
        if killing {
            group.restart_coord(leader).await?;
        }
    }
    number("rounds of 50 writers, each with one winner", rounds);
    number("of them with the leader killed meanwhile", kills);
    number("winners by gateway", format!("{winners:?}"));
    Ok(())
}

type Writers = JoinSet<(usize, usize, Result<bool>)>;

/// All writers at one barrier, half of them at each gateway.
fn line_up(natives: &[Native], key: &str) -> (Arc<Barrier>, Writers) {
    let start = Arc::new(Barrier::new(WRITERS + 1));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let edge = writer % natives.len();
        let (native, start, key) = (natives[edge].clone(), start.clone(), key.to_string());
        writers.spawn(async move {
            start.wait().await;
            (edge, writer, create(&native, &key, writer).await)
        });
    }
    (start, writers)
}

/// Whether this writer won; anything but winning and 412 is an error.
async fn create(native: &Native, key: &str, writer: usize) -> Result<bool> {
    let mut headers = HeaderMap::new();
    headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
    let bytes = Bytes::from(format!("writer {writer:02}"));
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes.clone())]);
    match native.put(BUCKET, key.as_bytes(), Some(bytes.len() as u64), headers, body).await {
        Ok(_) => Ok(true),
        Err(NativeError::Refused { status: StatusCode::PRECONDITION_FAILED, .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What the winner wrote is there, at each gateway.
async fn check(group: &Group, key: &str, winner: usize) -> Result<()> {
    for native in &group.natives {
        let mut download = native.get(BUCKET, key.as_bytes(), HeaderMap::new()).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = download.next().await? {
            bytes.extend_from_slice(&piece);
        }
        let expected = format!("writer {winner:02}");
        ensure!(bytes == expected.as_bytes(), "{} is there, {expected} won", String::from_utf8_lossy(&bytes));
    }
    Ok(())
}
