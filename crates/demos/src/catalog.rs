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
    "content-says-where-to-cut",
    "any-rack-may-be-lost",
    "any-m-shards-may-be-lost",
    "any-k-shards-answer-a-read",
    "content-says-where-stripes-end",
    "a-request-chooses-w-and-r",
    "memory-does-not-grow-with-object-size",
    "a-group-elects-and-forgets-nothing",
    "without-a-majority-nothing-is-promised",
    "followers-answer-at-once",
    "a-lost-coordinator-is-taken-in-anew",
    "url-keys-rotate",
    "heartbeats-notice-a-silent-node",
    "nodes-come-and-go-by-command",
    "metadata-come-back-from-a-backup",
    "backups-are-taken-by-themselves",
    "coordinators-flap",
    "a-cut-network-makes-no-second-truth",
    "coordinators-know-where-everything-is",
    "placement-follows-the-registry",
];

/// All scripts.
pub fn all() -> Result<Vec<Script>, ScriptError> {
    SCRIPTS.iter().map(|(file, text)| script::parse(file, text)).collect()
}

/// The script with that name or letter.
pub fn find(name: &str) -> Result<Option<Script>, ScriptError> {
    Ok(all()?.into_iter().find(|script| script.header.is_called(name)))
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
        let called = |header: &script::Header| {
            let letters = header.letters().map(str::to_string);
            letters.chain([header.name.clone()]).collect::<Vec<_>>()
        };
        let mut names: Vec<_> = scripts.iter().flat_map(|script| called(&script.header)).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert!(names.len() == all && all >= 2 * scripts.len(), "names and letters are unique");
        assert!(find("alpha").unwrap().is_some() && find("nothing").unwrap().is_none());
    }
}
