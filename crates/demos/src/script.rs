//! A demo's script, read: its header, its lines, and what each must answer.
//!
//! ```text
//! name: replication-survives-a-dead-node
//! alias: alpha
//! principle: what it shows, in a sentence
//! source: where the idea was published
//! adr: 002
//! break: one-copy - the gateway keeps one copy of each chunk instead of three
//!
//! # Prose is told to whoever watches.
//! cluster nodes=3
//!   -> 3 data nodes and a gateway
//! plant kill dn1
//! get photo   [break]
//!   -> 200, 100 bytes, equal
//! ```
//!
//! Every verb answers with one line, and the script says which: comparing the two is the assertion. `plant` lines are carried out only
//! with `--break`; the line marked `[break]` is then the one that must fail, and no other. A header may go on in the next line, indented.

use crate::vocabulary;
use crate::words::Words;

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its file, for messages.
    pub file: String,
    /// What stands on top.
    pub header: Header,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// What stands on top of a script.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Header {
    /// The demo's name: what it shows.
    pub name: String,
    /// The reference's letter for it, or letters: what several demos show there can be one mechanism here.
    pub alias: String,
    /// The principle, in a sentence.
    pub principle: String,
    /// Where the idea was published.
    pub source: String,
    /// The numbers of the decision records.
    pub adr: String,
    /// The sabotage's name.
    pub sabotage: String,
    /// What the sabotage does.
    pub sabotage_does: String,
    /// Whether coordinators must have networks of their own, so that they can be cut off (`needs: networks`).
    pub networks: bool,
}

impl Header {
    /// Its letters, one by one.
    pub fn letters(&self) -> impl Iterator<Item = &str> {
        self.alias.split(", ")
    }

    /// Whether `name` is its name or one of its letters.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.letters().any(|letter| letter == name)
    }
}

/// One line of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Prose for whoever watches.
    Say(String),
    /// Something to do, and what it must answer.
    Do(Line),
}

/// Something to do.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its line number.
    pub number: usize,
    /// As it is written.
    pub text: String,
    /// Taken apart.
    pub words: Words,
    /// What it must answer, if it answers.
    pub answer: Option<String>,
    /// Whether the sabotage must show here.
    pub breaks: bool,
}

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct ScriptError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What was found, and what was expected.
    pub problem: String,
}

const MARK: &str = "[break]";
const HEADERS: [&str; 7] = ["name", "alias", "principle", "source", "adr", "break", "needs"];

/// What a script may need besides this program.
const NETWORKS: &str = "networks";

/// Reads the script in `text`, which is called `file` in messages.
pub fn parse(file: &str, text: &str) -> Result<Script, ScriptError> {
    let fail = |line: usize, problem: String| ScriptError { file: file.to_string(), line, problem };
    let lines: Vec<(usize, &str)> = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end())).collect();
    let head = lines.iter().position(|(_, line)| line.is_empty()).unwrap_or(lines.len());
    let header = header(&lines[..head]).map_err(|(line, problem)| fail(line, problem))?;
    let mut steps = Vec::new();
    for (number, line) in &lines[head..] {
        add(&mut steps, *number, line.trim()).map_err(|problem| fail(*number, problem))?;
    }
    complete(&steps).map_err(|(line, problem)| fail(line, problem))?;
    Ok(Script { file: file.to_string(), header, steps })
}

fn header(lines: &[(usize, &str)]) -> Result<Header, (usize, String)> {
    let mut values: Vec<(String, String)> = Vec::new();
    for (number, line) in lines {
        if let (Some(more), Some((_, value))) = (line.strip_prefix("  "), values.last_mut()) {
            *value = format!("{value} {}", more.trim());
            continue;
        }
        match line.split_once(": ") {
            Some((name, value)) if HEADERS.contains(&name) => values.push((name.into(), value.trim().into())),
            _ => return Err((*number, format!("found `{line}`, expected one of: {}", HEADERS.join(": , ")))),
        }
    }
    let get = |name: &str| {
        let value = values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        value.ok_or_else(|| (1, format!("the header misses `{name}:`")))
    };
    let networks = match get("needs").as_deref() {
        Ok(NETWORKS) => true,
        Ok(other) => return Err((1, format!("found `needs: {other}`, expected `needs: {NETWORKS}`, or no such line"))),
        Err(_) => false,
    };
    let sabotage = get("break")?;
    let Some((name, does)) = sabotage.split_once(" - ") else {
        return Err((1, format!("found `break: {sabotage}`, expected `break: name - what it does`")));
    };
    Ok(Header {
        name: get("name")?,
        alias: get("alias")?,
        principle: get("principle")?,
        source: get("source")?,
        adr: get("adr")?,
        sabotage: name.to_string(),
        sabotage_does: does.to_string(),
        networks,
    })
}

