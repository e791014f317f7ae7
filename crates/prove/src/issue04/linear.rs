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
//! Taken literally that is exponential: of ten writes that are open at once, any may have had their moments, in any order. Three remarks
//! make it small:
//!
//! - *A write that is overwritten at once is seen by nobody.* Whenever a plain write has its moment, each other plain write that is open may have
//!   had its own just before. It becomes *free*: at its answer it need not change the register, though it still may. So orders of
//!   writes of which only the last is seen need not be told apart.
//! - *Who can do more stands for both.* Of two configurations with the same register, one in which a write is free can do what the
//!   other can, in which it had its moment or not. An operation of unknown outcome stays open for ever, for its moment may come late or never; here the one
//!   that has not used it up can do more.
//! - *Who does the same is the same.* A value that nobody ever saw or named might be any other such value. Operations of unknown outcome that then ask
//!   for the same are used up in the order of their slots, which is the one in which they began, and no other order is tried.

use std::collections::{HashMap, HashSet};

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

/// Operations that may be open at once: a bit for each. Those of unknown outcome, which stay so, have the slots behind the others.
const SLOTS: usize = 128;
const KNOWN_SLOTS: usize = 48;

/// What is in the register, and what has become of the open operations: a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Configuration {
    state: State,
    /// Those that have had their moment.
    had: u128,
    /// Those that may have had it without anybody seeing: never one of `had`, never one of unknown outcome.
    free: u128,
}

impl Configuration {
    /// Whether it can do all that `other` can. `unknown` are those of unknown outcome, which need never have a moment.
    fn stands_for(&self, other: &Self, unknown: u128) -> bool {
        let left = !(self.had | self.free) & !unknown;
        self.state == other.state && self.had & !other.had == 0 && left & (other.had | other.free) == 0
    }
}

/// Configurations of which none stands for another.
struct Frontier {
    kept: HashMap<State, Vec<Configuration>>,
    count: usize,
    unknown: u128,
}

impl Frontier {
    fn new(unknown: u128) -> Self {
        Self { kept: HashMap::new(), count: 0, unknown }
    }

    /// Keeps `one` unless another stands for it. Whether it was kept.
    fn add(&mut self, one: Configuration) -> bool {
        let kept = self.kept.entry(one.state).or_default();
        if kept.iter().any(|other| other.stands_for(&one, self.unknown)) {
            return false;
        }
        let before = kept.len();
        kept.retain(|other| !one.stands_for(other, self.unknown));
        self.count = self.count + 1 + kept.len() - before;
        kept.push(one);
        true
    }
}

/// Open operations, each in a slot.
struct Open(Vec<Option<Operation>>);

impl Open {
    fn enter(&mut self, operation: Operation) -> Result<usize> {
        let within = match operation.answered {
            Answered::Unknown => KNOWN_SLOTS..SLOTS,
            _ => 0..KNOWN_SLOTS,
        };
        let slots = within.len();
        let Some(slot) = within.into_iter().find(|slot| self.0.get(*slot).is_none_or(Option::is_none)) else {
            bail!("undecided: more than {slots} operations are open at once, of known or of unknown outcome");
        };
        self.0.resize(self.0.len().max(slot + 1), None);
        self.0[slot] = Some(operation);
        Ok(slot)
    }

    /// Open operations that have not had their moment in a configuration, with their bits.
    fn left(&self, had: u128) -> impl Iterator<Item = (u128, &Operation)> {
        let open = self.0.iter().enumerate().filter_map(|(slot, operation)| Some((1 << slot, operation.as_ref()?)));
        open.filter(move |(bit, _)| had & bit == 0)
    }

    /// Those that may have their moment next in a configuration: of several that ask for the same, with unknown outcomes, the first.
    fn next(&self, had: u128) -> impl Iterator<Item = (u128, &Operation)> {
        let mut unknown: Vec<Asked> = Vec::new();
        self.left(had).filter(move |(_, operation)| {
            let again = operation.answered == Answered::Unknown && unknown.contains(&operation.asked);
            if operation.answered == Answered::Unknown && !again {
                unknown.push(operation.asked);
            }
            !again
        })
    }

    /// The bits of those whose outcome is unknown.
    fn unknown(&self) -> u128 {
        let unknown = |(_, operation): &(u128, &Operation)| operation.answered == Answered::Unknown;
        self.left(0).filter(unknown).map(|(bit, _)| bit).sum()
    }

    /// The bits of plain writes that will be answered.
    fn writes(&self) -> u128 {
        let writes = |(_, operation): &(u128, &Operation)| {
            matches!((operation.asked, operation.answered), (Asked::Put(_), Answered::Done))
        };
        self.left(0).filter(writes).map(|(bit, _)| bit).sum()
    }
}

