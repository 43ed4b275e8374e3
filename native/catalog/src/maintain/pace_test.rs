use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Clock, SystemClock};

use super::testing::Ahead;
use super::{Pace, Throttle};

#[test]
fn a_throttle_spreads_bytes_over_time() {
    let clock = Arc::new(Ahead::default());
    let throttle = Throttle::new(1_000_000, Arc::clone(&clock) as _, || false);
    let started = SystemClock.monotonic();
    for _ in 0..10 {
        throttle.spend(10_000).unwrap();
    }
    assert!(SystemClock.monotonic() - started >= Duration::from_millis(100));
}