fn add(steps: &mut Vec<Step>, number: usize, line: &str) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    if let Some(prose) = line.strip_prefix('#') {
        steps.push(Step::Say(prose.trim().to_string()));
        return Ok(());
    }
    if let Some(answer) = line.strip_prefix("->") {
        return match steps.last_mut() {
            Some(Step::Do(line)) if line.answer.is_none() => {
                if !vocabulary::verb(line.words.verb()).is_some_and(|verb| verb.answers) {
                    return Err(format!("found an answer, but `{}` gives none", line.words.verb()));
                }
                line.answer = Some(answer.trim().to_string());
                Ok(())
            }
            _ => Err("found an answer, expected a line to which it belongs right above".into()),
        };
    }
    let (text, breaks) = match line.strip_suffix(MARK) {
        Some(text) => (text.trim_end(), true),
        None => (line, false),
    };
    let words = Words::parse(text)?;
    vocabulary::check(&words)?;
    steps.push(Step::Do(Line { number, text: text.to_string(), words, answer: None, breaks }));
    Ok(())
}

/// Every answering line has its answer, something is planted, and one line notices it.
fn complete(steps: &[Step]) -> Result<(), (usize, String)> {
    let lines = || steps.iter().filter_map(|step| if let Step::Do(line) = step { Some(line) } else { None });
    for line in lines() {
        let answers = vocabulary::verb(line.words.verb()).is_some_and(|verb| verb.answers);
        if answers && line.answer.is_none() {
            return Err((line.number, format!("`{}` misses its answer: a line `-> …` below it", line.text)));
        }
    }
    let marked = lines().filter(|line| line.breaks).count();
    if marked != 1 || !lines().any(|line| line.words.verb() == "plant") {
        return Err((1, format!("expected a `plant` and one line marked {MARK}, found {marked} marked")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name: n\nalias: a\nprinciple: p,\n  and more\nsource: s\nadr: 1\nbreak: b - does b\n\n";

    #[test]
    fn a_script_is_read() {
        let body =
            "# Say.\ncluster nodes=3\n  -> 3 data nodes and a gateway\nplant kill dn1\nfiles dn1 [break]\n-> 0\n";
        let script = parse("x.demo", &format!("{HEAD}{body}")).unwrap();
        assert_eq!((script.header.principle.as_str(), script.header.sabotage.as_str()), ("p, and more", "b"));
        let shown = script.steps.iter().map(|step| match step {
            Step::Say(text) => format!("say {text}"),
            Step::Do(line) => format!("{} {} {:?} {}", line.number, line.text, line.answer, line.breaks),
        });
        let expected = [
            "say Say.",
            "10 cluster nodes=3 Some(\"3 data nodes and a gateway\") false",
            "12 plant kill dn1 None false",
            "13 files dn1 Some(\"0\") true",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let fine = "plant kill dn1\nfiles dn1 [break]\n-> 0\n";
        // (header, body, where, message)
        let table = [
            ("", fine, 1, "the header misses `break:`"),
            ("name: n\ncolour: red\n\n", fine, 2, "found `colour: red`, expected one of: name"),
            ("name: n\nbreak: only-a-name\n\n", fine, 1, "expected `break: name - what it does`"),
            (HEAD, "explode\n", 9, "found `explode`, expected one of"),
            (HEAD, "kill dn1\n", 9, "`kill dn1` misses its answer"),
            (HEAD, "-> 3\n", 9, "expected a line to which it belongs"),
            (HEAD, "kill dn1\n-> a\n-> b\n", 11, "expected a line to which it belongs"),
            (HEAD, "let x files dn1\n-> 3\n", 10, "`let` gives none"),
            (HEAD, "files dn1\n-> 0\n", 1, "expected a `plant` and one line marked [break], found 0"),
            (HEAD, "plant kill dn1\nfiles dn1\n-> 0\n", 1, "one line marked [break], found 0 marked"),
            (HEAD, "plant kill dn1\nfiles dn1 [break]\n-> 0\nnodes [break]\n-> 3\n", 1, "found 2 marked"),
            (HEAD, "put x text=\"a\n", 9, "a quote is not closed"),
        ];
        for (head, body, line, message) in table {
            let head = if head.is_empty() { "name: n\n\n" } else { head };
            let error = parse("x.demo", &format!("{head}{body}")).unwrap_err();
            assert!(error.line == line && error.problem.contains(message), "{body}: {error}");
            assert!(error.to_string().starts_with(&format!("x.demo:{line}: ")), "{error}");
        }
    }
}
