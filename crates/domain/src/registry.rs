//! The registry's values: what a data node is labelled with, how a directory proves that it is still itself, and why it may not be.
//!
//! A node's directory carries a **stamp**: cluster, node, *incarnation* (drawn when it was formatted), *boot counter* (one more
//! at every start) and *witness* (a number that the leader hands out every ten seconds and that only grows). The node's row
//! remembers the last that the directory was known to hold. A directory that shows less than its row remembers is not what it
//! was: it was emptied, swapped, or rolled back to an older copy of itself, and what it held then may be missing now.
//! [`compare`] tells which. A copy on such a directory counts as missing until somebody has written it there anew.
//!
//! What it cannot see: a directory rolled back by less than one witness, ten seconds at most.

use serde::{Deserialize, Serialize};

use crate::record::NodeRow;
use crate::{ChunkId, ClassId, Incarnation, NodeId, StripeId};

/// The most bytes of a class's or a failure domain's name.
pub const MAX_LABEL_BYTES: usize = 64;

/// The largest weight of a node.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// New labels of a node; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeLabels {
    /// Storage class; empty is the default class.
    pub class: Option<String>,
    /// Failure domain; empty makes the node a domain of its own.
    pub domain: Option<String>,
    /// Share of the load, relative to other nodes' weights: 1 to [`MAX_WEIGHT`].
    pub weight: Option<u32>,
}

impl NodeLabels {
    /// What is wrong with them, if anything is.
    pub fn problem(&self) -> Option<String> {
        let odd = |label: &&String| label.len() > MAX_LABEL_BYTES || !label.chars().all(is_label_char);
        if let Some(label) = [&self.class, &self.domain].into_iter().flatten().find(odd) {
            let shown: String = label.chars().take(80).collect();
            return Some(format!(
                "{shown:?} is not a label; expected at most 64 letters, digits, '.', '_', '-', '/' or ':'"
            ));
        }
        let weight = self.weight.filter(|weight| !(1..=MAX_WEIGHT).contains(weight))?;
        Some(format!("a weight of {weight} is not possible; expected 1 to {MAX_WEIGHT}"))
    }
}

fn is_label_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || "._-/:".contains(char)
}

/// What a directory shows of its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The cluster that stamped it.
    pub cluster_id: u128,
    /// As which node.
    pub node: NodeId,
    /// Drawn when it was formatted.
    pub incarnation: Incarnation,
    /// How often it was opened.
    pub boot: u64,
    /// The last witness it was given.
    pub witness: u64,
}

/// Why a directory is not the one that was stamped for its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LossCause {
    /// It has no stamp.
    #[error("its directory is empty, and was stamped before: its disk was lost or is not mounted")]
    Empty,
    /// It was stamped for another cluster.
    #[error("its directory belongs to another cluster, {cluster_id:032x}")]
    OtherCluster {
        /// Which.
        cluster_id: u128,
    },
    /// It was stamped for another node.
    #[error("its directory belongs to node {node}: disks or addresses were swapped")]
    OtherNode {
        /// Which.
        node: NodeId,
    },
    /// It was formatted another time.
    #[error("its directory is incarnation {found}, not the registered one: it was formatted anew, or is an older disk")]
    OtherIncarnation {
        /// What it shows.
        found: Incarnation,
    },
    /// It was opened fewer times than is known.
    #[error("its directory was rolled back: it shows boot {found}, and boot {known} was seen")]
    OlderBoot {
        /// What it shows.
        found: u64,
        /// What the row remembers.
        known: u64,
    },
    /// It shows an older witness than it was known to hold.
    #[error("its directory was rolled back: it shows witness {found}, and {known} was stored in it")]
    OlderWitness {
        /// What it shows.
        found: u64,
        /// What the row remembers.
        known: u64,
    },
    /// An operator said so.
    #[error("it was replaced by hand")]
    Replaced,
}

/// That a node's directory was found not to be the one that was stamped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The incarnation that was lost.
    pub was: Incarnation,
    /// What was found instead.
    pub cause: LossCause,
    /// Wall clock when it was noted, in milliseconds.
    pub since_ms: u64,
}

/// How far the copies on a lost directory are counted as missing: chunks first, then stripes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sweep {
    /// Nothing was looked at yet.
    #[default]
    Begin,
    /// The last chunk that was looked at, in the order of the table.
    Chunk(ClassId, ChunkId),
    /// All chunks, and the last stripe; none yet at the beginning.
    Stripe(Option<(ClassId, StripeId)>),
}

/// What a directory is to a node's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// The directory that was stamped for it.
    Itself,
    /// An empty directory, and none was ever stamped for the node: it may be stamped now.
    Blank,
    /// Stamped for this node, and the row has not noted it yet.
    Stamped(Incarnation),
    /// Not the directory that was stamped for it.
    Lost(LossCause),
    /// None was ever stamped for the node, and this one is somebody else's.
    Stranger(LossCause),
}

