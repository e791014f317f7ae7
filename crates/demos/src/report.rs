//! How a demo went: as it happens for people, as a whole for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::oracles::Verdict;
use crate::script::Header;

/// How a demo went.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Its letter.
    pub alias: String,
    /// Whether nothing deviated.
    pub passed: bool,
    /// The sabotage that was planted, if one was.
    pub sabotage: Option<String>,
    /// The line at which that must show.
    pub break_line: Option<usize>,
    /// The line that deviated, if one did.
    pub failed_line: Option<usize>,
    /// How long it took.
    pub seconds: f64,
    /// Every line that was carried out.
    pub lines: Vec<Done>,
    /// What the oracles said; empty if a line deviated.
    pub oracles: Vec<Verdict>,
}

/// A line that was carried out.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Its number in the script.
    pub line: usize,
    /// As it is written.
    pub text: String,
    /// What a person would type to do the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// What the script says that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What was seen beside that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How long it took.
    pub ms: u64,
}

impl Done {
    /// Whether it answered as the script says.
    pub fn passed(&self) -> bool {
        self.expected == self.found
    }
}

/// Somebody who watches a demo: a writer for text, or nobody.
pub struct Audience<'a>(Option<&'a mut (dyn Write + Send)>);

impl<'a> Audience<'a> {
    /// Somebody who reads `out`.
    pub fn watching(out: &'a mut (dyn Write + Send)) -> Self {
        Self(Some(out))
    }

    /// Nobody: the report is all that is wanted.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// A line of text.
    pub fn tell(&mut self, text: &str) -> io::Result<()> {
        match &mut self.0 {
            Some(out) => writeln!(out, "{text}").and_then(|()| out.flush()),
            None => Ok(()),
        }
    }

    pub(crate) fn begin(&mut self, header: &Header, file: &str) -> io::Result<()> {
        self.tell(&format!("{} ({})   {file}", header.name, header.alias))?;
        self.tell(&format!("  principle  {}", header.principle))?;
        self.tell(&format!("  source     {}", header.source))?;
        self.tell(&format!("  ADR        {}\n", header.adr))
    }

    pub(crate) fn sabotage(&mut self, header: &Header) -> io::Result<()> {
        self.tell(&format!("  SABOTAGE   {}: {}\n", header.sabotage, header.sabotage_does))
    }

    pub(crate) fn say(&mut self, prose: &str) -> io::Result<()> {
        self.tell(&format!("# {prose}"))
    }

    pub(crate) fn done(&mut self, file: &str, done: &Done) -> io::Result<()> {
        self.tell(&done.text)?;
        if let Some(shell) = &done.shell {
            self.tell(&format!("     $ {shell}"))?;
        }
        for note in &done.notes {
            self.tell(&format!("     . {note}"))?;
        }
        match (&done.found, done.passed()) {
            (None, _) => Ok(()),
            (Some(found), true) => self.tell(&format!("  -> {found}   ({} ms)", done.ms)),
            (Some(found), false) => {
                self.tell(&format!("{file}:{}: DEVIATION", done.line))?;
                self.tell(&format!("  expected -> {}", done.expected.as_deref().unwrap_or_default()))?;
                self.tell(&format!("  found    -> {found}"))
            }
        }
    }

    pub(crate) fn end(&mut self, report: &Report) -> io::Result<()> {
        for Verdict { oracle, says, passed, ms } in &report.oracles {
            self.tell(&format!("  oracle {oracle:<10} {} {says}   ({ms} ms)", if *passed { "ok  " } else { "FAIL" }))?;
        }
        let verdict = if report.passed { "passed" } else { "FAILED" };
        self.tell(&format!("{verdict} in {:.1} s: {}", report.seconds, report.name))?;
        match (&report.sabotage, report.failed_line == report.break_line) {
            (None, _) => Ok(()),
            (Some(name), true) => {
                self.tell(&format!("the sabotage `{name}` was noticed at the line that the script names"))
            }
            (Some(name), false) => self.tell(&format!("the sabotage `{name}` was NOT noticed where the script says")),
        }
    }
}
