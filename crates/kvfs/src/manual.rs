//! What is made from the command line's own description: completions and manual pages.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;

/// Prints the completions of `shell`.
pub fn completions(shell: Shell, out: &mut dyn Write) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kvfs", &mut script);
    Ok(out.write_all(&script)?)
}

/// Writes `kvfs.1`, and a page for each verb, `kvfs-put.1` and so on.
pub fn pages(directory: &Path, out: &mut dyn Write) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let mut command = Cli::command();
    command.build();
    let count = page(&command, "kvfs", directory)?;
    writeln!(out, "wrote {count} pages to {}", directory.display())?;
    Ok(())
}

fn page(command: &Command, name: &str, directory: &Path) -> Result<usize> {
    let path = directory.join(format!("{name}.1"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).render(&mut text)?;
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    let below = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    below
        .map(|verb| page(verb, &format!("{name}-{}", verb.get_name()), directory))
        .sum::<Result<usize>>()
        .map(|more| more + 1)
}
