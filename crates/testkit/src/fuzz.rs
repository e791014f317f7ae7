//! Input for fuzz targets: bytes that nobody would send, spelled with the words that a parser looks for.
//!
//! Random bytes hardly ever get past a parser's first comparison. So each input byte either picks a word of the target's
//! dictionary or stands for itself, and inputs become sentences of a language close to the parser's own, with noise in between.
//! The same spelling reads the corpus, so a file found once goes on to be tried.
//!
//! A target runs [`EXECUTIONS`] times with the other tests, and as often as `BOLERO_RANDOM_ITERATIONS` says otherwise.

/// How often a target runs unless told otherwise.
pub const EXECUTIONS: usize = 10_000;

/// `input` spelled with `words`: a byte below twice their number is a word, two in a row of others stand for the second.
///
/// Example, words `a=`, `&`: the bytes 0, 9, b'x', 1 spell `a=x&`.
pub fn spell(input: &[u8], words: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut input = input.iter();
    while let Some(&byte) = input.next() {
        match words.get(usize::from(byte) % (2 * words.len().max(1))) {
            Some(word) => out.extend_from_slice(word.as_bytes()),
            None => out.extend(input.next()),
        }
    }
    out
}

/// `sample` with the damage that `input` describes: each pair of bytes changes, cuts or doubles something.
pub fn damage(sample: &[u8], input: &[u8]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for pair in input.chunks_exact(3).take(4) {
        let at = if bytes.is_empty() { 0 } else { (usize::from(pair[0]) << 8 | usize::from(pair[1])) % bytes.len() };
        match pair[2] % 4 {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            2 => bytes.insert(at, pair[1]),
            _ if bytes.is_empty() => {}
            _ => bytes[at] ^= 1 << (pair[2] >> 5),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        assert_eq!(spell(&[0, 11, b'x', 1], &["a=", "&"]), b"a=x&");
        assert_eq!(spell(&[7], &[]), b"");
        assert_eq!(damage(b"abc", &[0, 1, 0]), b"a");
        assert_eq!(damage(b"abc", &[0, 1, 1]), b"abcbc");
        assert_eq!(damage(b"", &[0, 1, 3]), b"");
    }
}
