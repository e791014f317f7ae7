//! Is a history linearizable? A checker for registers, one key at a time.
//!
//! A history is what clients saw: when they asked, what, when they were answered, what. It is *linearizable* if each operation can be given
//! one moment between its question and its answer such that, done in the order of these moments, every answer is right (Herlihy & Wing,
//! 1990). Keys do not concern each other, so each is looked at by itself.
//!
//! The search goes through the questions and answers in the order of time and keeps every *configuration* that explains them so far: what
//! is in the register, and which of the open operations have had their moment already (Lowe, "Testing for linearizability", 2017). At
//! an answer, operations that are open may have had theirs, in any order, until the answered one had its own; configurations in which it
//! cannot be right are gone. None left: no order explains the history.
//!
//! An operation of unknown outcome stays open for ever: its moment may come late, or never. What it makes possible grows with every such
//! operation, so of two configurations with the same register the one with fewer of them used up stands for both: it can do what the other
//! can.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, bail};

/// What a register holds: a value that nobody else wrote, or nothing.
pub type State = Option<u64>;

/// What was asked of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Write this.
    Put(u64),
    /// Write this if there is nothing.
    Create(u64),
    /// Write the first if the second is there.
    Swap(u64, u64),
    /// Remove what is there.
    Delete,
    /// Read.
    Get,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Done.
    Done,
    /// Refused: the condition did not hold; or, to a delete, there was nothing.
    Refused,
    /// This is there.
    Found(State),
    /// It was certainly not done.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// An operation on one key, with the moments (any unit) of question and answer.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// When it was asked.
    pub begun: u64,
    /// When it was answered, or given up.
    pub ended: u64,
    /// What was asked.
    pub asked: Asked,
    /// What was answered.
    pub answered: Answered,
}

/// The most configurations that are kept: beyond it the history is not decided, which is no verdict.
const MOST: usize = 2_000_000;

/// Operations that may be open at once, those of unknown outcome included: a bit for each.
const SLOTS: usize = 128;

/// What is in the register, and which open operations have had their moment: a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Configuration {
    state: State,
    had: u128,
}

/// Open operations, each in a slot.
struct Open(Vec<Option<Operation>>);

impl Open {
    fn enter(&mut self, operation: Operation) -> Result<usize> {
        let Some(slot) = self.0.iter().position(Option::is_none) else {
            bail!("undecided: more than {SLOTS} operations are open at once");
        };
        self.0[slot] = Some(operation);
        Ok(slot)
    }

    /// Open operations that have not had their moment in a configuration, with their bits.
    fn left(&self, had: u128) -> impl Iterator<Item = (u128, &Operation)> {
        let open = self.0.iter().enumerate().filter_map(|(slot, operation)| Some((1 << slot, operation.as_ref()?)));
        open.filter(move |(bit, _)| had & bit == 0)
    }

    /// The bits of those whose outcome is unknown.
    fn unknown(&self) -> u128 {
        let unknown = |(_, operation): &(u128, &Operation)| operation.answered == Answered::Unknown;
        self.left(0).filter(unknown).map(|(bit, _)| bit).sum()
    }
}

/// Errs if no order explains `history`, which begins with nothing in the register; with the last operation that could not be explained.
pub fn check(history: &[Operation]) -> Result<()> {
    let mut moments = Vec::new();
    for (nth, operation) in history.iter().enumerate() {
        if operation.answered == Answered::Nothing || is_idle(operation) {
            continue;
        }
        moments.push((operation.begun, 0, nth));
        if operation.answered != Answered::Unknown {
            moments.push((operation.ended, 1, nth));
        }
    }
    moments.sort_unstable();
    let (mut open, mut slots) = (Open(vec![None; SLOTS]), vec![0; history.len()]);
    let mut configurations = vec![Configuration { state: None, had: 0 }];
    for (_, ends, nth) in moments {
        if ends == 0 {
            slots[nth] = open.enter(history[nth])?;
            continue;
        }
        configurations = answered(&open, configurations, 1 << slots[nth])?;
        open.0[slots[nth]] = None;
        if configurations.is_empty() {
            bail!("no order explains {:?}", history[nth]);
        }
    }
    Ok(())
}

/// A read that was never answered explains nothing and changes nothing.
fn is_idle(operation: &Operation) -> bool {
    operation.asked == Asked::Get && operation.answered == Answered::Unknown
}

