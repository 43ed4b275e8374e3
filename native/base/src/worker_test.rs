use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use crate::thread_priority::nice;
use crate::worker::Parts;

#[test]
fn each_part_has_the_priority_of_its_moment_and_the_thread_behind_it_keeps_its_own() {
    let own = nice();
    let wanted = Arc::new(AtomicI32::new(0));
    let asked = Arc::clone(&wanted);
    let parts = Parts::new(move || asked.load(Ordering::Relaxed));
    let here = thread::current().id();
    let mut order = Vec::new();
    for (next, lowered) in [(own + 3, true), (own, false), (own + 4, true)] {
        wanted.store(next, Ordering::Relaxed);
        let (at, by) = parts.run(own, || {
            order.push(next);
            (nice(), thread::current().id())
        });
        assert_eq!((at, by != here), (next, lowered));
        assert_eq!(nice(), own);
    }
    assert_eq!(order, [own + 3, own, own + 4]);
}

#[test]
fn a_part_that_panics_ends_whoever_waits_for_it() {
    let own = nice();
    let parts = Parts::new(move || own + 1);
    let outcome = catch_unwind(AssertUnwindSafe(|| parts.run(own, || panic!("in a part"))));
    let panic = outcome.expect_err("a panic");
    assert_eq!(panic.downcast_ref(), Some(&"in a part"));
}
