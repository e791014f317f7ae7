//! Backups that a coordinator writes by itself: at its start, and every so often after that.
//!
//! Each coordinator writes its own, of the tables as it has them, whoever leads: a backup must not depend on what it is for. The file is
//! written beside its name, synced, **read back from the disk and verified**, and only then renamed; then older ones beyond the number to
//! keep are removed. A file that is not named as this module names files is never touched.
//!
//! The recovery point is the interval. And a backup on the disk that it is to protect from protects from mistakes only: have the
//! directory copied elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::AdminError;
use api::disk::Disk;
use api::meta_admin::{BackupFile, BackupHistory};
use bootstrap::durations;
use consensus::snapshot::{Reader, SnapshotError, Writer};
use domain::timestamp;
use tokio::sync::oneshot;

use crate::service::Core;

const PREFIX: &str = "kvfs-meta-snap-";
const SUFFIX: &str = ".kvfs";

/// Bytes read back at a time.
const PIECE_BYTES: u64 = 256 << 10;

/// When to write backups, and where.
#[derive(Clone, Debug)]
pub struct BackupSchedule {
    /// The directory, which is made if need be.
    pub dir: PathBuf,
    /// Time between two.
    pub every: Duration,
    /// How many are kept; at least 1.
    pub keep: u32,
}

/// How it went so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    last_run_ms: Option<u64>,
    last_bytes: Option<u64>,
    last_error: Option<String>,
    total: u64,
    errors: u64,
}

/// Backs up for ever, if that was asked for.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(schedule) = core.settings.backups.clone() else { return };
    loop {
        once(&core, &schedule).await;
        tokio::time::sleep(schedule.every).await;
    }
}

async fn once(core: &Core, schedule: &BackupSchedule) {
    let now_ms = core.clock.wall_ms();
    let (disk, plan) = (core.group.disk().clone(), schedule.clone());
    let written = match core.group.local_backup(now_ms) {
        Ok(writer) => job(core.group.disk(), move || write(&*disk, &plan, writer, now_ms)).await,
        Err(error) => Err(error),
    };
    let mut runs = core.backups.runs.lock();
    runs.total += 1;
    runs.last_run_ms = Some(now_ms);
    match written {
        Ok((name, bytes)) => {
            tracing::info!(name, bytes, "the metadata are backed up");
            (runs.last_bytes, runs.last_error) = (Some(bytes), None);
        }
        Err(error) => {
            tracing::error!(%error, dir = %schedule.dir.display(), "the metadata could not be backed up");
            runs.errors += 1;
            runs.last_error = Some(error.to_string());
        }
    }
}

/// Writes a backup, verifies it, and removes those that are too many; its name and length.
fn write(disk: &dyn Disk, plan: &BackupSchedule, writer: Writer, now_ms: u64) -> io::Result<(String, u64)> {
    api::disk::make_dir(disk, &plan.dir)?;
    for left in disk.list(&plan.dir)?.iter().filter(|name| name.strip_suffix(".tmp").is_some_and(is_ours)) {
        disk.remove(&plan.dir.join(left))?;
    }
    let name = format!("{PREFIX}{}-{}{SUFFIX}", timestamp::stamp(now_ms), writer.header().index());
    let (path, temporary) = (plan.dir.join(&name), plan.dir.join(format!("{name}.tmp")));
    let written = fill(disk, &temporary, writer).and_then(|()| verify(disk, &temporary));
    if written.is_err() {
        let _ = disk.remove(&temporary); // The next run removes it otherwise.
    }
    let bytes = written?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(&plan.dir)?;
    prune(disk, plan)?;
    Ok((name, bytes))
}

fn fill(disk: &dyn Disk, path: &Path, mut writer: Writer) -> io::Result<()> {
    let file = disk.create(path)?;
    let mut offset = 0;
    while let Some(block) = writer.next_block()? {
        file.write_at(&block, offset)?;
        offset += block.len() as u64;
    }
    file.sync_data()
}

