//! A program that holds connections and does nothing: `prove hold ADDRESS COUNT`.
//!
//! It is a process of its own, because each end of a connection needs a file descriptor and one process may not have enough for
//! both. It prints `held N` once all are open, and `closed N after S s` when the other side has closed them all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Connections opened at the same time.
const AT_ONCE: usize = 200;

/// Opens them, and waits until they are closed.
pub async fn hold(arguments: &[String]) -> Result<()> {
    let [address, count] = arguments else { bail!("expected an address and a number of connections") };
    let count: usize = count.parse().context("a number of connections")?;
    bootstrap::system::raise_file_limit();
    let opening = (0..count).map(|_| TcpStream::connect(address));
    let held: Vec<TcpStream> = futures_util::stream::iter(opening).buffer_unordered(AT_ONCE).try_collect().await?;
    println!("held {}", held.len());
    let begun = Instant::now();
    let ending = held.into_iter().map(|mut stream| async move { stream.read(&mut [0; 64]).await });
    let ended = futures_util::stream::iter(ending).buffer_unordered(count).count().await;
    println!("closed {ended} after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The program, while it holds connections.
pub struct Holder {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Holder {
    /// Starts it, and returns once all `count` connections to `address` are open.
    pub async fn start(address: &str, count: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", address, &count.to_string()])
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let mut holder = Self { child, lines };
        let held = holder.line().await?;
        ensure!(held == format!("held {count}"), "{held}");
        Ok(holder)
    }

    /// Waits until all are closed; the line that says so.
    pub async fn closed(mut self) -> Result<String> {
        let line = self.line().await?;
        self.child.wait().await?;
        Ok(line)
    }

    async fn line(&mut self) -> Result<String> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        line.context("nothing was said for a minute")??.context("it ended")
    }
}
