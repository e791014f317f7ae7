//! The first minute: start in an empty directory, store a file, fetch it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::cluster::{Daemon, Up, binary, free_port};
use crate::content::Content;
use crate::report::number;

/// Starts, looks from outside what is served when, and runs the next two commands.
pub async fn run() -> Result<()> {
    let home = tempfile::tempdir()?;
    let dir = home.path();
    let address = format!("127.0.0.1:{}", free_port()?);
    let begun = Instant::now();
    let arguments = ["up", "--addr", &address];
    let starting = Daemon::start(dir, "up", &arguments, &[]);
    let (daemon, first_answer) = tokio::join!(starting, first_answer(&address, begun));
    let (daemon, first_answer) = (daemon?, first_answer?);
    number("first request answered after", format!("{} ms", first_answer.as_millis()));
    number("ready file written after", format!("{} ms", daemon.started_in.as_millis()));
    ensure!(first_answer < Duration::from_secs(2), "the first request was answered after {first_answer:?}");

    let source = dir.join("notes.txt");
    std::fs::write(&source, Content { seed: 1, size: 10_000 }.bytes())?;
    kvfs(dir, &["put", "notes.txt", "demo/notes.txt"]).await?;
    kvfs(dir, &["get", "demo/notes.txt", "copy.txt"]).await?;
    ensure!(std::fs::read(&source)? == std::fs::read(dir.join("copy.txt"))?, "the copy differs");
    ensure!(kvfs(dir, &["ls", "demo"]).await?.trim() == "notes.txt", "the list differs");
    let missing = kvfs(dir, &["get", "demo/nothing"]).await.expect_err("there is no such object");
    ensure!(missing.to_string().contains("exit status: 3"), "a missing object: {missing}");
    daemon.stop().await?;

    let again = Up::start(dir, &[]).await?;
    let found = again.native.get("demo", b"notes.txt", http::HeaderMap::new()).await?;
    ensure!(Content { seed: 1, size: 10_000 }.same(found).await?, "a second start finds something else");
    number("second start, ready after", format!("{} ms", again.daemon.started_in.as_millis()));
    again.daemon.stop().await
}

/// When the listener answers a request for the first time; until then connections wait or are refused, and nothing is served.
async fn first_answer(address: &str, begun: Instant) -> Result<Duration> {
    while begun.elapsed() < Duration::from_secs(30) {
        if let Ok(mut stream) = tokio::net::TcpStream::connect(address).await {
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "something was served before the store was ready: {answer}");
            return Ok(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    anyhow::bail!("nothing was served within 30 s")
}

/// Runs `kvfs` in `dir`, as a person would, and gives what it printed.
pub async fn kvfs(dir: &std::path::Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary()?)
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .await
        .context("running kvfs")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kvfs {}: {}: {}", arguments.join(" "), output.status, stderr.trim());
    Ok(String::from_utf8(output.stdout)?)
}
