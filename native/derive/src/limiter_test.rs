use std::time::Duration;

use crate::limiter::Limiter;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_tenant_at_its_limit_keeps_its_series_and_leaves_others_theirs() {
    let mut limiter = Limiter::new(2);
    assert!(limiter.admits("a", 1, MINUTE) && limiter.admits("a", 2, MINUTE));
    assert!(!limiter.admits("a", 3, MINUTE));
    assert!(limiter.admits("a", 1, MINUTE));
    assert!(limiter.admits("b", 3, MINUTE));
    assert_eq!(limiter.len(), 3);
}

#[test]
fn a_series_that_is_seen_no_more_makes_room() {
    let mut limiter = Limiter::new(2);
    assert!(limiter.admits("a", 1, MINUTE) && limiter.admits("a", 2, MINUTE));
    assert!(limiter.admits("a", 1, 10 * MINUTE));
    limiter.sweep(17 * MINUTE);
    assert_eq!(limiter.len(), 1);
    assert!(limiter.admits("a", 3, 17 * MINUTE));
    assert!(!limiter.admits("a", 2, 17 * MINUTE));
}
