//! Real processes: a `kvfs up`, or data nodes and a gateway, started, stopped, killed and watched.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bootstrap::SystemClock;
use cli::ClientFile;
use client::{Native, TcpConnector};
use rustix::process::{Pid, Signal};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// How long a process may take to be ready before a test gives up on it.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The secret that the processes of a cluster under test share.
pub const CLUSTER_SECRET: &str = "the secret of a cluster under test";
const URL_SECRET: &str = "the url key of a cluster under test";
const ADMIN_TOKEN: &str = "the admin token of a cluster under test";

/// The `kvfs` under test: named by KVFS_BIN, or beside this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KVFS_BIN") {
        return Ok(path.into());
    }
    let beside = std::env::current_exe()?.with_file_name("kvfs");
    match beside.exists() {
        true => Ok(beside),
        false => bail!("there is no kvfs beside this program; build it, or name it with KVFS_BIN"),
    }
}

/// A port that nobody listens on at this moment, and that the system gives to no outgoing connection before it is listened on: it takes those from
/// 32768 upwards. Ports follow one another, so that no two of them are the same.
pub fn free_port() -> Result<u16> {
    const PORTS: std::ops::Range<u32> = 12_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let nth = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = (PORTS.start + nth) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}

/// One process, ended when dropped.
pub struct Daemon {
    child: Child,
    /// Where it listens.
    pub address: String,
    begun: Instant,
    /// How long it took from its start until it said that it serves.
    pub started_in: Duration,
}

impl Daemon {
    /// Starts `kvfs` with `arguments` and variables, and waits for its ready file. Output goes to `dir/NAME.log`.
    pub async fn start(dir: &Path, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        Self::start_by(dir, name, &[], arguments, variables, |_| Ok(())).await
    }

    /// The same by way of the program `wrapper`, which becomes `kvfs` once `prepare`, told its process id, is done and a line comes on its stdin.
    pub async fn start_by(
        dir: &Path,
        name: &str,
        wrapper: &[&str],
        arguments: &[&str],
        variables: &[(&str, &str)],
        prepare: impl FnOnce(u32) -> Result<()>,
    ) -> Result<Self> {
        let mut daemon = Self::spawn(dir, name, wrapper, arguments, variables)?;
        prepare(daemon.id()?)?;
        if let Some(mut stdin) = daemon.child.stdin.take() {
            stdin.write_all(b"go\n").await?;
        }
        daemon.until_ready(dir, name).await?;
        Ok(daemon)
    }

    /// Starts it, and waits for nothing.
    pub fn spawn(
        dir: &Path,
        name: &str,
        wrapper: &[&str],
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let ready = ready_file(dir, name);
        std::fs::remove_file(&ready).ok();
        let log = log_file(dir, name)?;
        let kvfs = binary()?;
        let mut command = match wrapper {
            [] => Command::new(&kvfs),
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest).arg(&kvfs);
                command
            }
        };
        let child = command
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready)
            .current_dir(dir)
            .env_clear()
            .env("KVFS_LOG", "warn")
            .envs(variables.iter().copied())
            .stdin(if wrapper.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, address: String::new(), begun: Instant::now(), started_in: Duration::ZERO })
    }

    /// Waits until it says that it serves.
    pub async fn until_ready(&mut self, dir: &Path, name: &str) -> Result<()> {
        let ready = ready_file(dir, name);
        self.address = loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                break text.trim().to_string();
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended with {status} before it was ready: {}", tail(dir, name));
            }
            if self.begun.elapsed() > READY_WITHIN {
                bail!("{name} was not ready after {READY_WITHIN:?}: {}", tail(dir, name));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        self.started_in = self.begun.elapsed();
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.id()? as i32).context("a process has a positive id")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("killing a process")
    }

    /// ctrl-c, and waits for a good end.
    pub async fn stop(mut self) -> Result<()> {
        self.signal(Signal::INT)?;
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        let status = status.context("it did not stop within 20 s")??;
        if !status.success() {
            bail!("it stopped with {status}");
        }
        Ok(())
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.id()?))?.count())
    }

    /// A line of `/proc/PID/status` in KiB, such as `VmHWM`, the most memory it ever had.
    pub fn memory_kib(&self, line: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let kib = found.and_then(|text| text.split_whitespace().next()).context("no such line")?;
        Ok(kib.parse()?)
    }
}

