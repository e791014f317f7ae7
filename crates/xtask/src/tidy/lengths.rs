//! A file holds one idea: beyond 500 lines it likely holds two.

use super::Finding;
use super::tree::Tree;

/// More lines than this are a warning.
const LONG: usize = 500;

/// More lines than this are an error.
const TOO_LONG: usize = 700;

/// Finds Rust files that are too long.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let lengths = tree.sources.iter().map(|source| (&source.path, source.lines.len()));
    lengths.filter_map(|(path, lines)| finding(path, lines)).collect()
}

fn finding(path: &str, lines: usize) -> Option<Finding> {
    let (what, remedy) =
        (format!("this file has {lines} lines"), "Ask which ideas share it, and give each its own file.");
    if lines > TOO_LONG {
        return Some(Finding::error(path, TOO_LONG + 1, what, remedy));
    }
    (lines > LONG).then(|| Finding::warning(path, LONG + 1, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::planted;

    #[test]
    fn long_files_are_found() {
        let warnings = |lines| {
            let tree = planted(&[], &[("crates/a/src/a.rs", &"// x\n".repeat(lines))]);
            check(&tree).into_iter().map(|finding| finding.warning).collect::<Vec<_>>()
        };
        assert_eq!(warnings(500), [false; 0]);
        assert_eq!(warnings(501), [true]);
        assert_eq!(warnings(701), [false]);
    }
}
