//! Verbs that read and write backups of the metadata.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use api::{AdminError, Clock, Disk, MetaAdmin};
use bootstrap::{RealDisk, SystemClock, SystemEntropy};
use cli::Output;
use cli::output::human;
use cli::progress::Progress;
use consensus::snapshot::{Block, Reader, SnapshotError, StateHash, Summary};
use consensus::{Restore, Settings};
use domain::id::hex;
use domain::timestamp;
use serde_json::json;

/// Bytes read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Streams a backup from a running cluster into `file`: beside it first, and in its place once it is whole, verified and synced.
pub async fn backup(admin: &dyn MetaAdmin, file: Option<&Path>, output: Output, out: &mut dyn Write) -> Result<()> {
    let now = timestamp::stamp(SystemClock::new().wall_ms());
    let file = file.map_or_else(|| PathBuf::from(format!("kvfs-meta-snapshot-{now}.kvfs")), Path::to_path_buf);
    let temporary = PathBuf::from(format!("{}.tmp", file.display()));
    let received = receive(admin, &temporary).await;
    if received.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    let (summary, hash) = received?;
    let renamed = std::fs::rename(&temporary, &file).and_then(|()| sync_parent(&file));
    renamed.with_context(|| format!("putting {} in place", file.display()))?;
    show(&file, &summary, hash, output, out)
}

async fn receive(admin: &dyn MetaAdmin, path: &Path) -> Result<(Summary, [u8; 32])> {
    let mut stream = admin.backup().await?;
    let writing = || format!("writing {}", path.display());
    let options = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = options.with_context(writing)?;
    let (mut reader, mut hash, progress) = (Reader::new(), StateHash::new(), Progress::of_one(None));
    while let Some(piece) = stream.next().await? {
        reader.push(&piece, &mut |block| hashing(&mut hash, &block))?;
        file.write_all(&piece).with_context(writing)?;
        progress.moved(piece.len() as u64);
    }
    progress.end();
    let summary = reader.finish().context("the coordinator ended the backup early: ask again, and see its log")?;
    file.sync_all().with_context(writing)?;
    Ok((summary, hash.finish()))
}

fn hashing(hash: &mut StateHash, block: &Block<'_>) -> io::Result<()> {
    hash.block(block);
    Ok(())
}

fn sync_parent(file: &Path) -> io::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Reads a backup to its end; an error names the first damage.
pub fn verify(file: &Path, output: Output, out: &mut dyn Write) -> Result<()> {
    let (summary, hash) = read(file)?;
    show(file, &summary, hash, output, out)
}

/// Shows the hash of the state in a backup.
pub fn hash(file: &Path, output: Output, out: &mut dyn Write) -> Result<()> {
    let (summary, hash) = read(file)?;
    let (index, hash) = (summary.header.index(), hex(&hash));
    output.write(out, &json!({ "index": index, "hash": hash }), |out, _| writeln!(out, "{hash}  entry {index}"))?;
    Ok(())
}

/// Applies an audit log to tables of its own, in a directory that is gone when this returns.
pub fn replay(file: &Path, from: Option<&Path>, output: Output, out: &mut dyn Write) -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("kvfs-replay-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&scratch).with_context(|| format!("making {}", scratch.display()))?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let replayed = consensus::replay(file, from, &scratch, &disk);
    let removed = std::fs::remove_dir_all(&scratch);
    let replayed = replayed.with_context(|| format!("replaying {}", file.display()))?;
    removed.with_context(|| format!("removing {}", scratch.display()))?;
    let (index, entries, hash) = (replayed.index, replayed.entries, hex(&replayed.hash));
    let value = json!({ "index": index, "entries": entries, "hash": hash });
    output.write(out, &value, |out, _| writeln!(out, "{hash}  entry {index}, after {entries} entries"))?;
    Ok(())
}

/// Restores a backup into a coordinator's directory.
pub fn restore(
    (from, dir): (&Path, &Path),
    own: Option<&str>,
    force: bool,
    output: Output,
    out: &mut dyn Write,
) -> Result<()> {
    if dir.join("secrets").exists() && dir.join("nodes").exists() {
        bail!("{} is the directory of a `kvfs up`; its metadata are in {}", dir.display(), dir.join("meta").display());
    }
    // What a coordinator keeps is its user's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let now_ms = SystemClock::new().wall_ms();
    let how = Restore { from: from.to_path_buf(), force, now_ms, own: own.map(str::to_string) };
    let restored = consensus::restore(&Settings::new(dir), &disk, &how, |summary| why_held(summary, now_ms))?;
    let (header, cluster) = (&restored.summary.header, &restored.tables.cluster);
    let value = json!({
        "data_dir": dir, "from": from, "written": timestamp::rfc3339(header.written_ms), "kept": restored.kept,
        "cluster_id": format!("{:032x}", cluster.cluster_id), "generation": cluster.generation,
        "index": restored.index, "leases_ended": restored.tables.leases, "uploads_ended": restored.tables.bodies,
        "hold_deletes": cluster.hold_deletes,
    });
    output.write(out, &value, |out, _| {
        let written = timestamp::rfc3339(header.written_ms);
        writeln!(out, "{} holds the metadata as of {written}, as generation {}", dir.display(), cluster.generation)?;
        if let Some(kept) = &restored.kept {
            writeln!(out, "what was there before is in {}", kept.display())?;
        }
        writeln!(out, "next: start the coordinator on it, then run `kvfs meta release-hold`")?;
        writeln!(out, "until that is done nothing is deleted on any node")
    })?;
    Ok(())
}

