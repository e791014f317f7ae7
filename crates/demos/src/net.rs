//! A network of its own for each process, joined by a bridge: cables that can be pulled.
//!
//! The program that starts them runs inside a network namespace made for it (`unshare --net`), which holds the bridge; each process has another
//! one, held by nothing but the process. When all are gone, so is the network. Who is not root gets one in a user namespace, where the
//! system allows that.

use std::io;
use std::process::{Command, Stdio};

/// The network's addresses: `10.213.0.1` is the bridge's, and process `nth` has `10.213.0.(nth + 10)`.
const SUBNET: &str = "10.213.0";

/// What each process is started through: it waits until its network is there.
pub const WRAPPER: &[&str] = &["unshare", "--net", "sh", "-c", "read -r _ && exec \"$0\" \"$@\""];

/// The command that runs another one inside a network namespace of its own, with the rights to found a network there. Asks the system
/// whether it may.
pub fn outer() -> io::Result<Vec<&'static str>> {
    let ways: [&[&str]; 2] = [&["unshare", "--net"], &["unshare", "--user", "--map-root-user", "--net"]];
    let works = |way: &&&[&str]| succeed(Command::new(way[0]).args(&way[1..]).arg("true")).is_ok();
    let way = ways.iter().find(works).map(|way| way.to_vec());
    way.ok_or_else(|| {
        io::Error::other("this system gives no network namespaces: run it as root, or allow user namespaces")
    })
}

/// Makes the bridge. Call once, inside a namespace of this program's own.
pub fn found() -> io::Result<()> {
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
pub fn connect(nth: usize, pid: u32) -> io::Result<()> {
    // That of a process before it goes with its network, and not at once.
    ip(&format!("link del v{nth}")).ok();
    ip(&format!("link add v{nth} type veth peer name p{nth}"))?;
    ip(&format!("link set v{nth} master kvfs up"))?;
    // The process has its namespace as soon as `unshare` has run.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let own = std::fs::read_link("/proc/self/ns/net")?;
    while std::fs::read_link(format!("/proc/{pid}/ns/net"))? == own {
        if std::time::Instant::now() > deadline {
            return Err(io::Error::other(format!("process {pid} has no network of its own")));
        }
        std::thread::yield_now();
    }
    ip(&format!("link set p{nth} netns {pid}"))?;
    within(pid, &format!("addr add {}/24 dev p{nth}", address(nth)))?;
    within(pid, &format!("link set p{nth} up"))?;
    within(pid, "link set lo up")
}

/// Pulls the cable of process `nth`, or puts it back.
pub fn cable(nth: usize, plugged: bool) -> io::Result<()> {
    ip(&format!("link set v{nth} {}", if plugged { "up" } else { "down" }))
}

/// Makes everything that the process with this id sends to `others` vanish, or lets it pass again.
pub fn blackhole(pid: u32, others: &[usize], on: bool) -> io::Result<()> {
    for other in others {
        within(pid, &format!("route {} blackhole {}", if on { "add" } else { "del" }, address(*other)))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> io::Result<()> {
    succeed(Command::new("ip").args(arguments.split(' ')))
}

fn within(pid: u32, arguments: &str) -> io::Result<()> {
    let target = pid.to_string();
    succeed(Command::new("nsenter").args(["--target", &target, "--net", "ip"]).args(arguments.split(' ')))
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let shown = format!("{command:?}");
    let failed = |why: String| io::Error::other(format!("{shown}: {why}"));
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_string())),
    }
}
