//! Large objects in stripes, with as many shards gone as may be, and with one more.

use anyhow::{Context, Result, ensure};
use client::NativeError;
use http::StatusCode;

use super::striped::{Lots, Striped, choices};
use crate::content::Content;
use crate::report::number;

/// What the gateway may have in memory, in KiB.
const MOST_MEMORY_KIB: u64 = 96 << 10;

/// One after the other, so that only one gateway's memory is looked at.
pub async fn run(quick: bool) -> Result<()> {
    for (scheme, k, m) in [("4+2", 4, 2), ("10+4", 10, 4)] {
        one(scheme, k, m, quick).await.with_context(|| scheme.to_string())?;
    }
    Ok(())
}

async fn one(scheme: &str, k: usize, m: usize, quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let striped = Striped::start(home.path(), k + m, scheme).await?;
    let content = Content { seed: 50 + k as u64, size: if quick { 64 << 20 } else { 1 << 30 } };
    striped.put("large", scheme, content).await?;
    striped.read("large", content).await?;
    let stripes = striped.stripes("large").await?;
    number(&format!("{scheme}: bytes, stripes"), format!("{}, {}", content.size, stripes.len()));

    let first: Vec<u8> = content.pieces().take(16 << 20 >> 16).flatten().take(stripes[0].data_len as usize).collect();
    let mut all = choices(k + m, m);
    if quick {
        let step = all.len().div_ceil(20);
        all = all.into_iter().step_by(step).collect();
    }
    for lost in &all {
        let _away = striped.lose(&stripes[0], lost)?;
        let mut download = striped.get("large", Some(0..stripes[0].data_len)).await?;
        let mut found = Vec::with_capacity(first.len());
        while let Some(piece) = download.next().await? {
            found.extend_from_slice(&piece);
        }
        ensure!(found == first, "without shards {lost:?} other bytes came");
    }
    number(&format!("{scheme}: ways to lose {m} of {} read back equal", k + m), all.len());

    let mut lots = Lots(0xEC);
    let lost = stripes.iter().map(|stripe| striped.lose(stripe, &lots.draw(k + m, m))).collect::<Result<Vec<_>>>()?;
    striped.read("large", content).await.with_context(|| format!("without {m} shards of each stripe"))?;
    drop(lost);
    number(&format!("{scheme}: {m} shards gone of each stripe"), "the object is equal");

    one_too_many(&striped, content, k, m).await?;
    let memory = striped.edge().memory_kib("VmHWM")?;
    number(&format!("{scheme}: the most that the gateway had resident"), format!("{:.1} MiB", memory as f64 / 1024.0));
    // A program without optimizations is twice as long, and so are its pages in memory.
    let counts = !cfg!(debug_assertions);
    ensure!(!counts || memory <= MOST_MEMORY_KIB, "{memory} KiB, and {MOST_MEMORY_KIB} are allowed");
    Ok(())
}

/// With K − 1 shards left there is an error: in place of an answer, or in the middle of one, and never other bytes.
async fn one_too_many(striped: &Striped, content: Content, k: usize, m: usize) -> Result<()> {
    let stripes = striped.stripes("large").await?;
    let lost: Vec<usize> = Lots(7).draw(k + m, m + 1);
    {
        let _away = striped.lose(&stripes[0], &lost)?;
        let error = striped.get("large", None).await.err().context("an object without its first stripe was sent")?;
        let refused = error.downcast_ref::<NativeError>();
        let right = matches!(refused, Some(NativeError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }));
        ensure!(right, "expected 503: {error:#}");
        number(&format!("with {} shards of the first stripe left", k - 1), "503");
    }
    let middle = stripes.len() / 2;
    let _away = striped.lose(&stripes[middle], &lost)?;
    let outcome = content.same(striped.get("large", None).await?).await;
    ensure!(outcome.is_err(), "an object without a stripe in the middle ended well: {outcome:?}");
    number(&format!("with {} shards of stripe {middle} left", k - 1), "equal up to there, and broken off");
    Ok(())
}
