//! What the tests need on a machine: looked for, and installed where that is possible.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps;

/// Something that must be there.
struct Need {
    /// What to run, to see whether it is there.
    probe: &'static [&'static str],
    /// Where it comes from.
    from: Source,
}

/// Where a thing comes from.
enum Source {
    /// The Rust toolchain: this component of rustup.
    Rustup(&'static str),
    /// This package of Debian.
    Debian(&'static str),
}

/// Everything needed, in the order in which it is looked for.
const NEEDS: &[Need] = &[
    Need { probe: &["cargo", "--version"], from: Source::Rustup("cargo") },
    Need { probe: &["cargo", "fmt", "--version"], from: Source::Rustup("rustfmt") },
    Need { probe: &["cargo", "clippy", "--version"], from: Source::Rustup("clippy") },
    // Tidy looks at the files that git knows.
    Need { probe: &["git", "--version"], from: Source::Debian("git") },
    // `prove 02` reads the order of syncs and answers from a trace.
    Need { probe: &["strace", "--version"], from: Source::Debian("strace") },
    // `prove 03` runs the documentation's commands, in network namespaces.
    Need { probe: &["curl", "--version"], from: Source::Debian("curl") },
    Need { probe: &["openssl", "version"], from: Source::Debian("openssl") },
    Need { probe: &["unshare", "--version"], from: Source::Debian("util-linux") },
    Need { probe: &["ip", "-V"], from: Source::Debian("iproute2") },
    // `prove 04` turns clocks, and `prove 05` codes beside ISA-L.
    Need { probe: &["faketime", "--version"], from: Source::Debian("faketime") },
    Need { probe: &["cc", "--version"], from: Source::Debian("gcc") },
    Need { probe: &["test", "-e", "/usr/include/isa-l.h"], from: Source::Debian("libisal-dev") },
];

/// Installs what is missing, or says what somebody has to install.
pub fn provide(root: &Path) -> Result<()> {
    let missing: Vec<_> = NEEDS.iter().filter(|need| !is_there(root, need.probe)).map(|need| &need.from).collect();
    let packages: Vec<_> = missing.iter().filter_map(|from| from.debian()).collect();
    let components: Vec<_> = missing.iter().filter_map(|from| from.rustup()).collect();
    if !components.is_empty() {
        let names = components.join(" ");
        bail!("missing from the Rust toolchain: {names}; install it with `rustup component add {names}`");
    }
    if packages.is_empty() {
        println!("   everything is there");
        return Ok(());
    }
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !is_root() || !is_there(root, &["apt-get", "--version"]) {
        bail!("missing: {}; install with `{by_hand}` or what your system has for it", packages.join(", "));
    }
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(&packages);
    let apt_get = |words: &[&str]| {
        let mut command = steps::command(root, "apt-get", words);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        steps::run(command)
    };
    // A fresh image has no package lists: fetch them only if the first attempt fails.
    apt_get(&words).or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&words))).context(by_hand)
}

impl Source {
    fn debian(&self) -> Option<&'static str> {
        match self {
            Source::Debian(package) => Some(package),
            Source::Rustup(_) => None,
        }
    }

    fn rustup(&self) -> Option<&'static str> {
        match self {
            Source::Rustup(component) => Some(component),
            Source::Debian(_) => None,
        }
    }
}

/// Whether this command runs and succeeds.
pub fn is_there(root: &Path, probe: &[&str]) -> bool {
    let [program, arguments @ ..] = probe else { return false };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_there_if_it_runs() {
        let here = Path::new(".");
        assert!(is_there(here, &["true"]));
        assert!(!is_there(here, &["false"]));
        assert!(!is_there(here, &["no-such-program-as-this"]));
        assert!(!is_there(here, &[]));
    }
}
