//! The verbs about metadata as a whole: backups, restores, audit logs.
//!
//! They go through the commands that an operator has, `kvfs meta …`, and show what these say.

use api::AdminError;
use domain::record::ObjectName;
use domain::{BucketName, ObjectKey};
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{DemoError, Ran, Who};
use crate::disks::{LOOK_EVERY, PATIENCE};
use crate::environment::{audit_log_of, backups_of};
use crate::stage::{BUCKET, Stage};
use crate::words::Words;

impl Stage {
    /// `backup NAME`: writes all metadata into a file of that name.
    pub(crate) async fn backup(&mut self, words: &Words) -> Result<String, DemoError> {
        let (file, coords) = (file(words)?, self.coordinators()?);
        let ran = self.cluster.kvfs(&["meta", "backup", "--out", &file, "--coord", &coords]).await?;
        self.backed_up.insert(words.word(1)?.to_string(), self.objects.clone());
        self.told(ran, "written")
    }

    /// `inspect OBJECT`: what the coordinators know of it, beside what the gateway told when it acknowledged it.
    pub(crate) async fn inspect(&mut self, words: &Words) -> Result<String, DemoError> {
        let key = words.word(1)?;
        let usage = |error: &dyn std::fmt::Display| DemoError::usage(error.to_string());
        let name = ObjectName {
            bucket: BucketName::parse(BUCKET).map_err(|error| usage(&error))?,
            key: ObjectKey::parse(key.as_bytes()).map_err(|error| usage(&error))?,
        };
        let record = match self.cluster.admin()?.inspect(&name).await {
            Err(AdminError::NotFound(why)) => {
                self.notes.push(why);
                return Ok("not found".into());
            }
            record => record?,
        };
        let known: Vec<_> = record.chunks.iter().map(|chunk| (chunk.chunk_id.as_str(), chunk.size)).collect();
        let stored = self.object(key)?;
        let told: Vec<_> = stored.chunks.iter().map(|chunk| (chunk.chunk_id.as_str(), u64::from(chunk.size))).collect();
        let equal = known == told && record.size == stored.content.size();
        let equal = if equal { "as acknowledged" } else { "NOT as acknowledged" };
        Ok(format!("version {}, {} bytes, {} chunks, {equal}", record.version, record.size, known.len()))
    }

    /// `verify NAME`.
    pub(crate) async fn verify(&mut self, words: &Words) -> Result<String, DemoError> {
        let file = file(words)?;
        let ran = self.cluster.kvfs(&["meta", "verify", &file]).await?;
        self.told(ran, "is whole")
    }

    /// `spoil NAME`: turns one byte in the middle of a backup around.
    pub(crate) fn spoil(&mut self, words: &Words) -> Result<String, DemoError> {
        self.cluster.spoil(&file(words)?)?;
        Ok("1 byte changed".into())
    }

    /// `restore NAME PROCESS`: a new life begins from it, or from the `newest` that the process took by itself, in the directory of a process that does not run.
    pub(crate) async fn restore(&mut self, words: &Words) -> Result<String, DemoError> {
        let who: Who = words.word(2)?.parse()?;
        let newest = || {
            let (dir, names) = (backups_of(who), self.cluster.listing(&backups_of(who)));
            let newest = names.into_iter().rfind(|name| name.ends_with(".kvfs"));
            newest.map(|name| format!("{dir}/{name}")).ok_or_else(|| DemoError::deviation("there is no backup"))
        };
        let file = if words.word(1)? == "newest" { newest()? } else { file(words)? };
        let who = who.to_string();
        let ran = self.cluster.kvfs(&["meta", "restore", "--from", &file, "--data-dir", &who, "--force"]).await?;
        if ran.code == Some(0) {
            self.went_back_to(words.word(1)?)?;
        }
        self.told(ran, "is restored")
    }

    /// `release-hold`: what an audit after a restore comes to.
    pub(crate) async fn release_hold(&mut self) -> Result<String, DemoError> {
        let coords = self.coordinators()?;
        let ran = self.cluster.kvfs(&["meta", "release-hold", "--coord", &coords]).await?;
        self.told(ran, "is released")
    }

    /// `replay PROCESS`: whether its audit log, applied to empty tables, gives the state that it has.
    pub(crate) async fn replay(&mut self, words: &Words) -> Result<String, DemoError> {
        let who: Who = words.word(1)?.parse()?;
        let (log, deadline) = (audit_log_of(who), Instant::now() + PATIENCE);
        loop {
            let live = self.cluster.admin_of(who)?.state_hash().await;
            let ran = self.cluster.kvfs(&["meta", "replay", &log, "--output", "json"]).await?;
            let replayed: Value = serde_json::from_str(&ran.printed).unwrap_or_default();
            let late = Instant::now() > deadline;
            match live {
                Ok(live) if ran.code == Some(0) && replayed["index"] == live.index => {
                    self.note(format!("state {} at log index {}", live.hash, live.index));
                    return Ok(if replayed["hash"] == *live.hash { "the same state" } else { "ANOTHER state" }.into());
                }
                Err(error) if late => return Err(error.into()),
                Ok(_) if late => return self.told(ran, "another log index"),
                // A leader that was just elected, or a line that is being written.
                _ => {}
            }
            // waits: for a moment between two log entries, within a deadline
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `backups PROCESS`: files of its scheduled backups.
    pub(crate) fn backups(&mut self, words: &Words) -> Result<u64, DemoError> {
        let files = self.cluster.listing(&backups_of(words.word(1)?.parse()?));
        Ok(files.iter().filter(|name| name.ends_with(".kvfs")).count() as u64)
    }

    /// `runs PROCESS`: scheduled backups that it took without a failure since its start.
    pub(crate) async fn runs(&mut self, words: &Words) -> Result<u64, DemoError> {
        let history = self.cluster.admin_of(words.word(1)?.parse()?)?.backup_history().await?;
        Ok(history.total_runs.saturating_sub(history.total_errors))
    }

    fn coordinators(&self) -> Result<String, DemoError> {
        let addresses = self.cluster.hosts().into_iter().filter_map(|who| self.cluster.address(who).ok());
        Ok(addresses.collect::<Vec<_>>().join(","))
    }

    /// What the command says goes to the watcher; whether it succeeded is the answer.
    fn told(&mut self, ran: Ran, done: &str) -> Result<String, DemoError> {
        let said = if ran.code == Some(0) { ran.printed } else { ran.complained };
        for line in said.lines().take(4) {
            self.note(line.trim());
        }
        Ok(match ran.code {
            Some(0) => done.into(),
            Some(code) => format!("exit code {code}"),
            None => "ended by a signal".into(),
        })
    }
}

fn file(words: &Words) -> Result<String, DemoError> {
    Ok(format!("{}.kvfs", words.word(1)?))
}
