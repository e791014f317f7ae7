//! Fuzz targets of what an operator writes: settings files and durations.

use bolero::check;
use testkit::fuzz::{EXECUTIONS, spell};

use crate::durations;
use crate::settings::{Reader, Sources};

/// Whatever the file says, it is refused with a reason or read; a number is the number that stands there.
#[test]
fn settings_files() {
    let words = [
        "[up]",
        "[",
        "]",
        "nodes",
        "=",
        "3",
        "\n",
        "\"",
        "[up.nodes]",
        "up_nodes",
        "UP_NODES",
        "true",
        "1e3",
        "-1",
        "\"3\"",
        "#",
        ".",
        "{",
        "}",
        "2026-01-01",
        "up",
    ];
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(&spell(input, &words)).into_owned();
        match Sources::new().with_file(&text) {
            Err(problem) => assert!(!problem.expected.is_empty(), "{text}"),
            Ok(sources) => {
                let mut reader = Reader::new(sources);
                let nodes: u32 = reader.parse("UP_NODES", 7, "a number");
                match reader.finish() {
                    Ok(_) => assert!(nodes == 7 || text.contains(&nodes.to_string()), "{nodes} from {text}"),
                    Err(problems) => assert!(!problems.is_empty(), "{text}"),
                }
            }
        }
    });
}

/// A duration that is accepted is shown in a form that means the same.
#[test]
fn duration_texts() {
    let words = ["1", "0", "-", "+", ".", "5", "h", "m", "s", "ms", "us", "µs", "ns", "99999999999999999999", " ", "d"];
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(&spell(input, &words)).into_owned();
        if let Ok(duration) = durations::parse(&text) {
            assert_eq!(durations::parse(&durations::show(duration)), Ok(duration), "{text}");
        }
    });
}