/// Errs if no order explains `history`, which begins with nothing in the register; with the last operation that could not be explained.
pub fn check(history: &[Operation]) -> Result<()> {
    let history = &with_one_value_for_all_unseen(history)[..];
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
    let (mut open, mut slots) = (Open(Vec::new()), vec![0; history.len()]);
    let mut configurations = vec![Configuration { state: None, had: 0, free: 0 }];
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

/// What stands for all values that no answer shows and no question names.
const UNSEEN: u64 = u64::MAX - 7;

/// `history`, in which values that cannot be told apart are equal.
fn with_one_value_for_all_unseen(history: &[Operation]) -> Vec<Operation> {
    let mut seen = HashSet::new();
    for operation in history {
        seen.extend(match (operation.asked, operation.answered) {
            (_, Answered::Found(found)) => found,
            (Asked::Swap(_, expected), _) => Some(expected),
            _ => None,
        });
    }
    let shown = |value| if seen.contains(&value) { value } else { UNSEEN };
    let asked = |asked| match asked {
        Asked::Put(value) => Asked::Put(shown(value)),
        Asked::Create(value) => Asked::Create(shown(value)),
        Asked::Swap(value, expected) => Asked::Swap(shown(value), expected),
        other => other,
    };
    history.iter().map(|operation| Operation { asked: asked(operation.asked), ..*operation }).collect()
}

/// A read that was never answered explains nothing and changes nothing.
fn is_idle(operation: &Operation) -> bool {
    operation.asked == Asked::Get && operation.answered == Answered::Unknown
}

/// The configurations in which the operation with bit `answered` has had its moment, and its answer is right.
fn answered(open: &Open, before: Vec<Configuration>, answered: u128) -> Result<Vec<Configuration>> {
    let (unknown, writes) = (open.unknown(), open.writes());
    let (mut seen, mut after) = (Frontier::new(unknown), Frontier::new(unknown));
    let mut queue: Vec<_> = before.into_iter().map(|one| with_onlookers(open, one)).collect();
    queue.retain(|one| seen.add(*one));
    while let Some(one) = queue.pop() {
        if (one.had | one.free) & answered != 0 {
            after.add(Configuration { had: one.had & !answered, free: one.free & !answered, ..one });
        }
        if one.had & answered != 0 {
            continue;
        }
        for (bit, operation) in open.next(one.had) {
            let Some(state) = step(one.state, operation) else { continue };
            let had = one.had | bit;
            let overwritten = if matches!(operation.asked, Asked::Put(_)) { writes } else { 0 };
            let free = (one.free | overwritten) & !had;
            let next = with_onlookers(open, Configuration { state, had, free });
            if seen.add(next) {
                queue.push(next);
            }
        }
        if seen.count > MOST {
            bail!("undecided: more than {MOST} configurations explain the history so far");
        }
    }
    Ok(after.kept.into_values().flatten().collect())
}

/// `one`, in which every open operation has had its moment that changes nothing and is right now: it can only gain by that.
fn with_onlookers(open: &Open, one: Configuration) -> Configuration {
    let looks = |(_, operation): &(u128, &Operation)| {
        matches!(operation.answered, Answered::Found(_) | Answered::Refused)
            && step(one.state, operation) == Some(one.state)
    };
    let had = open.left(one.had).filter(looks).fold(one.had, |had, (bit, _)| had | bit);
    Configuration { had, ..one }
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

    /// The definition itself: some order that keeps to time makes every answer right. Exponential.
    fn some_order_explains(state: State, left: &[Operation]) -> bool {
        let answered = |operation: &&Operation| operation.answered != Answered::Unknown;
        let Some(until) = left.iter().filter(answered).map(|operation| operation.ended).min() else { return true };
        let first = (0..left.len()).filter(|nth| left[*nth].begun <= until);
        first.into_iter().any(|nth| {
            let rest = [&left[..nth], &left[nth + 1..]].concat();
            step(state, &left[nth]).is_some_and(|state| some_order_explains(state, &rest))
        })
    }

    #[test]
    fn the_verdict_is_the_definition_s() {
        let mut verdicts = [0, 0];
        for seed in 0..3_000 {
            let mut history = honest(seed, 7);
            let mut random = seed;
            // Half of them with an answer that may be wrong.
            if next(&mut random).is_multiple_of(2) {
                let nth = next(&mut random) as usize % history.len();
                history[nth].answered = match history[nth].answered {
                    Answered::Done => Answered::Refused,
                    Answered::Refused => Answered::Done,
                    _ => Answered::Found(Some(next(&mut random) % 7)),
                };
            }
            let right = some_order_explains(None, &history);
            assert_eq!(check(&history).is_ok(), right, "seed {seed}: {history:?}");
            verdicts[usize::from(right)] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 300), "both verdicts are met: {verdicts:?}");
    }

    /// So many writers at once that their orders cannot be gone through.
    #[test]
    fn thirty_writers_at_once_are_decided() {
        let write = |nth: u64| operation(1, 100 + nth, Asked::Put(nth), Answered::Done);
        let mut history: Vec<_> = (1..=30).map(write).collect();
        history.push(operation(50, 60, Asked::Get, Answered::Found(Some(7))));
        history.push(operation(70, 80, Asked::Get, Answered::Found(Some(9))));
        history.push(operation(200, 210, Asked::Get, Answered::Found(Some(3))));
        assert!(check(&history).is_ok());
        history.push(operation(220, 230, Asked::Get, Answered::Found(Some(4))));
        assert!(check(&history).is_err(), "no write was left to bring 4 back");
        history.pop();
        history.push(operation(82, 90, Asked::Get, Answered::Found(Some(7))));
        assert!(check(&history).is_err(), "7 was overwritten by 9, and nobody wrote it again");
    }
}
