//! Every file of code begins by saying what it is.

use super::Finding;
use super::tree::Tree;

/// Finds Rust files without module docs on top.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let rust = tree.files.iter().filter(|(path, _)| path.ends_with(".rs"));
    rust.filter(|(_, text)| !is_documented(text)).map(|(path, _)| finding(path)).collect()
}

fn is_documented(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    first.and_then(|line| line.strip_prefix("//!")).is_some_and(|words| words.trim().len() > 1)
}

fn finding(path: &str) -> Finding {
    let remedy = "Begin it with `//! ` and one line on what it is; teach the principle below, if it holds one.";
    Finding::error(path, 1, "this file does not begin with module docs", remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::planted;

    #[test]
    fn undocumented_files_are_found() {
        let table = [("\n//! What it is.\n", 0), ("use a;\n//! Late.\n", 1), ("//!\nfn a() {}\n", 1), ("", 1)];
        for (text, findings) in table {
            assert_eq!(check(&planted(&[], &[("crates/a/src/a.rs", text)])).len(), findings, "{text}");
        }
    }
}
