//! Steps: a heading, a command, the time it took; and what all of them came to.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::summary::Counts;

/// Steps done so far.
#[derive(Default)]
pub struct Steps {
    counts: Counts,
    failures: Vec<String>,
}

impl Steps {
    /// Does one step and notes how it ended. Returns whether it succeeded; a failure does not stop the steps that follow.
    pub fn step(&mut self, title: &str, work: impl FnOnce() -> Result<Counts>) -> bool {
        println!("\n== {title}");
        let begun = Instant::now();
        let outcome = work();
        let taken = begun.elapsed().as_secs_f64();
        let failure = match outcome {
            Ok(counts) if counts.failed == 0 => {
                self.counts = self.counts + counts;
                println!("-- {title}: done in {taken:.1} s");
                return true;
            }
            Ok(counts) => {
                self.counts = self.counts + counts;
                format!("{title}: {} failed", counts.failed)
            }
            Err(error) => {
                // A step that could not count still failed: the last line must not look green.
                self.counts.failed += 1;
                format!("{title}: {error:#}")
            }
        };
        println!("-- {failure} (after {taken:.1} s)");
        self.failures.push(failure);
        false
    }

    /// Notes a step that cannot be done because an earlier one failed.
    pub fn skip(&mut self, title: &str) {
        self.counts.failed += 1;
        self.failures.push(format!("{title}: not run"));
    }

    /// Lists the failures, prints the sums as the last line, and returns whether there were none.
    pub fn finish(&self) -> bool {
        println!();
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{}", self.counts);
        self.failures.is_empty()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// A command in the repository's root.
pub fn command<S: AsRef<OsStr>>(root: &Path, program: impl AsRef<OsStr>, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root);
    command
}

/// `cargo` in the repository's root, the same one that runs this program.
pub fn cargo(root: &Path, arguments: &[&str]) -> Command {
    command(root, std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// Runs `command` to its end; an exit code other than 0 is an error.
pub fn run(mut command: Command) -> Result<()> {
    println!("   {}", shown(&command));
    let status = command.status().with_context(|| format!("starting {}", shown(&command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(&command));
    }
    Ok(())
}

/// Runs `command`, passing its output on as it comes. Returns the output, and whether the exit code was 0.
pub fn run_and_keep(mut command: Command) -> Result<(String, bool)> {
    println!("   {}", shown(&command));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("starting {}", shown(&command)))?;
    let kept = Arc::new(Mutex::new(String::new()));
    let pass = |from: Option<Box<dyn Read + Send>>| {
        let kept = kept.clone();
        from.map(|from| thread::spawn(move || pass_on(from, &kept)))
    };
    let out = pass(child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>));
    let err = pass(child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>));
    for reader in [out, err].into_iter().flatten() {
        reader.join().expect("a reader of output does not panic")?;
    }
    let status = child.wait().context("waiting for the command")?;
    let kept = kept.lock().expect("nobody panics while holding the output").clone();
    Ok((kept, status.success()))
}

fn pass_on(from: Box<dyn Read + Send>, kept: &Mutex<String>) -> Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        kept.lock().expect("nobody panics while holding the output").push_str(&text);
        std::io::stdout().write_all(text.as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_without_counting_is_counted() {
        let mut steps = Steps::default();
        assert!(steps.step("tests", || Ok(Counts { passed: 3, failed: 0 })));
        assert!(!steps.step("clippy", || bail!("a warning")));
        steps.skip("proof");
        assert_eq!(steps.counts.to_string(), "3 passed, 2 failed");
        assert_eq!(steps.failures, ["clippy: a warning", "proof: not run"]);
        assert!(!steps.finish());
    }

    #[test]
    fn output_of_both_streams_is_kept() {
        let echo = command(Path::new("."), "sh", &["-c", "echo one; echo two >&2; exit 3"]);
        let (output, success) = run_and_keep(echo).unwrap();
        assert!(output.contains("one\n") && output.contains("two\n"));
        assert!(!success);
    }
}
