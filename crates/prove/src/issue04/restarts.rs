//! Restarts of everything, one after the other and all at once; and data nodes that are not what they were.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::Admin;
use api::admin::{ClusterStatus, NodeInfo};

use super::group::{Group, Shape};
use super::objects::{get_all, put_all};
use crate::report::number;

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let objects = if quick { 60 } else { 1_000 };
    let home = tempfile::tempdir()?;
    let mut group = Group::start(home.path(), Shape { coords: 3, edges: 2, nodes: 4 }).await?;
    put_all(&group, 0..objects).await?;
    let before = group.admin().status().await?;
    rolling(&mut group, objects).await.context("a rolling restart")?;
    same(&before, &group.admin().status().await?)?;
    all_at_once(&mut group, objects).await.context("a full stop and start")?;
    same(&before, &group.admin().status().await?)?;
    number("objects after a rolling restart and a full one", format!("{objects}, all there"));
    drop(group);
    for damage in [Damage::Wiped, Damage::RolledBack, Damage::AnotherNodes] {
        directory(damage, objects / 4).await.with_context(|| format!("a directory: {damage:?}"))?;
    }
    Ok(())
}

async fn rolling(group: &mut Group, objects: u64) -> Result<()> {
    for nth in 0..group.coords.len() {
        group.stop_coord(nth).await?;
        group.restart_coord(nth).await?;
        group.until_led().await?;
        get_all(group, 0..objects.min(20)).await?;
    }
    for nth in 0..group.nodes.len() {
        group.stop_node(nth).await?;
        group.restart_node(nth).await?;
        group.until_up(nth).await?;
    }
    for nth in 0..group.edges.len() {
        group.restart_edge(nth).await?;
    }
    get_all(group, 0..objects).await
}

async fn all_at_once(group: &mut Group, objects: u64) -> Result<()> {
    group.stop_everything().await?;
    group.start_everything().await?;
    group.until_led().await?;
    get_all(group, 0..objects).await
}

/// Cluster, nodes and their names are the ones of before.
fn same(before: &ClusterStatus, after: &ClusterStatus) -> Result<()> {
    let nodes = |status: &ClusterStatus| -> Vec<_> {
        status.nodes.iter().map(|node| (node.id, node.name.clone(), node.addr.clone())).collect()
    };
    ensure!(before.cluster_id == after.cluster_id, "the cluster's id changed");
    ensure!(nodes(before) == nodes(after), "the nodes changed: {:?}, {:?}", nodes(before), nodes(after));
    Ok(())
}

/// What has become of a data node's directory.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Wiped,
    RolledBack,
    AnotherNodes,
}

/// A wiped directory, one that was rolled back, and another node's: each is refused as what it is. A group for each, whose chunks are all well before.
async fn directory(damage: Damage, objects: u64) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut group = Group::start(home.path(), Shape { coords: 3, edges: 1, nodes: 4 }).await?;
    let (dir, old) = (home.path().join("dn0"), home.path().join("dn0.old"));
    put_all(&group, 0..objects).await?;
    match damage {
        Damage::Wiped => {
            group.stop_node(0).await?;
            std::fs::remove_dir_all(&dir)?;
            refused(&mut group, "its directory is empty").await?;
            let (addr, coords) = (group.node_addrs[0].clone(), group.coords_list());
            group.kvfs(&["node", "replace", &addr, "--coord", &coords]).await?;
            group.until_up(0).await.context("a node that was replaced")?;
            put_all(&group, objects..objects + 20).await
        }
        Damage::RolledBack => {
            group.stop_node(0).await?;
            copy(&dir, &old)?;
            group.restart_node(0).await?;
            group.until_up(0).await?;
            let held = chunks(&group).await?;
            put_all(&group, objects..objects + 40).await?;
            // What the leader has not seen since the start, it cannot miss: a probe must have gone by.
            let begun = Instant::now();
            while chunks(&group).await? <= held {
                ensure!(begun.elapsed() < Duration::from_secs(30), "no probe sees the node's new chunks");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            group.stop_node(0).await?;
            std::fs::remove_dir_all(&dir)?;
            std::fs::rename(&old, &dir)?;
            refused(&mut group, "rolled back").await
        }
        Damage::AnotherNodes => {
            group.stop_node(0).await?;
            group.stop_node(1).await?;
            std::fs::remove_dir_all(&dir)?;
            copy(&home.path().join("dn1"), &dir)?;
            group.restart_node(1).await?;
            group.until_up(1).await?;
            refused(&mut group, "belongs to node").await
        }
    }
}

/// Node 0, started as it is now, is refused with a reason that has `why` in it, and its copies count as missing.
async fn refused(group: &mut Group, why: &str) -> Result<()> {
    let degraded = group.admin().status().await?.degraded;
    group.restart_node(0).await?;
    let begun = Instant::now();
    let (mut problem, mut missing) = (String::new(), 0);
    while begun.elapsed() < Duration::from_secs(30) {
        let status = group.admin().status().await?;
        let node = find(&status, &group.node_addrs[0])?;
        problem = node.problem.clone().unwrap_or_default();
        missing = status.degraded.saturating_sub(degraded);
        if problem.contains(why) && missing > 0 {
            number(
                &format!("refused: {why}"),
                format!("{missing} chunks short of copies after {:.1?}", begun.elapsed()),
            );
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("expected {why:?}; its problem is {problem:?}, and {missing} chunks more are degraded")
}

/// Chunks that node 0 said it holds when it was last probed.
async fn chunks(group: &Group) -> Result<u64> {
    Ok(find(&group.admin().status().await?, &group.node_addrs[0])?.chunks.unwrap_or(0))
}

fn find<'a>(status: &'a ClusterStatus, addr: &str) -> Result<&'a NodeInfo> {
    status.nodes.iter().find(|node| node.addr == addr).with_context(|| format!("{addr} is not registered"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
