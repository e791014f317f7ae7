//! The verbs about disks and placement: what lies where, and where it should.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{DemoError, Who};
use crate::hrw;
use crate::stage::{Place, Stage, hex, parse_id};
use crate::words::Words;

/// How long the world may take to become as it should: generous, because a busy machine is no deviation.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often one looks meanwhile.
pub const LOOK_EVERY: Duration = Duration::from_millis(25);

impl Stage {
    /// `corrupt NODE CHUNK`: turns one byte in the middle of its file around; the length stays.
    pub(crate) fn corrupt(&mut self, words: &Words) -> Result<String, DemoError> {
        let (node, chunk) = (words.word(1)?.parse()?, parse_id(words.word(2)?)?);
        let mut bytes = self.cluster.read_chunk(node, chunk)?;
        let middle = bytes.len() / 2;
        let byte = bytes.get_mut(middle).ok_or_else(|| DemoError::deviation("the chunk file is empty"))?;
        *byte ^= 0xff;
        self.cluster.write_chunk(node, chunk, &bytes)?;
        self.damaged.insert((node, chunk));
        Ok(format!("1 of {} bytes changed", bytes.len()))
    }

    /// `lose NODE CHUNK`: deletes its file.
    pub(crate) fn lose(&mut self, words: &Words) -> Result<String, DemoError> {
        let (node, chunk) = (words.word(1)?.parse()?, parse_id(words.word(2)?)?);
        self.cluster.remove_chunk(node, chunk)?;
        self.damaged.insert((node, chunk));
        Ok("gone".into())
    }

    /// `files NODE`, or `files all`.
    pub(crate) fn files(&mut self, words: &Words) -> Result<u64, DemoError> {
        let nodes = match words.word(1)? {
            "all" => self.nodes(),
            node => vec![node.parse()?],
        };
        let mut files = 0;
        for node in nodes {
            files += self.cluster.chunks(node)?.len() as u64;
        }
        Ok(files)
    }

    /// `copies OBJECT`: of its chunks, the fewest files that any has.
    pub(crate) fn copies_of(&mut self, words: &Words) -> Result<u64, DemoError> {
        let found = self.found()?;
        let stored = self.object(words.word(1)?)?;
        let mut fewest = u64::MAX;
        for chunk in &stored.chunks {
            let copies = found.get(&parse_id(&chunk.chunk_id)?).map_or(0, BTreeSet::len);
            fewest = fewest.min(copies as u64);
        }
        Ok(fewest)
    }

    /// `confirmed OBJECT`: of its chunks, the fewest copies that were durable when the put was acknowledged.
    pub(crate) fn confirmed(&self, words: &Words) -> Result<u64, DemoError> {
        let stored = self.object(words.word(1)?)?;
        Ok(stored.chunks.iter().map(|chunk| chunk.replicas.len() as u64).min().unwrap_or(0))
    }

    /// `shared A B` and `own A B`: of B's chunks, how many A has too, and how many it has not.
    pub(crate) fn in_both(&self, words: &Words) -> Result<(u64, u64), DemoError> {
        let ids = |object: &str| -> Result<BTreeSet<String>, DemoError> {
            Ok(self.object(object)?.chunks.iter().map(|chunk| chunk.chunk_id.clone()).collect())
        };
        let (a, b) = (ids(words.word(1)?)?, ids(words.word(2)?)?);
        Ok((b.intersection(&a).count() as u64, b.difference(&a).count() as u64))
    }

    /// `domains PREFIX`: of all chunks of the objects that begin so, the fewest failure domains that one had copies in when it was acknowledged.
    pub(crate) fn domains(&mut self, words: &Words) -> Result<u64, DemoError> {
        let prefix = words.word(1)?;
        let of_prefix = self.objects.iter().filter(|(name, _)| name.starts_with(prefix));
        let replicas: Vec<_> =
            of_prefix.flat_map(|(_, stored)| &stored.chunks).map(|chunk| chunk.replicas.clone()).collect();
        let mut fewest = u64::MAX;
        for addresses in replicas {
            let mut domains = BTreeSet::new();
            for address in addresses {
                let who = self.who_listens_at(&address)?;
                let known = self.registry.iter().find(|node| node.who == who);
                domains.insert(known.map_or(String::new(), |node| node.domain.clone()));
            }
            fewest = fewest.min(domains.len() as u64);
        }
        Ok(fewest)
    }

    /// `chunk-sizes OBJECT`: how many chunks of which size, in order.
    pub(crate) fn chunk_sizes(&self, words: &Words) -> Result<String, DemoError> {
        let stored = self.object(words.word(1)?)?;
        let mut runs: Vec<(usize, u32)> = Vec::new();
        for chunk in &stored.chunks {
            match runs.last_mut() {
                Some((count, size)) if *size == chunk.size => *count += 1,
                _ => runs.push((1, chunk.size)),
            }
        }
        let shown: Vec<_> = runs.iter().map(|(count, size)| format!("{count} x {size}")).collect();
        Ok(if shown.is_empty() { "none".into() } else { shown.join(", ") })
    }

