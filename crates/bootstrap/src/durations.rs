//! Durations as Go writes them, since the reference's settings are full of them: `500ms`, `1h30m`, `1.5s`.

use std::time::Duration;

/// Units from long to short, `ms` before `m` so that the longer name wins.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// What a duration should look like, for error messages.
pub const EXPECTATION: &str = "a duration such as 500ms, 10s, 1h30m or 0";

/// The duration that `text` spells: numbers with units, or a bare `0`. Negative ones are refused.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not {EXPECTATION}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0u128);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let (unit, length) = UNITS.iter().find(|(name, _)| after.starts_with(name)).ok_or_else(wrong)?;
        nanos += scaled(number, *length).ok_or_else(wrong)?;
        rest = &after[unit.len()..];
    }
    match u64::try_from(nanos) {
        Ok(nanos) if !text.is_empty() => Ok(Duration::from_nanos(nanos)),
        _ => Err(wrong()),
    }
}

/// `number`, which may have a fraction of at most nine digits, times `length`.
fn scaled(number: &str, length: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 12 || fraction.len() > 9 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let length = u128::from(length);
    Some(digits(whole)? * length + digits(fraction)? * length / 10u128.pow(fraction.len() as u32))
}

/// `duration` in the same form, exact: `1h30m`, `500ms`, `0s`.
pub fn show(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    let mut text = String::new();
    for (unit, length) in
        [("h", UNITS[6].1), ("m", UNITS[5].1), ("s", UNITS[4].1), ("ms", UNITS[3].1), ("us", UNITS[1].1), ("ns", 1)]
    {
        let count = nanos / u128::from(length);
        nanos %= u128::from(length);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        let table = [
            ("500ms", 500_000_000, "500ms"),
            ("1h30m", 5_400_000_000_000, "1h30m"),
            ("1.5s", 1_500_000_000, "1s500ms"),
            (".5s", 500_000_000, "500ms"),
            ("2m3s", 123_000_000_000, "2m3s"),
            ("7µs", 7_000, "7us"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
        ];
        for (text, nanos, shown) in table {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
            assert_eq!(show(Duration::from_nanos(nanos)), shown);
        }
        for wrong in
            ["", "5", "s", "-1s", "1 s", "1x", "1..5s", "1.s.", "5sm", "99999999999999h", "999999999999h", "٣s"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse("soon"), Err("\"soon\" is not a duration such as 500ms, 10s, 1h30m or 0".into()));
    }
}
