use otlake_base::invariant::Invariant;

use super::{FilesBreakage, FilesPlan, run};
use crate::seeds::run_all;
use crate::testing::{first_seed, seeds, sound};

/// Seeds that every test run goes through.
const SEEDS: u64 = 150;
/// Seeds that are run before one looks whether they found what is broken.
const SEEDS_AT_ONCE: u64 = 10;

#[test]
fn i1_i2_i6_i9_hold_for_files_on_the_nodes_disks_on_every_seed_and_they_come_to_rest() {
    let sum = run_all(seeds(SEEDS), |seed| run(seed, FilesPlan::default()));
    sound("files", &sum);
    let report = &sum.report;
    assert!(report.acknowledged > 10_000, "{report:?}");
    assert!(report.crashes > 500 && report.faults > 100 && report.flipped > 100);
    assert!(report.deleted > 500 && report.jobs > 500 && report.merged > 1_000);
}

#[test]
fn the_same_seed_of_files_twice_ends_identically() {
    for seed in seeds(6) {
        let first = run(seed, FilesPlan::default());
        let second = run(seed, FilesPlan::default());
        assert_eq!(first, second, "files seed {seed}");
    }
    let traces = [1, 2].map(|seed| run(seed, FilesPlan::default()).trace);
    assert_ne!(traces[0], traces[1]);
}

/// Fails unless one of the seeds of the test above finds what is broken on purpose, by one of these.
fn found(breakage: FilesBreakage, by: &[Invariant]) {
    let plan = FilesPlan {
        breakage,
        ..FilesPlan::default()
    };
    let last = first_seed() + SEEDS;
    let found = (first_seed()..last)
        .step_by(SEEDS_AT_ONCE as usize)
        .find_map(|seed| {
            let seeds = seed..(seed + SEEDS_AT_ONCE).min(last);
            let mut broken = run_all(seeds, |seed| run(seed, plan)).broken.into_iter();
            broken.find(|(_, violation)| by.contains(&violation.invariant))
        });
    let (seed, violation) = found.unwrap_or_else(|| panic!("{SEEDS} seeds miss {breakage:?}"));
    let id = violation.invariant.id();
    println!(
        "{breakage:?} is found by seed {seed}: {id}: {}",
        violation.what
    );
}

#[test]
fn a_file_that_is_done_after_one_copy_is_found() {
    found(FilesBreakage::DoneAfterOneCopy, &[Invariant::I1DurableAck]);
}

#[test]
fn a_name_that_is_given_without_asking_the_group_is_found() {
    found(
        FilesBreakage::NameWithoutGroup,
        &[Invariant::I2NothingLost, Invariant::I9Fenced],
    );
}

#[test]
fn a_copy_that_is_served_without_checking_it_is_found() {
    found(
        FilesBreakage::ServeUnchecked,
        &[Invariant::I6Detected, Invariant::I9Fenced],
    );
}

#[test]
fn files_that_are_deleted_on_one_node_alone_are_found() {
    found(FilesBreakage::DeleteOnOneNode, &[Invariant::I3Once]);
}
