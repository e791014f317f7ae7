//! Five coordinators: two may be lost, and a third may not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api::Admin;

use super::group::{Group, Shape};
use super::objects::{get_all, put_all};
use crate::report::number;

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut group = Group::start(home.path(), Shape { coords: 5, edges: 2, nodes: 3 }).await?;
    let each = if quick { 20 } else { 500 };
    let voters = group.admin().coordinators().await?.iter().filter(|member| member.voter).count();
    ensure!(voters == 5, "{voters} vote");
    put_all(&group, 0..each).await?;
    let mut lost = Vec::new();
    for round in 1..=2 {
        let leader = group.until_led().await?;
        let begun = Instant::now();
        group.kill_coord(leader).await?;
        lost.push(leader);
        put_all(&group, each * round..each * (round + 1))
            .await
            .with_context(|| format!("with {} of five", 5 - round))?;
        number(&format!("writes done with {} of five after", 5 - round), format!("{:.1?}", begun.elapsed()));
    }
    let third = group.until_led().await?;
    group.kill_coord(third).await?;
    ensure!(group.admin().status().await.is_err(), "two of five answer as if they were a majority");
    for nth in [third, lost[0], lost[1]] {
        group.spawn_again(nth)?;
    }
    group.until_led().await?;
    put_all(&group, each * 3..each * 4).await?;
    get_all(&group, 0..each * 4).await?;
    level(&group).await?;
    number("objects, all there", each * 4);
    Ok(())
}

/// Waits until all five hold the same log.
async fn level(group: &Group) -> Result<()> {
    let begun = Instant::now();
    loop {
        let members = group.admin().coordinators().await?;
        if members.iter().all(|member| member.lag == Some(0)) {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(30), "some lag: {members:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
