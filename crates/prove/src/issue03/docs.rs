//! Every command in the documentation is run: the `sh` blocks of a page, one after the other, in an empty directory.
//!
//! A block marked `sh server` stays in the foreground for a reader, who opens another terminal; here it goes to the background, and the
//! next block begins once the gateway is ready. The comment `<!-- in a new directory -->` begins a new directory. Blocks of
//! other kinds (`text`, `ini`, `toml`) are not commands.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::sandbox;
use crate::report::number;

/// What the sandbox puts before each page: files that a reader of the repository has.
const READER_HAS: [&str; 1] = ["README.md"];

/// Waits until `kvfs up` or a gateway serves.
const WAIT: &str = "curl -s --retry 120 --retry-delay 1 --retry-connrefused http://127.0.0.1:8000/readyz > /dev/null\n";

/// Runs all pages of the repository.
pub async fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the repository")?;
    let (mut pages, mut commands, mut wrong) = (0, 0, Vec::new());
    for page in markdown(root)? {
        let text = std::fs::read_to_string(root.join(&page))?;
        for script in scripts(&text) {
            let home = tempfile::tempdir()?;
            for file in READER_HAS {
                std::fs::copy(root.join(file), home.path().join(file))?;
            }
            std::fs::create_dir_all(home.path().join("target/release"))?;
            std::os::unix::fs::symlink(
                crate::cluster::binary()?.canonicalize()?,
                home.path().join("target/release/kvfs"),
            )?;
            commands += script.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
            pages += 1;
            let ran = sandbox::run(home.path(), &script).await?;
            if !ran.success {
                wrong.push(format!("   {}:\n{}", page.display(), ran.text));
            }
        }
    }
    number("scripts made of the documentation's commands", pages);
    number("lines of commands in them", commands);
    ensure!(wrong.is_empty(), "{} do not work:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(commands >= 20, "only {commands} lines of commands were found");
    Ok(())
}

/// The pages with commands for users: the README and everything below `docs`.
fn markdown(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut pages, mut open) = (vec![PathBuf::from("README.md")], vec![PathBuf::from("docs")]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    Ok(pages)
}

/// The scripts that a page's blocks make.
fn scripts(page: &str) -> Vec<String> {
    let (mut all, mut script, mut block) = (Vec::new(), String::new(), None::<bool>);
    for line in page.lines() {
        match (block, line.trim_end()) {
            (None, "```sh") => block = Some(false),
            (None, "```sh server") => {
                block = Some(true);
                script += "{\n";
            }
            (None, "<!-- in a new directory -->") => all.push(std::mem::take(&mut script)),
            (Some(server), "```") => {
                if server {
                    script += "} > server.log 2>&1 &\n";
                    script += WAIT;
                }
                block = None;
            }
            (Some(_), line) => {
                script += line;
                script += "\n";
            }
            (None, _) => {}
        }
    }
    all.push(script);
    all.retain(|script| !script.trim().is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_scripts() {
        let page = "\
# Page
```sh
a
```
```text
no command
```
```sh server
kvfs up
```
<!-- in a new directory -->
```sh
b
```
";
        assert_eq!(scripts(page), [format!("a\n{{\nkvfs up\n}} > server.log 2>&1 &\n{WAIT}"), "b\n".to_string()]);
        assert!(scripts("nothing").is_empty());
    }
}
