//! How the probes of a node go, and what follows for its health.

use std::time::Duration;

use api::NodeStatus;
use domain::view::Health;

/// Misses in a row that make a node suspect.
pub(crate) const SUSPECT_MISSES: u32 = 2;

/// Silence that makes a node down.
pub(crate) const DOWN_AFTER: Duration = Duration::from_secs(5);

/// How the probes of one node go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    /// Probes in all.
    pub probes: u64,
    /// Probes in a row without a good answer.
    pub misses: u32,
    /// Monotonic time of the last good answer, or of the first probe.
    pub last_good: Option<Duration>,
    /// Wall clock of the last good answer, in milliseconds.
    pub seen_ms: Option<u64>,
    /// How long the last good answer took.
    pub latency: Duration,
    /// What was wrong the last time.
    pub problem: Option<String>,
    /// What it said of itself.
    pub status: Option<NodeStatus>,
    /// What follows for the view.
    pub health: Option<Health>,
    /// Monotonic time of the last witness.
    pub witnessed: Option<Duration>,
}

impl Probe {
    /// Notes a good answer, at `now` (monotonic) and `wall_ms`, after `latency`.
    pub fn answered(&mut self, status: NodeStatus, now: Duration, wall_ms: u64, latency: Duration) {
        *self = Self {
            probes: self.probes + 1,
            misses: 0,
            last_good: Some(now),
            seen_ms: Some(wall_ms),
            latency,
            problem: None,
            status: Some(status),
            health: Some(Health::Up),
            witnessed: self.witnessed,
        };
    }

    /// Notes a probe without a good answer; true if that changed the node's health. A node that a gateway reaches is not down.
    pub fn missed(&mut self, problem: String, now: Duration, reached: bool) -> bool {
        self.probes += 1;
        self.misses += 1;
        let silent = now.saturating_sub(*self.last_good.get_or_insert(now));
        let health = match self.misses {
            _ if silent >= DOWN_AFTER && !reached => Health::Down,
            misses if misses >= SUSPECT_MISSES => Health::Suspect,
            _ => self.health.unwrap_or(Health::Suspect),
        };
        self.problem = Some(if reached { format!("{problem}; a gateway reaches it") } else { problem });
        self.health.replace(health) != Some(health)
    }

    /// Notes an answer in another's name; true if that changed the node's health. Nobody can use it, whoever reaches it.
    pub fn impersonated(&mut self, problem: String) -> bool {
        self.probes += 1;
        self.misses += 1;
        self.problem = Some(problem);
        self.health.replace(Health::Down) != Some(Health::Down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> NodeStatus {
        NodeStatus { identity: None, free_bytes: 0, total_bytes: 0, reserve_bytes: 0, chunks: 0, poisoned: None }
    }

    #[test]
    fn two_misses_make_suspect_five_seconds_down_unless_a_gateway_reaches_it() {
        use Health::{Down, Suspect, Up};
        // (second, whether a gateway reaches it; None is a good answer, and what follows)
        let table = [
            (0, None, Up),
            (1, Some(false), Up),
            (2, Some(false), Suspect),
            (4, Some(true), Suspect),
            (5, Some(true), Suspect),
            (60, Some(true), Suspect),
            (61, Some(false), Down),
            (62, Some(true), Suspect),
            (63, None, Up),
            (67, Some(false), Up),
            (68, Some(false), Down),
        ];
        let mut probe = Probe::default();
        for (second, missed, health) in table {
            let now = Duration::from_secs(second);
            match missed {
                None => probe.answered(status(), now, second * 1000, Duration::ZERO),
                Some(reached) => drop(probe.missed("silence".into(), now, reached)),
            }
            assert_eq!(probe.health, Some(health), "at {second} s");
        }
        assert_eq!((probe.probes, probe.misses, probe.seen_ms), (11, 2, Some(63_000)));
        probe.answered(status(), Duration::from_secs(69), 69_000, Duration::ZERO);
        assert_eq!((probe.misses, probe.problem), (0, None));
    }

    #[test]
    fn a_node_that_never_answered_has_five_seconds_too() {
        let mut probe = Probe::default();
        let mut at = |second| {
            probe.missed("silence".into(), Duration::from_secs(second), false);
            probe.health
        };
        assert_eq!(
            [at(100), at(101), at(104), at(105)].map(Option::unwrap),
            [Health::Suspect, Health::Suspect, Health::Suspect, Health::Down]
        );
    }
}
