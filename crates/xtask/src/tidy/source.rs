//! A Rust file taken apart: code, comments, and which lines are tests.
//!
//! Not a parser. It knows just enough of the language to tell code from comments and literals, so that a rule about
//! names is not misled by prose, and a rule about prose not by names.

use std::collections::BTreeSet;

/// A Rust file.
pub struct Source {
    /// Path from the root.
    pub path: String,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// One line, in three views.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// The code; comments and the insides of literals are blank.
    pub code: String,
    /// The text of comments, markers included.
    pub comment: String,
    /// Whether it is compiled for tests only.
    pub test: bool,
}

impl Source {
    /// Takes the file at `path` apart.
    pub fn read(path: &str, text: &str) -> Self {
        let mut lines = split(text);
        if path.contains("/tests/") || path.contains("/benches/") {
            lines.iter_mut().for_each(|line| line.test = true);
        }
        mark_test_items(&mut lines);
        Self { path: path.into(), lines }
    }

    /// Lines that are not tests, with their numbers from 1.
    pub fn shipped(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.numbered().filter(|(_, line)| !line.test)
    }

    /// All lines with their numbers, from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Every path that a `use` outside of tests brings in, with the line at which the statement begins.
    pub fn imports(&self) -> Vec<(usize, String)> {
        let mut imports = Vec::new();
        let mut open: Option<(usize, String)> = None;
        for (number, line) in self.shipped() {
            let code = line.code.trim();
            let (from, mut text) = match open.take() {
                Some(statement) => statement,
                None if is_import(code) => (number, String::new()),
                None => continue,
            };
            text.push_str(code);
            match text.split_once(';') {
                Some((statement, _)) => {
                    let tree = statement.split_once("use ").map_or("", |(_, tree)| tree);
                    imports.extend(expand("", tree).into_iter().map(|path| (from, path)));
                }
                None => open = Some((from, text)),
            }
        }
        imports
    }

    /// Lines outside of tests whose code names `path`, a path like `std::fs` or a word, in full or by an import.
    pub fn names(&self, path: &str) -> Vec<usize> {
        let written = self.shipped().filter(|(_, line)| has_word(&line.code, path)).map(|(number, _)| number);
        let below = format!("{path}::");
        let imports = self.imports();
        let imported = imports.iter().filter(|(_, import)| import == path || import.starts_with(&below));
        let lines: BTreeSet<_> = written.chain(imported.map(|(number, _)| *number)).collect();
        lines.into_iter().collect()
    }
}

/// Whether `text` has `word` in it, not as a part of a longer name.
pub fn has_word(text: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(in_name);
        let after = text[at + word.len()..].chars().next().is_some_and(in_name);
        let open_end = word.chars().next_back().is_some_and(in_name);
        !(before || after && open_end)
    })
}

/// Marks the files of modules that are declared as `#[cfg(test)] mod name;`.
pub fn mark_test_modules(sources: &mut [Source]) {
    let mut files = BTreeSet::new();
    for source in &*sources {
        let dir = match source.path.rsplit_once('/') {
            Some((dir, "lib.rs" | "main.rs" | "mod.rs")) => dir,
            _ => source.path.trim_end_matches(".rs"),
        };
        for line in source.lines.iter().filter(|line| line.test) {
            let code = line.code.trim().trim_start_matches("#[cfg(test)]").trim();
            if let Some(name) = code.strip_suffix(';').and_then(|code| code.split("mod ").nth(1)) {
                files.extend([format!("{dir}/{name}.rs"), format!("{dir}/{name}/mod.rs")]);
            }
        }
    }
    for source in sources.iter_mut().filter(|source| files.contains(&source.path)) {
        source.lines.iter_mut().for_each(|line| line.test = true);
    }
}

fn is_import(code: &str) -> bool {
    code.starts_with("use ") || (code.starts_with("pub") && code.contains(" use "))
}

/// The paths in `tree`, the part of a `use` after the word; `as` names are dropped.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default().trim();
        return if name.is_empty() { Vec::new() } else { vec![format!("{prefix}{name}")] };
    };
    let prefix = format!("{prefix}{}", head.trim());
    let group = group.trim().strip_suffix('}').unwrap_or(group);
    let mut depth = 0;
    let parts = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts.flat_map(|part| expand(&prefix, part)).collect()
}

/// Marks what follows each `#[cfg(test)]`: an item in braces, or a line.
fn mark_test_items(lines: &mut [Line]) {
    let starts: Vec<_> = (0..lines.len()).filter(|&at| lines[at].code.contains("#[cfg(test)]")).collect();
    for start in starts {
        let mut depth = 0;
        'item: for line in &mut lines[start..] {
            line.test = true;
            for c in line.code.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ';' if depth == 0 => break 'item,
                    _ => continue,
                }
                if depth == 0 {
                    break 'item;
                }
            }
        }
    }
}

/// What the text at a place is part of.
#[derive(Clone, Copy)]
enum In {
    Code,
    LineComment,
    /// A block comment, so many deep.
    BlockComment(u32),
    Text,
    /// A raw string that ends with a quote and so many `#`.
    RawText(usize),
}

