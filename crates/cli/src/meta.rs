//! Verbs about metadata: what is known of their backups, and of their state.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use api::MetaAdmin;
use api::meta_admin::{AuditState, HoldAudit};

use crate::output::{Output, human};

/// Shows how scheduled backups go on the coordinator that answers.
pub async fn history(admin: &dyn MetaAdmin, output: Output, out: &mut dyn Write) -> Result<()> {
    let history = admin.backup_history().await?;
    output.write(out, &history, |out, history| {
        if !history.enabled {
            return writeln!(out, "no backups are scheduled: set COORD_SNAPSHOT_DIR (or EDGE_, UP_) and start again");
        }
        let or_never = |text: &Option<String>| text.clone().unwrap_or_else(|| "never".into());
        writeln!(out, "directory  {}", history.dir.as_deref().unwrap_or_default())?;
        let (every, keep) = (history.interval.as_deref().unwrap_or_default(), history.keep.unwrap_or_default());
        writeln!(out, "schedule   every {every}, {keep} kept")?;
        writeln!(out, "last run   {}", or_never(&history.last_run))?;
        writeln!(out, "since the start  {} runs, {} failed", history.total_runs, history.total_errors)?;
        if let Some(error) = &history.last_err {
            writeln!(out, "the last run FAILED: {error}")?;
        }
        history
            .history
            .iter()
            .try_for_each(|file| writeln!(out, "{}  {:>10}  {}", file.mod_time, human(file.size_bytes), file.name))
    })?;
    Ok(())
}

/// Shows the state's hash of the running cluster.
pub async fn hash(admin: &dyn MetaAdmin, output: Output, out: &mut dyn Write) -> Result<()> {
    let hash = admin.state_hash().await?;
    output.write(out, &hash, |out, hash| writeln!(out, "{}  entry {}", hash.hash, hash.index))?;
    Ok(())
}

/// How often a running audit is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Has every record compared with every node, shows what was found, and lifts the hold on deletes if that allows it or `force` is set.
pub async fn release_hold(admin: &dyn MetaAdmin, force: bool, output: Output, out: &mut dyn Write) -> Result<()> {
    let mut audit = admin.hold().await?;
    if audit.hold.is_none() {
        output.write(out, &audit, |out, _| writeln!(out, "deletes are not on hold; there is nothing to release"))?;
        return Ok(());
    }
    audit = admin.audit_hold().await?;
    let mut told = std::time::Instant::now();
    while audit.state == AuditState::Running {
        tokio::time::sleep(LOOK_EVERY).await;
        audit = admin.hold().await?;
        if told.elapsed() >= Duration::from_secs(5) {
            told = std::time::Instant::now();
            eprintln!("{} of {} chunk records compared, {} lost", audit.chunks_done, audit.chunks, audit.chunks_lost);
        }
    }
    let released = admin.release_hold(force).await;
    if let Ok(after) = &released {
        audit = after.clone();
    }
    output.write(out, &audit, show_audit)?;
    released?;
    Ok(())
}

fn show_audit(out: &mut dyn Write, audit: &HoldAudit) -> io::Result<()> {
    writeln!(out, "compared   {} chunk records with all nodes", audit.chunks_done)?;
    writeln!(out, "missing    {} copies; {} chunks are on no node", audit.copies_missing, audit.chunks_lost)?;
    writeln!(out, "unknown    {} copies that no record names", audit.copies_unknown)?;
    if audit.chunks_unseen > 0 {
        writeln!(out, "unseen     {} chunks whose nodes did not answer", audit.chunks_unseen)?;
    }
    audit.silent_nodes.iter().try_for_each(|node| writeln!(out, "no answer  {node}"))?;
    if audit.objects_hurt > 0 {
        writeln!(out, "{} objects lack chunks:", audit.objects_hurt)?;
        let line = |hurt: &api::meta_admin::HurtObject| {
            format!("{}  {} missing, {}", hurt.name, hurt.chunks_missing, hurt.chunk)
        };
        audit.hurt.iter().try_for_each(|hurt| writeln!(out, "  {}", line(hurt)))?;
        let more = audit.objects_hurt.saturating_sub(audit.hurt.len() as u64);
        if more > 0 {
            writeln!(out, "  and {more} more")?;
        }
    }
    match &audit.hold {
        None => writeln!(out, "the hold on deletes is lifted"),
        Some(reason) => writeln!(out, "deletes stay ON HOLD: {reason}"),
    }
}