/// Reads what the disk has, all of it; its length.
fn verify(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    disk.drop_cache(path)?;
    let (file, mut reader) = (disk.open(path)?, Reader::new());
    let (length, mut piece) = (file.len()?, Vec::new());
    let mut offset = 0;
    while offset < length {
        piece.resize(PIECE_BYTES.min(length - offset) as usize, 0);
        file.read_at(&mut piece, offset)?;
        reader.push(&piece, &mut |_| Ok(()))?;
        offset += piece.len() as u64;
    }
    let wrong = |error: SnapshotError| io::Error::other(format!("what was written reads back wrong: {error}"));
    reader.finish().map(|summary| summary.bytes).map_err(wrong)
}

fn prune(disk: &dyn Disk, plan: &BackupSchedule) -> io::Result<()> {
    for old in ours(disk, &plan.dir)?.into_iter().skip(plan.keep.max(1) as usize) {
        disk.remove(&plan.dir.join(old))?;
    }
    disk.sync_dir(&plan.dir)
}

/// The names of backups in `dir`, newest first.
fn ours(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<_> = disk.list(dir)?.into_iter().filter(|name| is_ours(name)).collect();
    names.sort_unstable_by_key(|name| std::cmp::Reverse(parts(name).map(|(time, index)| (time.to_string(), index))));
    Ok(names)
}

fn is_ours(name: &str) -> bool {
    parts(name).is_some()
}

/// Time and log index in the name of a backup.
fn parts(name: &str) -> Option<(&str, u64)> {
    let (time, index) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    (date.len() == 8 && clock.len() == 6 && digits(date) && digits(clock) && digits(index))
        .then(|| index.parse().ok().map(|index| (time, index)))
        .flatten()
}

/// What is known of scheduled backups.
pub(crate) async fn history(core: &Core) -> Result<BackupHistory, AdminError> {
    let Some(plan) = core.settings.backups.clone() else { return Ok(BackupHistory::default()) };
    let runs = core.backups.runs.lock().clone();
    let (disk, dir) = (core.group.disk().clone(), plan.dir.clone());
    let files = job(core.group.disk(), move || files(&*disk, &dir)).await;
    let files = files.map_err(|error| AdminError::Unavailable(format!("{}: {error}", plan.dir.display())))?;
    Ok(BackupHistory {
        enabled: true,
        dir: Some(plan.dir.display().to_string()),
        interval: Some(durations::show(plan.every)),
        keep: Some(plan.keep),
        last_run: runs.last_run_ms.map(timestamp::rfc3339),
        last_size_bytes: runs.last_bytes,
        last_err: runs.last_error,
        total_runs: runs.total,
        total_errors: runs.errors,
        history: files,
    })
}

fn files(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<BackupFile>> {
    let names = match ours(disk, dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names?,
    };
    let file = |name: String| {
        let path = dir.join(&name);
        let time = parts(&name).map_or("", |(time, _)| time);
        let (date, clock) = time.trim_end_matches('Z').split_once('T').unwrap_or_default();
        let at = |text: &str, from: usize, to: usize| text.get(from..to).unwrap_or_default().to_string();
        let (date, clock) = (
            format!("{}-{}-{}", at(date, 0, 4), at(date, 4, 6), at(date, 6, 8)),
            format!("{}:{}:{}", at(clock, 0, 2), at(clock, 2, 4), at(clock, 4, 6)),
        );
        let size_bytes = disk.len(&path)?;
        Ok(BackupFile { path: path.display().to_string(), name, size_bytes, mod_time: format!("{date}T{clock}Z") })
    };
    names.into_iter().map(file).collect()
}

/// Runs `work` where blocking is allowed.
pub(crate) async fn job<T: Send + 'static>(
    disk: &Arc<dyn Disk>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    disk.spawn(Box::new(move || drop(tell.send(work()))));
    told.await
        .unwrap_or_else(|_| Err(io::Error::other("the job was abandoned: a bug, or the process is shutting down")))
}

