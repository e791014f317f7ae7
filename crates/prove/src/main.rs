//! What each issue must show: `cargo xtask prove NN [--quick]`.
//!
//! Every section starts real processes (or a simulated cluster), plants faults, checks what came of it against what was
//! acknowledged, and prints the numbers. A section that finds a deviation fails; the last line counts both.

mod cluster;
mod content;
mod issue02;
mod issue03;
mod issue04;
mod issue05;
mod report;

use std::process::ExitCode;

use report::Report;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let issue = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if issue == "hold" {
        return helper(&rest);
    }
    let quick = rest.iter().any(|argument| argument == "--quick");
    if issue == "inside" {
        return inside(quick);
    }
    let only: Vec<&str> = rest.iter().filter(|argument| !argument.starts_with("--")).map(String::as_str).collect();
    let mut report = Report::new(quick, &only);
    match issue.as_str() {
        "02" | "2" => issue02::prove(&mut report),
        "03" | "3" => issue03::prove(&mut report),
        "04" | "4" => issue04::prove(&mut report),
        "05" | "5" => issue05::prove(&mut report),
        other => {
            eprintln!("error: nothing is to be proved for {other:?}; expected 02 to 05");
            return ExitCode::from(2);
        }
    }
    report.close()
}

/// A section of issue 04, in a network namespace of its own.
fn inside(quick: bool) -> ExitCode {
    match issue04::inside(quick) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The other end of a section, as a program of its own.
fn helper(arguments: &[String]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(issue03::helper(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
