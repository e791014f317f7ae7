//! One real process of the cluster, which never outlives the value that stands for it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal as Posix};
use tokio::time::Instant;

use crate::cluster::{Condition, DemoError, Signal, Who};
use crate::net;

/// How long a process may take until it serves: on a busy machine, all of this.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often a file is looked for that a process will write.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// A child process; killed when dropped.
pub struct Process {
    who: Who,
    child: Child,
    stopped: bool,
    dead: bool,
    log: PathBuf,
    ready: PathBuf,
    /// Where it listens, once it is ready.
    pub address: String,
}

impl Process {
    /// Starts `binary ROLE` in `dir` with these variables and no others, in network `network` of [`net`] if that is given. Output goes to a log
    /// file there.
    pub fn spawn(
        binary: &Path,
        dir: &Path,
        who: Who,
        role: &str,
        variables: &[(String, String)],
        network: Option<usize>,
    ) -> Result<Self, DemoError> {
        let (log, ready) = (dir.join(format!("{who}.log")), dir.join(format!("{who}.ready")));
        std::fs::remove_file(&ready).ok();
        let problem = |what: &str| DemoError::io(format!("{what} {who}"));
        let output = append(&log).map_err(problem("opening the log of"))?;
        let errors = output.try_clone().map_err(problem("opening the log of"))?;
        let mut command = match network {
            None => Command::new(binary),
            Some(_) => {
                let mut command = Command::new(net::WRAPPER[0]);
                command.args(&net::WRAPPER[1..]).arg(binary);
                command
            }
        };
        let mut child = command
            .arg(role)
            .arg("--ready-file")
            .arg(&ready)
            .current_dir(dir)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("KVFS_LOG", "warn")
            // It stops when its input ends: even a demo that is killed leaves nothing behind.
            .env("KVFS_SUPERVISED", "1")
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(problem("starting"))?;
        if let Some(nth) = network {
            let pid = child.id();
            let connected = net::connect(nth, pid).and_then(|()| match &mut child.stdin {
                Some(begin) => begin.write_all(b"\n"),
                None => Ok(()),
            });
            if let Err(error) = connected {
                child.kill().and_then(|()| child.wait()).ok();
                return Err(problem("giving a network to")(error));
            }
        }
        Ok(Self { who, child, stopped: false, dead: false, log, ready, address: String::new() })
    }

    /// Waits until it says that it serves.
    pub async fn until_ready(&mut self) -> Result<(), DemoError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(address) = std::fs::read_to_string(&self.ready)
                && address.ends_with('\n')
            {
                self.address = address.trim().to_string();
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(DemoError::io("watching a process"))?;
            if let Some(status) = ended {
                self.dead = true;
                return Err(self.problem(format!("ended with {status} before it served: {}", self.last_words())));
            }
            if Instant::now() > deadline {
                return Err(self.problem(format!("does not serve after {READY_WITHIN:?}: {}", self.last_words())));
            }
            // waits: for a file that another process writes, within a deadline
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it is. A process that ended by itself is dead too.
    pub fn condition(&mut self) -> Condition {
        self.dead |= matches!(self.child.try_wait(), Ok(Some(_)));
        match (self.dead, self.stopped) {
            (true, _) => Condition::Dead,
            (_, true) => Condition::Stopped,
            _ => Condition::Running,
        }
    }

    /// Whether it was neither killed nor held still, as far as is known without looking.
    pub fn answers(&self) -> bool {
        !self.dead && !self.stopped
    }

    /// Does something to it. A killed process is gone when this returns.
    pub fn signal(&mut self, signal: Signal) -> Result<(), DemoError> {
        if self.condition() == Condition::Dead {
            return Err(self.problem("is dead already".into()));
        }
        match signal {
            Signal::Kill => {
                self.child.kill().map_err(DemoError::io("killing a process"))?;
                self.child.wait().map_err(DemoError::io("waiting for a killed process"))?;
                self.dead = true;
            }
            Signal::Stop => self.send(Posix::STOP)?,
            Signal::Continue => self.send(Posix::CONT)?,
        }
        self.stopped = signal == Signal::Stop;
        Ok(())
    }

    fn send(&self, signal: Posix) -> Result<(), DemoError> {
        let pid = Pid::from_raw(self.child.id() as i32).ok_or_else(|| self.problem("has no id".into()))?;
        let sent = rustix::process::kill_process(pid, signal);
        sent.map_err(|error| DemoError::io("signalling a process")(error.into()))
    }

    /// The most memory it ever had: `VmHWM` of `/proc/PID/status`.
    pub fn peak_bytes(&self) -> Result<u64, DemoError> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).map_err(DemoError::io(format!("reading {path}")))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| self.problem(format!("{path} has no VmHWM")))
    }

    /// What it has logged.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        let log = self.logged();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }

    fn problem(&self, problem: String) -> DemoError {
        DemoError::Process { who: self.who, problem }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.dead {
            // A stopped process dies of SIGKILL as well; one that is gone cannot be killed, which is fine.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
