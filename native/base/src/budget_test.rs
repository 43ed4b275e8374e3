use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::invariant::Invariant;
use crate::metrics::Gauge;
use crate::{Budget, Claim, Metrics, SystemClock};

#[test]
fn a_reservation_gives_back_what_it_held_after_being_resized() {
    let budget = Budget::new(100);
    let mut one = budget.try_reserve(60).expect("60 of 100 fit");
    assert!(budget.try_reserve(41).is_none());
    assert!(
        !one.try_resize(101),
        "an estimate cannot grow past the limit"
    );
    assert!(one.try_resize(100));
    assert_eq!((budget.used(), one.bytes()), (100, 100));
    assert!(one.try_resize(10));
    let two = budget.try_reserve(90).expect("90 fit beside 10");
    drop(one);
    assert_eq!(budget.used(), 90);
    drop(two);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_is_larger_than_the_budget_waits_for_all_of_it() {
    let budget = Budget::new(100);
    let small = budget.try_reserve(1).expect("1 fits");
    assert!(budget.try_reserve(1_000).is_none());
    drop(small);
    let large = budget
        .try_reserve(1_000)
        .expect("an idle budget takes anything");
    assert_eq!(large.bytes(), 100);
    drop(large);
    let replayed = budget.reserve(1_000);
    assert!(
        budget.try_reserve(0).is_none(),
        "over its limit it takes nothing in"
    );
    drop(replayed);
    assert_eq!(budget.used(), 0);
}

#[test]
fn threads_never_take_more_than_there_is() {
    let budget = Budget::new(1_000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for size in 1..5_000 {
                    let held = budget.try_reserve(size % 700);
                    assert!(budget.used() <= 1_000);
                    drop(held);
                }
            });
        }
    });
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_greedy_tenant_leaves_room_for_one_that_was_refused() {
    let budget = Budget::new(1_000);
    let greedy = budget.claim("greedy", None);
    let modest = budget.claim("modest", None);
    let mut held: Vec<_> = (0..10)
        .map(|_| {
            budget
                .try_reserve_for(greedy, 100)
                .expect("alone it may take all")
        })
        .collect();
    assert!(budget.try_reserve_for(modest, 50).is_none());
    held.truncate(8);
    assert!(
        budget.try_reserve_for(greedy, 100).is_none(),
        "it has more than its half, and another waits"
    );
    let first = budget.try_reserve_for(modest, 50).expect("room was kept");
    let second = budget
        .try_reserve_for(modest, 50)
        .expect("it is below its half");
    drop((held, first, second));
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_connection_has_its_share_among_those_of_its_tenant() {
    let budget = Budget::new(1_000);
    let (one, two) = (budget.claim("t", Some(1)), budget.claim("t", Some(2)));
    let held = budget
        .try_reserve_for(one, 700)
        .expect("there is no pressure");
    let other = budget.try_reserve_for(two, 100).expect("its first");
    assert!(budget.try_reserve_for(one, 100).is_none());
    let more = budget.try_reserve_for(two, 100).expect("below its half");
    drop((held, other, more));
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_first_request_of_a_party_may_take_all_that_is_left() {
    let budget = Budget::new(1_000);
    let small = budget.try_reserve_for(budget.claim("a", None), 10);
    let mut large = budget.empty(budget.claim("b", None));
    for bytes in [500, 800, 990] {
        assert!(large.try_resize(bytes), "{bytes}");
    }
    assert!(!large.try_resize(991));
    drop((small, large));
    assert_eq!(budget.used(), 0);
}

#[test]
fn i5_a_budget_that_is_exceeded_or_given_back_twice_is_told() {
    let metrics = Arc::new(Metrics::new());
    let clock = Arc::new(SystemClock);
    let budget = Budget::measured(100, clock, Gauge::default(), Arc::clone(&metrics));
    let labels = vec![("invariant", Invariant::I5Bounded.id())];
    let told = || metrics.invariant_violations.get_or_create(&labels).get();
    // Debug builds stop at a broken invariant.
    let broken = |work: &dyn Fn()| drop(catch_unwind(AssertUnwindSafe(work)));
    let held = budget.try_reserve(60).expect("60 of 100 fit");
    // What is there already may exceed it.
    drop(budget.reserve(1_000));
    assert_eq!(told(), 0);
    broken(&|| budget.add(&mut budget.state.lock(), Claim::default(), 41, budget.max()));
    assert_eq!(told(), 1);
    budget.give_back(Claim::default(), 41);
    drop(held);
    assert_eq!(told(), 1);
    broken(&|| budget.give_back(Claim::default(), 1));
    assert_eq!(told(), 2);
    assert!(budget.used() <= 100, "it did not wrap around");
}