fn split(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let (mut at, mut state) = (0, In::Code);
    while at < chars.len() {
        let c = chars[at];
        if c == '\n' {
            lines.push(Line::default());
            if matches!(state, In::LineComment) {
                state = In::Code;
            }
            at += 1;
            continue;
        }
        let (next, taken) = step(state, &chars, at);
        let comment = [state, next].iter().any(|state| matches!(state, In::LineComment | In::BlockComment(_)));
        // Delimiters of literals stay, their insides do not.
        let code = !comment && (matches!(state, In::Code) || matches!(next, In::Code));
        let line = lines.last_mut().expect("there is a first line");
        let literal = c == '\'' && matches!(state, In::Code) && taken > 1;
        for (offset, &c) in chars[at..at + taken].iter().enumerate().filter(|(_, c)| **c != '\n') {
            let inside = literal && (1..taken - 1).contains(&offset);
            line.code.push(if code && !inside { c } else { ' ' });
            line.comment.push(if comment { c } else { ' ' });
        }
        // An escaped line end inside a string still ends the line.
        (0..chars[at..at + taken].iter().filter(|c| **c == '\n').count()).for_each(|_| lines.push(Line::default()));
        (at, state) = (at + taken, next);
    }
    if text.ends_with('\n') {
        lines.pop();
    }
    lines
}

/// What follows the characters at `at`, and how many belong together.
fn step(state: In, chars: &[char], at: usize) -> (In, usize) {
    let next = chars.get(at + 1).copied().unwrap_or('\n');
    match (state, chars[at], next) {
        (In::Code, '/', '/') => (In::LineComment, 2),
        (In::Code, '/', '*') => (In::BlockComment(1), 2),
        (In::Code, '"', _) => (In::Text, 1),
        (In::Code, 'r', '"' | '#') if starts_literal(chars, at) => raw(chars, at),
        (In::Code, '\'', _) => (In::Code, character(chars, at)),
        (In::BlockComment(depth), '/', '*') => (In::BlockComment(depth + 1), 2),
        (In::BlockComment(1), '*', '/') => (In::Code, 2),
        (In::BlockComment(depth), '*', '/') => (In::BlockComment(depth - 1), 2),
        (In::Text, '\\', _) => (In::Text, 2.min(chars.len() - at)),
        (In::Text, '"', _) => (In::Code, 1),
        (In::RawText(hashes), '"', _) if chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes => {
            (In::Code, 1 + hashes)
        }
        (state, _, _) => (state, 1),
    }
}

/// Whether the `r` at `at` begins a word, or follows only the `b` or `c` of a literal.
fn starts_literal(chars: &[char], at: usize) -> bool {
    let in_name = |c: &char| c.is_alphanumeric() || *c == '_';
    match at.checked_sub(1).map(|before| chars[before]) {
        Some('b' | 'c') => at < 2 || !in_name(&chars[at - 2]),
        Some(before) => !in_name(&before),
        None => true,
    }
}

/// A raw string after `r`; or the raw name `r#type`, which is code.
fn raw(chars: &[char], at: usize) -> (In, usize) {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    match chars.get(at + 1 + hashes) {
        Some('"') => (In::RawText(hashes), 2 + hashes),
        _ => (In::Code, 1),
    }
}

/// The length of the character literal at `at`, or 1 for the quote of a lifetime.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => chars.iter().skip(at + 3).take(10).position(|c| *c == '\'').map_or(1, |end| end + 4),
        (Some(_), Some('\'')) => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        Source::read("a.rs", text).lines.iter().map(|line| line.code.trim_end().to_string()).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let table = [
            ("let a = 1; // tokio", "let a = 1;"),
            ("a /* tokio /* b */ c */ d", "a                       d"),
            (r#"let s = "tokio \" // x"; y"#, r#"let s = "             "; y"#),
            (r##"r#"tokio "x" "# z"##, r##"r#"          "# z"##),
            ("let c = '\"'; tokio", "let c = ' '; tokio"),
            ("let c = '\\''; x: &'a str", "let c = '  '; x: &'a str"),
            ("if c == '{' { a }", "if c == ' ' { a }"),
            ("r#type + var", "r#type + var"),
        ];
        for (text, expected) in table {
            assert_eq!(code(text), [expected], "{text}");
        }
        assert_eq!(code("\"one\ntwo\"\nthree\n"), ["\"", "   \"", "three"]);
        assert_eq!(Source::read("a.rs", "x // why").lines[0].comment.trim(), "// why");
    }

    #[test]
    fn names_are_whole_words() {
        assert!(has_word("use tokio::time;", "tokio"));
        assert!(has_word("println!(x)", "println!"));
        assert!(!has_word("let randy = operand;", "rand"));
        assert!(!has_word("my_std::fs", "std::fs"));
    }

    #[test]
    fn imports_in_groups_are_seen() {
        let source = Source::read("a.rs", "use std::{\n    fmt, io::{self, Write},\n    fs,\n};\npub use a::b as c;\n");
        let paths: Vec<_> = source.imports().into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["std::fmt", "std::io::self", "std::io::Write", "std::fs", "a::b"]);
        assert_eq!(source.names("std::fs"), [1]);
        assert_eq!(source.names("std::net"), [0_usize; 0]);
    }

    #[test]
    fn tests_are_told_from_what_is_shipped() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x { y } }\n}\nfn c() {}\n";
        let source = Source::read("crates/x/src/a.rs", text);
        let shipped: Vec<_> = source.shipped().map(|(number, _)| number).collect();
        assert_eq!(shipped, [1, 6]);
        assert_eq!(Source::read("crates/x/tests/a.rs", "fn a() {}").shipped().count(), 0);
    }

    #[test]
    fn files_of_test_modules_are_tests() {
        let mut sources = [
            Source::read("crates/x/src/log/mod.rs", "mod a;\n#[cfg(test)]\nmod suite;\n"),
            Source::read("crates/x/src/log/suite.rs", "fn a() {}\n"),
            Source::read("crates/x/src/log/a.rs", "fn a() {}\n"),
        ];
        mark_test_modules(&mut sources);
        assert!(sources[1].lines[0].test);
        assert!(!sources[2].lines[0].test);
    }
}
