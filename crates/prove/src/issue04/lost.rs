//! Coordinators that lose their disks: one of three, and two of three.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::Admin;
use api::admin::CoordChange;
use bytes::Bytes;
use http::HeaderMap;

use super::group::{Group, Setup, USUAL};
use crate::report::number;

const BUCKET: &str = "lost";

/// How long a million objects may take to be filled in, or to be caught up with.
const LONG: Duration = Duration::from_secs(1_200);

/// One of three loses its disk: it comes back under another number, while writes go on.
pub async fn one(group: &mut Group, begin: u64) -> Result<()> {
    let leader = group.until_led().await?;
    let lost = (leader + 1) % group.coords.len();
    let address = group.coord_addrs[lost].clone();
    let old = number_of(group, &address).await?;
    group.kill_coord(lost).await?;
    std::fs::remove_dir_all(group.dir.join(format!("coord{lost}")))?;
    let newcomer = group.spawn_coord(lost)?;
    group.until_waiting(lost, "lost its disk").await.context("a wiped coordinator says what it is")?;
    let begun = Instant::now();
    let (leader_dir, own_dir) = (group.dir.join(format!("coord{leader}")), group.dir.join(format!("coord{lost}")));
    let leader_before = bytes_in(&leader_dir)?;
    let admin = group.admin();
    let members = admin.change_coordinators(&CoordChange::Add { addr: address.clone() }).await?;
    let new = members.iter().find(|member| member.addr == address && member.node != old);
    let new = new.context("the newcomer is listed")?.node;
    ensure!(new != old, "the lost number was given out again");
    let mut written = begin;
    loop {
        put(group, written).await?;
        written += 1;
        let members = admin.coordinators().await?;
        let lag = members.iter().find(|member| member.node == new).and_then(|member| member.lag);
        if lag.is_some_and(|lag| lag < 1_000) {
            break;
        }
        ensure!(begun.elapsed() < LONG, "it does not catch up: {lag:?} entries lacking");
    }
    number(
        "a wiped coordinator caught up after",
        format!("{:.1?}, {} writes meanwhile", begun.elapsed(), written - begin),
    );
    let (leader_after, own) = (bytes_in(&leader_dir)?, bytes_in(&own_dir)?);
    let told = std::fs::read_to_string(group.dir.join(format!("coord{leader}.log")))?;
    let sent =
        told.lines().rfind(|line| line.contains("snapshot sent")).context("no snapshot was sent to the newcomer")?;
    number("the snapshot that it was sent", sent.rsplit_once("snapshot sent").map_or(sent, |(_, what)| what.trim()));
    number("the newcomer's files after that", mib(own));
    number("the leader's files before and after", format!("{}, {}", mib(leader_before), mib(leader_after)));
    let members = admin.change_coordinators(&CoordChange::Replace { old, new }).await?;
    ensure!(members.iter().filter(|member| member.voter).count() == 3, "three vote: {members:?}");
    ensure!(members.iter().all(|member| member.node != old), "the lost one is gone: {members:?}");
    group.coords[lost] = Some(newcomer);
    // Its vote counts: with the other follower dead, it and the leader go on.
    let leader = group.until_led().await?;
    let third = (0..3).find(|nth| *nth != leader && *nth != lost).context("a third coordinator")?;
    group.kill_coord(third).await?;
    put(group, written).await.context("with the newcomer's vote")?;
    group.restart_coord(third).await?;
    for nth in begin..=written {
        get(group, nth).await?;
    }
    Ok(())
}

