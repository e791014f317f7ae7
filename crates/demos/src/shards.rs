//! The verbs about stripes: where shards are, and what is left without some.

use std::collections::BTreeSet;

use crate::cluster::{DemoError, Who};
use crate::stage::{Stage, parse_id};
use crate::words::Words;

impl Stage {
    /// `home OBJECT NUMBER`: the node that its chunk or shard, counted from 1, was on when it was acknowledged.
    pub(crate) fn home(&mut self, words: &Words) -> Result<String, DemoError> {
        let number = crate::words::amount(words.word(2)?)? as usize;
        let chunk = self.object(words.word(1)?)?.chunks.get(number.wrapping_sub(1));
        let address = chunk.and_then(|chunk| chunk.replicas.first()).cloned();
        let address =
            address.ok_or_else(|| DemoError::usage(format!("the gateway named no node for chunk {number}")))?;
        self.who_listens_at(&address).map(|who| who.to_string())
    }

    /// `spread OBJECT`: of its stripes, the fewest nodes that have a shard of one on disk.
    pub(crate) fn spread(&mut self, words: &Words) -> Result<u64, DemoError> {
        let found = self.found()?;
        let stored = self.object(words.word(1)?)?;
        let mut fewest = u64::MAX;
        for stripe in stored.chunks.chunks(stored.shards.max(1)) {
            let mut nodes: BTreeSet<Who> = BTreeSet::new();
            for shard in stripe {
                nodes.extend(found.get(&parse_id(&shard.chunk_id)?).into_iter().flatten());
            }
            fewest = fewest.min(nodes.len() as u64);
        }
        Ok(fewest)
    }

    /// `any-lost N OBJECT`: reads it without its files on any N nodes, for every choice of N.
    pub(crate) async fn any_lost(&mut self, words: &Words) -> Result<String, DemoError> {
        let (few, read) = (crate::words::amount(words.word(1)?)? as u32, words.after(1));
        let ids = self.object(read.word(1)?)?.chunks.iter().map(|chunk| parse_id(&chunk.chunk_id));
        let ids: BTreeSet<_> = ids.collect::<Result<_, _>>()?;
        let mut files: Vec<(Who, _)> = Vec::new();
        for (id, nodes) in self.found()?.into_iter().filter(|(id, _)| ids.contains(id)) {
            files.extend(nodes.into_iter().map(|node| (node, id)));
        }
        let nodes: Vec<Who> = self.nodes();
        let (mut choices, mut equal) = (0, 0);
        for choice in (0_u32..1 << nodes.len()).filter(|choice| choice.count_ones() == few) {
            let lost =
                |node: &Who| nodes.iter().position(|known| known == node).is_some_and(|at| choice >> at & 1 == 1);
            let mut away = Vec::new();
            for (node, id) in files.iter().filter(|(node, _)| lost(node)) {
                away.push((*node, *id, self.cluster.read_chunk(*node, *id)?));
                self.cluster.remove_chunk(*node, *id)?;
            }
            let answer = self.get(&read).await;
            for (node, id, bytes) in away {
                self.cluster.write_chunk(node, id, &bytes)?;
            }
            choices += 1;
            equal += u64::from(answer?.ends_with(" equal"));
        }
        Ok(format!("{equal} of {choices} choices read back equal"))
    }
}
