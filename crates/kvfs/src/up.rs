//! `kvfs up`: a whole store in one process, over in-process seams.
//!
//! Nothing is served before the store can keep what it acknowledges: nodes opened and stamped, metadata recovered, a lease held.
//! Then it puts and gets an object of its own through the listener, and only then says that it is ready.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use api::Metadata;
use api::poison::EXIT_POISONED;
use bootstrap::metrics::Metrics;
use bootstrap::server::Server;
use bootstrap::settings::Sources;
use bootstrap::{access_log, shutdown};
use bytes::Bytes;
use cli::ClientFile;
use cli::client_file::secret_text;
use client::{Native, TcpConnector};
use coord::Coordinator;
use coord::http::health_router;
use domain::urlkey::UrlKey;
use edge::{Auth, Counts, Edge, UrlKeys};
use futures_util::future::try_join_all;
use objects::Objects;
use tokio_util::sync::CancellationToken;

use crate::front::{Front, coordinator_admin};
use crate::home::{Home, Secrets};
use crate::hosting::Hosting;
use crate::measure;
use crate::settings::{self, Up};
use crate::wiring::{
    HttpNodes, LocalNodes, World, exit_code, first_key, gateway_options, open_group, sealer, start_coordinator,
    write_ready_file,
};

/// Runs until ctrl-c.
pub async fn run(sources: Sources) -> Result<ExitCode> {
    let begun = Instant::now();
    let (settings, resolved) = settings::up(sources)?;
    for setting in &resolved {
        tracing::debug!(name = setting.name, value = setting.value, origin = %setting.origin, "setting");
    }
    let stop = shutdown::on_signals()?;
    let world = World::real();
    let home = Home(settings.data_dir.clone());
    if home.ports_file().exists() {
        bail!("{} was made by `kvfs up --processes`; start it so, or choose another --data-dir", home.0.display());
    }
    let secrets = home.prepare(&*world.entropy)?;
    // Bound before anything is opened, so that a taken port is told at once; served only when all is well.
    let server = Server::bind(&settings.addr).await?;
    let opened = async {
        let store = Store::open(&world, &home, &secrets, &settings).await?;
        store.objects.until_ready(true).await;
        Ok::<_, anyhow::Error>(store)
    };
    let store = tokio::select! {
        store = opened => store?,
        () = stop.cancelled() => bail!("stopped before the store was ready"),
    };
    let outcome = store.serve(&world, &home, &secrets, &settings, server, stop, begun).await;
    store.close().await;
    // A disk may have failed while the last requests ran, or while the metadata was saved.
    match outcome {
        Ok(_) if store.is_poisoned() => Ok(ExitCode::from(EXIT_POISONED)),
        outcome => outcome,
    }
}

/// The parts of a running store.
struct Store {
    nodes: BTreeMap<String, dn::Node>,
    coordinator: Coordinator,
    objects: Objects,
    keys: UrlKeys,
}

