//! What somebody meant to come back to: unfinished code, notes to self, tests switched off, tests that sleep.

use super::Finding;
use super::source::{Line, Source, has_word};
use super::tree::Tree;

/// Macros that stand for code that is not there yet, or was there to look.
const MACROS: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Notes to self, in comments and code.
const NOTES: &[&str] = &["TODO", "FIXME", "XXX"];

/// A comment that begins so allows the sleep beside or below it, and says why.
const EXCUSE: &str = "// waits:";

/// Finds leftovers in all Rust files.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.sources.iter().flat_map(|source| in_code(source).into_iter().chain(sleeps(source))).collect()
}

fn in_code(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.numbered() {
        let mut find = |what: String, remedy: &str| findings.push(Finding::error(&source.path, number, what, remedy));
        for name in MACROS.iter().filter(|name| has_word(&line.code, name)) {
            find(
                format!("`{name}` was left here"),
                "Write the code, or return an error that says what is not supported.",
            );
        }
        for note in NOTES.iter().filter(|note| has_word(&line.comment, note) || has_word(&line.code, note)) {
            find(format!("a note `{note}` was left here"), "Do it now, or open an issue and delete the note.");
        }
        if line.code.contains("#[ignore") {
            find("a test is switched off".into(), "Mend it or delete it; slow ones belong to `prove`.");
        }
    }
    findings
}

fn sleeps(source: &Source) -> Vec<Finding> {
    let asleep = source.numbered().filter(|(_, line)| line.test && sleeps_in(line));
    let unexcused = asleep.filter(|(number, _)| !is_excused(&source.lines, number - 1));
    let finding = |(number, _)| {
        let remedy =
            format!("Wait for a condition with a deadline; if time itself is the point, say so: `{EXCUSE} …`.");
        Finding::error(&source.path, number, "a test sleeps", remedy)
    };
    unexcused.map(finding).collect()
}

fn sleeps_in(line: &Line) -> bool {
    has_word(&line.code, "sleep") && line.code.contains("sleep(")
}

/// Whether the line at `at`, or the comment right above it, says why it waits.
fn is_excused(lines: &[Line], at: usize) -> bool {
    let above = lines[..at].iter().rev().take_while(|line| line.code.trim().is_empty() && !line.comment.is_empty());
    above.chain([&lines[at]]).any(|line| {
        let why = line.comment.split_once(EXCUSE).map(|(_, why)| why.trim());
        why.is_some_and(|why| !why.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::planted;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&planted(&[], &[(path, text)])).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn planted_leftovers_are_found() {
        let table = [
            ("fn a() { todo!() }", 1),
            ("fn a() { unimplemented!(\"later\") }", 1),
            ("let x = dbg!(1);", 1),
            ("// TODO: more", 1),
            ("/* FIXME */", 1),
            ("#[ignore = \"slow\"]", 1),
            ("let todo = \"TODO\"; // the method", 0),
        ];
        for (text, findings) in table {
            assert_eq!(lines("crates/a/src/a.rs", text).len(), findings, "{text}");
        }
    }

    #[test]
    fn sleeping_tests_are_found_unless_they_say_why() {
        let sleep = "tokio::time::sleep(LONG).await;";
        let path = "crates/a/tests/a.rs";
        assert_eq!(lines(path, sleep), [1]);
        assert_eq!(lines(path, "std::thread::sleep(LONG);"), [1]);
        assert_eq!(lines(path, &format!("// waits: the clock is paused\n// and costs nothing\n{sleep}")), [0_usize; 0]);
        assert_eq!(lines(path, &format!("{sleep} // waits: a second of silence is what is tested")), [0_usize; 0]);
        assert_eq!(lines(path, &format!("// waits:\n{sleep}")), [2]);
        assert_eq!(lines("crates/a/src/a.rs", sleep), [0_usize; 0]);
        let inner = format!("#[cfg(test)]\nmod tests {{\n    {sleep}\n}}\n");
        assert_eq!(lines("crates/a/src/a.rs", &inner), [3]);
    }
}
