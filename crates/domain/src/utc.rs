//! Times for people: Unix milliseconds as UTC, by arithmetic alone.

/// `ms` as RFC 3339: `2026-01-02T03:04:05.006Z`.
pub fn rfc3339(ms: u64) -> String {
    let ((year, month, day), (hour, minute, second)) = parts(ms);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// `ms` for names of files, to the second, ordered as the times are: `20260102T030405Z`.
pub fn stamp(ms: u64) -> String {
    let ((year, month, day), (hour, minute, second)) = parts(ms);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

fn parts(ms: u64) -> ((i64, i64, i64), (u64, u64, u64)) {
    let (days, second) = ((ms / 86_400_000) as i64, ms / 1000 % 86_400);
    (civil(days), (second / 3600, second / 60 % 60, second % 60))
}

/// The date `days` after 1970-01-01. Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2021.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z", "19700101T000000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z", "20000229T000000Z"),
            (1_767_323_045_006, "2026-01-02T03:04:05.006Z", "20260102T030405Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z", "21000228T235959Z"),
        ];
        for (ms, text, name) in table {
            assert_eq!((rfc3339(ms).as_str(), stamp(ms).as_str()), (text, name));
        }
    }
}
