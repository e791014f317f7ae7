//! One line of a script, carried out: which verb does what.

use tokio::time::Instant;

use crate::cluster::{DemoError, Link, Shape, Signal, Who};
use crate::disks::{LOOK_EVERY, PATIENCE};
use crate::stage::Stage;
use crate::vocabulary;
use crate::words::{Words, amount};

impl Stage {
    /// Carries `words` out; `None` for verbs that do not answer.
    pub(crate) async fn perform(&mut self, words: &Words) -> Result<Option<String>, DemoError> {
        let answer = match words.verb() {
            "gateway" => {
                self.gateway.extend(words.named.iter().map(|(name, value)| (name.clone(), plain(value))));
                return Ok(None);
            }
            "allow-errors" => {
                self.allowed_errors.push(words.word(1)?.to_string());
                return Ok(None);
            }
            "sign-with" => {
                self.kid = words.word(1)?.to_string();
                return Ok(None);
            }
            "let" => {
                let value = self.value(&words.after(2)).await?;
                let name = words.word(1)?.to_string();
                self.note(format!("{name} = {value}"));
                self.variables.insert(name, value);
                return Ok(None);
            }
            "cluster" => self.found_cluster(words).await?,
            "start" | "kill" | "stop" | "cont" => self.hurt(words).await?,
            "cut" | "unplug" | "mend" => self.link(words)?,
            "add-node" | "remove-node" => self.register(words).await?,
            "relabel" => self.relabel(words).await?,
            "wipe" => self.wipe(words)?,
            "take-in" => self.take_in(words).await?,
            "hashes" => self.hashes().await?,
            "rotate-key" | "remove-key" => self.change_keys(words).await?,
            "backup" => self.backup(words).await?,
            "verify" => self.verify(words).await?,
            "spoil" => self.spoil(words)?,
            "restore" => self.restore(words).await?,
            "release-hold" => self.release_hold().await?,
            "replay" => self.replay(words).await?,
            "put" => self.put(words).await?,
            "cut-put" => self.cut_put(words).await?,
            "get" => self.get(words).await?,
            "head" => self.head(words).await?,
            "delete" => self.delete(words).await?,
            "read-some" => self.read_some(words).await?,
            "close" => self.close(words)?,
            "request" => self.request(words).await?,
            "corrupt" => self.corrupt(words)?,
            "lose" => self.lose(words)?,
            "any-lost" => self.any_lost(words).await?,
            "placed" => self.placed(words).await?,
            "share" => self.share(words)?,
            "simulate" => self.simulate(words)?,
            "inspect" => self.inspect(words).await?,
            "chunk-sizes" => self.chunk_sizes(words)?,
            "chunk-names" => self.chunk_names(words)?,
            "expect" => self.expect(words).await?,
            "wait-until" => self.wait_until(words).await?,
            "repeat" => self.repeat(words).await?,
            "parallel" => self.parallel(words).await?,
            _ => self.value(words).await?,
        };
        Ok(Some(answer))
    }

    /// What a query answers: a number, a chunk's name, a node's.
    async fn value(&mut self, words: &Words) -> Result<String, DemoError> {
        match words.verb() {
            "chunk" => self.chunk(words),
            "holder" => self.holder(words),
            "home" => self.home(words),
            "leader" => self.leader().await.map(|who| who.to_string()),
            "follower" => self.follower().await.map(|who| who.to_string()),
            _ => self.number(words).await.map(|number| number.to_string()),
        }
    }

