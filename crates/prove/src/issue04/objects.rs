//! Small objects with known contents, for sections that want to find them again.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use client::{Native, NativeError};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, StatusCode};

use super::group::Group;

/// The bucket they are in.
pub const BUCKET: &str = "objects";

/// How many are asked for at once.
const AT_ONCE: usize = 8;

/// What object `nth` is called.
pub fn key(nth: u64) -> String {
    format!("{nth:07}")
}

fn bytes(nth: u64) -> Bytes {
    Bytes::from(format!("object {nth} and nothing else"))
}

/// Puts object `nth`.
pub async fn put(native: &Native, nth: u64) -> Result<()> {
    let (key, bytes) = (key(nth), bytes(nth));
    let body = stream::iter([Ok::<_, std::io::Error>(bytes.clone())]);
    let put = native.put(BUCKET, key.as_bytes(), Some(bytes.len() as u64), HeaderMap::new(), body);
    put.await.map(drop).with_context(|| format!("putting object {nth}"))
}

/// Gets object `nth`: whether it is there. Other bytes are an error.
pub async fn is_there(native: &Native, nth: u64) -> Result<bool> {
    let mut download = match native.get(BUCKET, key(nth).as_bytes(), HeaderMap::new()).await {
        Ok(download) => download,
        Err(NativeError::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("getting object {nth}")),
    };
    let mut found = Vec::new();
    while let Some(piece) = download.next().await? {
        found.extend_from_slice(&piece);
    }
    ensure!(found == bytes(nth), "object {nth} has other bytes");
    Ok(true)
}

/// Puts all of these, through the gateways in turn.
pub async fn put_all(group: &Group, which: std::ops::Range<u64>) -> Result<()> {
    let put = |nth: u64| put(&group.natives[nth as usize % group.natives.len()], nth);
    stream::iter(which.map(put).collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await
}

/// Gets all of these, through the gateways in turn; each must be there.
pub async fn get_all(group: &Group, which: std::ops::Range<u64>) -> Result<()> {
    let get = |nth: u64| async move {
        ensure!(is_there(&group.natives[nth as usize % group.natives.len()], nth).await?, "object {nth} is gone");
        Ok(())
    };
    stream::iter(which.map(get).collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await
}
