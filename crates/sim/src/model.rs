//! What the store must look like, by everything that was asked and answered: a few lines that are surely right.
//!
//! For each key the model keeps the set of versions that it may have. An answered request leaves one; a request whose outcome nobody
//! learned (the power went, the answer was lost) may have happened or not, and leaves both. What a later read finds must be in
//! the set, and narrows it down.
//!
//! Requests that overlap may take effect in any order between their beginning and their answer. [`Model::settle`] looks for an order
//! of all of them under which every answer is right (linearizability, by the search of Wing & Gong, "Testing and
//! Verifying Concurrent Objects", JPDC 17, 1993) and keeps every version that such an order can end with.
//!
//! Example: `k` is absent. A put of *a* is cut off, one of *b* with `If-None-Match: *` is refused because of *a*. Then *a* took effect
//! before, and `k` is *a*, though nobody was ever told so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use domain::ChunkId;
use domain::change::Precondition;

/// A key of the simulated bucket.
pub type Key = Vec<u8>;

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its number among its key's versions since the key was last absent.
    pub revision: u64,
    /// Its entity tag.
    pub etag: String,
}

/// A version, or none.
pub type State = Option<Version>;

/// What was asked.
#[derive(Clone, Debug)]
pub enum Asked {
    /// To store these bytes.
    Put {
        /// The bytes.
        bytes: Bytes,
        /// Their entity tag.
        etag: String,
        /// What must be true of the key.
        when: Precondition,
    },
    /// To remove the key.
    Delete {
        /// What must be true of it.
        when: Precondition,
    },
    /// To see it, or a part of it.
    Look,
}

/// What was answered.
#[derive(Clone, Debug)]
pub enum Answered {
    /// The put was done, as this revision.
    Put(u64),
    /// The delete was done.
    Deleted,
    /// There is no such object.
    Absent,
    /// The precondition does not hold; this is the entity tag.
    Refused(Option<String>),
    /// The object is there: size, entity tag, and number if it was told.
    Seen {
        /// Its size.
        size: u64,
        /// Its entity tag.
        etag: String,
        /// Its number.
        revision: u64,
        /// The bytes in this range, if they were asked for.
        part: Option<(Range<u64>, Bytes)>,
    },
    /// It certainly did not happen.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// A request and its answer, with the moments at which it began and ended: any counter that grows.
#[derive(Clone, Debug)]
pub struct Event {
    /// The key.
    pub key: Key,
    /// When it began.
    pub begun: u64,
    /// When it was answered; `u64::MAX` if it was not.
    pub ended: u64,
    /// What was asked.
    pub asked: Asked,
    /// What was answered.
    pub answered: Answered,
}

/// An answer that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub String);

/// The possible states of all keys. A key that is not in it is absent.
#[derive(Clone, Debug, Default)]
pub struct Model {
    keys: BTreeMap<Key, BTreeSet<State>>,
}

impl Model {
    /// The possible states of `key`.
    pub fn states(&self, key: &Key) -> BTreeSet<State> {
        self.keys.get(key).cloned().unwrap_or_else(|| [None].into())
    }

    /// Keys that may be there.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.keys()
    }

    /// Takes requests in, all of which have ended one way or another; errs if no order of them explains the answers.
    pub fn settle(&mut self, events: &[Event]) -> Result<(), Wrong> {
        let mut by_key: BTreeMap<&Key, Vec<&Event>> = BTreeMap::new();
        events.iter().for_each(|event| by_key.entry(&event.key).or_default().push(event));
        for (key, events) in by_key {
            let before = self.states(key);
            let after = outcomes(&before, &events);
            if after.is_empty() {
                return Err(Wrong(explain(key, &before, &events)));
            }
            if after.iter().all(Option::is_none) {
                self.keys.remove(key);
            } else {
                self.keys.insert(key.clone(), after);
            }
        }
        Ok(())
    }
}

