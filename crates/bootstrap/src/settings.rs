//! Settings from four places, each value with the place it came from.
//!
//! Flag beats environment beats TOML file beats default. One name serves everywhere: `EDGE_ADDR` is the variable, `edge_addr` or
//! `addr` under `[edge]` the key in the file. A value that cannot be understood is never replaced by a default: a [`Reader`] goes
//! on, so that [`finish`](Reader::finish) lists *all* problems at once, unknown keys of the file among them.
//!
//! ```
//! use bootstrap::settings::{Origin, Reader, Sources};
//! let sources = Sources::new().with_file("[dn]\nqueue_bytes = 1024\n").expect("TOML");
//! let mut reader = Reader::new(sources);
//! let address = reader.text("DN_ADDR", ":8080");
//! let queue: u64 = reader.parse("DN_QUEUE_BYTES", 64 << 20, "a number of bytes");
//! let resolved = reader.finish().expect("no problems");
//! assert_eq!((address.as_str(), queue), (":8080", 1024));
//! assert_eq!((resolved[0].origin, resolved[1].origin), (Origin::Default, Origin::File));
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use domain::peer_auth::MIN_SECRET_BYTES;

use crate::{Secret, durations};

/// Gives the value of a variable, if it is set.
pub type Lookup = Box<dyn Fn(&str) -> Option<String> + Send>;

/// Where values may come from.
pub struct Sources {
    /// Command line, by canonical name.
    pub flags: BTreeMap<String, String>,
    /// Environment; an empty variable counts as unset.
    pub env: Lookup,
    /// Settings file, by canonical name.
    pub file: BTreeMap<String, String>,
}

impl Sources {
    /// Nothing but defaults.
    pub fn new() -> Self {
        Self { flags: BTreeMap::new(), env: Box::new(|_| None), file: BTreeMap::new() }
    }

    /// The environment of this process.
    pub fn from_process() -> Self {
        Self { env: Box::new(|name| std::env::var(name).ok()), ..Self::new() }
    }

    /// Adds the settings in `text`, a TOML file: tables and keys joined by `_` and in capitals are the canonical names.
    pub fn with_file(mut self, text: &str) -> Result<Self, Problem> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| Problem {
            name: "settings file".into(),
            value: String::new(),
            expected: format!("TOML: {}", error.to_string().trim().replace('\n', " ")),
        })?;
        flatten("", table, &mut self.file)?;
        Ok(self)
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::new()
    }
}

fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, String>) -> Result<(), Problem> {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.to_uppercase());
        let text = match value {
            toml::Value::Table(inner) => {
                flatten(&format!("{name}_"), inner, into)?;
                continue;
            }
            toml::Value::String(text) => text,
            toml::Value::Array(items) => {
                let texts = items.into_iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                texts.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        if let Some(value) = into.insert(name.clone(), text) {
            return Err(Problem { name, value, expected: "one value, but the settings file has two".into() });
        }
    }
    Ok(())
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Command line.
    Flag,
    /// Environment.
    Env,
    /// Settings file.
    File,
    /// Nobody said anything.
    Default,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Env => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// A setting as it is in force, fit to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Canonical name.
    pub name: String,
    /// The value; `(secret)` or `(unset)` for secrets.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: expected {expected}")]
pub struct Problem {
    /// Canonical name.
    pub name: String,
    /// What was found; never a secret.
    pub value: String,
    /// What would have been right.
    pub expected: String,
}

/// Reads settings one by one and remembers what it found.
pub struct Reader {
    sources: Sources,
    resolved: Vec<Resolved>,
    problems: Vec<Problem>,
    known: BTreeSet<String>,
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new(sources: Sources) -> Self {
        Self { sources, resolved: Vec::new(), problems: Vec::new(), known: BTreeSet::new() }
    }

    /// A text.
    pub fn text(&mut self, name: &str, default: &str) -> String {
        self.parse(name, default.to_owned(), "text")
    }

    /// A text that may be absent.
    pub fn optional(&mut self, name: &str) -> Option<String> {
        Some(self.text(name, "")).filter(|text| !text.is_empty())
    }

    /// Anything that can be parsed; `expectation` completes "expected …".
    pub fn parse<T: FromStr + Display>(&mut self, name: &str, default: T, expectation: &str) -> T {
        self.read(name, default, T::to_string, |text| text.trim().parse().map_err(|_| expectation.to_owned()))
    }

    /// A duration in Go's form.
    pub fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.read(
            name,
            default,
            |value| durations::show(*value),
            |text| durations::parse(text.trim()).map_err(|_| durations::EXPECTATION.to_owned()),
        )
    }

    /// A switch: 1, true, yes, on; 0, false, no, off.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        self.read(name, default, bool::to_string, |text| match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err("1, true, yes or on; or 0, false, no or off".to_owned()),
        })
    }

    /// A secret of at least 16 bytes, or none. Refused on the command line, where every user of the machine can see it.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        let (found, origin) = self.find(name);
        let secret = found.as_deref().map(Secret::new);
        let value = if secret.is_some() { "(secret)" } else { "(unset)" };
        self.resolved.push(Resolved { name: name.into(), value: value.into(), origin });
        if origin == Origin::Flag {
            self.problem(name, value, "it in the environment or the settings file: arguments are visible to all users");
        }
        match secret.transpose() {
            Ok(secret) => secret,
            Err(error) => {
                self.problem(
                    name,
                    value,
                    &format!(
                        "at least {MIN_SECRET_BYTES} bytes, and it has {}; `openssl rand -hex 32` makes a good one",
                        error.found
                    ),
                );
                None
            }
        }
    }

    /// A text that may be absent, and is not shown among the settings in force.
    pub fn optional_unlisted(&mut self, name: &str) -> Option<String> {
        self.find(name).0.filter(|text| !text.is_empty())
    }

    /// Names a setting that somebody else reads, so that the file may contain it.
    pub fn allow(&mut self, name: &str) {
        self.known.insert(name.to_owned());
    }

    /// Reports what only the settings together show to be wrong.
    pub fn problem(&mut self, name: &str, value: &str, expected: &str) {
        self.problems.push(Problem { name: name.into(), value: value.into(), expected: expected.into() });
    }

    /// Every setting in the order it was read, or every problem, among them what is in the file or the flags and nobody asked for.
    pub fn finish(mut self) -> Result<Vec<Resolved>, Vec<Problem>> {
        let given = self.sources.file.keys().chain(self.sources.flags.keys());
        let unknown: BTreeSet<_> = given.filter(|name| !self.known.contains(*name)).cloned().collect();
        for name in unknown {
            self.problem(&name, "", "a setting of this role; it knows none of that name");
        }
        if self.problems.is_empty() { Ok(self.resolved) } else { Err(self.problems) }
    }

    fn read<T>(
        &mut self,
        name: &str,
        default: T,
        show: impl Fn(&T) -> String,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let (found, origin) = self.find(name);
        let value = match found.map(|text| parse(&text).map_err(|expected| (text, expected))) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err((text, expected))) => {
                self.problem(name, &text, &expected);
                default
            }
        };
        self.resolved.push(Resolved { name: name.into(), value: show(&value), origin });
        value
    }

    fn find(&mut self, name: &str) -> (Option<String>, Origin) {
        self.known.insert(name.to_owned());
        if let Some(text) = self.sources.flags.get(name) {
            return (Some(text.clone()), Origin::Flag);
        }
        if let Some(text) = (self.sources.env)(name).filter(|text| !text.is_empty()) {
            return (Some(text), Origin::Env);
        }
        match self.sources.file.get(name) {
            Some(text) => (Some(text.clone()), Origin::File),
            None => (None, Origin::Default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(flags: &[(&str, &str)], env: &'static [(&str, &str)], file: &str) -> Sources {
        let lookup = move |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        let mut sources = Sources::new().with_file(file).unwrap();
        sources.flags = flags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        sources.env = Box::new(lookup);
        sources
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let file = "[x]\na = \"file\"\nb = \"file\"\nc = \"file\"\n";
        let mut reader = Reader::new(sources(&[("X_A", "flag")], &[("X_A", "env"), ("X_B", "env"), ("X_C", "")], file));
        let values = ["X_A", "X_B", "X_C", "X_D"].map(|name| reader.text(name, "default"));
        assert_eq!(values, ["flag", "env", "file", "default"]);
        let origins: Vec<_> = reader.finish().unwrap().iter().map(|resolved| resolved.origin.to_string()).collect();
        assert_eq!(origins, ["flag", "environment", "file", "default"]);
    }

    #[test]
    fn all_problems_come_at_once() {
        let file = "a = 1\ntypo = 2\nwait = \"soon\"\n";
        let mut reader = Reader::new(sources(
            &[("S", "a secret on the line")],
            &[("N", "many"), ("T", "short"), ("F", "maybe")],
            file,
        ));
        assert_eq!(reader.parse("A", 7u64, "a number"), 1);
        assert_eq!(reader.parse("N", 7u64, "a number"), 7);
        reader.duration("WAIT", Duration::ZERO);
        reader.flag("F", false);
        reader.secret("S");
        reader.secret("T");
        let problems = reader.finish().unwrap_err();
        let names: Vec<_> = problems.iter().map(|problem| problem.name.as_str()).collect();
        assert_eq!(names, ["N", "WAIT", "F", "S", "T", "TYPO"]);
        assert_eq!(problems[0].to_string(), "N=\"many\": expected a number");
        assert!(!format!("{problems:?}").contains("short\""), "secrets stay out of messages");
    }

    #[test]
    fn file_values_of_all_kinds() {
        let mut reader = Reader::new(sources(&[], &[], "[edge]\ndns = [\"a:1\", \"b:2\"]\non = true\nwait = \"1m\"\n"));
        assert_eq!(reader.text("EDGE_DNS", ""), "a:1,b:2");
        assert!(reader.flag("EDGE_ON", false));
        assert_eq!(reader.duration("EDGE_WAIT", Duration::ZERO), Duration::from_secs(60));
        assert_eq!(reader.secret("SECRET"), None);
        let resolved = reader.finish().unwrap();
        assert_eq!((resolved[2].value.as_str(), resolved[3].value.as_str()), ("1m", "(unset)"));
        assert!(Sources::new().with_file("a = 1\nA = 2\n").is_err());
        assert!(Sources::new().with_file("not toml").is_err());
    }
}