#[cfg(test)]
mod tests {
    use consensus::{Group, Settings};
    use meta::Command;
    use testkit::clock::SimClock;
    use testkit::sim_disk::SimDisk;

    use super::*;

    fn plan(keep: u32) -> BackupSchedule {
        BackupSchedule { dir: "/backups/here".into(), every: Duration::from_secs(3600), keep }
    }

    async fn group(disk: &SimDisk) -> Group {
        disk.create_dir_all(Path::new("/kvfs")).unwrap();
        let seam: Arc<dyn Disk> = Arc::new(disk.clone());
        let group = Group::open(Settings::simulated("/kvfs/group"), seam, Arc::new(SimClock::new(1))).await.unwrap();
        group.propose(vec![Command::Found { cluster_id: 7 }]).await.unwrap();
        group
    }

    #[test]
    fn names_are_ours_or_not() {
        let table = [
            ("kvfs-meta-snap-20260102T030405Z-4711.kvfs", Some(("20260102T030405Z", 4711))),
            ("kvfs-meta-snap-20260102T030405Z.kvfs", None),
            ("kvfs-meta-snap-2026O102T030405Z-1.kvfs", None),
            ("kvfs-meta-snap-20260102T030405Z-1.kvfs.tmp", None),
            ("kvfs-meta-snap-20260102T030405Z--1.kvfs", None),
            ("kvfs-meta-snap-20260102T030405Z-99999999999999999999.kvfs", None),
            ("my-kvfs-meta-snap-20260102T030405Z-1.kvfs", None),
            ("notes.txt", None),
        ];
        for (name, expected) in table {
            assert_eq!(parts(name), expected, "{name}");
        }
    }

    /// The newest stay, by the time in their names; and a name is given only to what reads back whole.
    #[tokio::test(start_paused = true)]
    async fn backups_are_verified_and_pruned() {
        let disk = SimDisk::new(1);
        let group = group(&disk).await;
        for hour in 0..5 {
            write(&disk, &plan(3), group.local_backup(7).unwrap(), hour * 3_600_000).unwrap();
        }
        let names = ours(&disk, &plan(3).dir).unwrap();
        let hours: Vec<_> = names.iter().map(|name| &name[PREFIX.len() + 9..PREFIX.len() + 11]).collect();
        assert_eq!(hours, ["04", "03", "02"]);
        let files = files(&disk, &plan(3).dir).unwrap();
        assert_eq!((files[0].mod_time.as_str(), files.len()), ("1970-01-01T04:00:00Z", 3));

        // Synced and renamed: a power cut takes none of them.
        disk.crash();
        disk.restart();
        assert_eq!(ours(&disk, &plan(3).dir).unwrap(), names);
        for name in &names {
            verify(&disk, &plan(3).dir.join(name)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_that_fails_leaves_the_others() {
        let disk = SimDisk::new(1);
        let group = group(&disk).await;
        write(&disk, &plan(3), group.local_backup(7).unwrap(), 0).unwrap();
        let used = (1 << 40) - disk.space(Path::new("/")).unwrap().free;
        disk.set_capacity(used + 100);
        write(&disk, &plan(3), group.local_backup(7).unwrap(), 3_600_000).unwrap_err();
        assert_eq!(disk.list(&plan(3).dir).unwrap().len(), 1, "nothing half-written is left");
        disk.set_capacity(1 << 40);
        disk.fail_sync(1);
        write(&disk, &plan(3), group.local_backup(7).unwrap(), 3_600_000).unwrap_err();
        assert_eq!(disk.list(&plan(3).dir).unwrap().len(), 1);
        write(&disk, &plan(3), group.local_backup(7).unwrap(), 7_200_000).unwrap();
        assert_eq!(ours(&disk, &plan(3).dir).unwrap().len(), 2);
    }
}
