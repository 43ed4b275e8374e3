//! What tests of the drivers share: which seeds, and how a failure is told.

use std::ops::Range;

use otlake_base::invariant::Invariant;

use crate::log_driver::Plan;
use crate::mutation::Mutation;
use crate::report::Report;
use crate::seeds::{Sum, run_all};

/// Seeds that are run before one looks whether they found what is broken.
const SEEDS_AT_ONCE: usize = 20;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Where seeds begin: `OTLAKE_SIM_SEED`, or 0.
pub fn first_seed() -> u64 {
    number("OTLAKE_SIM_SEED", 0)
}

/// So many seeds, times `OTLAKE_SIM_TIMES`.
pub fn seeds(count: u64) -> Range<u64> {
    first_seed()..first_seed() + count * number("OTLAKE_SIM_TIMES", 1)
}

/// Fails with each broken invariant and the command that shows it.
pub fn sound(part: &str, sum: &Sum) {
    for (seed, violation) in &sum.broken {
        let id = violation.invariant.id();
        println!("{part} seed {seed}: {id}: {}", violation.what);
        println!("  npm run sim -- --part {part} --seed {seed}");
    }
    assert!(sum.broken.is_empty(), "{} are broken", sum.broken.len());
}

/// Fails unless one of the first seeds finds what is broken on purpose, by one of these invariants.
pub fn found_within(
    count: u64,
    mutation: Mutation,
    by: &[Invariant],
    run: impl Fn(u64, Plan) -> Report + Sync,
) {
    let plan = Plan {
        mutation,
        ..Plan::default()
    };
    let last = first_seed() + count;
    let found = (first_seed()..last)
        .step_by(SEEDS_AT_ONCE)
        .find_map(|seed| {
            let seeds = seed..(seed + SEEDS_AT_ONCE as u64).min(last);
            let mut broken = run_all(seeds, |seed| run(seed, plan)).broken.into_iter();
            broken.find(|(_, violation)| by.contains(&violation.invariant))
        });
    let (seed, violation) = found.unwrap_or_else(|| panic!("{count} seeds miss {mutation:?}"));
    let id = violation.invariant.id();
    println!(
        "{mutation:?} is found by seed {seed}: {id}: {}",
        violation.what
    );
}
