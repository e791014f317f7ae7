//! Sections, their numbers, and the verdict.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

/// Collects what sections found.
pub struct Report {
    /// Whether the short form was asked for.
    pub quick: bool,
    only: Vec<String>,
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    /// A report of the sections in `only`, or of all.
    pub fn new(quick: bool, only: &[&str]) -> Self {
        Self { quick, only: only.iter().map(|name| name.to_string()).collect(), passed: 0, failed: Vec::new() }
    }

    /// Runs a section and prints how it went. `work` prints its numbers itself, with [`number`].
    pub fn section(&mut self, name: &str, what: &str, work: impl FnOnce(bool) -> Result<()>) {
        if !self.only.is_empty() && !self.only.iter().any(|only| only == name) {
            return;
        }
        println!("== {name}: {what}");
        let begun = Instant::now();
        match work(self.quick) {
            Ok(()) => {
                self.passed += 1;
                println!("   passed in {:.1} s", begun.elapsed().as_secs_f64());
            }
            Err(error) => {
                self.failed.push(name.to_string());
                println!("   FAILED after {:.1} s: {error:#}", begun.elapsed().as_secs_f64());
            }
        }
    }

    /// Prints the counts and gives the exit code.
    pub fn close(self) -> ExitCode {
        if !self.failed.is_empty() {
            println!("failed: {}", self.failed.join(", "));
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        ExitCode::from(u8::from(!self.failed.is_empty()))
    }
}

/// Prints one number of a section.
pub fn number(name: &str, value: impl std::fmt::Display) {
    println!("   {name:<58} {value}");
}
