//! The vocabulary of scripts: every verb there is, what it takes, and whether it answers.
//!
//! It is closed on purpose. A reader learns it once, from `docs/guide/demo-scripts.md`, and a backend knows what it must be able to
//! do. Lines are checked against this table when a script is read, before anything is started.

use crate::words::Words;

/// What is known of a verb before it runs.
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// The plain words that follow it, for people; `…` stands for any number.
    pub takes: &'static str,
    /// The pairs that it understands.
    pub pairs: &'static [&'static str],
    /// Whether a line `-> answer` follows it.
    pub answers: bool,
}

macro_rules! verbs {
    ($($name:literal $takes:literal $pairs:expr, $answers:literal;)*) => {
        &[$(Verb { name: $name, takes: $takes, pairs: $pairs, answers: $answers },)*]
    };
}

/// All verbs.
pub const VERBS: &[Verb] = verbs! {
    // The cluster.
    "gateway" "" &["copies", "write-quorum", "chunk-size", "chunk-mode", "body-budget", "gc-delay", "gc-every", "sweep-every", "skip-auth", "backup-every", "backup-keep", "audit-log"], false;
    "cluster" "" &["nodes", "coordinators", "gateways"], true;
    "start" "PROCESS" &[], true;
    "kill" "PROCESS" &[], true;
    "stop" "PROCESS" &[], true;
    "cont" "PROCESS" &[], true;
    "add-node" "NODE" &[], true;
    "remove-node" "NODE" &[], true;
    "relabel" "NODE" &["class", "domain", "weight"], true;
    // Coordinators.
    "leader" "" &[], true;
    "follower" "" &[], true;
    "cut" "PROCESS" &[], true;
    "unplug" "PROCESS" &[], true;
    "mend" "PROCESS" &[], true;
    "wipe" "PROCESS" &[], true;
    "take-in" "PROCESS" &[], true;
    "leaders" "" &[], true;
    "voters" "" &[], true;
    "term" "" &[], true;
    "hashes" "" &[], true;
    // URL keys.
    "rotate-key" "KID" &[], true;
    "remove-key" "KID" &[], true;
    "sign-with" "KID" &[], false;
    "keys" "" &[], true;
    "accepted" "OBJECT" &["key", "through"], true;
    // Metadata.
    "backup" "NAME" &[], true;
    "verify" "NAME" &[], true;
    "spoil" "NAME" &[], true;
    "restore" "NAME PROCESS" &[], true;
    "release-hold" "" &[], true;
    "replay" "PROCESS" &[], true;
    "backups" "PROCESS" &[], true;
    "runs" "PROCESS" &[], true;
    "objects" "" &[], true;
    // Objects.
    "put" "OBJECT" &["text", "size", "seed", "period", "in-front", "cut", "ec", "w", "through"], true;
    "cut-put" "OBJECT" &["text", "size", "seed", "period", "after"], true;
    "get" "OBJECT" &["r", "through"], true;
    "head" "OBJECT" &["through"], true;
    "delete" "OBJECT" &["through"], true;
    "inspect" "OBJECT" &[], true;
    "read-some" "OBJECT" &["bytes", "as"], true;
    "close" "READER" &[], true;
    "request" "METHOD OBJECT" &["text", "expires", "sig", "exp", "kid", "for-method", "for-object", "for-expires", "key", "through"], true;
    // Disks.
    "corrupt" "NODE CHUNK" &[], true;
    "lose" "NODE CHUNK" &[], true;
    "files" "NODE" &[], true;
    "copies" "OBJECT" &[], true;
    "chunk-sizes" "OBJECT" &[], true;
    "chunk-names" "OBJECT" &[], true;
    "chunk" "OBJECT NUMBER" &[], true;
    "holder" "OBJECT NUMBER" &[], true;
    "home" "OBJECT NUMBER" &[], true;
    "confirmed" "OBJECT" &[], true;
    "spread" "OBJECT" &[], true;
    "any-lost" "NUMBER OBJECT" &[], true;
    "shared" "OBJECT OBJECT" &[], true;
    "own" "OBJECT OBJECT" &[], true;
    "domains" "PREFIX" &[], true;
    // What the cluster and the machine say.
    "nodes" "" &[], true;
    "chunks" "" &[], true;
    "distinct-chunks" "" &[], true;
    "degraded" "" &[], true;
    "misplaced" "" &[], true;
    "failures" "NODE" &[], true;
    "peak" "PROCESS" &[], true;
    "growth" "PROCESS" &["since"], true;
    // Placement.
    "placed" "PREFIX" &[], true;
    "share" "NODE PREFIX" &[], true;
    "simulate" "" &["from", "to", "keys", "copies"], true;
    // Around other lines.
    "expect" "…" &[], true;
    "wait-until" "…" &[], true;
    "repeat" "…" &[], true;
    "parallel" "…" &[], true;
    "let" "…" &[], false;
    "plant" "…" &[], false;
    "allow-errors" "TEXT" &[], false;
};

/// Verbs that answer one number, and so can stand in `expect` and `wait-until`.
pub const NUMBERS: &[&str] = &[
    "files",
    "copies",
    "confirmed",
    "spread",
    "shared",
    "own",
    "domains",
    "nodes",
    "chunks",
    "distinct-chunks",
    "degraded",
    "misplaced",
    "failures",
    "peak",
    "growth",
    "leaders",
    "voters",
    "term",
    "keys",
    "accepted",
    "backups",
    "runs",
    "objects",
];

