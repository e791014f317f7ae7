//! A store to talk to, and requests as bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running process, ended when dropped.
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Running {
    /// Starts `kvfs` and waits until it says that it serves.
    pub fn start(dir: &Path, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let ready = dir.join(format!("{name}.ready"));
        std::fs::remove_file(&ready).ok();
        let log = std::fs::File::create(dir.join(format!("{name}.log"))).unwrap();
        let child = kvfs(dir)
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready)
            .envs(variables.iter().copied())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut running = Self { child, address: String::new() };
        let deadline = Instant::now() + Duration::from_secs(60);
        while running.address.is_empty() {
            if let Ok(address) = std::fs::read_to_string(&ready) {
                running.address = address.trim().to_string();
            }
            let ended = running.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{name} is not ready: {ended:?}: {}", log());
            std::thread::yield_now();
        }
        running
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), pid]).status().unwrap().success());
    }

    /// Ends it as ctrl-c does, and waits.
    pub fn stop(mut self) {
        self.signal("INT");
        assert!(self.child.wait().unwrap().success(), "a bad end");
    }

    /// `kill -9`, and waits.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A `kvfs up` in a directory of its own.
pub struct Store {
    pub dir: TempDir,
    pub up: Running,
    pub secret: String,
    pub admin: String,
}

impl Store {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &[])
    }

    pub fn start_in(dir: TempDir, arguments: &[&str]) -> Self {
        Self::start_with(dir, arguments, &[])
    }

    pub fn start_with(dir: TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut all = vec!["up", "--addr", "127.0.0.1:0"];
        all.extend(arguments);
        let up = Running::start(dir.path(), "up", &all, variables);
        let secret = |name: &str| std::fs::read_to_string(dir.path().join("kvfs-data/secrets").join(name)).unwrap();
        let (url, admin) = (secret("urlkey"), secret("admin-token"));
        Self { dir, up, secret: url, admin }
    }

    /// Restarts it, gracefully or not.
    pub fn restart(self, gracefully: bool) -> Self {
        let Self { dir, up, .. } = self;
        if gracefully {
            up.stop()
        } else {
            up.kill()
        }
        Self::start_in(dir, &[])
    }

    /// `path` (as on the wire) signed for `method`, good for a minute.
    pub fn signed(&self, method: &str, path: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        self.signed_until(method, path, now + 60)
    }

    pub fn signed_until(&self, method: &str, path: &str, exp: i64) -> String {
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
        let sig = domain::urlkey::sign(self.secret.as_bytes(), method, &decoded, exp);
        format!("{path}?kid=v1&sig={sig}&exp={exp}")
    }

    /// A signed request.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.raw(method, &self.signed(method, path), headers, body)
    }

    /// An admin request.
    pub fn admin(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {}", self.admin);
        self.raw(method, path, &[("Authorization", &bearer)], body)
    }

    /// A request as it is given.
    pub fn raw(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        exchange(&self.up.address, method, target, headers, body)
    }

    /// Sends bytes and reads to the end.
    pub fn bytes(&self, request: &[u8]) -> Answer {
        send(&self.up.address, request)
    }

    /// Runs `kvfs` in the store's directory.
    pub fn kvfs(&self, arguments: &[&str]) -> Output {
        kvfs(self.dir.path()).args(arguments).output().unwrap()
    }
}

/// A request to whoever listens at `address`.
pub fn exchange(address: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: kvfs\r\nConnection: close\r\n");
    if !body.is_empty() || matches!(method, "PUT" | "POST") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    send(address, &[head.as_bytes(), b"\r\n", body].concat())
}

fn send(address: &str, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    // A server may answer and close before it has read everything.
    stream.write_all(request).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    Answer::parse(answer)
}

/// The binary, in a directory, with an empty environment.
pub fn kvfs(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvfs"));
    command.current_dir(dir).env_clear().env("KVFS_LOG", "warn").stdin(Stdio::null());
    command
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: Vec<u8>) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
    }

    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> String {
        let prefix = format!("{}: ", name.to_lowercase());
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&prefix));
        line.map(|line| line[prefix.len()..].to_string()).unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_string()
    }
}

/// Bytes without pattern, other ones for each `seed`.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut x = 0x9E37_79B9_7F4A_7C15_u64 ^ (seed << 32);
    let mut next = || {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        x.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}