    async fn number(&mut self, words: &Words) -> Result<u64, DemoError> {
        match words.verb() {
            "files" => self.files(words),
            "copies" => self.copies_of(words),
            "confirmed" => self.confirmed(words),
            "spread" => self.spread(words),
            "shared" => self.in_both(words).map(|(shared, _)| shared),
            "own" => self.in_both(words).map(|(_, own)| own),
            "domains" => self.domains(words),
            "distinct-chunks" => self.distinct_chunks(),
            "nodes" => {
                let nodes = self.cluster.admin()?.status().await?.nodes;
                Ok(nodes.iter().filter(|node| node.health == domain::view::Health::Up).count() as u64)
            }
            "degraded" => Ok(self.cluster.admin()?.status().await?.degraded),
            "chunks" => Ok(self.cluster.admin()?.meta_info().await?.chunks),
            "misplaced" => Ok(self.cluster.admin()?.status().await?.misplaced),
            "objects" => Ok(self.cluster.admin()?.meta_info().await?.objects),
            "failures" => self.failures(words).await,
            "leaders" => Ok(self.who_leads().await.len() as u64),
            "voters" => {
                let members = self.cluster.admin()?.coordinators().await?;
                Ok(members.iter().filter(|member| member.voter).count() as u64)
            }
            "term" => Ok(self.cluster.admin()?.status().await?.consensus.term),
            "keys" => Ok(self.cluster.admin()?.list_url_keys().await?.len() as u64),
            "accepted" => self.accepted(words).await,
            "backups" => self.backups(words),
            "runs" => self.runs(words).await,
            "peak" => self.cluster.peak_bytes(words.word(1)?.parse()?),
            "growth" => {
                let peak = self.cluster.peak_bytes(words.word(1)?.parse()?)?;
                Ok(peak.saturating_sub(words.number("since", 0)?))
            }
            other => Err(DemoError::usage(format!("`{other}` gives no number"))),
        }
    }

    async fn found_cluster(&mut self, words: &Words) -> Result<String, DemoError> {
        let number = |name: &str, default| {
            let number = u8::try_from(words.number(name, default)?);
            number.map_err(|_| DemoError::usage(format!("expected at most 255 {name}")))
        };
        let shape = Shape {
            nodes: number("nodes", 3)?,
            coordinators: number("coordinators", 0)?,
            gateways: number("gateways", 1)?,
        };
        let settings = self.gateway.clone();
        self.cluster.found(shape, &settings).await?;
        self.learn_registry().await?;
        let Shape { nodes, coordinators, gateways } = shape;
        Ok(match (coordinators, gateways) {
            (0, 1) => format!("{nodes} data nodes and a gateway"),
            (0, _) => format!("{nodes} data nodes, {gateways} gateways that coordinate"),
            _ => format!("{nodes} data nodes, {coordinators} coordinators, gateways: {gateways}"),
        })
    }

    async fn hurt(&mut self, words: &Words) -> Result<String, DemoError> {
        let who: Who = words.word(1)?.parse()?;
        if words.verb() == "start" && self.wiped.contains(&who) {
            self.cluster.spawn(who)?;
            self.killed.remove(&who);
            return Ok("waits to be taken in".into());
        }
        let (signal, becomes) = match words.verb() {
            "start" => {
                self.cluster.start(who).await?;
                self.killed.remove(&who);
                return Ok("serves".into());
            }
            "kill" => (Signal::Kill, "is dead"),
            "stop" => (Signal::Stop, "is silent"),
            _ => (Signal::Continue, "goes on"),
        };
        self.cluster.signal(who, signal).await?;
        if signal == Signal::Kill {
            self.killed.insert(who);
        }
        // A variable stands for another node in each run: the answer must not name it.
        Ok(becomes.to_string())
    }

    fn link(&mut self, words: &Words) -> Result<String, DemoError> {
        let (link, becomes) = match words.verb() {
            "cut" => (Link::CutFromPeers, "is cut off from the other coordinators"),
            "unplug" => (Link::Unplugged, "is cut off from everybody"),
            _ => (Link::Whole, "is connected"),
        };
        self.cluster.link(words.word(1)?.parse()?, link)?;
        Ok(becomes.to_string())
    }

