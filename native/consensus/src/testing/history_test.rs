use crate::testing::draw;
use crate::testing::history::{
    Lock, LockInput, LockOutput, Model, Operation, Register, RegisterInput, RegisterOutput, check,
};

use RegisterInput::{Read, Swap, Write};
use RegisterOutput::{Differs, Value, Written};

fn one<I, O>(input: I, called: u64, answered: Option<(u64, O)>) -> Operation<I, O> {
    Operation {
        object: "x".to_owned(),
        input,
        called,
        answered,
    }
}

/// What was asked, when, and when what was answered.
type Told<I, O> = (I, u64, Option<(u64, O)>);

fn register(operations: &[Told<RegisterInput, RegisterOutput>]) -> bool {
    let operations: Vec<_> = operations
        .iter()
        .map(|(input, called, answered)| one(input.clone(), *called, answered.clone()))
        .collect();
    check::<Register>(&operations).is_ok()
}

#[test]
fn a_read_during_a_write_may_see_either_value_but_never_the_new_then_the_old() {
    let write = (Write(1), 1, Some((10, Written)));
    let early = |value| (Read, 2, Some((3, Value(value))));
    let late = |value| (Read, 4, Some((5, Value(value))));
    assert!(register(&[write.clone(), early(None), late(Some(1))]));
    assert!(register(&[write.clone(), early(None), late(None)]));
    assert!(register(&[write.clone(), early(Some(1)), late(Some(1))]));
    assert!(!register(&[write, early(Some(1)), late(None)]));
}

#[test]
fn a_read_after_a_write_that_was_answered_must_see_it() {
    let write = (Write(1), 1, Some((2, Written)));
    assert!(!register(&[
        write.clone(),
        (Read, 3, Some((4, Value(None))))
    ]));
    assert!(register(&[write, (Read, 3, Some((4, Value(Some(1)))))]));
}

#[test]
fn what_was_never_answered_may_have_happened_late_or_not_at_all_but_not_before_it_was_asked() {
    let unknown = (Write(1), 3, None);
    let at = |time, value| (Read, time, Some((time + 1, Value(value))));
    assert!(register(&[unknown.clone(), at(10, None), at(20, Some(1))]));
    assert!(register(&[unknown.clone(), at(10, None), at(20, None)]));
    assert!(!register(&[unknown.clone(), at(10, Some(1)), at(20, None)]));
    assert!(!register(&[at(1, Some(1)), unknown]));
}

#[test]
fn of_two_swaps_of_one_value_one_succeeds() {
    let swap = |new, time, output| (Swap(None, new), time, Some((time + 5, output)));
    assert!(register(&[swap(1, 1, Written), swap(2, 2, Differs)]));
    assert!(!register(&[swap(1, 1, Written), swap(2, 2, Written)]));
    assert!(!register(&[swap(1, 1, Differs), swap(2, 2, Differs)]));
}

#[test]
fn objects_are_judged_apart_and_the_one_at_fault_is_named() {
    let mut good = one(Write(1), 1, Some((2, Written)));
    good.object = "good".to_owned();
    let bad = one(Read, 3, Some((4, Value(Some(9)))));
    let fault = check::<Register>(&[good, bad]).unwrap_err();
    assert_eq!(fault.len(), 1);
    assert_eq!(fault[0].object, "x");
}

fn lock(operations: &[Told<LockInput, LockOutput>]) -> bool {
    let operations: Vec<_> = operations
        .iter()
        .map(|(input, called, answered)| one(input.clone(), *called, answered.clone()))
        .collect();
    check::<Lock>(&operations).is_ok()
}

#[test]
fn a_lock_has_one_holder_and_tokens_that_grow() {
    use LockInput::{Acquire, Release, Renew};
    use LockOutput::{Held, NotHeld, Released, Token};
    let first = (Acquire(1), 1, Some((2, Token(5))));
    let release = (Release(5), 3, Some((4, Released)));
    assert!(lock(&[
        first.clone(),
        (Acquire(2), 3, Some((4, Held(1, 5))))
    ]));
    assert!(!lock(&[
        first.clone(),
        (Acquire(2), 3, Some((4, Token(6))))
    ]));
    assert!(lock(&[
        first.clone(),
        release.clone(),
        (Acquire(2), 5, Some((6, Token(6))))
    ]));
    assert!(!lock(&[
        first.clone(),
        release.clone(),
        (Acquire(2), 5, Some((6, Token(5))))
    ]));
    assert!(!lock(&[
        first.clone(),
        release.clone(),
        (Renew(5), 5, Some((6, Token(5))))
    ]));
    assert!(lock(&[
        first.clone(),
        release.clone(),
        (Renew(5), 5, Some((6, NotHeld)))
    ]));
    // A lock that nobody knows to be taken is found out about later.
    let unknown = (Acquire(3), 5, None);
    let found = (Acquire(2), 8, Some((9, Held(3, 7))));
    let again = (Acquire(3), 10, Some((11, Token(7))));
    assert!(lock(&[
        first.clone(),
        release.clone(),
        unknown.clone(),
        found.clone(),
        again
    ]));
    let other = (Acquire(3), 10, Some((11, Token(8))));
    assert!(!lock(&[first, release, unknown, found, other]));
}

