//! A line of a script as words: a verb, plain words, and `name=value` pairs.
//!
//! ```text
//! put photo size=100KiB seed=$i text="two words"
//! ```
//!
//! Words are separated by blanks; a value in double quotes may hold blanks. `$name` is replaced by what a `let` gave that name.
//! That is all of the syntax: what cannot be said with it does not belong into a script.

use std::collections::BTreeMap;

/// One line, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Words without `=`, the verb first.
    pub plain: Vec<String>,
    /// Words with `=`.
    pub named: BTreeMap<String, String>,
}

/// Values of `$names`.
pub type Variables = BTreeMap<String, String>;

impl Words {
    /// Takes `line` apart. The error says what is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = Words::default();
        for word in split(line)? {
            match word.split_once('=') {
                Some((name, value)) if is_name(name) => {
                    if words.named.insert(name.to_string(), unquoted(value)).is_some() {
                        return Err(format!("`{name}=` is given twice"));
                    }
                }
                _ => words.plain.push(unquoted(&word)),
            }
        }
        match words.plain.is_empty() {
            true => Err("a line begins with a verb".into()),
            false => Ok(words),
        }
    }

    /// The first word.
    pub fn verb(&self) -> &str {
        self.plain.first().map_or("", String::as_str)
    }

    /// The words without the first `count`, as a line of their own.
    pub fn after(&self, count: usize) -> Self {
        Self { plain: self.plain.iter().skip(count).cloned().collect(), named: self.named.clone() }
    }

    /// The plain word at `place`; 0 is the verb.
    pub fn word(&self, place: usize) -> Result<&str, String> {
        let found = self.plain.get(place).map(String::as_str);
        found.ok_or_else(|| format!("`{}` misses its word number {place}", self.verb()))
    }

    /// A pair's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(String::as_str)
    }

    /// A pair's value as a number, or `default`.
    pub fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        self.get(name).map_or(Ok(default), amount)
    }

    /// The line with each `$name` replaced.
    pub fn with(&self, variables: &Variables) -> Result<Self, String> {
        let plain = self.plain.iter().map(|word| replaced(word, variables)).collect::<Result<_, _>>()?;
        let pairs = self.named.iter().map(|(name, value)| Ok((name.clone(), replaced(value, variables)?)));
        Ok(Self { plain, named: pairs.collect::<Result<_, String>>()? })
    }
}

/// A number with an optional unit: `12`, `64KiB`, `256MiB`, `1GiB`.
pub fn amount(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let number: Option<u64> = digits.parse().ok();
    match number.and_then(|number| number.checked_mul(unit)).filter(|_| unit > 0) {
        Some(amount) => Ok(amount),
        None => Err(format!("found `{text}`, expected a number, perhaps with KiB, MiB or GiB")),
    }
}

/// Whether `text` can name a pair or a variable.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        quoted ^= c == '"';
        match c {
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            _ => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    if quoted { Err("a quote is not closed".into()) } else { Ok(words) }
}

fn unquoted(word: &str) -> String {
    word.replace('"', "")
}

fn replaced(text: &str, variables: &Variables) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out += &rest[..at];
        let after = &rest[at + 1..];
        let end = after.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit()).unwrap_or(after.len());
        let value = variables.get(&after[..end]);
        out += value.ok_or_else(|| format!("`${}` has no value here", &after[..end]))?;
        rest = &after[end..];
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        // (line, plain words, pairs)
        let table = [
            ("kill dn1", "kill|dn1", ""),
            ("  put photo   size=64KiB seed=7 ", "put|photo", "seed:7 size:64KiB"),
            ("put note text=\"two words\"", "put|note", "text:two words"),
            ("expect peak gateway <= 5", "expect|peak|gateway|<=|5", ""),
            ("wait-until nodes = 3", "wait-until|nodes|=|3", ""),
        ];
        for (line, plain, pairs) in table {
            let words = Words::parse(line).unwrap();
            let named: Vec<_> = words.named.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            assert_eq!((words.plain.join("|"), named.join(" ")), (plain.to_string(), pairs.to_string()), "{line}");
        }
    }

    #[test]
    fn mistakes() {
        let table = [
            ("", "begins with a verb"),
            ("size=3", "begins with a verb"),
            ("put a size=1 size=2", "`size=` is given twice"),
            ("put a text=\"open", "a quote is not closed"),
        ];
        for (line, message) in table {
            let error = Words::parse(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }

    #[test]
    fn amounts() {
        for (text, bytes) in [("0", 0), ("12", 12), ("64KiB", 65_536), ("256MiB", 268_435_456), ("1GiB", 1 << 30)] {
            assert_eq!(amount(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "1.5MiB", "1MB", "-1", "99999999999999999999", "999999999999999GiB"] {
            assert!(amount(bad).unwrap_err().contains("expected a number"), "{bad}");
        }
    }

    #[test]
    fn variables_are_replaced_wherever_they_stand() {
        let variables = Variables::from([("i".into(), "7".into()), ("node".into(), "dn2".into())]);
        let words = Words::parse("put obj$i/$node seed=$i").unwrap().with(&variables).unwrap();
        assert_eq!((words.word(1), words.get("seed")), (Ok("obj7/dn2"), Some("7")));
        let unknown = Words::parse("kill $who").unwrap().with(&variables);
        assert_eq!(unknown.unwrap_err(), "`$who` has no value here");
    }
}
