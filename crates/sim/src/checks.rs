//! What must be true of a cluster at rest, whatever happened before: seen from beneath, on the disks themselves.

use std::collections::{BTreeMap, BTreeSet};

use api::ChunkStore;
use consensus::Snapshot;
use domain::record::{ChunkRow, ReplicaState};
use domain::{ChunkId, NodeId, codec};
use meta::{Table, Tables, keys, query};

use crate::cluster::Cluster;

/// Copies that were damaged on purpose, by node and chunk.
pub type Damaged = BTreeSet<(usize, ChunkId)>;

/// The tables as they are now.
pub async fn tables(cluster: &Cluster) -> Result<Snapshot, String> {
    let coordinator = cluster.coordinator().ok_or("no coordinator runs")?;
    coordinator.group().read().await.map_err(|error| error.to_string())
}

/// All chunk records.
pub fn chunks(tables: &Snapshot) -> Result<BTreeMap<ChunkId, ChunkRow>, String> {
    let rows = tables.scan(Table::Chunks, &[], &[], usize::MAX).map_err(|error| error.to_string())?;
    let parse = |(key, value): &meta::Row| {
        let (_, id) = keys::parse_chunk(key).ok_or("a chunk's key is none")?;
        Ok((id, codec::decode(value).map_err(|error| error.to_string())?))
    };
    rows.iter().map(parse).collect()
}

/// Numbers of the machines by the ids of their nodes.
pub fn machines(tables: &Snapshot) -> Result<BTreeMap<NodeId, usize>, String> {
    let nodes = query::nodes(tables).map_err(|error| error.to_string())?;
    let parse = |(id, row): &(NodeId, domain::record::NodeRow)| {
        let nth = row.name.strip_prefix("dn").and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
        Ok((*id, nth.ok_or_else(|| format!("{} is no node of ours", row.name))? - 1))
    };
    nodes.iter().map(parse).collect()
}

/// Whether the file of `chunk` on node `nth`'s disk is what its name says.
pub fn is_whole(cluster: &Cluster, nth: usize, chunk: ChunkId) -> bool {
    let bytes = api::disk::read(cluster.node_disk(nth), &cluster.chunk_path(nth, chunk));
    bytes.is_ok_and(|bytes| chunk.names(&bytes))
}

/// The books balance, and every copy that a record relies on is there and right. Copies healed since are struck from `damaged`.
pub async fn sound(cluster: &Cluster, damaged: &mut Damaged) -> Result<(), String> {
    let tables = tables(cluster).await?;
    let problems = meta::audit::audit(&tables).map_err(|error| error.to_string())?;
    if !problems.is_empty() {
        return Err(format!("the audit finds: {}", problems.join("; ")));
    }
    let machines = machines(&tables)?;
    damaged.retain(|(nth, chunk)| !is_whole(cluster, *nth, *chunk));
    for (chunk, row) in chunks(&tables)? {
        for replica in row.replicas.iter().filter(|replica| replica.state == ReplicaState::Held) {
            let nth = machines[&replica.node];
            if !damaged.contains(&(nth, chunk)) && !is_whole(cluster, nth, chunk) {
                return Err(format!("chunk {chunk} is held by node {nth}, says its record, and is not: {row:?}"));
            }
        }
    }
    Ok(())
}

/// Nothing lies on nodes that no record knows; to be asked after garbage was collected at rest.
pub async fn no_strangers(cluster: &Cluster) -> Result<(), String> {
    let known = chunks(&tables(cluster).await?)?;
    for nth in 0..cluster.options().nodes {
        let node = cluster.node(nth).ok_or("a node is down")?;
        let held = node.inventory(None, usize::MAX).await.map_err(|error| error.to_string())?;
        let on_disk = files(cluster, nth)?;
        if held.iter().copied().collect::<BTreeSet<_>>() != on_disk {
            return Err(format!("node {nth} lists {} chunks, its disk has {}", held.len(), on_disk.len()));
        }
        if let Some(stranger) = held.iter().find(|chunk| !known.contains_key(chunk)) {
            return Err(format!("node {nth} holds {stranger}, which no record knows"));
        }
    }
    Ok(())
}

/// The tables remember nothing of objects, and no disk has a chunk; to be asked after everything was deleted and collected.
pub async fn empty(cluster: &Cluster) -> Result<(), String> {
    let tables = tables(cluster).await?;
    let of_objects = [
        Table::Objects,
        Table::Bodies,
        Table::Extents,
        Table::Uploads,
        Table::Chunks,
        Table::Garbage,
        Table::Trash,
        Table::Degraded,
        Table::Misplaced,
        Table::Stripes,
        Table::Shards,
    ];
    for table in of_objects {
        let rows = tables.count(table).map_err(|error| error.to_string())?;
        if rows > 0 {
            return Err(format!("nothing is stored, and {} has {rows} rows", table.name()));
        }
    }
    for (_, copies) in tables.scan(Table::Holdings, &[], &[], usize::MAX).map_err(|error| error.to_string())? {
        let copies: u64 = codec::decode(&copies).map_err(|error| error.to_string())?;
        if copies > 0 {
            return Err(format!("nothing is stored, and a node is said to have {copies} copies"));
        }
    }
    for nth in 0..cluster.options().nodes {
        let files = files(cluster, nth)?;
        if !files.is_empty() {
            return Err(format!("nothing is stored, and node {nth} has {} files", files.len()));
        }
    }
    Ok(())
}

/// Chunks by the files on node `nth`'s disk.
fn files(cluster: &Cluster, nth: usize) -> Result<BTreeSet<ChunkId>, String> {
    use api::Disk;
    let disk = cluster.node_disk(nth);
    let chunk = ChunkId::of(b"");
    let Some(root) = cluster.chunk_path(nth, chunk).ancestors().nth(2).map(std::path::Path::to_owned) else {
        return Err("a chunk's path has no directory".into());
    };
    let mut found = BTreeSet::new();
    for bucket in disk.list(&root).map_err(|error| error.to_string())? {
        for name in disk.list(&root.join(&bucket)).map_err(|error| error.to_string())? {
            found.insert(format!("{bucket}{name}").parse().map_err(|_| format!("{bucket}/{name} is no chunk"))?);
        }
    }
    Ok(found)
}
