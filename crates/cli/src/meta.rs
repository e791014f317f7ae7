//! Verbs about metadata: what is known of their backups, and of their state.

use std::io::Write;

use anyhow::Result;
use api::MetaAdmin;

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
