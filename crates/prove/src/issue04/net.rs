//! A network of its own for each process, joined by a bridge: cables that can be pulled, and a clock that can be wrong.
//!
//! This program runs inside a network namespace made for it (`unshare --net`), which holds the bridge; each process has another one, held by
//! nothing but the process. When all are gone, so is the network.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The network's addresses: `10.213.0.1` is the bridge's, and process `nth` has `10.213.0.(nth + 10)`.
const SUBNET: &str = "10.213.0";

/// What each process is started through: it waits until its network is there.
pub const WRAPPER: &[&str] = &["unshare", "--net", "sh", "-c", "read -r _ && exec \"$0\" \"$@\""];

/// Makes the bridge. Call once, inside a namespace of this program's own.
pub fn found() -> Result<()> {
    ip("link set lo up")?;
    ip("link add name kvfs type bridge")?;
    ip(&format!("addr add {SUBNET}.1/24 dev kvfs"))?;
    ip("link set kvfs up")
}

/// The address of process `nth`.
pub fn address(nth: usize) -> String {
    format!("{SUBNET}.{}", nth + 10)
}

/// The address of this program.
pub fn hub() -> String {
    format!("{SUBNET}.1")
}

/// Lays a cable to the process with this id, as number `nth`.
pub fn connect(nth: usize, pid: u32) -> Result<()> {
    ip(&format!("link add v{nth} type veth peer name p{nth}"))?;
    ip(&format!("link set v{nth} master kvfs up"))?;
    // The process has its namespace as soon as `unshare` has run.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let own = std::fs::read_link("/proc/self/ns/net")?;
    while std::fs::read_link(format!("/proc/{pid}/ns/net"))? == own {
        ensure!(std::time::Instant::now() < deadline, "process {pid} has no network of its own");
        std::thread::yield_now();
    }
    ip(&format!("link set p{nth} netns {pid}"))?;
    within(pid, &format!("addr add {}/24 dev p{nth}", address(nth)))?;
    within(pid, &format!("link set p{nth} up"))?;
    within(pid, "link set lo up")
}

/// Pulls the cable of process `nth`, or puts it back.
pub fn cable(nth: usize, plugged: bool) -> Result<()> {
    ip(&format!("link set v{nth} {}", if plugged { "up" } else { "down" }))
}

/// Makes everything that the process with this id sends to `others` vanish, or lets it pass again.
pub fn blackhole(pid: u32, others: &[usize], on: bool) -> Result<()> {
    for other in others {
        within(pid, &format!("route {} blackhole {}", if on { "add" } else { "del" }, address(*other)))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    succeed(Command::new("ip").args(arguments.split(' ')))
}

fn within(pid: u32, arguments: &str) -> Result<()> {
    let target = pid.to_string();
    succeed(Command::new("nsenter").args(["--target", &target, "--net", "ip"]).args(arguments.split(' ')))
}

fn succeed(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {shown}"))?;
    match output.status.success() {
        true => Ok(()),
        false => bail!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}
