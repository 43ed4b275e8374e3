use otlake_base::invariant::Invariant;

use crate::log_driver::{Plan, run};
use crate::seeds::run_all;
use crate::testing::{first_seed, found_within, seeds, sound};
use crate::{Mutation, Report};

#[test]
fn i1_i2_i3_i4_i6_i10_hold_for_the_log_on_every_seed() {
    let sum = run_all(seeds(4000), |seed| run(seed, Plan::default()));
    sound("log", &sum);
    let Report {
        faults,
        crashes,
        refused,
        flipped,
        ..
    } = sum.report;
    assert!(faults > 100 && crashes > 1000 && refused > 100 && flipped > 100);
}

#[test]
fn i2_i3_hold_wherever_the_log_goes_down() {
    for seed in first_seed()..first_seed() + 5 {
        let operations = run(seed, Plan::default()).operations.min(400);
        let sum = run_all(0..operations, |at| {
            let plan = Plan {
                crash_in: Some(at),
                ..Plan::default()
            };
            run(seed, plan)
        });
        assert_eq!(
            sum.broken,
            [],
            "log seed {seed}, the seed shown is --crash-in"
        );
    }
}

#[test]
fn the_same_seed_of_the_log_twice_ends_identically() {
    for seed in seeds(300) {
        let (first, second) = (run(seed, Plan::default()), run(seed, Plan::default()));
        assert_eq!(first, second, "log seed {seed}");
    }
    assert_ne!(run(1, Plan::default()).trace, run(2, Plan::default()).trace);
}

#[test]
fn acknowledging_before_the_sync_is_found() {
    found_within(
        20,
        Mutation::AcknowledgeBeforeSync,
        &[Invariant::I2NothingLost],
        run,
    );
}

#[test]
fn a_failed_sync_that_is_tried_again_is_found() {
    found_within(500, Mutation::RetrySync, &[Invariant::I2NothingLost], run);
}

#[test]
fn a_log_that_skips_a_checksum_is_found() {
    found_within(100, Mutation::SkipChecksum, &[Invariant::I6Detected], run);
}