/// The configurations in which the operation with bit `answered` has had its moment, and its answer is right.
fn answered(open: &Open, before: Vec<Configuration>, answered: u128) -> Result<Vec<Configuration>> {
    let mut queue: Vec<_> = before.into_iter().map(|one| with_onlookers(open, one)).collect();
    let mut seen: HashSet<Configuration> = queue.iter().copied().collect();
    let mut after = Vec::new();
    while let Some(Configuration { state, had }) = queue.pop() {
        if had & answered != 0 {
            after.push(Configuration { state, had: had & !answered });
            continue;
        }
        for (bit, operation) in open.left(had) {
            let Some(state) = step(state, operation) else { continue };
            let next = with_onlookers(open, Configuration { state, had: had | bit });
            if seen.insert(next) {
                queue.push(next);
            }
        }
        if seen.len() > MOST {
            bail!("undecided: more than {MOST} configurations explain the history so far");
        }
    }
    Ok(least(after, open.unknown()))
}

/// `one`, in which every open operation has had its moment that changes nothing and is right now: it can only gain by that.
fn with_onlookers(open: &Open, one: Configuration) -> Configuration {
    let looks = |(_, operation): &(u128, &Operation)| {
        matches!(operation.answered, Answered::Found(_) | Answered::Refused)
            && step(one.state, operation) == Some(one.state)
    };
    Configuration { state: one.state, had: open.left(one.had).filter(looks).fold(one.had, |had, (bit, _)| had | bit) }
}

/// Without those that another one stands for: same register, same answered operations, and unknown ones used up that it has left.
fn least(all: Vec<Configuration>, unknown: u128) -> Vec<Configuration> {
    let mut groups: BTreeMap<(State, u128), Vec<u128>> = BTreeMap::new();
    for Configuration { state, had } in all {
        let spent = had & unknown;
        let kept = groups.entry((state, had & !unknown)).or_default();
        if !kept.iter().any(|other| other & !spent == 0) {
            kept.retain(|other| spent & !other != 0);
            kept.push(spent);
        }
    }
    let join = |((state, known), kept): ((State, u128), Vec<u128>)| {
        kept.into_iter().map(move |spent| Configuration { state, had: spent | known })
    };
    groups.into_iter().flat_map(join).collect()
}

/// What `operation` leaves when its moment comes with `state` there; `None` if its answer would be wrong.
fn step(state: State, operation: &Operation) -> Option<State> {
    let effect = match operation.asked {
        Asked::Put(value) => Some(Some(value)),
        Asked::Create(value) => state.is_none().then_some(Some(value)),
        Asked::Swap(value, expected) => (state == Some(expected)).then_some(Some(value)),
        Asked::Delete => state.is_some().then_some(None),
        Asked::Get => Some(state),
    };
    match operation.answered {
        Answered::Done => effect,
        Answered::Refused => effect.is_none().then_some(state),
        Answered::Found(found) => (found == state).then_some(state),
        Answered::Unknown => effect,
        Answered::Nothing => None,
    }
}

/// `history` with a read more, long after all others were answered, that finds a value which was overwritten by then.
pub fn stale_read(history: &[Operation]) -> Vec<Operation> {
    let end = history.iter().map(|operation| operation.ended).max().unwrap_or(0) + 10;
    let old = history.iter().find_map(|operation| match (operation.asked, operation.answered) {
        (Asked::Put(value), Answered::Done) => Some(value),
        _ => None,
    });
    let put = |begun, value| Operation { begun, ended: begun + 1, asked: Asked::Put(value), answered: Answered::Done };
    let read = Operation { begun: end + 4, ended: end + 5, asked: Asked::Get, answered: Answered::Found(old) };
    history.iter().copied().chain([put(end, u64::MAX), read]).collect()
}