/// Prepares a directory for a coordinator that founds a group by itself.
pub fn init(dir: &Path, own: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    // What a coordinator keeps is its user's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let key = consensus::init(dir, &RealDisk, own, &SystemEntropy)?;
    let value = json!({ "data_dir": dir, "self_url": own, "cluster_id": format!("{:032x}", key.cluster) });
    output.write(out, &value, |out, _| {
        writeln!(
            out,
            "{} is ready for cluster {:032x}: start the coordinator on it as {own}",
            dir.display(),
            key.cluster
        )
    })?;
    Ok(())
}

/// Makes a survivor of a lost majority the only coordinator of a new generation.
pub fn recover(dir: &Path, own: &str, accepted: bool, output: Output, out: &mut dyn Write) -> Result<()> {
    if !accepted {
        let price = "what was acknowledged and did not reach this survivor is gone for ever";
        return Err(AdminError::Invalid(format!("{price}; say --accept-loss if it is so")).into());
    }
    // What a coordinator keeps is its user's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let now_ms = SystemClock::new().wall_ms();
    let recovered = consensus::recover(&Settings::new(dir), &disk, own, now_ms, |_| {
        let when = timestamp::rfc3339(now_ms);
        format!(
            "recovered {when} from one coordinator: `kvfs meta release-hold` looks for every copy, and then allows deletes again"
        )
    })?;
    let cluster = &recovered.tables.cluster;
    let value = json!({
        "data_dir": dir, "cluster_id": format!("{:032x}", cluster.cluster_id), "generation": cluster.generation,
        "index": recovered.index, "kept": recovered.kept, "hold_deletes": cluster.hold_deletes,
    });
    output.write(out, &value, |out, _| {
        writeln!(out, "{} is the only coordinator now, of generation {}", dir.display(), cluster.generation)?;
        if let Some(kept) = &recovered.kept {
            writeln!(out, "what was there before is in {}", kept.display())?;
        }
        writeln!(
            out,
            "next: start it, empty the others' directories, and take them in: kvfs coord members add ADDR --promote"
        )?;
        writeln!(out, "until `kvfs meta release-hold` is done nothing is deleted on any node")
    })?;
    Ok(())
}

fn why_held(summary: &Summary, now_ms: u64) -> String {
    format!(
        "restored {} from a backup of {}: `kvfs meta release-hold` looks for every copy, and then allows deletes again",
        timestamp::rfc3339(now_ms),
        timestamp::rfc3339(summary.header.written_ms)
    )
}

fn read(path: &Path) -> Result<(Summary, [u8; 32])> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let bytes = file.metadata().map(|metadata| metadata.len()).ok();
    let (mut reader, mut hash, progress) = (Reader::new(), StateHash::new(), Progress::of_one(bytes));
    let mut piece = vec![0; PIECE_BYTES];
    let ended: Result<(), SnapshotError> = loop {
        match file.read(&mut piece).with_context(|| format!("reading {}", path.display()))? {
            0 => break Ok(()),
            bytes => match reader.push(&piece[..bytes], &mut |block| hashing(&mut hash, &block)) {
                Ok(()) => progress.moved(bytes as u64),
                Err(error) => break Err(error),
            },
        }
    };
    progress.end();
    let summary = ended.and_then(|()| reader.finish()).with_context(|| format!("{} is no backup", path.display()))?;
    Ok((summary, hash.finish()))
}

fn show(file: &Path, summary: &Summary, hash: [u8; 32], output: Output, out: &mut dyn Write) -> Result<()> {
    let header = &summary.header;
    let rows: serde_json::Map<_, _> = summary.rows.iter().map(|(table, n)| (table.name().into(), json!(n))).collect();
    let members: Vec<_> = header.members();
    let members = members.iter().map(|(id, addr, votes)| json!({ "id": id, "address": addr, "voter": votes }));
    let value = json!({
        "file": file, "bytes": summary.bytes, "written": timestamp::rfc3339(header.written_ms),
        "cluster_id": format!("{:032x}", header.cluster_id), "generation": header.generation,
        "term": header.term(), "index": header.index(), "members": members.collect::<Vec<_>>(),
        "rows": rows, "sha256": hex(&summary.digest), "state_hash": hex(&hash),
    });
    output.write(out, &value, |out, _| {
        writeln!(out, "{}: whole, {}", file.display(), human(summary.bytes))?;
        writeln!(out, "written    {}", timestamp::rfc3339(header.written_ms))?;
        writeln!(out, "cluster    {:032x}, generation {}", header.cluster_id, header.generation)?;
        writeln!(out, "log        term {}, entry {}", header.term(), header.index())?;
        let counts = summary.rows.iter().filter(|(_, count)| **count > 0);
        let counts: Vec<_> = counts.map(|(table, count)| format!("{} {count}", table.name())).collect();
        writeln!(out, "rows       {}", counts.join(", "))?;
        writeln!(out, "sha256     {}", hex(&summary.digest))?;
        writeln!(out, "state      {}", hex(&hash))
    })?;
    Ok(())
}