    /// `chunk-names OBJECT`: whether each chunk's name is the SHA-256 of its slice, computed anew from the content.
    pub(crate) fn chunk_names(&self, words: &Words) -> Result<String, DemoError> {
        let stored = self.object(words.word(1)?)?;
        let (mut at, mut right) = (0, 0);
        for chunk in &stored.chunks {
            let end = at + u64::from(chunk.size);
            right += usize::from(hex(&stored.content.sha256(at..end)) == chunk.chunk_id);
            at = end;
        }
        Ok(format!("{right} of {} are the SHA-256 of their slice", stored.chunks.len()))
    }

    /// `chunk OBJECT NUMBER`: the name of its chunk, counted from 1.
    pub(crate) fn chunk(&self, words: &Words) -> Result<String, DemoError> {
        let number = crate::words::amount(words.word(2)?)? as usize;
        let chunk = self.object(words.word(1)?)?.chunks.get(number.wrapping_sub(1));
        let chunk = chunk.ok_or_else(|| DemoError::usage(format!("there is no chunk {number}")))?;
        Ok(chunk.chunk_id.clone())
    }

    /// `holder OBJECT NUMBER`: which node the gateway named as number so-and-so of those that hold its first chunk.
    pub(crate) fn holder(&mut self, words: &Words) -> Result<String, DemoError> {
        let number = crate::words::amount(words.word(2)?)? as usize;
        let chunk = self.object(words.word(1)?)?.chunks.first();
        let address = chunk.and_then(|chunk| chunk.replicas.get(number.wrapping_sub(1))).cloned();
        let address = address.ok_or_else(|| DemoError::usage(format!("the gateway named no holder {number}")))?;
        self.who_listens_at(&address).map(|who| who.to_string())
    }

    /// `distinct-chunks`: different chunk files on all disks together.
    pub(crate) fn distinct_chunks(&mut self) -> Result<u64, DemoError> {
        Ok(self.found()?.len() as u64)
    }

    /// `placed PREFIX`: how many copies of the objects that begin so lie where the formula puts them, out of how many.
    ///
    /// A copy may come a moment after the acknowledgement, so this looks until all are there, for a minute. A node that was slow for
    /// half a second got company from another; that metadata knows of such a copy too many is what an oracle asks.
    pub(crate) async fn placed(&mut self, words: &Words) -> Result<String, DemoError> {
        let wanted = self.wanted(words.word(1)?)?;
        let all: usize = wanted.values().map(|place| place.must.len()).sum();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.found()?;
            let there = |(id, place): (_, &Place)| found.get(id).map_or(0, |on| place.must.intersection(on).count());
            let right: usize = wanted.iter().map(there).sum();
            if right == all || Instant::now() > deadline {
                return Ok(format!("{right} of {all} copies are where the formula puts them"));
            }
            // waits: for late copies, within a deadline
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `share NODE PREFIX`: whether a node has as much of the objects as chance allows: copies / nodes, give or take five
    /// standard deviations.
    pub(crate) fn share(&mut self, words: &Words) -> Result<String, DemoError> {
        let node: Who = words.word(1)?.parse()?;
        let wanted = self.wanted(words.word(2)?)?;
        let found = self.found()?;
        let held = wanted.keys().filter(|id| found.get(id).is_some_and(|nodes| nodes.contains(&node))).count();
        let (copies, nodes) = (self.copies()? as f64, self.registry.len() as f64);
        let (low, high) = interval(wanted.len() as f64, copies / nodes);
        self.note(format!("{node} holds {held} of {} chunks; expected {low:.0} to {high:.0}", wanted.len()));
        let fair = (low..=high).contains(&(held as f64));
        Ok(format!("{}, {} chunks", if fair { "a fair share" } else { "NOT a fair share" }, wanted.len()))
    }

    /// `simulate from=N to=M keys=K`: what a change of the node list would move, by the formula alone.
    pub(crate) fn simulate(&self, words: &Words) -> Result<String, DemoError> {
        let number = |name: &str, default| words.number(name, default).map(|number| number as usize);
        let (from, to, keys) = (number("from", 3)?, number("to", 4)?, number("keys", 10_000)?);
        let shift = hrw::simulate(from, to, keys, number("copies", 3)?);
        let whose = if to > from { "now on a new node" } else { "were on a removed node" };
        Ok(format!("{} of {keys} keys move, {} of them {whose}", shift.moved, shift.concerned))
    }
}

/// Where the number of successes among `trials` of probability `p` lies, but for one run in 1.7 million: five standard deviations.
///
/// Node names hold ports that change from run to run, so the number is truly random. 99.9 % would fail one run in a thousand
/// by chance; a node that takes nothing, or everything, is far outside of both.
fn interval(trials: f64, p: f64) -> (f64, f64) {
    let (middle, deviation) = (trials * p, (trials * p * (1.0 - p)).sqrt());
    ((middle - 5.0 * deviation).max(0.0), (middle + 5.0 * deviation).min(trials))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        let (low, high) = interval(200.0, 0.75);
        assert_eq!((low.round(), high.round()), (119.0, 181.0));
        assert_eq!(interval(10.0, 1.0), (10.0, 10.0), "three copies on three nodes leave nothing to chance");
    }
}
