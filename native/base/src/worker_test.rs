use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::priority;
use crate::thread_priority::nice;
use crate::worker::Parts;

#[test]
fn each_part_has_the_priority_of_its_moment_and_the_thread_behind_it_keeps_its_own() {
    let own = nice();
    let is_urgent = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_urgent);
    let parts = Parts::new(move || asked.load(Ordering::Relaxed));
    let here = thread::current().id();
    let mut order = Vec::new();
    for (turn, urgent) in [false, true, false].into_iter().enumerate() {
        is_urgent.store(urgent, Ordering::Relaxed);
        let (at, by) = parts.run(|| {
            order.push(turn);
            (nice(), thread::current().id())
        });
        let expected = if urgent { own } else { priority::FLUSHES };
        assert_eq!((at, by == here), (expected, urgent));
        assert_eq!(nice(), own);
    }
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn a_part_that_panics_ends_whoever_waits_for_it() {
    let parts = Parts::new(|| false);
    let outcome = catch_unwind(AssertUnwindSafe(|| parts.run(|| panic!("in a part"))));
    let panic = outcome.expect_err("a panic");
    assert_eq!(panic.downcast_ref(), Some(&"in a part"));
    assert_eq!(parts.run(|| 1), 1, "its thread goes on");
}
