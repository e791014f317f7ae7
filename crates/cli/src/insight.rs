//! Verbs for looking into a cluster: heartbeat, role, inspect.

use std::io::Write;

use anyhow::Result;
use api::Admin;
use api::insight::{Heartbeat, ObjectRecord, RoleInfo};
use domain::record::ObjectName;

use crate::output::{Output, human};

/// Shows how the probes of each node go.
pub async fn heartbeat(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let beat = admin.heartbeat().await?;
    output.write(out, &beat, |out, beat: &Heartbeat| {
        writeln!(
            out,
            "{:<24} {:<8} {:<25} {:>8} {:>6} {:>8}",
            "NODE", "HEALTH", "LAST SEEN", "LATENCY", "FAILS", "PROBES"
        )?;
        for node in &beat.statuses {
            let (health, latency) = (format!("{:?}", node.health), format!("{} ms", node.latency_ms));
            let (fails, probes) = (node.consec_fails, node.total_probes);
            writeln!(out, "{:<24} {health:<8} {:<25} {latency:>8} {fails:>6} {probes:>8}", node.addr, node.last_seen)?;
            if let Some(error) = &node.last_error {
                writeln!(out, "  {error}")?;
            }
            if node.gateways_reaching + node.gateways_missing > 0 {
                let (reach, miss) = (node.gateways_reaching, node.gateways_missing);
                writeln!(out, "  {reach} gateways reach it, {miss} do not")?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Shows what the process that answers is to its cluster.
pub async fn role(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let role = admin.role().await?;
    output.write(out, &role, |out, role: &RoleInfo| match &role.primary_url {
        None => writeln!(out, "{}", role.role),
        Some(primary) => writeln!(out, "{} of {primary}", role.role),
    })?;
    Ok(())
}

/// Shows one object's record, with where each of its chunks is.
pub async fn inspect(admin: &dyn Admin, name: &ObjectName, output: Output, out: &mut dyn Write) -> Result<()> {
    let record = admin.inspect(name).await?;
    output.write(out, &record, |out, record: &ObjectRecord| {
        writeln!(out, "{}/{}", record.bucket, record.key)?;
        writeln!(out, "size      {} ({} bytes)", human(record.size), record.size)?;
        writeln!(out, "type      {}", record.content_type)?;
        writeln!(out, "etag      {}", record.etag)?;
        writeln!(out, "version   {} of {}", record.version, record.created_at)?;
        for chunk in &record.chunks {
            writeln!(out, "chunk     {}  {:>10}  {}", chunk.chunk_id, human(chunk.size), chunk.replicas.join(" "))?;
        }
        if let Some(scheme) = &record.ec {
            writeln!(out, "stripes   {} data and {} parity shards each", scheme.k, scheme.m)?;
        }
        for stripe in &record.stripes {
            writeln!(out, "stripe    {}  {:>10}", stripe.stripe_id, human(stripe.data_len))?;
            for shard in &stripe.shards {
                writeln!(out, "  shard   {}  {:>10}  {}", shard.chunk_id, human(shard.size), shard.replicas.join(" "))?;
            }
        }
        if record.more {
            let shown = record.chunks.len() + record.stripes.len();
            writeln!(out, "          and more: only the first {shown} chunks or stripes are shown")?;
        }
        Ok(())
    })?;
    Ok(())
}
