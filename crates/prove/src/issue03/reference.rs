//! A user of the reference feels at home: its flows, as shell commands, unchanged.

use anyhow::Result;

use super::sandbox;
use crate::report::number;

/// Runs the script.
pub async fn run() -> Result<()> {
    let home = tempfile::tempdir()?;
    let text = sandbox::must_run(home.path(), include_str!("reference.sh")).await?;
    number("flows", text.lines().last().unwrap_or_default());
    Ok(())
}
