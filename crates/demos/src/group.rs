//! The verbs about several coordinators: who leads, who belongs, and what the keys and labels are that they agree on.

use std::collections::BTreeMap;

use api::AdminError;
use api::admin::CoordChange;
use api::keys::Rotation;
use domain::registry::NodeLabels;
use tokio::time::Instant;

use crate::cluster::{Condition, DemoError, Who};
use crate::disks::{LOOK_EVERY, PATIENCE};
use crate::environment::url_secret;
use crate::stage::{Stage, hex};
use crate::words::Words;

impl Stage {
    /// Those that say of themselves that they lead, of those that run.
    pub(crate) async fn who_leads(&mut self) -> Vec<Who> {
        let mut leading = Vec::new();
        for who in self.running_hosts() {
            let role = match self.cluster.admin_of(who) {
                Ok(admin) => admin.role().await,
                Err(_) => continue,
            };
            if role.is_ok_and(|role| role.role == "primary") {
                leading.push(who);
            }
        }
        leading
    }

    fn running_hosts(&mut self) -> Vec<Who> {
        let conditions = self.cluster.processes();
        let hosts = self.cluster.hosts().into_iter();
        hosts.filter(|who| conditions.get(who) == Some(&Condition::Running) && !self.wiped.contains(who)).collect()
    }

    /// `leader`: the one that leads, as soon as exactly one says so.
    pub(crate) async fn leader(&mut self) -> Result<Who, DemoError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leading = self.who_leads().await;
            if let [one] = leading[..] {
                return Ok(one);
            }
            if Instant::now() > deadline {
                return Err(DemoError::deviation(format!("{} say that they lead", leading.len())));
            }
            // waits: for an election, within a deadline
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `follower`: the first that runs and does not lead.
    pub(crate) async fn follower(&mut self) -> Result<Who, DemoError> {
        let leader = self.leader().await?;
        let other = self.running_hosts().into_iter().find(|who| *who != leader);
        other.ok_or_else(|| DemoError::usage("nobody runs beside the leader"))
    }

    /// `wipe PROCESS`: its disk is a new one.
    pub(crate) fn wipe(&mut self, words: &Words) -> Result<String, DemoError> {
        let who: Who = words.word(1)?.parse()?;
        self.cluster.wipe(who)?;
        if self.cluster.hosts().contains(&who) {
            self.wiped.insert(who);
        }
        Ok("is empty".into())
    }

    /// `take-in PROCESS`: under a new number, in place of what it was before if that still votes.
    pub(crate) async fn take_in(&mut self, words: &Words) -> Result<String, DemoError> {
        let who: Who = words.word(1)?.parse()?;
        let (addr, admin) = (self.cluster.address(who)?, self.cluster.admin()?);
        let known = admin.coordinators().await?;
        let old = known.iter().find(|member| member.addr == addr).map(|member| member.node);
        let deadline = Instant::now() + PATIENCE;
        // Until it has started it can be told nothing.
        let members = loop {
            match admin.change_coordinators(&CoordChange::Add { addr: addr.clone() }).await {
                Ok(members) => break members,
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                // waits: for a process that starts, within a deadline
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        let new = members.iter().find(|member| member.addr == addr && Some(member.node) != old);
        let new = new.ok_or_else(|| DemoError::deviation("it is not listed"))?.node;
        let change = match old {
            Some(old) => CoordChange::Replace { old, new },
            None => CoordChange::Promote { node: new },
        };
        let members = loop {
            match admin.change_coordinators(&change).await {
                Ok(members) => break members,
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                // waits: until it has caught up, within a deadline
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        self.cluster.until_ready(who).await?;
        self.wiped.remove(&who);
        Ok(format!("{} vote", members.iter().filter(|member| member.voter).count()))
    }

    /// `hashes`: whether all that hold the metadata hold the same.
    pub(crate) async fn hashes(&mut self) -> Result<String, DemoError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut states = BTreeMap::new();
            let hosts = self.running_hosts();
            for who in &hosts {
                let state = self.cluster.admin_of(*who)?.state_hash().await;
                states.extend(state.ok().map(|state| (*who, state)));
            }
            let first = states.values().next();
            let indexes_agree = states.values().all(|state| Some(state.index) == first.map(|first| first.index));
            if indexes_agree && states.len() == hosts.len() {
                let equal = states.values().all(|state| Some(state) == first);
                let said = if equal { "hold the same" } else { "DIFFER" };
                return Ok(format!("{} {said}", hosts.len()));
            }
            if Instant::now() > deadline {
                return Ok(format!("{} of {} answered, and not at one log index", states.len(), hosts.len()));
            }
            // waits: for a moment between two log entries at which all of them can be asked, within a deadline
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `rotate-key KID` and `remove-key KID`: how many there are then.
    pub(crate) async fn change_keys(&mut self, words: &Words) -> Result<String, DemoError> {
        let (kid, admin) = (words.word(1)?, self.cluster.admin()?);
        let changed = match words.verb() {
            "rotate-key" => {
                let secret_hex = hex(url_secret(kid).as_bytes());
                admin.rotate_url_key(&Rotation { kid: kid.into(), secret_hex, is_primary: None }).await
            }
            _ => admin.remove_url_key(kid).await,
        };
        match changed {
            Ok(keys) => {
                let primaries: Vec<_> = keys.iter().filter(|key| key.is_primary).map(|key| key.kid.as_str()).collect();
                Ok(format!("{} keys, {} is primary", keys.len(), primaries.join(" and ")))
            }
            Err(error) => self.refusal(error),
        }
    }

    /// `relabel NODE`.
    pub(crate) async fn relabel(&mut self, words: &Words) -> Result<String, DemoError> {
        let address = self.cluster.address(words.word(1)?.parse()?)?;
        let weight = words.get("weight").map(str::parse).transpose();
        let labels = NodeLabels {
            class: words.get("class").map(str::to_string),
            domain: words.get("domain").map(str::to_string),
            weight: weight.map_err(|_| DemoError::usage("`weight=` is no number"))?,
        };
        match self.cluster.admin()?.label_node(&address, &labels).await {
            Ok(node) => {
                self.learn_registry().await?;
                Ok(format!("class {:?}, domain {:?}, weight {}", node.class, node.domain, node.weight))
            }
            Err(error) => self.refusal(error),
        }
    }

    /// `failures NODE`: probes in a row that it did not answer.
    pub(crate) async fn failures(&mut self, words: &Words) -> Result<u64, DemoError> {
        let address = self.cluster.address(words.word(1)?.parse()?)?;
        let heartbeat = self.cluster.admin()?.heartbeat().await?;
        let row = heartbeat.statuses.into_iter().find(|row| row.addr == address);
        row.map(|row| row.consec_fails.into()).ok_or_else(|| DemoError::deviation("it has no row in the heartbeat"))
    }

    /// What is refused for a reason is an answer; what failed is not.
    pub(crate) fn refusal(&mut self, error: AdminError) -> Result<String, DemoError> {
        match error {
            AdminError::Conflict(why) | AdminError::Invalid(why) => {
                self.note(why);
                Ok("refused".into())
            }
            AdminError::NotFound(why) => {
                self.note(why);
                Ok("not found".into())
            }
            error => Err(error.into()),
        }
    }
}
