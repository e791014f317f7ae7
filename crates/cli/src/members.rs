//! Verbs about the coordinators: who they are, and changing that while they run.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use api::admin::{CoordChange, CoordInfo};
use api::{Admin, AdminError};

use crate::output::Output;

/// How often a learner is looked at while it catches up.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Entries that it may lack when it gets its vote: the group refuses more, and this leaves it some room.
const CLOSE: u64 = 1_000;

/// Lists the coordinators.
pub async fn list(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    show(&admin.coordinators().await?, output, out)
}

/// Takes one in as a learner, and with `promote` waits until it has caught up and gives it a vote.
pub async fn add(admin: &dyn Admin, addr: &str, promote: bool, output: Output, out: &mut dyn Write) -> Result<()> {
    let node = take_in(admin, addr).await?;
    if promote {
        until_close(admin, node).await?;
        admin.change_coordinators(&CoordChange::Promote { node }).await?;
    }
    list(admin, output, out).await
}

/// Gives a learner its vote.
pub async fn promote(admin: &dyn Admin, member: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    let node = find(&admin.coordinators().await?, member)?;
    show(&admin.change_coordinators(&CoordChange::Promote { node }).await?, output, out)
}

/// Removes one.
pub async fn remove(admin: &dyn Admin, member: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    let node = find(&admin.coordinators().await?, member)?;
    show(&admin.change_coordinators(&CoordChange::Remove { node }).await?, output, out)
}

/// Takes `new` in, waits until it has caught up, and gives it the vote of `old`, which is removed. Interrupted, it goes on when it is called again.
pub async fn replace(admin: &dyn Admin, old: &str, new: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    let members = admin.coordinators().await?;
    let old = find(&members, old)?;
    let begun = members.iter().find(|member| member.addr == new && member.node != old && !member.voter);
    let new = match begun {
        Some(learner) => learner.node,
        None => take_in(admin, new).await?,
    };
    until_close(admin, new).await?;
    show(&admin.change_coordinators(&CoordChange::Replace { old, new }).await?, output, out)
}

/// Takes one in; its number.
async fn take_in(admin: &dyn Admin, addr: &str) -> Result<u64> {
    let before: Vec<u64> = admin.coordinators().await?.iter().map(|member| member.node).collect();
    let change = CoordChange::Add { addr: addr.into() };
    let after = admin.change_coordinators(&change).await?;
    let new = after.iter().find(|member| member.addr == addr && !before.contains(&member.node));
    Ok(new
        .ok_or_else(|| anyhow!("{addr} was taken in, and is not in the list; look at `kvfs coord members list`"))?
        .node)
}

/// Waits until a learner has about all of the log, and tells on stderr how far it is.
async fn until_close(admin: &dyn Admin, node: u64) -> Result<()> {
    let mut told = None;
    loop {
        let members = match admin.coordinators().await {
            Ok(members) => members,
            // An election, perhaps.
            Err(AdminError::Unavailable(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let lag = members.iter().find(|member| member.node == node).map(|member| member.lag);
        match lag {
            Some(Some(lag)) if lag <= CLOSE => return Ok(()),
            None if !members.is_empty() => bail!("coordinator {node} was removed meanwhile"),
            lag if lag != told => {
                told = lag;
                if let Some(Some(lag)) = lag {
                    eprintln!("coordinator {node} lacks {lag} entries");
                }
            }
            _ => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The number of the member that `text` means: a number, or an address that only one has.
fn find(members: &[CoordInfo], text: &str) -> Result<u64> {
    let by_number = text.parse::<u64>().ok();
    let mut fitting = members.iter().filter(|member| Some(member.node) == by_number || member.addr == text);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one.node),
        (Some(_), Some(_)) => bail!("several coordinators have the address {text}: say which by its number"),
        (None, _) => Err(anyhow!(AdminError::NotFound(format!("no coordinator of this group is {text}")))),
    }
}

fn show(members: &[CoordInfo], output: Output, out: &mut dyn Write) -> Result<()> {
    output.write(out, &members, |out, members| table(out, members))?;
    Ok(())
}

fn table(out: &mut dyn Write, members: &[CoordInfo]) -> io::Result<()> {
    writeln!(out, "{:<8} {:<24} {:<8} {:<8} {:>8}", "NUMBER", "ADDRESS", "VOTE", "ROLE", "LACKS")?;
    for member in members {
        let vote = if member.voter { "voter" } else { "learner" };
        let role = if member.leader { "leader" } else { "follower" };
        let lag = member.lag.map_or("?".to_string(), |lag| lag.to_string());
        writeln!(out, "{:<8} {:<24} {vote:<8} {role:<8} {lag:>8}", member.node, member.addr)?;
    }
    Ok(())
}
