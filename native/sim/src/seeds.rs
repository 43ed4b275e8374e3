//! Many seeds at once, on every core.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::report::{Report, Violation};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// Their figures together.
    pub report: Report,
    /// What was broken, with its seed, by seed.
    pub broken: Vec<(u64, Violation)>,
}

/// Runs each seed of a range, in the threads that the machine has.
pub fn run_all(seeds: Range<u64>, run: impl Fn(u64) -> Report + Sync) -> Sum {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Sum::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = run(seed);
            let mut sum = sum.lock();
            sum.report.add(&report);
            let broken = report.violations.into_iter();
            sum.broken.extend(broken.map(|violation| (seed, violation)));
        }
    };
    // A run often waits: for a thread of its node, or for the pause before a flush is repeated.
    let threads = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut sum = sum.into_inner();
    sum.broken.sort_by_key(|(seed, _)| *seed);
    sum
}
