//! Faults planted in the cluster are found. The seeds are ones that find them soon; of any twenty at least one does.

use sim::plant::Plant;
use sim::tell::tell;

/// What the first story of `seeds` that goes wrong says.
fn found(plant: Plant, mut seeds: std::ops::Range<u64>) -> String {
    let finding = seeds.find_map(|seed| tell(seed, 1000, Some(plant)).err());
    let finding = finding.unwrap_or_else(|| panic!("{plant:?} was not found"));
    println!("{plant:?}: {finding}");
    finding.what
}

#[test]
fn a_missing_sync_of_the_nodes() {
    found(Plant::NodesForgetSyncs, 17..27);
}

#[test]
fn a_missing_sync_of_the_log() {
    found(Plant::CoordinatorForgetsSyncs, 17..27);
}

#[test]
fn an_early_answer() {
    found(Plant::EarlyAnswers, 3..13);
}

#[test]
fn a_delete_that_ignores_tokens() {
    let what = found(Plant::DeletesIgnoreTokens, 28..48);
    assert!(what.contains("no node holds chunk"), "{what}");
}

#[test]
fn a_floor_that_runs_ahead() {
    let what = found(Plant::FloorsRunAhead, 8..28);
    assert!(what.contains("no node holds chunk"), "{what}");
}
