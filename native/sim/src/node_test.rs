use std::collections::BTreeMap;
use std::sync::LazyLock;

use otlake_base::invariant::Invariant;

use crate::log_driver::Plan;
use crate::node_driver::{Beginnings, full_disk, jobs, kill_then_power_cut, run};
use crate::seeds::run_all;
use crate::testing::{first_seed, found_within, seeds, sound};
use crate::{Mutation, Sum};

static BEGINNINGS: LazyLock<Beginnings> =
    LazyLock::new(|| Beginnings::new().expect("a node opens on a disk without faults"));

/// What must find a flipped bit that no checksum tells: that it is served, or what it does.
const SERVED: [Invariant; 5] = [
    Invariant::I2NothingLost,
    Invariant::I3Once,
    Invariant::I4Ledger,
    Invariant::I6Detected,
    Invariant::I7StrongRead,
];

#[test]
fn i1_i2_i3_i4_i5_i6_i7_i10_hold_for_a_node_on_every_seed() {
    let sum = run_all(seeds(2000), |seed| run(seed, Plan::default(), &BEGINNINGS));
    sound("node", &sum);
    let report = sum.report;
    assert!(report.faults > 500 && report.crashes > 3000 && report.refused > 200);
    assert!(report.jobs > 1000 && report.merged > 1500 && report.repeated > 100);
    assert!(report.expired > 1000 && report.deleted > 1500 && report.flipped > 500);
}

#[test]
fn i2_i3_hold_wherever_a_node_goes_down() {
    // Every other one here; seeds that begin elsewhere take the others.
    let seed = first_seed() + 3;
    let operations = run(seed, Plan::default(), &BEGINNINGS).operations.min(600);
    let sum = run_all(0..operations / 2, |at| {
        let plan = Plan {
            crash_in: Some(2 * at + seed % 2),
            ..Plan::default()
        };
        run(seed, plan, &BEGINNINGS)
    });
    assert_eq!(
        sum.broken,
        [],
        "node seed {seed}, the seed shown is half of --crash-in"
    );
}

#[test]
fn i2_i3_hold_wherever_a_node_goes_down_in_a_job() {
    each_operation_of_jobs(first_seed(), "--crash-in", |at| Plan {
        crash_in: Some(at),
        ..Plan::default()
    });
}

#[test]
fn i2_i3_i10_hold_wherever_the_disk_fails_in_a_job() {
    each_operation_of_jobs(first_seed() + 1, "--fail-in", |at| Plan {
        fail_in: Some(at),
        ..Plan::default()
    });
}

fn each_operation_of_jobs(seed: u64, option: &str, plan: impl Fn(u64) -> Plan + Sync) {
    let (whole, operations) = jobs(seed, Plan::default(), &BEGINNINGS);
    assert_eq!(whole.violations, [], "jobs seed {seed}");
    assert!(operations > 50, "{operations}");
    let sum = run_all(0..operations, |at| jobs(seed, plan(at), &BEGINNINGS).0);
    let Sum { broken, report } = sum;
    for (at, violation) in &broken {
        let id = violation.invariant.id();
        println!("jobs seed {seed}: {id}: {}", violation.what);
        println!("  npm run sim -- --part jobs --seed {seed} {option} {at}");
    }
    assert!(broken.is_empty(), "{} are broken", broken.len());
    assert!(report.expired > 500 && report.deleted > 500);
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
fn i10_a_node_starts_on_a_full_disk_and_goes_on_once_there_is_room() {
    for seed in seeds(10) {
        let report = full_disk(seed, Plan::default(), &BEGINNINGS);
        assert_eq!(report.violations, [], "full disk, seed {seed}");
    }
}

#[test]
fn the_same_seed_of_a_node_twice_ends_identically() {
    for seed in seeds(15) {
        let first = run(seed, Plan::default(), &BEGINNINGS);
        let second = run(seed, Plan::default(), &BEGINNINGS);
        assert_eq!(first, second, "node seed {seed}");
        let plan = Plan {
            crash_in: Some(7 * seed),
            ..Plan::default()
        };
        let first = jobs(seed, plan, &BEGINNINGS);
        let second = jobs(seed, plan, &BEGINNINGS);
        assert_eq!(first, second, "jobs seed {seed}");
    }
}

fn found(count: u64, mutation: Mutation, by: &[Invariant]) {
    found_within(count, mutation, by, |seed, plan| {
        run(seed, plan, &BEGINNINGS)
    });
}

#[test]
fn a_forgotten_watermark_is_found() {
    found(40, Mutation::ForgetWatermark, &[Invariant::I3Once]);
}

#[test]
fn a_forgotten_removal_is_found() {
    found(40, Mutation::ForgetRemove, &[Invariant::I3Once]);
}

#[test]
fn acknowledging_before_the_sync_is_found_in_a_node() {
    let by = [Invariant::I2NothingLost];
    found(40, Mutation::AcknowledgeBeforeSync, &by);
}

#[test]
fn a_folder_that_is_not_synced_is_found() {
    found(40, Mutation::SkipFolderSync, &[Invariant::I2NothingLost]);
}

#[test]
fn a_node_that_skips_a_checksum_is_found() {
    for mutation in [
        Mutation::SkipChecksum,
        Mutation::SkipFileChecksum,
        Mutation::SkipCommitChecksum,
        Mutation::SkipCheckpointChecksum,
    ] {
        found(400, mutation, &SERVED);
    }
}