/// Whether any order of all operations explains them, by trying each.
fn by_force(operations: &[Operation<RegisterInput, RegisterOutput>]) -> bool {
    fn go(left: &mut Vec<&Operation<RegisterInput, RegisterOutput>>, state: Option<u64>) -> bool {
        if left.iter().all(|one| one.answered.is_none()) {
            return true;
        }
        for at in 0..left.len() {
            let next = left[at];
            let overtaken = left.iter().any(|other| {
                other
                    .answered
                    .as_ref()
                    .is_some_and(|(end, _)| *end < next.called)
            });
            let output = next.answered.as_ref().map(|(_, output)| output);
            if overtaken {
                continue;
            }
            if let Some(after) = Register::step(&state, &next.input, output) {
                left.remove(at);
                let explained = go(left, after);
                left.insert(at, next);
                if explained {
                    return true;
                }
            }
        }
        false
    }
    go(&mut operations.iter().collect(), None)
}

/// Operations on a register that behaves, or whose answers are changed, from a seed.
fn random(
    seed: &mut u64,
    count: usize,
    unknown: u64,
    broken: bool,
) -> Vec<Operation<RegisterInput, RegisterOutput>> {
    let mut state = None;
    let mut operations: Vec<_> = (0..count)
        .map(|number| {
            let value = number as u64 + 1;
            let input = match draw(seed) % 4 {
                0 => Write(value),
                1 => Swap(state.filter(|_| !draw(seed).is_multiple_of(3)), value),
                _ => Read,
            };
            let (output, after) = match &input {
                Read => (Value(state), state),
                Write(value) => (Written, Some(*value)),
                Swap(old, new) if *old == state => (Written, Some(*new)),
                Swap(..) => (Differs, state),
            };
            state = after;
            // Each happens at 100 times its number, and is asked before and answered after that.
            let at = 1000 + number as u64 * 100;
            let called = at - draw(seed) % 300;
            let answered = at + draw(seed) % 300;
            let known = draw(seed) % 1000 >= unknown;
            one(input, called, known.then_some((answered, output)))
        })
        .collect();
    if broken {
        let at = draw(seed) as usize % count;
        if let Some((_, output)) = &mut operations[at].answered {
            *output = match output {
                Value(Some(_)) => Value(None),
                Value(None) => Value(Some(1)),
                Written => Differs,
                Differs => Written,
            };
        }
    }
    operations
}

#[test]
fn the_search_finds_an_order_exactly_where_trying_all_orders_does() {
    let mut seed = 20_260_701;
    println!("seed {seed}");
    let mut verdicts = [0, 0];
    for round in 0..4000 {
        let count = 2 + draw(&mut seed) as usize % 6;
        let operations = random(&mut seed, count, 125, round % 2 == 1);
        let expected = by_force(&operations);
        let found = check::<Register>(&operations).is_ok();
        assert_eq!(found, expected, "{operations:?}");
        assert!(
            found || round % 2 == 1,
            "a register that behaves was refused: {operations:?}"
        );
        verdicts[usize::from(found)] += 1;
    }
    assert!(verdicts[0] > 200 && verdicts[1] > 2000, "{verdicts:?}");
}

#[test]
fn writes_that_nobody_saw_and_nobody_answered_cost_no_time() {
    let mut operations = Vec::new();
    for number in 0..400 {
        let at = number * 10;
        operations.push(one(Write(number * 2 + 1), at, None));
        operations.push(one(Write(number * 2), at + 1, Some((at + 2, Written))));
        operations.push(one(Read, at + 3, Some((at + 4, Value(Some(number * 2))))));
    }
    assert!(check::<Register>(&operations).is_ok());
    // One that was seen has happened, and what it overwrote is not seen again.
    operations.push(one(Read, 5000, Some((5001, Value(Some(1))))));
    assert!(check::<Register>(&operations).is_ok());
    operations.push(one(Read, 5002, Some((5003, Value(Some(798))))));
    assert!(check::<Register>(&operations).is_err());
}

#[test]
fn long_histories_of_many_clients_are_judged_too() {
    let mut seed = 7;
    println!("seed {seed}");
    for _ in 0..20 {
        let operations = random(&mut seed, 1000, 4, false);
        assert!(check::<Register>(&operations).is_ok());
        // A last read of a value that was overwritten long before.
        let mut stale = operations;
        stale.push(one(Write(999_999), 900_000, Some((900_001, Written))));
        stale.push(one(Read, 900_002, Some((900_003, Value(None)))));
        assert!(check::<Register>(&stale).is_err());
    }
}
