use otlake_base::invariant::Invariant;

use super::{Breakage, Plan, run};
use crate::seeds::run_all;
use crate::testing::{first_seed, seeds, sound};

/// Seeds that are run before one looks whether they found what is broken.
const SEEDS_AT_ONCE: u64 = 50;

#[test]
fn i1_to_i10_hold_for_a_cluster_on_every_seed_and_it_comes_to_rest() {
    let sum = run_all(seeds(2_000), |seed| run(seed, Plan::default()));
    sound("cluster", &sum);
    let report = &sum.report;
    assert!(report.acknowledged > 50_000, "{report:?}");
    assert!(report.crashes > 2_000 && report.faults > 1_000 && report.flipped > 100);
    assert!(report.overdue > 300, "{report:?}");
}

#[test]
fn the_same_seed_of_a_cluster_twice_ends_identically() {
    for seed in seeds(60) {
        let (first, second) = (run(seed, Plan::default()), run(seed, Plan::default()));
        assert_eq!(first, second, "cluster seed {seed}");
    }
    assert_ne!(run(1, Plan::default()).trace, run(2, Plan::default()).trace);
}

/// Fails unless one of the seeds of the test above finds what is broken on purpose, by one of these.
fn found(breakage: Breakage, by: &[Invariant]) {
    let plan = Plan {
        breakage,
        ..Plan::default()
    };
    let last = first_seed() + 2_000;
    let found = (first_seed()..last)
        .step_by(SEEDS_AT_ONCE as usize)
        .find_map(|seed| {
            let seeds = seed..(seed + SEEDS_AT_ONCE).min(last);
            let broken = run_all(seeds, |seed| run(seed, plan)).broken;
            broken
                .into_iter()
                .find(|(_, violation)| by.contains(&violation.invariant))
        });
    let (seed, violation) = found.unwrap_or_else(|| panic!("2000 seeds miss {breakage:?}"));
    let id = violation.invariant.id();
    println!(
        "{breakage:?} is found by seed {seed}: {id}: {}",
        violation.what
    );
}

const LOST: [Invariant; 3] = [
    Invariant::I2NothingLost,
    Invariant::I7StrongRead,
    Invariant::I9Fenced,
];

#[test]
fn acknowledging_at_one_fsync_is_found() {
    found(Breakage::AcknowledgeAtOne, &LOST);
}

#[test]
fn acknowledging_all_tenants_with_the_fewest_fsyncs_is_found_by_the_count_and_by_the_loss() {
    found(Breakage::AcknowledgeByFewest, &[Invariant::I1DurableAck]);
    found(Breakage::AcknowledgeByFewest, &LOST);
}

#[test]
fn skipping_the_fence_is_found() {
    found(Breakage::SkipFencing, &LOST);
}

#[test]
fn forgetting_the_watermark_is_found() {
    found(Breakage::ForgetWatermark, &[Invariant::I3Once]);
}

#[test]
fn confirming_before_the_fsync_is_found() {
    found(Breakage::ConfirmBeforeSync, &LOST);
}

#[test]
fn accepting_too_few_answers_is_found() {
    found(Breakage::AcceptTooFew, &LOST);
}

#[test]
fn forgetting_what_was_stored_is_found() {
    found(Breakage::ForgetRequests, &[Invariant::I3Once]);
}

#[test]
fn counting_a_follower_for_what_it_lost_is_found() {
    found(Breakage::KeepIdentity, &LOST);
}

#[test]
fn counting_an_ensemble_before_it_is_committed_is_found() {
    found(Breakage::TrustProposal, &LOST);
}

#[test]
fn tables_that_an_earlier_epoch_may_change_are_found() {
    found(
        Breakage::LeaveTablesOpen,
        &[Invariant::I3Once, Invariant::I9Fenced],
    );
}
