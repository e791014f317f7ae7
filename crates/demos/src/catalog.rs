//! The demos that there are. Their scripts are part of the binary, so `kvfs demo` needs no files.

use crate::script::{self, Script, ScriptError};

macro_rules! scripts {
    ($($name:literal),* $(,)?) => {
        &[$((concat!("demos/", $name, ".demo"), include_str!(concat!("../../../demos/", $name, ".demo")))),*]
    };
}

/// Each script's file and text, in the order in which they are best watched.
const SCRIPTS: &[(&str, &str)] = scripts![
    "replication-survives-a-dead-node",
    "signed-urls-expire",
    "a-new-node-takes-its-share",
    "objects-are-cut-into-chunks",
    "memory-does-not-grow-with-object-size",
];

/// All scripts.
pub fn all() -> Result<Vec<Script>, ScriptError> {
    SCRIPTS.iter().map(|(file, text)| script::parse(file, text)).collect()
}

/// The script with that name or letter.
pub fn find(name: &str) -> Result<Option<Script>, ScriptError> {
    Ok(all()?.into_iter().find(|script| script.header.name == name || script.header.alias == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_can_be_read_and_is_called_what_its_file_is_called() {
        let scripts = all().unwrap_or_else(|error| panic!("{error}"));
        for script in &scripts {
            assert_eq!(script.file, format!("demos/{}.demo", script.header.name));
        }
        let mut names: Vec<_> = scripts.iter().flat_map(|s| [s.header.name.clone(), s.header.alias.clone()]).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 2 * scripts.len(), "names and letters are unique");
        assert!(find("alpha").unwrap().is_some() && find("nothing").unwrap().is_none());
    }
}
