//! What an object takes on disks: three copies, and stripes of two shapes.

use anyhow::{Result, ensure};

use super::striped::Striped;
use crate::content::Content;
use crate::report::number;

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let content = Content { seed: 60, size: if quick { 64 << 20 } else { 1 << 30 } };
    for (scheme, ideal) in [("", 3.0), ("4+2", 1.5), ("10+4", 1.4)] {
        let home = tempfile::tempdir()?;
        let striped = Striped::start(home.path(), 14, "10+4").await?;
        let before = striped.bytes_on_disk()?;
        striped.put("object", scheme, content).await?;
        striped.until_nothing_is_degraded().await?;
        let bytes = striped.bytes_on_disk()? - before;
        let ratio = bytes as f64 / content.size as f64;
        let name = if scheme.is_empty() { "R=3" } else { scheme };
        number(&format!("{name}: bytes on disk for {} MiB", content.size >> 20), format!("{bytes}, {ratio:.4} times"));
        // What is more than K + M shards of exact length is the rounding of shards, to 64 KiB at most.
        ensure!((ideal..ideal * 1.005).contains(&ratio), "{name}: {ratio} times, and {ideal} are needed");
    }
    Ok(())
}