    async fn register(&mut self, words: &Words) -> Result<String, DemoError> {
        let address = self.cluster.address(words.word(1)?.parse()?)?;
        let admin = self.cluster.admin()?;
        let changed = match words.verb() {
            "add-node" => admin.add_node(&address).await.map(drop),
            _ => admin.remove_node(&address).await,
        };
        match changed {
            Ok(()) => {
                self.learn_registry().await?;
                Ok(format!("{} nodes are in", self.registry.len()))
            }
            Err(api::AdminError::Conflict(why)) => {
                self.note(why);
                Ok("refused".into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// `expect QUERY OP NUMBER`: `yes`, or what was found.
    async fn expect(&mut self, words: &Words) -> Result<String, DemoError> {
        let (query, operator, limit) = vocabulary::comparison(words)?;
        let found = self.number(&query).await?;
        self.note(format!("found {found}"));
        Ok(if holds(found, &operator, amount(&limit)?) { "yes".into() } else { format!("no: found {found}") })
    }

    /// `wait-until QUERY OP NUMBER`: looks until it holds, for a minute.
    async fn wait_until(&mut self, words: &Words) -> Result<String, DemoError> {
        let (query, operator, limit) = vocabulary::comparison(words)?;
        let limit = amount(&limit)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A cluster that has just been hurt may not answer at once.
            let found = self.number(&query).await;
            if found.as_ref().is_ok_and(|found| holds(*found, &operator, limit)) {
                return Ok("yes".into());
            }
            if Instant::now() > deadline {
                return found.map(|found| format!("not within {} s: found {found}", PATIENCE.as_secs()));
            }
            // waits: for what the script asks for, within a deadline
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `repeat N LINE`: one after another, with `$i` from 1.
    async fn repeat(&mut self, words: &Words) -> Result<String, DemoError> {
        let mut answers = Vec::new();
        for one in self.rounds(words)? {
            let answer = Box::pin(self.perform(&one)).await?;
            answers.push(answer.unwrap_or_default());
        }
        Ok(summary(&answers))
    }

    /// `parallel N LINE`: all at once.
    async fn parallel(&mut self, words: &Words) -> Result<String, DemoError> {
        let rounds = self.rounds(words)?;
        let answers = match words.word(2)? {
            "put" => self.put_all(&rounds).await?,
            _ => self.get_all(&rounds).await?,
        };
        Ok(summary(&answers))
    }

    fn rounds(&self, words: &Words) -> Result<Vec<Words>, DemoError> {
        let inner = words.after(2);
        let mut rounds = Vec::new();
        for round in 1..=amount(words.word(1)?)? {
            let mut variables = self.variables.clone();
            variables.insert("i".into(), round.to_string());
            rounds.push(inner.with(&variables)?);
        }
        Ok(rounds)
    }
}

/// A size in words as the plain number that settings take; other values as they are.
fn plain(value: &str) -> String {
    match amount(value) {
        Ok(bytes) => bytes.to_string(),
        Err(_) => value.to_string(),
    }
}

fn holds(found: u64, operator: &str, limit: u64) -> bool {
    match operator {
        "=" => found == limit,
        "<" => found < limit,
        "<=" => found <= limit,
        ">" => found > limit,
        _ => found >= limit,
    }
}

/// Equal answers counted: `200 x 201, 1 chunk`.
fn summary(answers: &[String]) -> String {
    let mut counted = std::collections::BTreeMap::new();
    for answer in answers {
        *counted.entry(answer.as_str()).or_insert(0) += 1;
    }
    counted.iter().map(|(answer, count)| format!("{count} x {answer}")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons() {
        let table = [("=", [false, true, false]), ("<", [true, false, false]), ("<=", [true, true, false])];
        let more = [(">", [false, false, true]), (">=", [false, true, true])];
        for (operator, verdicts) in table.into_iter().chain(more) {
            assert_eq!([4, 5, 6].map(|found| holds(found, operator, 5)), verdicts, "{operator}");
        }
        assert!(
            vocabulary::COMPARISONS
                .iter()
                .all(|operator| holds(4, operator, 5) != holds(6, operator, 5) || *operator == "=")
        );
    }

    #[test]
    fn answers_are_counted_and_settings_are_plain() {
        let answers: Vec<String> = ["200, a", "503", "200, a"].map(String::from).into();
        assert_eq!(summary(&answers), "2 x 200, a; 1 x 503");
        assert_eq!((plain("64KiB"), plain("500ms")), ("65536".into(), "500ms".into()));
    }
}
