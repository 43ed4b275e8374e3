use std::collections::BTreeMap;
use std::sync::LazyLock;

use otlake_base::invariant::Invariant;

use crate::Mutation;
use crate::log_driver::Plan;
use crate::node_driver::{Beginnings, kill_then_power_cut, run};
use crate::seeds::run_all;
use crate::testing::{first_seed, found_within, seeds, sound};

static BEGINNINGS: LazyLock<Beginnings> =
    LazyLock::new(|| Beginnings::new().expect("a node opens on a disk without faults"));

#[test]
fn i1_i2_i3_i4_i6_i7_i10_hold_for_a_node_on_every_seed() {
    let sum = run_all(seeds(400), |seed| run(seed, Plan::default(), &BEGINNINGS));
    sound("node", &sum);
    let report = sum.report;
    assert!(report.faults > 50 && report.crashes > 300 && report.refused > 20);
}

#[test]
fn i2_i3_hold_wherever_a_node_goes_down() {
    // Every few operations here; `npm run sim` with `--crash-in` takes each.
    let seed = first_seed() + 3;
    let operations = run(seed, Plan::default(), &BEGINNINGS).operations.min(600);
    let sum = run_all(0..operations / 5, |at| {
        let plan = Plan {
            crash_in: Some(5 * at + seed % 5),
            ..Plan::default()
        };
        run(seed, plan, &BEGINNINGS)
    });
    assert_eq!(
        sum.broken,
        [],
        "node seed {seed}, the seed shown is a fifth of --crash-in"
    );
}

#[test]
fn i2_i3_what_a_kill_left_in_the_page_cache_is_synced_before_anything_is_built_on_it() {
    let (mut at, mut broken) = (0, Vec::new());
    loop {
        let once = BTreeMap::from([(0, 1), (1, 1), (2, 1)]);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let begun =
                (0..5).map(|seed| scope.spawn(move || kill_then_power_cut(&BEGINNINGS, at, seed)));
            let begun: Vec<_> = begun.collect();
            begun
                .into_iter()
                .map(|run| run.join().expect("a run"))
                .collect()
        });
        if outcomes.contains(&None) {
            break;
        }
        if outcomes.iter().any(|rows| rows.as_ref() != Some(&once)) {
            broken.push(at);
        }
        at += 1;
    }
    assert!(at > 20, "{at}");
    assert_eq!(broken, Vec::<u64>::new(), "of {at} operations");
}

#[test]
fn the_same_seed_of_a_node_twice_ends_identically() {
    for seed in seeds(20) {
        let first = run(seed, Plan::default(), &BEGINNINGS);
        let second = run(seed, Plan::default(), &BEGINNINGS);
        assert_eq!(first, second, "node seed {seed}");
    }
}

#[test]
fn a_forgotten_watermark_is_found() {
    found_within(
        40,
        Mutation::ForgetWatermark,
        Invariant::I3Once,
        |seed, plan| run(seed, plan, &BEGINNINGS),
    );
}

#[test]
fn acknowledging_before_the_sync_is_found_in_a_node() {
    found_within(
        40,
        Mutation::AcknowledgeBeforeSync,
        Invariant::I2NothingLost,
        |seed, plan| run(seed, plan, &BEGINNINGS),
    );
}
