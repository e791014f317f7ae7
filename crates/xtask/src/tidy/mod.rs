//! `cargo xtask tidy`: the rules of this house that no compiler checks.
//!
//! Each rule is a function from facts about the tree to findings, so each is tested on a planted violation. The facts are gathered
//! once, in [`tree`]. A finding names the place, what is wrong there, and what to do.

mod arrows;
mod docs;
mod leftovers;
mod lengths;
mod links;
mod machine;
mod purity;
mod source;
mod tree;
mod walls;

use std::fmt;
use std::path::Path;

use anyhow::Result;

use tree::Tree;

/// Something a rule objects to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the root.
    file: String,
    /// Line, from 1.
    line: usize,
    /// Whether it is only a warning.
    warning: bool,
    /// What is wrong.
    what: String,
    /// What to do about it.
    remedy: String,
}

/// A rule: what it objects to in a tree.
type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    arrows::check,
    purity::check,
    walls::check,
    docs::check,
    leftovers::check,
    lengths::check,
    links::check,
    machine::check,
];

/// Checks the tree and prints what was found. Whether there was nothing but warnings.
pub fn run(root: &Path) -> Result<bool> {
    let tree = Tree::read(root)?;
    let mut findings: Vec<_> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| !finding.warning).count();
    let warnings = findings.len() - errors;
    println!("tidy: {} files, {errors} errors, {warnings} warnings", tree.files.len());
    Ok(errors == 0)
}

impl Finding {
    fn error(file: &str, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.into(), line, warning: false, what: what.into(), remedy: remedy.into() }
    }

    fn warning(file: &str, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { warning: true, ..Self::error(file, line, what, remedy) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning: " } else { "" };
        write!(f, "{}:{}: {kind}{}\n    {}", self.file, self.line, self.what, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_can_be_clicked() {
        let finding = Finding::error("crates/a/src/lib.rs", 7, "it is wrong", "Make it right.");
        assert_eq!(finding.to_string(), "crates/a/src/lib.rs:7: it is wrong\n    Make it right.");
    }
}
