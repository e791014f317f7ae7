//! Conditional requests and ranges: RFC 9110, sections 13 and 14.

use axum::http::{HeaderMap, HeaderName, header};
use domain::change::Precondition;
use objects::ReadPart;

/// The preconditions of a write; an empty tag list means `*`.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, String> {
    Ok(Precondition {
        if_match: tags(headers, header::IF_MATCH)?,
        if_none_match: tags(headers, header::IF_NONE_MATCH)?,
    })
}

/// What a conditional read comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadVerdict {
    /// Go on.
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the conditions of a read, in the order of RFC 9110 §13.2.2. Times have whole seconds.
pub(crate) fn evaluate(headers: &HeaderMap, etag: &str, modified_ms: u64) -> Result<ReadVerdict, String> {
    let modified = modified_ms / 1000;
    match tags(headers, header::IF_MATCH)? {
        Some(tags) if !hits(&tags, etag) => return Ok(ReadVerdict::Failed),
        Some(_) => {}
        None if date(headers, header::IF_UNMODIFIED_SINCE).is_some_and(|date| modified > date) => {
            return Ok(ReadVerdict::Failed);
        }
        None => {}
    }
    Ok(match tags(headers, header::IF_NONE_MATCH)? {
        Some(tags) if hits(&tags, etag) => ReadVerdict::NotModified,
        Some(_) => ReadVerdict::Send,
        None if date(headers, header::IF_MODIFIED_SINCE).is_some_and(|date| modified <= date) => {
            ReadVerdict::NotModified
        }
        None => ReadVerdict::Send,
    })
}

/// The part of the object that `Range` asks for. Units other than bytes, several ranges and malformed ones are passed over, as
/// the RFC allows; so is a range whose `If-Range` is out of date.
pub(crate) fn part(headers: &HeaderMap, etag: &str, modified_ms: u64) -> ReadPart {
    let Some(range) = text(headers, header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return ReadPart::Whole;
    };
    let current = match text(headers, header::IF_RANGE) {
        None => true,
        Some(tag) if tag.starts_with('"') => tag.trim_matches('"') == etag,
        Some(date) => httpdate::parse_http_date(date).is_ok_and(|date| seconds(date) == modified_ms / 1000),
    };
    match current {
        true => parse_range(range.trim()).unwrap_or(ReadPart::Whole),
        false => ReadPart::Whole,
    }
}

fn parse_range(range: &str) -> Option<ReadPart> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = range.split_once('-')?;
    match (first.is_empty(), last.is_empty()) {
        (true, false) => number(last).map(ReadPart::Last),
        (false, true) => number(first).map(|first| ReadPart::From(first, None)),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ReadPart::From(first, Some(last)))
        }
        (true, true) => None,
    }
}

fn hits(tags: &[String], etag: &str) -> bool {
    tags.is_empty() || tags.iter().any(|tag| tag == etag)
}

/// The entity tags of a header, without quotes; empty for `*`; `None` if it is absent.
fn tags(headers: &HeaderMap, name: HeaderName) -> Result<Option<Vec<String>>, String> {
    let mut tags = Vec::new();
    let mut present = false;
    for value in headers.get_all(&name) {
        present = true;
        let value = value.to_str().map_err(|_| format!("{name}: not a list of entity tags"))?;
        for tag in value.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            if tag == "*" {
                return Ok(Some(Vec::new()));
            }
            // Weak tags never match in a precondition of ours: every tag we give out is strong.
            if !tag.starts_with("W/") {
                tags.push(tag.trim_matches('"').to_string());
            }
        }
    }
    match present {
        false => Ok(None),
        true if tags.is_empty() => Err(format!("{name}: expected `*` or a list of quoted entity tags")),
        true => Ok(Some(tags)),
    }
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    httpdate::parse_http_date(text(headers, name)?).ok().map(seconds)
}

fn seconds(time: std::time::SystemTime) -> u64 {
    time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn conditional_reads() {
        use ReadVerdict::*;
        let (old, same, new) =
            ("Thu, 01 Jan 1970 00:00:09 GMT", "Thu, 01 Jan 1970 00:00:10 GMT", "Thu, 01 Jan 1970 00:00:11 GMT");
        let table = [
            (vec![], Send),
            (vec![(header::IF_MATCH, "*")], Send),
            (vec![(header::IF_MATCH, "\"x\", \"e\"")], Send),
            (vec![(header::IF_MATCH, "\"x\"")], Failed),
            (vec![(header::IF_NONE_MATCH, "\"e\"")], NotModified),
            (vec![(header::IF_NONE_MATCH, "*")], NotModified),
            (vec![(header::IF_NONE_MATCH, "\"x\"")], Send),
            (vec![(header::IF_MODIFIED_SINCE, old)], Send),
            (vec![(header::IF_MODIFIED_SINCE, same)], NotModified),
            (vec![(header::IF_MODIFIED_SINCE, "nonsense")], Send),
            (vec![(header::IF_UNMODIFIED_SINCE, old)], Failed),
            (vec![(header::IF_UNMODIFIED_SINCE, new)], Send),
            (vec![(header::IF_NONE_MATCH, "\"x\""), (header::IF_MODIFIED_SINCE, new)], Send),
            (vec![(header::IF_MATCH, "\"e\""), (header::IF_UNMODIFIED_SINCE, old)], Send),
        ];
        for (pairs, verdict) in table {
            assert_eq!(evaluate(&headers(&pairs), "e", 10_500), Ok(verdict), "{pairs:?}");
        }
        assert!(evaluate(&headers(&[(header::IF_MATCH, "")]), "e", 0).is_err());
    }

    #[test]
    fn ranges() {
        let table = [
            ("bytes=0-0", ReadPart::From(0, Some(0))),
            ("bytes=5-", ReadPart::From(5, None)),
            ("bytes=-5", ReadPart::Last(5)),
            ("bytes=99999999999999999999-", ReadPart::From(u64::MAX, None)),
            ("bytes=5-4", ReadPart::Whole),
            ("bytes=-", ReadPart::Whole),
            ("bytes=a-b", ReadPart::Whole),
            ("bytes=+1-2", ReadPart::Whole),
            ("bytes=0-1,3-4", ReadPart::Whole),
            ("items=0-1", ReadPart::Whole),
        ];
        for (range, expected) in table {
            assert_eq!(part(&headers(&[(header::RANGE, range)]), "e", 0), expected, "{range}");
        }
        let since = |value| part(&headers(&[(header::RANGE, "bytes=1-2"), (header::IF_RANGE, value)]), "e", 10_500);
        assert_eq!(since("\"e\""), ReadPart::From(1, Some(2)));
        assert_eq!(since("\"x\""), ReadPart::Whole);
        assert_eq!(since("Thu, 01 Jan 1970 00:00:10 GMT"), ReadPart::From(1, Some(2)));
        assert_eq!(since("Thu, 01 Jan 1970 00:00:11 GMT"), ReadPart::Whole);
    }
}
