use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use otlake_base::{Clock, SystemClock};

use super::testing::Ahead;
use super::{Pace, Throttle, Urgency};

#[test]
fn a_throttle_spreads_bytes_over_time() {
    let clock = Arc::new(Ahead::default());
    let throttle = Throttle::new(1_000_000, Arc::clone(&clock) as _, || false);
    let started = SystemClock.monotonic();
    for _ in 0..10 {
        throttle.spend(10_000, Urgency::Whenever).unwrap();
    }
    assert!(SystemClock.monotonic() - started >= Duration::from_millis(100));
}

#[test]
fn a_job_that_is_behind_waits_for_nobody() {
    let looks = Arc::new(AtomicUsize::new(0));
    let looked = Arc::clone(&looks);
    let busy = move || {
        looked.fetch_add(1, Ordering::SeqCst);
        true
    };
    let throttle = Throttle::new(1_000_000, Arc::new(SystemClock), busy);
    throttle.spend(0, Urgency::Behind).unwrap();
    assert_eq!(looks.load(Ordering::SeqCst), 0);
    throttle.spend(0, Urgency::Whenever).unwrap();
    assert!(looks.load(Ordering::SeqCst) > 1);
}
