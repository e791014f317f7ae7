//! How many tests passed and failed, from what the runners print at their end.

use std::ops::Add;

use anyhow::{Result, bail};

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: u64,
    /// Failed, those that ran out of time included.
    pub failed: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

/// The counts of a run whose `output` one of the readers below understands; an error if what it printed and its exit
/// code disagree, or if there is no summary in it at all.
pub fn counts(output: &str, success: bool, read: fn(&str) -> Option<Counts>) -> Result<Counts> {
    match read(output) {
        Some(counts) if success == (counts.failed == 0) => Ok(counts),
        Some(counts) if success => bail!("it reports {} failed tests and ends as if all were well", counts.failed),
        Some(_) => bail!("no test failed, but the run did: see its output"),
        None => bail!("it ended without a summary of tests"),
    }
}

/// `Summary [ 1.2s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 2 skipped`, as cargo-nextest prints it.
pub fn nextest(output: &str) -> Option<Counts> {
    let line = output.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))?;
    let (_, outcomes) = line.split_once(" run: ")?;
    let mut counts = Counts::default();
    for outcome in outcomes.split(", ") {
        let (number, word) = outcome.trim().split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match word.split(" (").next()? {
            "passed" => counts.passed += number,
            "skipped" => {}
            _ => counts.failed += number,
        }
    }
    Some(counts)
}

/// The sum of `test result: ok. 5 passed; 0 failed; …` over all test binaries, as libtest prints it.
pub fn libtest(output: &str) -> Option<Counts> {
    let lines = output.lines().filter(|line| line.starts_with("test result: "));
    let counts = lines.map(|line| {
        let words: Vec<_> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        let before = |what| words.windows(2).find(|pair| pair[1] == what)?[0].parse().ok();
        Some(Counts { passed: before("passed")?, failed: before("failed")? })
    });
    counts.flatten().reduce(Add::add)
}

/// `5 passed, 0 failed` on the last line that has this form, as `prove` prints it.
pub fn plain(output: &str) -> Option<Counts> {
    output.lines().rev().find_map(|line| {
        let (passed, failed) = line.trim().split_once(" passed, ")?;
        let failed = failed.strip_suffix(" failed")?;
        Some(Counts { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(passed: u64, failed: u64) -> Option<Counts> {
        Some(Counts { passed, failed })
    }

    #[test]
    fn summaries() {
        let table = [
            ("     Summary [   1.234s] 123 tests run: 123 passed, 0 skipped\n", some(123, 0)),
            ("Summary [ 60.1s] 9/12 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 3 skipped\n", some(6, 3)),
            ("no summary\n", None),
        ];
        for (output, counts) in table {
            assert_eq!(nextest(output), counts, "{output}");
        }
        let two = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured\nnoise\n\
                   test result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(libtest(two), some(6, 2));
        assert_eq!(libtest("error: could not compile\n"), None);
        assert_eq!(plain("1 passed, 1 failed\nmore\n7 passed, 0 failed\n"), some(7, 0));
        assert_eq!(plain("all passed, none failed\n"), None);
    }

    #[test]
    fn exit_code_and_summary_must_agree() {
        assert!(counts("2 passed, 0 failed", true, plain).is_ok());
        assert!(counts("2 passed, 1 failed", false, plain).is_ok());
        assert!(counts("2 passed, 0 failed", false, plain).is_err());
        assert!(counts("2 passed, 1 failed", true, plain).is_err());
        assert!(counts("", true, plain).is_err());
    }
}
