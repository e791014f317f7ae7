//! The nodes of a simulation, before and after: made up, or those of a cluster that runs; and what is changed about them.

use anyhow::{Context, Result, anyhow, bail, ensure};
use api::admin::NodeInfo;
use domain::placement::topology::Site;
use domain::record::NodeState;
use domain::registry::MAX_WEIGHT;

/// A node that takes chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name it is placed by.
    pub name: String,
    /// Failure domain; empty means its own.
    pub domain: String,
    /// Share of the load.
    pub weight: u32,
}

impl Node {
    /// The node as placement sees it.
    pub fn site(&self) -> Site<'_> {
        Site { name: &self.name, domain: &self.domain, class: Default::default(), weight: self.weight }
    }
}

/// Nodes `dn1`, `dn2`, … in as many racks, if any, dealt out in turn; weights repeat if there are fewer than nodes.
pub fn made_up(count: u32, racks: u32, weights: &[u32]) -> Vec<Node> {
    let node = |index: u32| Node {
        name: format!("dn{}", index + 1),
        domain: if racks == 0 { String::new() } else { format!("rack{}", index % racks + 1) },
        weight: weights.get(index as usize % weights.len().max(1)).copied().unwrap_or(1),
    };
    (0..count).map(node).collect()
}

/// The nodes of a cluster that take chunks.
pub fn of_cluster(nodes: &[NodeInfo]) -> Vec<Node> {
    let takes = nodes.iter().filter(|node| node.state == NodeState::In && node.incarnation.is_some());
    takes.map(|node| Node { name: node.name.clone(), domain: node.domain.clone(), weight: node.weight }).collect()
}

/// `nodes` after `changes`, each `NAME=out`, or `NAME=` and one or both of `weight:N` and `domain:NAME`, separated by commas. A name that is not among
/// them joins.
pub fn changed(nodes: &[Node], changes: &[String]) -> Result<Vec<Node>> {
    let mut nodes = nodes.to_vec();
    for change in changes {
        apply(&mut nodes, change).with_context(|| format!("--change {change}"))?;
    }
    Ok(nodes)
}

fn apply(nodes: &mut Vec<Node>, change: &str) -> Result<()> {
    let (name, what) =
        change.split_once('=').ok_or_else(|| anyhow!("expected NAME=out, or NAME=weight:2,domain:rack1"))?;
    let place = nodes.iter().position(|node| node.name == name);
    if what == "out" {
        nodes.remove(place.ok_or_else(|| anyhow!("there is no node {name}"))?);
        return Ok(());
    }
    let place = place.unwrap_or_else(|| {
        nodes.push(Node { name: name.into(), domain: String::new(), weight: 1 });
        nodes.len() - 1
    });
    for label in what.split(',') {
        match label.split_once(':') {
            Some(("weight", weight)) => {
                let weight = weight.parse().with_context(|| format!("the weight {weight:?}"))?;
                ensure!((1..=MAX_WEIGHT).contains(&weight), "a weight of {weight}: expected 1 to {MAX_WEIGHT}");
                nodes[place].weight = weight;
            }
            Some(("domain", domain)) => nodes[place].domain = domain.into(),
            _ => bail!("{label:?}: expected weight:N, domain:NAME, or `out` alone"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        let shown = |nodes: &[Node]| {
            let show = |node: &Node| format!("{} {} {}", node.name, node.domain, node.weight);
            nodes.iter().map(show).collect::<Vec<_>>().join("; ")
        };
        let nodes = made_up(3, 2, &[1, 4]);
        assert_eq!(shown(&nodes), "dn1 rack1 1; dn2 rack2 4; dn3 rack1 1");
        let change =
            |changes: &[&str]| changed(&nodes, &changes.iter().map(|text| text.to_string()).collect::<Vec<_>>());
        let after = change(&["dn1=out", "dn3=weight:2,domain:rack3", "new=weight:9"]).unwrap();
        assert_eq!(shown(&after), "dn2 rack2 4; dn3 rack3 2; new  9");
        for (wrong, says) in [
            ("dn9=out", "there is no node dn9"),
            ("dn1", "expected NAME=out"),
            ("dn1=weight:0", "expected 1 to"),
            ("dn1=weight:x", "the weight"),
            ("dn1=colour:red", "expected weight:N"),
        ] {
            let error = format!("{:#}", change(&[wrong]).unwrap_err());
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