/// Every state that an order of `events`, begun in one of `before`, can end in.
fn outcomes(before: &BTreeSet<State>, events: &[&Event]) -> BTreeSet<State> {
    assert!(events.len() < 64, "a mask of 64 bits holds what is done");
    let all = (1u64 << events.len()) - 1;
    let mut found = BTreeSet::new();
    let mut known: BTreeSet<(u64, State)> = before.iter().map(|state| (0, state.clone())).collect();
    let mut open: Vec<_> = known.iter().cloned().collect();
    while let Some((done, state)) = open.pop() {
        if done == all {
            found.insert(state);
            continue;
        }
        let left = || (0..events.len()).filter(move |nth| done & (1 << nth) == 0);
        let first_end = left().map(|nth| events[nth].ended).min().unwrap_or(u64::MAX);
        // Whatever began after another's answer comes after it.
        for nth in left().filter(|nth| events[*nth].begun <= first_end) {
            for next in steps(&state, events[nth]) {
                let reached = (done | 1 << nth, next);
                if known.insert(reached.clone()) {
                    open.push(reached);
                }
            }
        }
    }
    found
}

/// The states that `event` can lead to from `state`; none if its answer is wrong there.
fn steps(state: &State, event: &Event) -> Vec<State> {
    let done = effect(state, &event.asked);
    let etag = state.as_ref().map(|version| version.etag.clone());
    let right = match (&event.answered, &event.asked) {
        (Answered::Unknown, _) => return done.into_iter().chain([state.clone()]).collect(),
        (Answered::Nothing, _) => return vec![state.clone()],
        (Answered::Put(revision), Asked::Put { .. }) => {
            let version = done.clone().flatten();
            return done.filter(|_| version.is_some_and(|version| version.revision == *revision)).into_iter().collect();
        }
        (Answered::Deleted, Asked::Delete { .. }) => return done.into_iter().collect(),
        (Answered::Refused(found), Asked::Put { .. } | Asked::Delete { .. }) => done.is_none() && *found == etag,
        (Answered::Absent, Asked::Put { .. }) => false,
        (Answered::Absent, Asked::Delete { .. } | Asked::Look) => state.is_none(),
        (Answered::Seen { size, etag, revision, part }, Asked::Look) => state.as_ref().is_some_and(|version| {
            let same = |(range, bytes): &(Range<u64>, Bytes)| {
                version.bytes.get(range.start as usize..range.end as usize) == Some(&bytes[..])
            };
            (version.bytes.len() as u64, &version.etag, version.revision) == (*size, etag, *revision)
                && part.as_ref().is_none_or(same)
        }),
        _ => false,
    };
    if right { vec![state.clone()] } else { vec![] }
}

/// The state after `asked` was carried out; `None` if it must be refused.
fn effect(state: &State, asked: &Asked) -> Option<State> {
    let holds = |when: &Precondition| when.holds(state.as_ref().map(|version| version.etag.as_str()));
    match asked {
        Asked::Look => Some(state.clone()),
        Asked::Put { bytes, etag, when } => holds(when).then(|| {
            let revision = state.as_ref().map_or(1, |version| version.revision + 1);
            Some(Version { bytes: bytes.clone(), revision, etag: etag.clone() })
        }),
        Asked::Delete { when } => (state.is_some() && holds(when)).then_some(None),
    }
}

/// The entity tag of `bytes` cut into chunks: of one its SHA-256, of several the SHA-256 over theirs and their number.
pub fn etag_of(bytes: &[u8], chunk_bytes: usize) -> String {
    let ids: Vec<_> = bytes.chunks(chunk_bytes).map(ChunkId::of).collect();
    match ids.as_slice() {
        [] => ChunkId::of(b"").to_hex(),
        [one] => one.to_hex(),
        many => {
            let all: Vec<u8> = many.iter().flat_map(|id| *id.as_bytes()).collect();
            format!("{}-{}", ChunkId::of(&all).to_hex(), many.len())
        }
    }
}

fn explain(key: &[u8], before: &BTreeSet<State>, events: &[&Event]) -> String {
    let mut text = format!("{}: no order of these explains the answers.", String::from_utf8_lossy(key));
    let before: Vec<_> = before.iter().map(show_state).collect();
    text.push_str(&format!("\n  before: {}", before.join(" or ")));
    for Event { begun, ended, asked, answered, .. } in events {
        let asked = match asked {
            Asked::Put { bytes, etag, when } => format!("put {} bytes {} {}", bytes.len(), short(etag), show(when)),
            Asked::Delete { when } => format!("delete {}", show(when)),
            Asked::Look => "look".into(),
        };
        let ended = if *ended == u64::MAX { "never".to_string() } else { ended.to_string() };
        text.push_str(&format!("\n  {begun}..{ended}: {asked} -> {}", show_answer(answered)));
    }
    text
}