/// Verbs that answer a name: what `let` can keep beside numbers.
pub const NAMES: &[&str] = &["chunk", "holder", "home", "leader", "follower"];

/// How two numbers are compared.
pub const COMPARISONS: &[&str] = &["=", "<", "<=", ">", ">="];

/// The verb of that name.
pub fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// Whether `words` can be run; else what was found and what was expected.
pub fn check(words: &Words) -> Result<(), String> {
    let name = words.verb();
    let Some(known) = verb(name) else {
        let all: Vec<_> = VERBS.iter().map(|verb| verb.name).collect();
        return Err(format!("found `{name}`, expected one of: {}", all.join(", ")));
    };
    // A verb around another line hands its pairs on; they are checked there.
    let around = known.takes == "…";
    if let Some(pair) = words.named.keys().find(|pair| !around && !known.pairs.contains(&pair.as_str())) {
        let pairs = if known.pairs.is_empty() { "no pairs".into() } else { known.pairs.join(", ") };
        return Err(format!("found `{pair}=`, expected of `{name}`: {pairs}"));
    }
    match name {
        "expect" | "wait-until" => check_comparison(words),
        "repeat" | "parallel" => {
            let inner = words.after(2);
            let count = words.word(1)?;
            if !count.starts_with('$') {
                crate::words::amount(count)?;
            }
            match (name, inner.verb()) {
                ("repeat", "put" | "get" | "delete" | "read-some" | "close") | ("parallel", "put" | "get") => {
                    check(&inner)
                }
                (_, other) => Err(format!("found `{other}`, which cannot be done by `{name}`")),
            }
        }
        "let" => {
            check(&words.after(2))?;
            let query = words.word(2)?.to_string();
            let fine = NUMBERS.contains(&query.as_str()) || NAMES.contains(&query.as_str());
            if fine { Ok(()) } else { Err(format!("found `{query}`, which gives no value to keep")) }
        }
        "plant" => check(&words.after(1)),
        _ => {
            let wanted = known.takes.split_whitespace().count();
            let found = words.plain.len() - 1;
            let takes = if wanted == 0 { "nothing" } else { known.takes };
            (found == wanted)
                .then_some(())
                .ok_or_else(|| format!("found {found} words after `{name}`, expected {takes}"))
        }
    }
}

fn check_comparison(words: &Words) -> Result<(), String> {
    let query = words.word(1)?;
    if !NUMBERS.contains(&query) {
        return Err(format!("found `{query}`, expected one of: {}", NUMBERS.join(", ")));
    }
    let (inner, comparison, _) = comparison(words)?;
    if !COMPARISONS.contains(&comparison.as_str()) {
        return Err(format!("found `{comparison}`, expected one of: {}", COMPARISONS.join(" ")));
    }
    check(&inner)
}

/// `expect QUERY… OP NUMBER` as the query, the operator and the number.
pub fn comparison(words: &Words) -> Result<(Words, String, String), String> {
    let mut inner = words.after(1);
    let number = inner.plain.pop();
    let operator = inner.plain.pop();
    match (operator, number) {
        (Some(operator), Some(number)) if !inner.plain.is_empty() => Ok((inner, operator, number)),
        _ => Err("expected a query, a comparison and a number, like `files dn1 = 3`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(line: &str) -> String {
        Words::parse(line).and_then(|words| check(&words)).err().unwrap_or_default()
    }

    #[test]
    fn lines_that_can_be_run() {
        for line in [
            "cluster nodes=3",
            "kill dn1",
            "put photo size=1KiB w=3",
            "expect files dn4 = 0",
            "expect growth gateway <= 16MiB since=$before",
            "wait-until nodes >= 3",
            "repeat 200 put new$i seed=$i",
            "parallel 8 put big$i size=16MiB",
            "let before peak gateway",
            "plant gateway copies=1",
            "plant kill dn4",
        ] {
            assert_eq!(verdict(line), "", "{line}");
        }
    }

    #[test]
    fn lines_that_cannot() {
        let table = [
            ("explode dn1", "found `explode`, expected one of: gateway, cluster"),
            ("kill", "found 0 words after `kill`, expected PROCESS"),
            ("kill dn1 dn2", "found 2 words after `kill`"),
            ("put photo colour=red", "found `colour=`, expected of `put`: text, size"),
            ("expect kill dn1 = 1", "found `kill`, expected one of: files"),
            ("expect files dn1 ~ 1", "found `~`, expected one of: = <"),
            ("expect files", "expected a query, a comparison and a number"),
            ("repeat many put x", "expected a number"),
            ("repeat 2 kill dn1", "cannot be done by `repeat`"),
            ("let x kill dn1", "gives no value to keep"),
            ("plant explode", "found `explode`"),
        ];
        for (line, message) in table {
            assert!(verdict(line).contains(message), "{line}: {}", verdict(line));
        }
    }

    #[test]
    fn the_guide_has_every_word() {
        let guide = include_str!("../../../docs/guide/demo-scripts.md");
        for verb in VERBS {
            assert!(guide.contains(&format!("| `{}", verb.name)), "docs/guide/demo-scripts.md misses `{}`", verb.name);
            for pair in verb.pairs {
                assert!(guide.contains(&format!("{pair}=")), "docs/guide/demo-scripts.md misses `{pair}=`");
            }
        }
    }
}
