//! How nodes look to gateways: they use them, so they know better than a probe whether a node can be used.
//!
//! Soft state of whoever leads: a report counts for [`SEEN_FOR`], and a gateway that did not ask a node has no opinion on it.

use std::collections::BTreeMap;
use std::time::Duration;

use api::metadata::{MAX_SEEN, SEEN_FOR, Seen};
use domain::{LogPosition, NodeId};
use parking_lot::Mutex;

/// The most gateways whose reports are kept.
const MAX_REPORTERS: usize = 1024;

/// The last report of each gateway, by its lease.
#[derive(Debug, Default)]
pub(crate) struct Experience(Mutex<BTreeMap<LogPosition, Report>>);

#[derive(Debug)]
struct Report {
    /// Monotonic time of its arrival.
    at: Duration,
    seen: BTreeMap<NodeId, Seen>,
}

impl Experience {
    /// Notes a report that arrived at `now`, in place of the gateway's last one.
    pub fn note(&self, gateway: LogPosition, seen: &[(NodeId, Seen)], now: Duration) {
        let mut reports = self.0.lock();
        reports.retain(|_, report| now.saturating_sub(report.at) <= SEEN_FOR);
        if reports.len() < MAX_REPORTERS || reports.contains_key(&gateway) {
            let seen = seen.iter().take(MAX_SEEN).copied().collect();
            reports.insert(gateway, Report { at: now, seen });
        }
    }

    /// Whether a gateway reaches the node.
    pub fn reached(&self, node: NodeId, now: Duration) -> bool {
        self.count(node, now, Seen::Answers) > 0
    }

    /// How many gateways say so of the node.
    pub fn count(&self, node: NodeId, now: Duration, seen: Seen) -> usize {
        let reports = self.0.lock();
        let live = reports.values().filter(|report| now.saturating_sub(report.at) <= SEEN_FOR);
        live.filter(|report| report.seen.get(&node) == Some(&seen)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_for_a_while_and_replaces_the_one_before() {
        let experience = Experience::default();
        let (first, second) = (LogPosition::new(1, 0), LogPosition::new(2, 0));
        let second_s = Duration::from_secs;
        let counts = |node, now| {
            let count = |seen| experience.count(NodeId(node), second_s(now), seen);
            (count(Seen::Answers), count(Seen::Silent))
        };
        experience.note(first, &[(NodeId(1), Seen::Answers), (NodeId(2), Seen::Silent)], second_s(10));
        experience.note(second, &[(NodeId(1), Seen::Silent)], second_s(11));
        assert_eq!((counts(1, 11), counts(2, 11), counts(3, 11)), ((1, 1), (0, 1), (0, 0)));
        assert!(experience.reached(NodeId(1), second_s(13)) && !experience.reached(NodeId(2), second_s(13)));
        assert_eq!(counts(1, 14), (0, 1), "the first report is old");
        experience.note(second, &[], second_s(14));
        assert_eq!(counts(1, 14), (0, 0), "it has no opinion any more");
        for gateway in 0..2000 {
            experience.note(LogPosition(gateway), &[(NodeId(1), Seen::Answers)], second_s(100));
        }
        assert_eq!(counts(1, 100), (MAX_REPORTERS, 0));
    }
}