impl Store {
    async fn open(world: &World, home: &Home, secrets: &Secrets, settings: &Up) -> Result<Self> {
        let count = settings.nodes.max(home.nodes());
        if count > settings.nodes {
            tracing::info!(count, "this directory has more data nodes than were asked for; all of them run");
        }
        let names: Vec<_> = (1..=count).map(settings::node_name).collect();
        let options = dn::Options {
            reserve_bytes: settings.reserve_bytes,
            // The gateway's budget bounds what is on its way: in one process the nodes share its memory.
            write_budget_bytes: settings.objects.budget_bytes as u64,
            ..dn::Options::default()
        };
        let open = names.iter().cloned().zip(std::iter::repeat(options)).map(|(name, options)| async move {
            let (disk, clock, entropy) = (world.disk.clone(), world.clock.clone(), world.entropy.clone());
            let node = dn::Node::open(disk, clock, entropy, home.node(&name), options).await;
            let node = node.with_context(|| format!("opening data node {name}"))?;
            Ok::<_, anyhow::Error>((name, node))
        });
        let meta = home.meta();
        let (nodes, group) = tokio::try_join!(try_join_all(open), open_group(world, &meta, &settings.log))?;
        let nodes: BTreeMap<_, _> = nodes.into_iter().collect();
        for (name, node) in &nodes {
            warn_if_poisoned(name.clone(), node);
        }
        let others = HttpNodes(world.http_to_nodes(Some(&secrets.cluster)));
        let connect = Arc::new(LocalNodes { nodes: nodes.clone(), others });
        let loops = coord::Settings {
            nodes: names,
            url_key: Some(first_key(&secrets.url_key, &*world.clock)),
            sealer: sealer(world, &home.meta(), Some(&secrets.cluster))?,
            ..settings.coord.clone()
        };
        let coordinator = start_coordinator(world, group, connect.clone(), loops).await?;
        let meta = Arc::new(coordinator.clone());
        let objects = Objects::start(meta.clone(), connect, settings.objects.clone());
        let keys = UrlKeys::follow(meta, objects.views());
        keys.until_ready().await;
        Ok(Self { nodes, coordinator, objects, keys })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one process, wired once")]
    async fn serve(
        &self,
        world: &World,
        home: &Home,
        secrets: &Secrets,
        settings: &Up,
        server: Server,
        stop: CancellationToken,
        begun: Instant,
    ) -> Result<ExitCode> {
        let address = server.address();
        let metrics = Metrics::new();
        measure::gateway(&metrics, &self.objects);
        measure::coordinator(&metrics, Arc::new(self.coordinator.clone()));
        measure::log(&metrics, self.coordinator.group().clone());
        let (auth, clock) = (Auth::UrlKey(self.keys.clone()), world.clock.clone());
        let counts = Counts::register(&metrics);
        let edge = Edge { objects: self.objects.clone(), auth, clock, counts, writes_go_to: None };
        let admin = Arc::new(self.coordinator.clone());
        let token = coord::http::AdminAuth::Token(String::from_utf8_lossy(secrets.admin.expose()).into());
        let front = Front::gateway(edge::router(edge), coordinator_admin(self.coordinator.clone(), token))
            .with("/v1/coord/healthz", health_router(Hosting::Alone(self.coordinator.group().clone()).health()))
            .with_coordinator(admin, Some(secrets.cluster.clone()), world);
        let router = access_log::log(front.router(), metrics.clone(), world.clock.clone(), world.entropy.clone());
        let router = metrics.serve(router, true);
        let failed = self.coordinator.group().failed();
        let serving = tokio::spawn(server.run(router, gateway_options(&self.objects), stop.clone()));

        let key = self.primary_key().await?;
        let client = ClientFile {
            endpoint: address.to_string(),
            admin: None,
            secret: secret_text(&key.secret),
            kid: key.kid,
            admin_token: Some(String::from_utf8_lossy(secrets.admin.expose()).into()),
        };
        client.write(&home.client_file())?;
        try_it(world, &client).await.context("the store does not keep its own test object")?;
        write_ready_file(settings.ready_file.as_deref(), &format!("{address}\n"))?;
        say_ready(&client, settings, self.nodes.len(), begun);

        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(ExitCode::SUCCESS),
            reason = failed => {
                tracing::error!(reason, "the metadata failed; stopping");
                stop.cancel();
                Ok(exit_code(self.coordinator.group().is_poisoned()))
            }
        };
        serving.await.ok();
        outcome
    }

    /// The URL key that new URLs are signed with: the first one, until somebody has rotated.
    async fn primary_key(&self) -> Result<UrlKey> {
        let keys = self.coordinator.url_keys().await.context("reading the URL keys")?;
        keys.into_iter().find(|key| key.primary).context("the registry has no primary URL key that can be opened")
    }

    fn is_poisoned(&self) -> bool {
        self.coordinator.group().is_poisoned() || self.nodes.values().any(|node| node.pulse().1.is_some())
    }

    async fn close(&self) {
        self.objects.close().await;
        if let Err(error) = self.coordinator.group().shutdown().await {
            tracing::warn!(%error, "the metadata was not saved on the way out");
        }
    }
}

fn warn_if_poisoned(name: String, node: &dn::Node) {
    let poisoned = node.poisoned();
    tokio::spawn(async move {
        let reason = poisoned.await;
        tracing::error!(node = name, reason, "a sync failed: this node serves verified reads only from now on");
    });
}

/// Puts an object through the store's own listener, gets it back, and removes it.
pub async fn try_it(world: &World, client: &ClientFile) -> Result<()> {
    let (clock, secret) = (world.clock.clone(), client.secret_bytes()?);
    let native = Native::new(Arc::new(TcpConnector), clock, &client.endpoint, &client.kid, &secret);
    let (bucket, key) = ("kvfs-selfcheck", format!("{:016x}", world.entropy.u64()).into_bytes());
    let bytes = Bytes::from(key.clone());
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes.clone())]);
    native.put(bucket, &key, Some(bytes.len() as u64), http::HeaderMap::new(), body).await?;
    let mut download = native.get(bucket, &key, http::HeaderMap::new()).await?;
    let mut found = Vec::new();
    while let Some(piece) = download.next().await? {
        found.extend_from_slice(&piece);
    }
    if found != bytes {
        bail!("{} bytes were put, and {} others came back", bytes.len(), found.len());
    }
    native.delete(bucket, &key).await?;
    // Somebody else may use a bucket of that name.
    native.delete_bucket(bucket).await.ok();
    Ok(())
}

fn say_ready(client: &ClientFile, settings: &Up, nodes: usize, begun: Instant) {
    let copies = settings.objects.copies;
    println!(
        "kvfs is ready on http://{} after {} ms: {nodes} data nodes, {copies} copies of each chunk, data in {}",
        client.endpoint,
        begun.elapsed().as_millis(),
        settings.data_dir.display()
    );
    say_next();
}

/// Shows the next command to type.
pub fn say_next() {
    println!("next:  kvfs put README.md demo/README.md    (in this directory, from another terminal)");
}