/// `history` with an acknowledged write more, of which two later reads find nothing: what was there before it is there still.
pub fn lost_write(history: &[Operation]) -> Vec<Operation> {
    let end = history.iter().map(|operation| operation.ended).max().unwrap_or(0) + 10;
    let one = |begun, asked, answered| Operation { begun, ended: begun + 1, asked, answered };
    let (kept, lost) = (u64::MAX - 1, u64::MAX);
    let more = [
        one(end, Asked::Put(kept), Answered::Done),
        one(end + 2, Asked::Put(lost), Answered::Done),
        one(end + 4, Asked::Get, Answered::Found(Some(kept))),
        one(end + 6, Asked::Get, Answered::Found(Some(kept))),
    ];
    history.iter().copied().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::next;

    fn operation(begun: u64, ended: u64, asked: Asked, answered: Answered) -> Operation {
        Operation { begun, ended, asked, answered }
    }

    #[test]
    fn small_histories() {
        use Answered::{Done, Found, Refused, Unknown};
        use Asked::{Create, Delete, Get, Put, Swap};
        let table: &[(&str, bool, &[Operation])] = &[
            ("one after the other", true, &[operation(1, 2, Put(7), Done), operation(3, 4, Get, Found(Some(7)))]),
            (
                "a stale read",
                false,
                &[operation(1, 2, Put(7), Done), operation(3, 4, Put(8), Done), operation(5, 6, Get, Found(Some(7)))],
            ),
            (
                "an overlapping read sees either",
                true,
                &[
                    operation(1, 2, Put(7), Done),
                    operation(3, 9, Put(8), Done),
                    operation(4, 5, Get, Found(Some(7))),
                    operation(6, 7, Get, Found(Some(8))),
                ],
            ),
            (
                "but not the old one after the new one",
                false,
                &[
                    operation(1, 2, Put(7), Done),
                    operation(3, 9, Put(8), Done),
                    operation(4, 5, Get, Found(Some(8))),
                    operation(6, 7, Get, Found(Some(7))),
                ],
            ),
            ("a lost write", false, &[operation(1, 2, Put(7), Done), operation(3, 4, Get, Found(None))]),
            ("two winners", false, &[operation(1, 5, Create(1), Done), operation(2, 6, Create(2), Done)]),
            ("one winner", true, &[operation(1, 5, Create(1), Done), operation(2, 6, Create(2), Refused)]),
            (
                "an unknown write that took effect late",
                true,
                &[
                    operation(1, 2, Put(1), Unknown),
                    operation(3, 4, Get, Found(None)),
                    operation(5, 6, Get, Found(Some(1))),
                ],
            ),
            (
                "and does not take effect twice",
                false,
                &[
                    operation(1, 2, Put(1), Unknown),
                    operation(3, 4, Get, Found(Some(1))),
                    operation(5, 6, Delete, Done),
                    operation(7, 8, Get, Found(Some(1))),
                ],
            ),
            (
                "an unknown create that a refusal betrays",
                true,
                &[operation(1, 2, Create(1), Unknown), operation(3, 4, Create(2), Refused)],
            ),
            (
                "a swap needs what it expects",
                false,
                &[operation(1, 2, Put(1), Done), operation(3, 4, Swap(3, 2), Done)],
            ),
            ("a delete of nothing", true, &[operation(1, 2, Delete, Refused)]),
        ];
        for (what, right, history) in table {
            assert_eq!(check(history).is_ok(), *right, "{what}");
        }
    }

    /// Histories of a register that is one: operations that overlap a lot, each with its moment, some of whose answers are lost.
    fn honest(seed: u64, count: u64) -> Vec<Operation> {
        let mut random = seed * 31 + 7;
        let mut state: State = None;
        let mut history = Vec::new();
        for nth in 0..count {
            let moment = nth * 10;
            let asked = match next(&mut random) % 6 {
                0 | 1 => Asked::Put(nth),
                2 => Asked::Create(nth),
                3 => Asked::Swap(nth, state.unwrap_or(0)),
                4 => Asked::Delete,
                _ => Asked::Get,
            };
            let lost = next(&mut random).is_multiple_of(40);
            let probe = Operation { begun: 0, ended: 0, asked, answered: Answered::Done };
            let answered = match (step(state, &probe), asked) {
                (_, Asked::Get) => Answered::Found(state),
                (Some(after), _) => {
                    state = after;
                    Answered::Done
                }
                (None, _) => Answered::Refused,
            };
            let answered = if lost { Answered::Unknown } else { answered };
            let (begun, ended) = (moment.saturating_sub(next(&mut random) % 40), moment + next(&mut random) % 40);
            history.push(Operation { begun, ended, asked, answered });
        }
        history
    }

    #[test]
    fn a_register_is_linearizable_and_planted_faults_are_found() {
        for seed in 0..4 {
            let history = honest(seed, 200);
            check(&history).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(check(&stale_read(&history)).is_err(), "seed {seed}: a stale read");
            assert!(check(&lost_write(&history)).is_err(), "seed {seed}: a lost write");
        }
    }
}
