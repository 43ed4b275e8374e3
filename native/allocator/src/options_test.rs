use std::time::Duration;

use crate::allocator::Turns;
use crate::limits::GIVE_BACK_INTERVAL_MS;

#[test]
fn memory_is_given_back_once_in_an_interval_and_what_comes_within_it_at_its_end() {
    let interval = Duration::from_millis(GIVE_BACK_INTERVAL_MS);
    let start = Duration::from_secs(100);
    let mut turns = Turns {
        last: None,
        is_waiting: false,
    };
    assert_eq!(turns.next(start), Some(Duration::ZERO));
    assert_eq!(turns.next(start + interval / 4), Some(interval * 3 / 4));
    // That one waits: nobody else does.
    assert_eq!(turns.next(start + interval / 2), None);
    turns.is_waiting = false;
    assert_eq!(turns.next(start + interval), Some(Duration::ZERO));
    assert_eq!(turns.next(start + interval), Some(interval));
}
