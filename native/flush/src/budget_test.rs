use crate::Budget;

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
