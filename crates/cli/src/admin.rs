//! Verbs for operators: node, status, meta.

use std::io::{self, Write};

use anyhow::Result;
use api::Admin;
use api::admin::{ClusterStatus, MetaInfo, NodeInfo};
use domain::registry::NodeLabels;
use serde_json::json;

use crate::output::{Output, human};

/// Registers a data node.
pub async fn node_add(admin: &dyn Admin, addr: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    let node = admin.add_node(addr).await?;
    output.write(out, &node, |out, node| {
        writeln!(out, "{} is node {} and {:?}", node.addr, node.id, node.health)?;
        node.problem.iter().try_for_each(|problem| writeln!(out, "  {problem}"))
    })?;
    Ok(())
}

/// Removes a data node that holds nothing.
pub async fn node_remove(admin: &dyn Admin, addr: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    admin.remove_node(addr).await?;
    output.write(out, &json!({ "removed": addr }), |out, _| writeln!(out, "removed {addr}"))?;
    Ok(())
}

/// Takes in a data node whose directory is new.
pub async fn node_replace(admin: &dyn Admin, addr: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    let node = admin.replace_node(addr).await?;
    output.write(out, &node, |out, node| {
        writeln!(out, "{} is taken in anew as node {}; what it held before counts as missing", node.addr, node.id)
    })?;
    Ok(())
}

/// Changes a data node's class, failure domain or weight.
pub async fn node_label(
    admin: &dyn Admin,
    addr: &str,
    labels: &NodeLabels,
    output: Output,
    out: &mut dyn Write,
) -> Result<()> {
    let node = admin.label_node(addr, labels).await?;
    output.write(out, &node, |out, node| {
        let (class, domain) = (or_dash(&node.class), or_dash(&node.domain));
        writeln!(out, "{}: class {class}, domain {domain}, weight {}", node.addr, node.weight)
    })?;
    Ok(())
}

/// Notes a data node's new address.
pub async fn node_move(admin: &dyn Admin, addr: &str, to: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    let node = admin.move_node(addr, to).await?;
    output.write(out, &node, |out, node| {
        writeln!(
            out,
            "node {} is at {} and {:?}; it is still placed as {}",
            node.id, node.addr, node.health, node.name
        )?;
        node.problem.iter().try_for_each(|problem| writeln!(out, "  {problem}"))
    })?;
    Ok(())
}

/// Lists the data nodes.
pub async fn node_list(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let status = admin.status().await?;
    output.write(out, &status.nodes, |out, nodes| node_table(out, nodes))?;
    Ok(())
}

/// Lists the data nodes as the reference does: their addresses, one a line.
pub async fn dns_list(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let status = admin.status().await?;
    let dns: Vec<_> = status.nodes.iter().map(|node| node.addr.as_str()).collect();
    output.write(out, &json!({ "dns": dns }), |out, _| {
        writeln!(out, "{} data nodes", dns.len())?;
        dns.iter().try_for_each(|addr| writeln!(out, "{addr}"))
    })?;
    Ok(())
}

/// Shows the cluster on one screen.
pub async fn status(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let status = admin.status().await?;
    output.write(out, &status, |out, status| {
        writeln!(out, "cluster {}  epoch {}", status.cluster_id, status.epoch)?;
        node_table(out, &status.nodes)?;
        queues(out, status)
    })?;
    Ok(())
}

fn node_table(out: &mut dyn Write, nodes: &[NodeInfo]) -> io::Result<()> {
    writeln!(
        out,
        "{:<5} {:<24} {:<9} {:<8} {:>9} {:>11} {:>11}  {:<8} {:<12} {:>6}",
        "NODE", "ADDRESS", "STATE", "HEALTH", "CHUNKS", "FREE", "SIZE", "CLASS", "DOMAIN", "WEIGHT"
    )?;
    let size = |bytes: Option<u64>| bytes.map_or("?".to_string(), human);
    for node in nodes {
        let (state, health) = (format!("{:?}", node.state), format!("{:?}", node.health));
        let chunks = node.chunks.map_or("?".to_string(), |chunks| chunks.to_string());
        let (free, total) = (size(node.free_bytes), size(node.total_bytes));
        let id = node.id.to_string();
        let health = if node.lost { "Lost".to_string() } else { health };
        write!(out, "{id:<5} {:<24} {state:<9} {health:<8} {chunks:>9} {free:>11} {total:>11}", node.addr)?;
        let (class, domain) = (or_dash(&node.class), or_dash(&node.domain));
        writeln!(out, "  {class:<8} {domain:<12} {:>6}", node.weight)?;
        if let Some(problem) = &node.problem {
            writeln!(out, "      {problem}")?;
        }
    }
    Ok(())
}

fn or_dash(label: &str) -> &str {
    if label.is_empty() { "-" } else { label }
}

fn queues(out: &mut dyn Write, status: &ClusterStatus) -> io::Result<()> {
    writeln!(
        out,
        "chunks    {} with too few copies, {} with a copy elsewhere than placed",
        status.degraded, status.misplaced
    )?;
    writeln!(out, "waiting   {} bodies to be emptied, {} chunks to be deleted", status.trash, status.garbage)?;
    let gc = &status.gc;
    writeln!(out, "collected {} records, {} copies in {} passes", gc.records, gc.copies, gc.passes)?;
    if let Some(reason) = &status.hold_deletes {
        writeln!(out, "deletes are ON HOLD: {reason}")?;
    }
    if let Some(note) = &gc.note {
        writeln!(out, "          last pass: {note}")?;
    }
    let log = &status.consensus;
    writeln!(
        out,
        "log       term {}, {} entries, {} applied, {} saved",
        log.term, log.last_log, log.applied, log.checkpointed
    )
}

/// Shows what the store holds, and what sharing saves.
pub async fn totals(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let info = admin.meta_info().await?;
    let json = serde_json::json!({
        "objects": info.objects,
        "logical_bytes": info.logical_bytes,
        "unique_bytes": info.unique_bytes,
        "stored_bytes": info.stored_bytes,
    });
    output.write(out, &json, |out, _| {
        writeln!(out, "{:<10} {}", "objects", info.objects)?;
        bytes(out, &info)
    })?;
    Ok(())
}

fn bytes(out: &mut dyn Write, info: &MetaInfo) -> io::Result<()> {
    let saved = info.logical_bytes.saturating_sub(info.unique_bytes);
    let share = saved as f64 * 100.0 / (info.logical_bytes.max(1)) as f64;
    writeln!(out, "{:<10} {}, the sizes of all objects", "logical", human(info.logical_bytes))?;
    writeln!(out, "{:<10} {}, each chunk once: {share:.1} % is shared", "unique", human(info.unique_bytes))?;
    writeln!(out, "{:<10} {}, all copies on nodes", "stored", human(info.stored_bytes))
}

/// Shows how many rows the metadata has.
pub async fn meta_info(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let info = admin.meta_info().await?;
    output.write(out, &info, |out, info: &MetaInfo| {
        let rows = [
            ("buckets", info.buckets),
            ("objects", info.objects),
            ("chunks", info.chunks),
            ("stripes", info.stripes),
            ("nodes", info.nodes),
            ("url keys", info.url_keys),
            ("leases", info.leases),
        ];
        rows.iter().try_for_each(|(name, count)| writeln!(out, "{name:<10} {count}"))?;
        writeln!(out, "{:<10} {}", "file", human(info.file_bytes))?;
        bytes(out, info)
    })?;
    Ok(())
}
