//! Runs a script: line by line, each answer compared with what the script says, and the oracles at the end.

use std::io;
use std::sync::Arc;

use api::Clock;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::report::{Audience, Done, Report};
use crate::script::{Line, Script, Step};
use crate::stage::Stage;

/// Runs `script` over `cluster`; with `sabotage`, plants what it names. The first deviation ends it.
///
/// The error is that of writing to the audience. Dropping the future ends the demo and, with the cluster, all of its processes.
pub async fn run(
    script: &Script,
    cluster: Box<dyn Cluster>,
    clock: Arc<dyn Clock>,
    sabotage: bool,
    audience: &mut Audience<'_>,
) -> io::Result<Report> {
    let begun = Instant::now();
    let mut stage = Stage::new(cluster, clock);
    let header = &script.header;
    audience.begin(header, &script.file)?;
    let mut report = Report {
        name: header.name.clone(),
        alias: header.alias.clone(),
        passed: true,
        sabotage: sabotage.then(|| header.sabotage.clone()),
        break_line: None,
        failed_line: None,
        seconds: 0.0,
        lines: Vec::new(),
        oracles: Vec::new(),
    };
    if sabotage {
        audience.sabotage(header)?;
    }
    for step in &script.steps {
        let line = match step {
            Step::Say(prose) => {
                audience.say(prose)?;
                continue;
            }
            Step::Do(line) if line.words.verb() == "plant" && !sabotage => continue,
            Step::Do(line) => line,
        };
        if line.breaks && sabotage {
            report.break_line = Some(line.number);
        }
        let done = carry_out(&mut stage, line).await;
        audience.done(&script.file, &done)?;
        if !done.passed() {
            report.failed_line = Some(done.line);
        }
        report.lines.push(done);
        if report.failed_line.is_some() {
            break;
        }
    }
    if report.failed_line.is_none() {
        report.oracles = stage.ask_oracles().await;
    }
    report.passed = report.failed_line.is_none() && report.oracles.iter().all(|verdict| verdict.passed);
    drop(stage);
    report.seconds = begun.elapsed().as_secs_f64();
    audience.end(&report)?;
    Ok(report)
}

