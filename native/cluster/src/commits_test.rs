//! How long commits wait for followers, on a clock that goes by itself with each look at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use otlake_base::{Clock, Result};
use otlake_catalog::{Addition, Commits, Committed, DeltaTableHandle};
use parking_lot::Mutex;

use super::{InTouch, SILENT, TOUCH_WAIT};

/// What each look at the clock takes.
const STEP: Duration = Duration::from_millis(500);

/// Half a second passes between two looks at it.
#[derive(Default)]
struct Going(AtomicU64);

impl Going {
    fn now(&self) -> Duration {
        STEP * u32::try_from(self.0.load(Ordering::SeqCst)).expect("a short test")
    }
}

impl Clock for Going {
    fn unix_nano(&self) -> u64 {
        0
    }

    fn monotonic(&self) -> Duration {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.now()
    }
}

/// Nothing is committed here.
struct Nowhere;

#[async_trait]
impl Commits for Nowhere {
    async fn commit(&self, _: &Arc<DeltaTableHandle>, _: Addition) -> Result<Committed> {
        unreachable!("only the wait before it is looked at")
    }
}

/// When a follower was last heard, for the test to set.
type Heard = Arc<Mutex<Duration>>;

fn begun() -> (InTouch, Arc<Going>, Heard) {
    let (clock, heard) = (Arc::new(Going::default()), Heard::default());
    let last = Arc::clone(&heard);
    let is_in_touch = move |since| *last.lock() >= since;
    let touch = InTouch::new(Arc::new(Nowhere), is_in_touch, clock.clone());
    (touch, clock, heard)
}

async fn waited(touch: &InTouch, clock: &Going) -> Duration {
    let before = clock.now();
    touch.wait().await;
    clock.now() - before
}

#[tokio::test]
async fn i3_a_commit_waits_until_a_follower_is_heard_later_than_an_answer_was_sent() {
    let (touch, clock, heard) = begun();
    let hears = async {
        while clock.now() < STEP * 8 {
            tokio::task::yield_now().await;
        }
        *heard.lock() = clock.now();
    };
    let (waited, ()) = tokio::join!(waited(&touch, &clock), hears);
    assert!((STEP * 7..TOUCH_WAIT).contains(&waited), "{waited:?}");
    // One that was heard before says nothing of what is sent from here on.
    let again = self::waited(&touch, &clock).await;
    assert!(again >= TOUCH_WAIT, "{again:?}");
}

#[tokio::test]
async fn followers_that_are_away_are_waited_for_once_and_not_by_each_tables_commit() {
    let (touch, clock, heard) = begun();
    *heard.lock() = STEP;
    let first = waited(&touch, &clock).await;
    assert!(first >= TOUCH_WAIT, "{first:?}");
    let mut others = Duration::ZERO;
    for _ in 0..6 {
        others += waited(&touch, &clock).await;
    }
    assert!(first + others < SILENT + 20 * STEP, "{first:?} {others:?}");
    // Whoever is back is waited for again.
    *heard.lock() = clock.now();
    let again = waited(&touch, &clock).await;
    assert!(again >= TOUCH_WAIT, "{again:?}");
}

#[tokio::test]
async fn i3_a_node_that_has_just_begun_waits_for_followers_that_it_has_not_heard_of_yet() {
    let (touch, clock, _) = begun();
    let first = waited(&touch, &clock).await;
    assert!(first >= TOUCH_WAIT, "{first:?}");
}
