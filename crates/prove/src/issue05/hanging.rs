//! Writes in stripes while nodes hang: acknowledged with as many shards as there must be, never with fewer, and the gap is known.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use client::NativeError;
use domain::Scheme;
use http::StatusCode;
use rustix::process::Signal;

use super::striped::{BUCKET, Striped, durable};
use crate::content::Content;
use crate::report::number;

/// A scheme, the nodes that there are, how many hang, and the shards that are durable of each stripe then; `None` is a refusal.
const CASES: [(&str, usize, usize, Option<usize>); 8] = [
    ("4+2", 6, 1, Some(5)),
    ("4+2", 6, 2, None),
    ("4+2", 7, 2, Some(5)),
    ("4+2", 8, 2, Some(6)),
    ("10+4", 14, 1, Some(13)),
    ("10+4", 14, 2, Some(12)),
    ("10+4", 14, 3, None),
    ("2+1", 3, 1, None),
];

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let cases = if quick { &CASES[..3] } else { &CASES[..] };
    for (scheme, nodes, hanging, expected) in cases {
        let what = format!("{scheme} on {nodes} nodes, {hanging} hang");
        one(&what, scheme, (*nodes, *hanging), *expected, quick).await.context(what)?;
    }
    Ok(())
}

async fn one(
    what: &str,
    scheme: &str,
    (nodes, hanging): (usize, usize),
    expected: Option<usize>,
    quick: bool,
) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut striped = Striped::start(home.path(), nodes, scheme).await?;
    let content = Content { seed: 70, size: if quick { 20 << 20 } else { 100 << 20 } };
    signal(&striped, 0..hanging, Signal::STOP)?;
    let begun = Instant::now();
    let put = striped.put("object", scheme, content).await;
    let took = begun.elapsed();
    let Some(expected) = expected else {
        let error = put.err().context("it was acknowledged, with too few shards")?;
        let status = match error.downcast_ref::<NativeError>() {
            Some(NativeError::Refused { status, .. }) => *status,
            _ => return Err(error),
        };
        ensure!(status.is_server_error(), "{error:#}");
        let head = striped.native().head(BUCKET, b"object").await;
        let gone = matches!(&head, Err(NativeError::Refused { status: StatusCode::NOT_FOUND, .. }));
        ensure!(gone, "the refused object is there: {head:?}");
        number(what, format!("refused with {} after {:.2} s", status.as_u16(), took.as_secs_f64()));
        return signal(&striped, 0..hanging, Signal::CONT);
    };
    let (shards, degraded) = (durable(&put?), striped.degraded().await?);
    let scheme: Scheme = scheme.parse()?;
    let fewest = shards.iter().copied().min().context("an object without stripes")?;
    // A busy machine may make one that does not hang look as if it did: that is a gap as well, down to the least.
    let right = |durable: &usize| (scheme.min_ack()..=expected).contains(durable);
    ensure!(shards.iter().all(right), "durable shards by stripe: {shards:?}; {expected} expected");
    let gaps = shards.iter().filter(|durable| **durable < scheme.shards()).count() as u64;
    ensure!(degraded == gaps, "{degraded} are degraded, and {gaps} of {} stripes have a gap", shards.len());
    let found = format!("{fewest} shards of each stripe, {degraded} of {} degraded", shards.len());
    number(what, format!("{found}, {:.2} s", took.as_secs_f64()));

    // Nothing of it hangs on those that hang: as many more may be lost as there are shards beyond K.
    let spare = fewest - scheme.data();
    for node in nodes - spare..nodes {
        striped.group.nodes[node].take().context("that node is down")?.kill().await?;
    }
    striped.read("object", content).await.with_context(|| format!("with {spare} more nodes gone"))?;
    number("  with more nodes killed, the object is equal", spare);
    signal(&striped, 0..hanging, Signal::CONT)
}

fn signal(striped: &Striped, nodes: std::ops::Range<usize>, signal: Signal) -> Result<()> {
    for node in nodes {
        striped.group.nodes[node].as_ref().context("that node is down")?.signal(signal)?;
    }
    Ok(())
}