/// Compares what a directory shows (`None`: it has no stamp) with what the row of node `id` remembers.
pub fn compare(cluster_id: u128, id: NodeId, row: &NodeRow, found: Option<Stamp>) -> Recognition {
    let Some(known) = row.incarnation else {
        return match found.map(|stamp| (foreign(cluster_id, id, &stamp), stamp.incarnation)) {
            None => Recognition::Blank,
            Some((Some(cause), _)) => Recognition::Stranger(cause),
            Some((None, incarnation)) => Recognition::Stamped(incarnation),
        };
    };
    let Some(stamp) = found else { return Recognition::Lost(LossCause::Empty) };
    let cause = foreign(cluster_id, id, &stamp).or_else(|| older(known, row, &stamp));
    cause.map_or(Recognition::Itself, Recognition::Lost)
}

fn foreign(cluster_id: u128, id: NodeId, stamp: &Stamp) -> Option<LossCause> {
    if stamp.cluster_id != cluster_id {
        return Some(LossCause::OtherCluster { cluster_id: stamp.cluster_id });
    }
    (stamp.node != id).then_some(LossCause::OtherNode { node: stamp.node })
}

fn older(known: Incarnation, row: &NodeRow, stamp: &Stamp) -> Option<LossCause> {
    if stamp.incarnation != known {
        return Some(LossCause::OtherIncarnation { found: stamp.incarnation });
    }
    if stamp.boot < row.boot {
        return Some(LossCause::OlderBoot { found: stamp.boot, known: row.boot });
    }
    (stamp.witness < row.witness).then_some(LossCause::OlderWitness { found: stamp.witness, known: row.witness })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogPosition;
    use crate::record::NodeState;

    fn row(incarnation: Option<u64>) -> NodeRow {
        NodeRow {
            name: "a:1".into(),
            addr: "a:1".into(),
            incarnation: incarnation.map(Incarnation),
            boot: 5,
            witness: 50,
            lost: None,
            sweep: None,
            state: NodeState::In,
            domain: String::new(),
            class: ClassId::default(),
            weight: 1,
            added: LogPosition::default(),
        }
    }

    #[test]
    fn what_a_directory_is_to_its_row() {
        let stamp = |cluster_id, node, incarnation, boot, witness| {
            Some(Stamp { cluster_id, node: NodeId(node), incarnation: Incarnation(incarnation), boot, witness })
        };
        let lost = Recognition::Lost;
        let table = [
            ("as it was", stamp(7, 3, 9, 5, 50), Recognition::Itself),
            ("started again, and a witness not noted yet", stamp(7, 3, 9, 6, 60), Recognition::Itself),
            ("emptied", None, lost(LossCause::Empty)),
            ("of another cluster", stamp(8, 3, 9, 5, 50), lost(LossCause::OtherCluster { cluster_id: 8 })),
            ("another node's", stamp(7, 4, 9, 5, 50), lost(LossCause::OtherNode { node: NodeId(4) })),
            ("formatted anew", stamp(7, 3, 8, 5, 50), lost(LossCause::OtherIncarnation { found: Incarnation(8) })),
            ("opened less often", stamp(7, 3, 9, 4, 50), lost(LossCause::OlderBoot { found: 4, known: 5 })),
            ("rolled back", stamp(7, 3, 9, 6, 49), lost(LossCause::OlderWitness { found: 49, known: 50 })),
        ];
        for (case, found, expected) in table {
            assert_eq!(compare(7, NodeId(3), &row(Some(9)), found), expected, "{case}");
        }
        let table = [
            ("empty", None, Recognition::Blank),
            ("ours, not noted", stamp(7, 3, 9, 1, 0), Recognition::Stamped(Incarnation(9))),
            ("another's", stamp(7, 4, 9, 1, 0), Recognition::Stranger(LossCause::OtherNode { node: NodeId(4) })),
        ];
        for (case, found, expected) in table {
            assert_eq!(compare(7, NodeId(3), &row(None), found), expected, "never stamped, {case}");
        }
    }

    #[test]
    fn labels_are_short_words() {
        let labels = |domain: &str, weight| NodeLabels {
            class: Some(String::new()),
            domain: Some(domain.into()),
            weight: Some(weight),
        };
        assert_eq!(labels("rack-1/row:2", 1).problem(), None);
        assert_eq!(labels("", MAX_WEIGHT).problem(), None);
        for (domain, weight) in [("a b", 1), ("ü", 1), (&*"x".repeat(65), 1), ("a", 0), ("a", MAX_WEIGHT + 1)] {
            assert!(labels(domain, weight).problem().is_some(), "{domain} {weight}");
        }
    }
}
