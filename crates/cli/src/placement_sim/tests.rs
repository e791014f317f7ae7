//! Simulations with known numbers, those of the reference among them.

use super::layout::{changed, made_up};
use super::*;

fn simulation(nodes: u32, chunks: u32, add: u32, remove: u32) -> Simulation {
    let after = made_up((nodes + add).saturating_sub(remove), 0, &[]);
    Simulation { before: made_up(nodes, 0, &[]), after, chunks, replicas: 3 }
}

/// The reference's numbers, which any implementation of the same placement must give.
#[test]
fn golden_vectors() {
    // (nodes, add, remove, chunks, moved, copies before, copies after)
    const FIVE: [u64; 5] = [5974, 5960, 6009, 6065, 5992];
    const SIX: [u64; 6] = [4964, 4989, 5019, 5097, 5005, 4926];
    const FOUR: [u64; 4] = [7458, 7506, 7486, 7550];
    type Row = (u32, u32, u32, u32, u64, &'static [u64], &'static [u64]);
    let table: [Row; 5] = [
        (3, 1, 0, 10_000, 7550, &[10_000; 3], &FOUR),
        (5, 1, 0, 10_000, 4926, &FIVE, &SIX),
        (10, 0, 1, 10_000, 2911, &[], &[]),
        (10, 1, 0, 10_000, 2740, &[], &[]),
        (20, 5, 0, 50_000, 25_512, &[], &[]),
    ];
    assert_eq!(FIVE.iter().sum::<u64>(), 30_000);
    for (nodes, add, remove, chunks, moved, before, after) in table {
        let outcome = simulate(&simulation(nodes, chunks, add, remove));
        assert_eq!(outcome.moved_chunks, Some(moved), "{nodes} +{add} -{remove}");
        let copies = |loads: &[Load]| loads.iter().map(|load| load.copies).collect::<Vec<_>>();
        if !before.is_empty() {
            assert_eq!(copies(&outcome.before), before);
            assert_eq!(copies(outcome.after.as_ref().unwrap()), after);
        }
    }
}

#[test]
fn what_must_move_at_least() {
    let ideal = |nodes, add, remove| simulate(&simulation(nodes, 1, add, remove)).ideal_share.unwrap();
    for (share, expected) in
        [(ideal(3, 1, 0), 0.75), (ideal(5, 1, 0), 0.5), (ideal(10, 0, 1), 0.3), (ideal(20, 5, 0), 0.504_35)]
    {
        assert!((share - expected).abs() < 1e-4, "{share} is not {expected}");
    }
}

#[test]
fn what_cannot_be_simulated() {
    for (wrong, says) in [
        (simulation(0, 1, 0, 0), "1 to 1000"),
        (simulation(2, 1, 0, 0), "the number of nodes"),
        (simulation(5, 1, 0, 3), "are left"),
        (simulation(5, 1, 0, 9), "1 to 1000"),
        (simulation(5, 0, 0, 0), "--chunks"),
    ] {
        let error = check(&wrong).unwrap_err().to_string();
        assert!(error.contains(says), "{wrong:?}: {error}");
    }
}

#[test]
fn any_change_is_shown_beside_what_it_must_move() {
    let before = made_up(6, 3, &[1, 2]);
    let after = changed(&before, &["dn2=weight:4".into(), "dn7=domain:rack1,weight:2".into()]).unwrap();
    let outcome = simulate(&Simulation { before: before.clone(), after, chunks: 3000, replicas: 3 });
    assert_eq!((outcome.most_in_a_domain, outcome.most_in_a_domain_after), (1, Some(1)));
    let (moved, least) = (outcome.moved_copies.unwrap(), outcome.least_copies.unwrap());
    assert!(least > 0 && moved >= least && moved < least * 5 / 4, "{moved} of {least}");
    let shown = table(&outcome);
    for part in ["by weight", "rack1", "losing a domain takes at most 1 copies", "copies move"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let same = simulate(&Simulation { before: before.clone(), after: before, chunks: 10, replicas: 6 });
    assert_eq!((same.moved_chunks, same.most_in_a_domain), (None, 2), "as 4+2 on three racks");
}

#[test]
fn pictures() {
    let outcome = simulate(&simulation(5, 1000, 1, 0));
    assert!(table(&outcome).contains("with 6 nodes instead of 5"));
    let drawing = svg(&outcome);
    assert_eq!(drawing.matches("<rect ").count(), 11);
    assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>\n"));
}
