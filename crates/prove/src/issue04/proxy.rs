//! A proxy that makes a good network a bad one: everything late, or nothing in one direction.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What it does with what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Each piece is held for so long.
    pub delay: Duration,
    /// Nothing reaches the server.
    pub lose_requests: bool,
    /// Nothing comes back from it.
    pub lose_answers: bool,
}

/// A proxy in front of one server.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    weather: Arc<RwLock<Weather>>,
}

impl Proxy {
    /// Listens at a free port of `host` and forwards to `target`, for ever.
    pub async fn start(host: &str, target: String) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).await?;
        let (address, weather) = (listener.local_addr()?.to_string(), Arc::<RwLock<Weather>>::default());
        let shared = weather.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, target.clone(), shared.clone()));
            }
        });
        Ok(Self { address, weather })
    }

    /// Changes the weather, for connections that exist, too.
    pub fn set(&self, weather: Weather) {
        *self.weather.write() = weather;
    }
}

async fn forward(client: TcpStream, target: String, weather: Arc<RwLock<Weather>>) {
    let Ok(server) = TcpStream::connect(&target).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let requests = pump(from_client, to_server, weather.clone(), |weather| weather.lose_requests);
    let answers = pump(from_server, to_client, weather, |weather| weather.lose_answers);
    tokio::join!(requests, answers);
}

/// Passes bytes on until one side ends. What is lost of a stream cannot be mended, so the rest of it is lost as well.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    weather: Arc<RwLock<Weather>>,
    loses: fn(&Weather) -> bool,
) {
    let (mut buffer, mut broken) = (vec![0; 64 << 10], false);
    while let Ok(bytes) = from.read(&mut buffer).await {
        let now = *weather.read();
        broken |= loses(&now);
        if bytes == 0 {
            return;
        }
        if broken {
            continue;
        }
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