/// Two of three lose their disks and are started pristine: no second group, a clear message, and the third keeps what it has.
pub async fn two(group: &mut Group) -> Result<()> {
    put(group, 1_000_000).await?;
    // What only the two have is the price of recovering from the third; this is about the rest.
    let begun = Instant::now();
    while group.admin().coordinators().await?.iter().any(|member| member.lag != Some(0)) {
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "some coordinator lags: {:?}",
            group.admin().coordinators().await?
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let lost = [0, 1];
    for nth in lost {
        group.kill_coord(nth).await?;
        std::fs::remove_dir_all(group.dir.join(format!("coord{nth}")))?;
    }
    let mut pristine = Vec::new();
    for nth in lost {
        pristine.push(group.spawn_coord(nth)?);
    }
    for nth in lost {
        group.until_waiting(nth, "no second group is founded").await?;
    }
    for nth in lost {
        ensure!(group.leads(nth).await == Some(false), "a pristine coordinator leads");
    }
    ensure!(group.admin().status().await.is_err(), "one of three answers as if it were a majority");
    number("two of three wiped", "no second group; they say who holds the first");
    drop(pristine);
    recover(group).await.context("recovering by the documented way")
}

/// The way that `kvfs coord members recover --help` describes.
async fn recover(group: &mut Group) -> Result<()> {
    let survivor = 2;
    let address = group.coord_addrs[survivor].clone();
    group.kill_coord(survivor).await?;
    let dir = format!("coord{survivor}");
    let refused = group.kvfs(&["coord", "members", "recover", "--data-dir", &dir, "--self-url", &address]).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("--accept-loss")), "it does not name its price");
    let begun = Instant::now();
    let accepted = ["coord", "members", "recover", "--data-dir", &dir, "--self-url", &address, "--accept-loss"];
    group.kvfs(&accepted).await?;
    group.restart_coord(survivor).await?;
    get(group, 1_000_000).await.context("what the survivor had")?;
    for nth in [0, 1] {
        std::fs::remove_dir_all(group.dir.join(format!("coord{nth}")))?;
        let newcomer = group.spawn_coord(nth)?;
        group.until_waiting(nth, "no second group is founded").await?;
        let (coords, own) = (address.clone(), group.coord_addrs[nth].clone());
        group.kvfs(&["coord", "members", "add", &own, "--promote", "--coord", &coords]).await?;
        group.coords[nth] = Some(newcomer);
    }
    // The gateways' leases were of the old generation; they notice when they renew them.
    while let Err(error) = put(group, 1_000_001).await {
        ensure!(begun.elapsed() < Duration::from_secs(60), "in the new generation: {error:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let voters = group.admin().coordinators().await?.iter().filter(|member| member.voter).count();
    ensure!(voters == 3, "{voters} voters after the recovery");
    let held = group.admin().status().await?.hold_deletes;
    ensure!(held.is_some(), "deletes are not on hold after a recovery");
    group.kvfs(&["meta", "release-hold", "--coord", &address]).await.context("releasing the hold")?;
    let held = group.admin().status().await?.hold_deletes;
    ensure!(held.is_none(), "the hold was released, and yet: {held:?}");
    group.kill_coord(survivor).await?;
    put(group, 1_000_002).await.context("without the survivor")?;
    get(group, 1_000_000).await?;
    number("recovered from one survivor to three voters in", format!("{:.1?}", begun.elapsed()));
    Ok(())
}

/// The section.
pub async fn run(quick: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    // So short that who begins anew cannot be helped by the log alone.
    let short = |nth| [(nth, "COORD_LOG_KEEP", "5s".to_string()), (nth, "KVFS_LOG", "warn,consensus=info".to_string())];
    let coord_extra = (0..3).flat_map(short).collect();
    let mut group = Group::start_as(home.path(), USUAL, Setup { coord_extra, ..Setup::default() }).await?;
    fill(&group, quick).await.context("filling")?;
    one(&mut group, if quick { 50 } else { 2_000 }).await.context("one of three")?;
    two(&mut group).await.context("two of three")
}

/// As many objects as make a snapshot large, and a log that no longer reaches back to the first.
async fn fill(group: &Group, quick: bool) -> Result<()> {
    let (objects, chunks) = if quick { ("2000", "50") } else { ("1000000", "10000") };
    let (begun, coords) = (Instant::now(), group.coords_list());
    let wanted = ["bench", "meta", "--objects", objects, "--concurrency", "256", "--chunks", chunks];
    let endpoint = &group.edges[0].address;
    group.kvfs_within(&[&wanted[..], &["--coord", &coords, "--endpoint", endpoint]].concat(), LONG).await?;
    number("filled", format!("{objects} objects in {:.1?}", begun.elapsed()));
    let begun = Instant::now();
    // The log is purged as it goes on, so something must.
    while group.admin().status().await?.consensus.purged == 0 {
        put(group, 0).await?;
        ensure!(begun.elapsed() < LONG, "the log is never purged");
    }
    Ok(())
}

/// All bytes of the files below `dir`.
fn bytes_in(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A file may go while its directory is read.
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

async fn number_of(group: &Group, address: &str) -> Result<u64> {
    let members = group.admin().coordinators().await?;
    let member = members.iter().find(|member| member.addr == address);
    Ok(member.with_context(|| format!("{address} is no member"))?.node)
}

async fn put(group: &Group, nth: u64) -> Result<()> {
    let bytes = Bytes::from(format!("object {nth}"));
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes.clone())]);
    let native = &group.natives[nth as usize % group.natives.len()];
    let key = format!("{nth:07}");
    let put = native.put(BUCKET, key.as_bytes(), Some(bytes.len() as u64), HeaderMap::new(), body);
    put.await.map(drop).with_context(|| format!("putting object {nth}"))
}

async fn get(group: &Group, nth: u64) -> Result<()> {
    let native = &group.natives[nth as usize % group.natives.len()];
    let mut download = native.get(BUCKET, format!("{nth:07}").as_bytes(), HeaderMap::new()).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await? {
        bytes.extend_from_slice(&piece);
    }
    match bytes == format!("object {nth}").as_bytes() {
        true => Ok(()),
        false => bail!("object {nth} is another one"),
    }
}
