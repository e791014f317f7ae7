//! The demos on real processes: each within ten seconds as it is, and noticed when its sabotage is planted.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::cluster::binary;
use crate::report::number;

/// How long a demo may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Those that this issue promises, by the reference's letters.
const DEMOS: [&str; 5] = ["alpha", "epsilon", "zeta", "iota", "sigma"];

/// Runs each twice.
pub async fn run() -> Result<()> {
    for name in DEMOS {
        let (code, report, took) = demo(&[name]).await?;
        ensure!(code == Some(0) && report["passed"] == true, "{name}: {code:?}: {report:#}");
        number(
            &format!("{name}: {}", report["name"].as_str().unwrap_or_default()),
            format!("{:.1} s", took.as_secs_f64()),
        );
        ensure!(took < WITHIN, "{name} took {took:?}");
        let (code, report, took) = demo(&[name, "--break"]).await?;
        let line = &report["failed_line"];
        ensure!(
            code == Some(1) && *line == report["break_line"] && line.is_u64(),
            "{name} --break: {code:?}: {report:#}"
        );
        let sabotage = report["sabotage"].as_str().unwrap_or_default();
        number(&format!("{name} --break: {sabotage}"), format!("fails at line {line}, {:.1} s", took.as_secs_f64()));
    }
    Ok(())
}

async fn demo(arguments: &[&str]) -> Result<(Option<i32>, Value, Duration)> {
    let home = tempfile::tempdir()?;
    let begun = Instant::now();
    let output = Command::new(binary()?)
        .arg("demo")
        .args(arguments)
        .args(["--output", "json"])
        .current_dir(home.path())
        .env_clear()
        .env("TMPDIR", home.path())
        .stdin(Stdio::null())
        .output()
        .await?;
    let report = serde_json::from_slice(&output.stdout);
    let report = report.map_err(|_| anyhow::anyhow!("no report: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output.status.code(), report, begun.elapsed()))
}