fn show_state(state: &State) -> String {
    match state {
        None => "absent".into(),
        Some(Version { bytes, revision, etag }) => format!("{} bytes {} r{revision}", bytes.len(), short(etag)),
    }
}

/// An answer in a few words.
pub fn show_answer(answered: &Answered) -> String {
    match answered {
        Answered::Seen { size, etag, revision, part } => {
            let part =
                part.as_ref().map_or(String::new(), |(range, bytes)| format!(", {range:?}: {} bytes", bytes.len()));
            format!("{size} bytes {} r{revision}{part}", short(etag))
        }
        other => format!("{other:?}"),
    }
}

/// A precondition in a few words.
pub fn show(when: &Precondition) -> String {
    let tags = |name: &str, tags: &Option<Vec<String>>| match tags.as_deref() {
        None => String::new(),
        Some([]) => format!("{name} * "),
        Some(tags) => format!("{name} {} ", tags.iter().map(|tag| short(tag)).collect::<Vec<_>>().join(" ")),
    };
    tags("if-match", &when.if_match) + &tags("if-none-match", &when.if_none_match)
}

/// The beginning of an entity tag.
pub fn short(etag: &str) -> &str {
    &etag[..etag.len().min(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &'static str, when: Precondition) -> Asked {
        Asked::Put { bytes: Bytes::from(text), etag: text.into(), when }
    }

    fn create_only() -> Precondition {
        Precondition { if_none_match: Some(vec![]), ..Default::default() }
    }

    fn event((begun, ended): (u64, u64), asked: Asked, answered: Answered) -> Event {
        Event { key: b"k".to_vec(), begun, ended, asked, answered }
    }

    fn seen(text: &'static str, revision: u64) -> Answered {
        let part = Some((0..text.len() as u64, Bytes::from(text)));
        Answered::Seen { size: text.len() as u64, etag: text.into(), revision, part }
    }

    fn possible(model: &Model) -> String {
        let states = model.states(&b"k".to_vec());
        let show = |state: &State| state.as_ref().map_or("-".into(), |v| format!("{}{}", v.etag, v.revision));
        states.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn histories() {
        const NEVER: u64 = u64::MAX;
        let any = Precondition::default;
        // (case, events, possible states or nothing)
        let table = [
            ("an answered put", vec![event((0, 1), put("a", any()), Answered::Put(1))], "a1"),
            ("one that was cut off", vec![event((0, NEVER), put("a", any()), Answered::Unknown)], "- a1"),
            (
                "two at once",
                vec![
                    event((0, 5), put("a", any()), Answered::Put(1)),
                    event((1, 4), put("b", any()), Answered::Put(2)),
                ],
                "b2",
            ),
            (
                "two at once that both say they were first",
                vec![
                    event((0, 5), put("a", any()), Answered::Put(1)),
                    event((1, 4), put("b", any()), Answered::Put(1)),
                ],
                "",
            ),
            (
                "a read after an answered put that does not see it",
                vec![event((0, 1), put("a", any()), Answered::Put(1)), event((2, 3), Asked::Look, Answered::Absent)],
                "",
            ),
            (
                "a read beside it may or may not",
                vec![event((0, 3), put("a", any()), Answered::Put(1)), event((1, 2), Asked::Look, Answered::Absent)],
                "a1",
            ),
            (
                "a refusal that proves a put that was cut off",
                vec![
                    event((0, NEVER), put("a", any()), Answered::Unknown),
                    event((1, 2), put("b", create_only()), Answered::Refused(Some("a".into()))),
                ],
                "a1",
            ),
            (
                "a read that proves the contrary",
                vec![
                    event((0, NEVER), put("a", any()), Answered::Unknown),
                    event((1, 2), Asked::Look, Answered::Absent),
                    event((3, 4), Asked::Look, seen("b", 1)),
                ],
                "",
            ),
            (
                "a put carried out twice shows in the number",
                vec![event((0, 1), put("a", any()), Answered::Put(1)), event((2, 3), Asked::Look, seen("a", 2))],
                "",
            ),
            ("a delete of nothing", vec![event((0, 1), Asked::Delete { when: any() }, Answered::Deleted)], ""),
        ];
        for (case, events, expected) in table {
            let mut model = Model::default();
            let settled = model.settle(&events);
            assert_eq!(settled.is_ok(), !expected.is_empty(), "{case}: {settled:?}");
            if settled.is_ok() {
                assert_eq!(possible(&model), expected, "{case}");
            }
        }
    }
}