async fn carry_out(stage: &mut Stage, line: &Line) -> Done {
    let begun = Instant::now();
    let planted = line.words.verb() == "plant";
    let written = if planted { line.words.after(1) } else { line.words.clone() };
    let looped = ["repeat", "parallel"].contains(&line.words.verb());
    // Inside a loop `$i` has a value only round by round.
    let words = if looped { Ok(written) } else { written.with(&stage.variables) };
    let (mut found, mut shell) = (None, None);
    match words {
        Err(problem) => found = Some(format!("error: {problem}")),
        Ok(words) => {
            match stage.perform(&words).await {
                Ok(answer) if planted => stage.notes.extend(answer),
                Ok(answer) => found = answer,
                Err(error) => found = Some(format!("error: {error}")),
            }
            // Only now has a process that was just started an address and an id.
            shell = stage.cluster.shell(&words);
        }
    }
    Done {
        line: line.number,
        text: line.text.clone(),
        shell,
        expected: line.answer.clone(),
        found,
        notes: std::mem::take(&mut stage.notes),
        ms: begun.elapsed().as_millis() as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use api::admin::{ClusterStatus, CoordChange, CoordInfo, MetaInfo, NodeInfo};
    use api::insight::{Heartbeat, ObjectRecord, RoleInfo};
    use api::keys::{Rotation, UrlKeyInfo};
    use api::meta_admin::{BackupHistory, BackupStream, HoldAudit, StateHash};
    use api::{Admin, AdminError, MetaAdmin};
    use async_trait::async_trait;
    use client::{Http, Native, TcpConnector};
    use domain::policy::BucketPolicy;
    use domain::record::ObjectName;
    use domain::registry::NodeLabels;
    use domain::{BucketName, ChunkId};

    use super::*;
    use crate::cluster::{Condition, DemoError, GatewaySettings, Link, Ran, Shape, Signal, Who};
    use crate::script;
    use crate::words::Words;

    struct Still;

    impl Clock for Still {
        fn wall_ms(&self) -> u64 {
            0
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// A cluster of one node without processes, that holds `chunks` and says so much of itself.
    struct Paper {
        chunks: BTreeSet<ChunkId>,
        records: u64,
        log: &'static str,
    }

    struct PaperAdmin(u64);

    #[async_trait]
    impl MetaAdmin for PaperAdmin {
        async fn backup(&self) -> Result<Box<dyn BackupStream>, AdminError> {
            Err(AdminError::Unavailable("made of paper".into()))
        }

        async fn backup_history(&self) -> Result<BackupHistory, AdminError> {
            Ok(BackupHistory::default())
        }

        async fn hold(&self) -> Result<HoldAudit, AdminError> {
            Ok(HoldAudit::default())
        }

        async fn audit_hold(&self) -> Result<HoldAudit, AdminError> {
            Ok(HoldAudit::default())
        }

        async fn release_hold(&self, _: bool) -> Result<HoldAudit, AdminError> {
            Ok(HoldAudit::default())
        }

        async fn state_hash(&self) -> Result<StateHash, AdminError> {
            Err(AdminError::Unavailable("made of paper".into()))
        }
    }

    #[async_trait]
    impl Admin for PaperAdmin {
        async fn status(&self) -> Result<ClusterStatus, AdminError> {
            let json = serde_json::json!({
                "cluster_id": "", "epoch": 1, "nodes": [], "degraded": 0, "misplaced": 0, "garbage": 0, "trash": 0,
                "hold_deletes": null,
                "gc": { "passes": 0, "bodies": 0, "records": 0, "copies": 0, "spared": 0, "note": null },
                "consensus": { "term": 1, "last_log": 1, "applied": 1, "checkpointed": 1 },
            });
            serde_json::from_value(json).map_err(|error| AdminError::Invalid(error.to_string()))
        }

        async fn meta_info(&self) -> Result<MetaInfo, AdminError> {
            Ok(MetaInfo { chunks: self.0, ..MetaInfo::default() })
        }

        async fn add_node(&self, _: &str) -> Result<NodeInfo, AdminError> {
            Err(AdminError::Invalid("made of paper".into()))
        }

        async fn remove_node(&self, _: &str) -> Result<(), AdminError> {
            Err(AdminError::Conflict("made of paper".into()))
        }

        async fn coordinators(&self) -> Result<Vec<CoordInfo>, AdminError> {
            Ok(Vec::new())
        }

        async fn change_coordinators(&self, _: &CoordChange) -> Result<Vec<CoordInfo>, AdminError> {
            Err(AdminError::Conflict("made of paper".into()))
        }

        async fn replace_node(&self, _: &str) -> Result<NodeInfo, AdminError> {
            Err(AdminError::Invalid("made of paper".into()))
        }

        async fn label_node(&self, _: &str, _: &NodeLabels) -> Result<NodeInfo, AdminError> {
            Err(AdminError::Invalid("made of paper".into()))
        }

        async fn move_node(&self, _: &str, _: &str) -> Result<NodeInfo, AdminError> {
            Err(AdminError::Invalid("made of paper".into()))
        }

        async fn heartbeat(&self) -> Result<Heartbeat, AdminError> {
            Ok(Heartbeat::default())
        }

        async fn role(&self) -> Result<RoleInfo, AdminError> {
            Ok(RoleInfo::primary())
        }

        async fn inspect(&self, _: &ObjectName) -> Result<ObjectRecord, AdminError> {
            Err(AdminError::NotFound("made of paper".into()))
        }

        async fn bucket_policy(&self, _: &BucketName) -> Result<BucketPolicy, AdminError> {
            Err(AdminError::NotFound("made of paper".into()))
        }

        async fn set_bucket_policy(&self, _: &BucketName, _: &BucketPolicy) -> Result<(), AdminError> {
            Err(AdminError::NotFound("made of paper".into()))
        }

        async fn list_url_keys(&self) -> Result<Vec<UrlKeyInfo>, AdminError> {
            Ok(Vec::new())
        }

        async fn rotate_url_key(&self, _: &Rotation) -> Result<Vec<UrlKeyInfo>, AdminError> {
            Err(AdminError::Invalid("made of paper".into()))
        }

        async fn remove_url_key(&self, _: &str) -> Result<Vec<UrlKeyInfo>, AdminError> {
            Err(AdminError::Invalid("made of paper".into()))
        }
    }

    #[async_trait]
    impl Cluster for Paper {
        async fn found(&mut self, _: Shape, _: &GatewaySettings) -> Result<(), DemoError> {
            Ok(())
        }

        async fn start(&mut self, _: Who) -> Result<(), DemoError> {
            Ok(())
        }

        fn link(&mut self, _: Who, _: Link) -> Result<(), DemoError> {
            Ok(())
        }

        fn spawn(&mut self, _: Who) -> Result<(), DemoError> {
            Ok(())
        }

        async fn until_ready(&mut self, _: Who) -> Result<(), DemoError> {
            Ok(())
        }

        fn wipe(&mut self, _: Who) -> Result<(), DemoError> {
            Ok(())
        }

        async fn signal(&mut self, _: Who, _: Signal) -> Result<(), DemoError> {
            Ok(())
        }

        fn processes(&mut self) -> BTreeMap<Who, Condition> {
            BTreeMap::from([(Who::Node(1), Condition::Running)])
        }

        fn address(&self, who: Who) -> Result<String, DemoError> {
            Ok(format!("{who}:1"))
        }

        fn native(&self, _: Who, _: &str) -> Result<Native, DemoError> {
            Err(DemoError::usage("made of paper"))
        }

        fn http(&self) -> Http {
            Http::new(Arc::new(TcpConnector), Arc::new(Still), None)
        }

        fn admin(&self) -> Result<Arc<dyn Admin>, DemoError> {
            Ok(Arc::new(PaperAdmin(self.records)))
        }

        fn admin_of(&self, _: Who) -> Result<Arc<dyn Admin>, DemoError> {
            self.admin()
        }

        fn hosts(&self) -> Vec<Who> {
            vec![Who::GATEWAY]
        }

        async fn kvfs(&self, _: &[&str]) -> Result<Ran, DemoError> {
            Err(DemoError::usage("made of paper"))
        }

        fn spoil(&self, _: &str) -> Result<(), DemoError> {
            Ok(())
        }

        fn listing(&self, _: &str) -> Vec<String> {
            Vec::new()
        }

        fn chunks(&self, _: Who) -> Result<Vec<ChunkId>, DemoError> {
            Ok(self.chunks.iter().copied().collect())
        }

        fn read_chunk(&self, _: Who, _: ChunkId) -> Result<Vec<u8>, DemoError> {
            Ok(b"paper".to_vec())
        }

        fn write_chunk(&self, _: Who, _: ChunkId, _: &[u8]) -> Result<(), DemoError> {
            Ok(())
        }

        fn remove_chunk(&self, _: Who, _: ChunkId) -> Result<(), DemoError> {
            Ok(())
        }

        fn temporary_files(&self, _: Who) -> Result<usize, DemoError> {
            Ok(0)
        }

        fn peak_bytes(&self, _: Who) -> Result<u64, DemoError> {
            Ok(1000)
        }

        fn log(&self, _: Who) -> String {
            self.log.to_string()
        }

        fn shell(&self, words: &Words) -> Option<String> {
            Some(format!("do {}", words.verb()))
        }
    }

    const HEAD: &str = "name: n\nalias: a\nprinciple: p\nsource: s\nadr: 1\nbreak: b - kills the node\n\n";
    const BODY: &str = "cluster nodes=1\n-> 1 data nodes and a gateway\nlet before peak dn1\nplant kill dn1\n\
                        expect growth dn1 = 0 since=$before [break]\n-> yes\nexpect peak dn1 >= 1000\n-> yes\n";

    fn paper() -> Paper {
        Paper { chunks: BTreeSet::new(), records: 0, log: "WARN nothing much" }
    }

    async fn run_on(paper: Paper, body: &str, sabotage: bool) -> (Report, String) {
        let script = script::parse("n.demo", &format!("{HEAD}{body}")).unwrap();
        let mut out = Vec::new();
        let mut audience = Audience::watching(&mut out);
        let report = run(&script, Box::new(paper), Arc::new(Still), sabotage, &mut audience).await.unwrap();
        (report, String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn answers_are_compared_and_the_first_deviation_ends_it() {
        let (report, text) = run_on(paper(), BODY, false).await;
        assert!(report.passed && report.failed_line.is_none() && report.oracles.len() == 4, "{text}");
        assert!(text.contains("     $ do cluster\n") && text.contains("     . before = 1000\n"), "{text}");
        assert!(!text.contains("plant") && !text.contains("SABOTAGE"), "{text}");

        let (report, text) = run_on(paper(), &BODY.replace("dn1 = 0", "dn1 > 0"), false).await;
        assert!(!report.passed && report.failed_line == Some(12) && report.oracles.is_empty(), "{text}");
        assert!(text.contains("n.demo:12: DEVIATION\n  expected -> yes\n  found    -> no: found 0\n"), "{text}");
        assert!(!text.contains("expect peak"), "what comes after is not carried out: {text}");
    }

    #[tokio::test]
    async fn a_sabotage_is_planted_on_demand_and_its_line_is_known() {
        let (report, text) = run_on(paper(), BODY, true).await;
        assert_eq!((report.sabotage.as_deref(), report.break_line), (Some("b"), Some(12)));
        assert!(text.contains("SABOTAGE   b: kills the node\n") && text.contains("plant kill dn1\n"), "{text}");
        assert!(text.contains("was NOT noticed"), "nothing deviated, and that is said: {text}");
        let (_, text) = run_on(paper(), &BODY.replace("dn1 = 0", "dn1 > 0"), true).await;
        assert!(text.contains("was noticed at the line that the script names"), "{text}");
    }

    /// Time is paused: what the oracles wait for never comes, at no cost.
    #[tokio::test(start_paused = true)]
    async fn oracles_find_what_no_line_asked_for() {
        let chunk = ChunkId::of(b"paper");
        let table = [
            ("placement", Paper { chunks: BTreeSet::from([chunk]), ..paper() }, "nobody ever put it"),
            ("disks", Paper { records: 3, ..paper() }, "metadata has 3 chunks, the objects have 0"),
            ("logs", Paper { log: "ERROR it went wrong", ..paper() }, "dn1 logged: ERROR it went wrong"),
        ];
        for (oracle, paper, says) in table {
            let (report, text) = run_on(paper, BODY, false).await;
            let failed: Vec<_> = report.oracles.iter().filter(|verdict| !verdict.passed).collect();
            assert!(!report.passed && report.failed_line.is_none(), "{text}");
            assert!(failed.len() == 1 && failed[0].oracle == oracle && failed[0].says.contains(says), "{text}");
        }
    }
}
