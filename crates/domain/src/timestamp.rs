//! Moments for people and programs.

/// Unix milliseconds as RFC 3339, UTC.
pub fn rfc3339(ms: u64) -> String {
    let (days, second) = ((ms / 86_400_000) as i64, ms / 1000 % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second, ms) = (second / 3600, second / 60 % 60, second % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Unix milliseconds for names of files, to the second and in order: `20260102T030405Z`, UTC.
pub fn stamp(ms: u64) -> String {
    rfc3339(ms).split('.').next().unwrap_or_default().replace(['-', ':'], "") + "Z"
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
    fn timestamps() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(rfc3339(4_102_444_799_000), "2099-12-31T23:59:59.000Z");
        assert_eq!(stamp(1_767_323_045_006), "20260102T030405Z");
    }
}