fn ready_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.ready"))
}

fn log_file(dir: &Path, name: &str) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(dir.join(format!("{name}.log")))?)
}

fn tail(dir: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// A client of the gateway at `address`.
pub fn native(address: &str, kid: &str, secret: &str) -> Native {
    Native::new(Arc::new(TcpConnector), Arc::new(SystemClock::new()), address, kid, secret.as_bytes())
}

/// A `kvfs up` in a directory.
pub struct Up {
    /// The process.
    pub daemon: Daemon,
    /// A client with its key.
    pub native: Native,
}

impl Up {
    /// Starts it, or starts it again.
    pub async fn start(dir: &Path, arguments: &[&str]) -> Result<Self> {
        let mut all = vec!["up", "--addr", "127.0.0.1:0"];
        all.extend(arguments);
        let daemon = Daemon::start(dir, "up", &all, &[]).await?;
        let client = ClientFile::read(&dir.join("kvfs-data/client.toml"))?;
        let native = native(&daemon.address, &client.kid, &client.secret);
        Ok(Self { daemon, native })
    }
}

/// Data nodes and a gateway that hosts the coordinator, each its own process.
pub struct Fleet {
    dir: PathBuf,
    ports: Vec<u16>,
    /// The data nodes.
    pub nodes: Vec<Option<Daemon>>,
    /// The gateway.
    pub edge: Daemon,
    /// A client with its key.
    pub native: Native,
}

impl Fleet {
    /// Starts `count` data nodes and a gateway over them.
    pub async fn start(dir: &Path, count: usize) -> Result<Self> {
        let ports = (0..count).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let mut nodes = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            nodes.push(Some(start_node(dir, index, *port).await?));
        }
        let dns: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let variables = [
            ("KVFS_CLUSTER_SECRET", CLUSTER_SECRET),
            ("KVFS_ADMIN_TOKEN", ADMIN_TOKEN),
            ("EDGE_URLKEY_SECRET", URL_SECRET),
            ("EDGE_DNS", &dns.join(",")),
            ("EDGE_ADDR", "127.0.0.1:0"),
            ("EDGE_DATA_DIR", "edge"),
        ];
        let edge = Daemon::start(dir, "edge", &["edge"], &variables).await?;
        let native = native(&edge.address, "v1", URL_SECRET);
        Ok(Self { dir: dir.to_path_buf(), ports, nodes, edge, native })
    }

    /// A node's process.
    pub fn node(&mut self, index: usize) -> Result<&mut Daemon> {
        self.nodes[index].as_mut().context("that node is down")
    }

    /// Kills a node.
    pub async fn kill_node(&mut self, index: usize) -> Result<()> {
        self.node(index)?.kill().await?;
        self.nodes[index] = None;
        Ok(())
    }

    /// Starts a killed node again.
    pub async fn restart_node(&mut self, index: usize) -> Result<()> {
        self.nodes[index] = Some(start_node(&self.dir, index, self.ports[index]).await?);
        Ok(())
    }

    /// A node's chunk files.
    pub fn chunk_files(&self, index: usize) -> Result<Vec<PathBuf>> {
        chunk_files(&self.dir.join(format!("dn{index}")))
    }
}

/// The chunk files under a data node's directory.
pub fn chunk_files(node: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for bucket in std::fs::read_dir(node.join("chunks"))? {
        for file in std::fs::read_dir(bucket?.path())? {
            files.push(file?.path());
        }
    }
    files.sort();
    Ok(files)
}

async fn start_node(dir: &Path, index: usize, port: u16) -> Result<Daemon> {
    let (name, addr) = (format!("dn{index}"), format!("127.0.0.1:{port}"));
    let variables =
        [("KVFS_CLUSTER_SECRET", CLUSTER_SECRET), ("DN_ID", &name), ("DN_ADDR", &addr), ("DN_DATA_DIR", &name)];
    Daemon::start(dir, &name, &["dn"], &variables).await
}
