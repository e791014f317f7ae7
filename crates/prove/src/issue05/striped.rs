//! A gateway, a coordinator and data nodes that keep objects in stripes, and ways to lose shards of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::Admin;
use api::insight::StripeRecord;
use client::native::{Download, PutAnswer};
use client::{Ask, Native};
use domain::record::ObjectName;
use domain::{BucketName, ObjectKey};
use http::{HeaderMap, HeaderValue, Method, header};

use crate::cluster::{Daemon, chunk_files};
use crate::content::Content;
use crate::issue04::group::{Group, Shape};

/// The bucket that objects are in.
pub const BUCKET: &str = "striped";

/// A group with one of each but data nodes.
pub struct Striped {
    /// Its processes.
    pub group: Group,
}

impl Striped {
    /// Starts it, and waits until the gateway writes whole stripes of `scheme`.
    pub async fn start(dir: &Path, nodes: usize, scheme: &str) -> Result<Self> {
        let group = Group::start(dir, Shape { coords: 1, edges: 1, nodes }).await?;
        for nth in 0..nodes {
            group.until_up(nth).await?;
        }
        let striped = Self { group };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let put = striped.put("first", scheme, Content { seed: 0, size: 65_537 }).await;
            if put.as_ref().is_ok_and(|put| durable(put) == vec![put.stripes[0].shards.len()]) {
                return Ok(striped);
            }
            if Instant::now() > deadline {
                bail!("the gateway does not write whole stripes: {put:?}");
            }
        }
    }

    /// A client of the gateway.
    pub fn native(&self) -> &Native {
        &self.group.natives[0]
    }

    /// The gateway.
    pub fn edge(&self) -> &Daemon {
        &self.group.edges[0]
    }

    /// Puts an object in stripes of `scheme`; with none in whole copies, all of them durable.
    pub async fn put(&self, key: &str, scheme: &str, content: Content) -> Result<PutAnswer> {
        let mut headers = HeaderMap::new();
        match scheme {
            "" => headers.insert(api::routes::HEADER_W, HeaderValue::from_static("3")),
            scheme => headers.insert(api::routes::HEADER_EC, HeaderValue::from_str(scheme)?),
        };
        Ok(self.native().put(BUCKET, key.as_bytes(), Some(content.size), headers, content.body()).await?)
    }

    /// Asks for an object, or for these bytes of it.
    pub async fn get(&self, key: &str, range: Option<std::ops::Range<u64>>) -> Result<Download> {
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            let value = format!("bytes={}-{}", range.start, range.end - 1);
            headers.insert(header::RANGE, HeaderValue::from_str(&value)?);
        }
        Ok(self.native().get(BUCKET, key.as_bytes(), headers).await?)
    }

    /// Reads an object and compares it.
    pub async fn read(&self, key: &str, content: Content) -> Result<()> {
        ensure!(content.same(self.get(key, None).await?).await?, "{key}: other bytes came than were put");
        Ok(())
    }

    /// The gateway's metrics.
    pub async fn metrics(&self) -> Result<String> {
        let ask = Ask::new(Method::GET, "/metrics");
        let reply = self.group.http().send(&self.edge().address, &ask).await?;
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    /// What metadata know of an object's stripes.
    pub async fn stripes(&self, key: &str) -> Result<Vec<StripeRecord>> {
        let name = ObjectName { bucket: BucketName::parse(BUCKET)?, key: ObjectKey::parse(key.as_bytes())? };
        let record = self.group.admin().inspect(&name).await?;
        ensure!(!record.more, "{key} has more stripes than are told");
        Ok(record.stripes)
    }

    /// Stripes and chunks that metadata call degraded.
    pub async fn degraded(&self) -> Result<u64> {
        Ok(self.group.admin().status().await?.degraded)
    }

    /// Waits until nothing is degraded any more.
    pub async fn until_nothing_is_degraded(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let degraded = self.degraded().await?;
            if degraded == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{degraded} stripes stay degraded");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Number of the node at an address.
    pub fn node_at(&self, address: &str) -> Result<usize> {
        let found = self.group.node_addrs.iter().position(|known| known == address);
        found.with_context(|| format!("no node listens at {address}"))
    }

    /// Takes the files of these shards of a stripe away until the answer is dropped.
    pub fn lose(&self, stripe: &StripeRecord, shards: &[usize]) -> Result<Away> {
        let mut away = Away(Vec::new());
        for shard in shards.iter().map(|shard| &stripe.shards[*shard]) {
            for address in &shard.replicas {
                let node = self.node_at(address)?;
                let (bucket, rest) = shard.chunk_id.split_at(2);
                let home = self.group.dir.join(format!("dn{node}/chunks/{bucket}/{rest}"));
                let place = self.group.dir.join(format!("away-{node}-{}", shard.chunk_id));
                std::fs::rename(&home, &place).with_context(|| format!("taking {} away", home.display()))?;
                away.0.push((home, place));
            }
        }
        Ok(away)
    }

    /// Bytes of all chunk files on all nodes.
    pub fn bytes_on_disk(&self) -> Result<u64> {
        let mut bytes = 0;
        for nth in 0..self.group.node_addrs.len() {
            for file in chunk_files(&self.group.dir.join(format!("dn{nth}")))? {
                bytes += file.metadata()?.len();
            }
        }
        Ok(bytes)
    }
}

/// Files that are away; they come back when this is dropped.
pub struct Away(Vec<(PathBuf, PathBuf)>);

impl Drop for Away {
    fn drop(&mut self) {
        for (home, place) in &self.0 {
            if let Err(error) = std::fs::rename(place, home) {
                eprintln!("{} did not come back: {error}", home.display());
            }
        }
    }
}

/// By stripe: how many of its shards were durable when the put was acknowledged.
pub fn durable(put: &PutAnswer) -> Vec<usize> {
    let count =
        |stripe: &client::native::PutStripe| stripe.shards.iter().filter(|shard| !shard.replicas.is_empty()).count();
    put.stripes.iter().map(count).collect()
}

/// All choices of `few` from `0..all`, in order.
pub fn choices(all: usize, few: usize) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    let mut choice: Vec<usize> = (0..few).collect();
    loop {
        found.push(choice.clone());
        let Some(place) = (0..few).rev().find(|place| choice[*place] < all - few + place) else { return found };
        choice[place] += 1;
        for later in place + 1..few {
            choice[later] = choice[later - 1] + 1;
        }
    }
}

/// Choices of `few` from `0..all`, as a seed has them.
pub struct Lots(pub u64);

impl Lots {
    /// The next choice, in order.
    pub fn draw(&mut self, all: usize, few: usize) -> Vec<usize> {
        let mut left: Vec<usize> = (0..all).collect();
        let mut choice: Vec<usize> = (0..few).map(|_| left.swap_remove(self.below(left.len()))).collect();
        choice.sort_unstable();
        choice
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_choices() {
        assert_eq!(choices(4, 2), [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert_eq!((choices(6, 2).len(), choices(14, 4).len(), choices(3, 3).len()), (15, 1001, 1));
        let mut lots = Lots(1);
        let mut drawn: Vec<_> = (0..1000).map(|_| lots.draw(6, 2)).collect();
        drawn.sort();
        drawn.dedup();
        assert_eq!(drawn, choices(6, 2));
    }
}
