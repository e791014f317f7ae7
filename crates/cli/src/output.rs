//! Where answers go: text for people, or JSON alone for programs.

use std::io::{self, Write};

use serde::Serialize;

/// How a verb answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Text, for people and pipes.
    #[default]
    Text,
    /// One JSON value.
    Json,
}

impl Output {
    /// Writes `value` as JSON, or what `text` makes of it.
    pub fn write<T: Serialize>(
        self,
        out: &mut dyn Write,
        value: &T,
        text: impl FnOnce(&mut dyn Write, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Output::Text => text(out, value),
            Output::Json => {
                serde_json::to_writer_pretty(&mut *out, value)?;
                writeln!(out)
            }
        }
    }
}

/// Bytes for people: three digits and a binary unit.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{bytes} B"),
        (_, ..10.0) => format!("{value:.2} {}", UNITS[unit]),
        (_, ..100.0) => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        let table = [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (15 << 20, "15.0 MiB"), (u64::MAX, "16384 PiB")];
        for (bytes, text) in table {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn json_stands_alone() {
        let mut out = Vec::new();
        Output::Json.write(&mut out, &[1], |_, _| panic!("no text")).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<u8>>(&out).unwrap(), [1]);
    }
}
