//! How fast a job may go, and when it must wait or stop.

use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Clock, Code, Error, Result, priority};
use parking_lot::{Condvar, Mutex};

/// How a part of a job stands to what else the node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It has all the time: others come first.
    Whenever,
    /// More comes than it works off while others come first: it takes a share of its own.
    Behind,
}

impl Urgency {
    /// The priority of its thread.
    pub(super) fn nice(self) -> i32 {
        match self {
            Urgency::Whenever => priority::JOBS,
            Urgency::Behind => priority::JOBS_BEHIND,
        }
    }
}

/// What a job asks before it goes on.
pub trait Pace: Send + Sync {
    /// `bytes` more were read or written; blocks until the job may go on.
    ///
    /// # Errors
    /// `JOB_STOPPED` where it must end.
    fn spend(&self, bytes: u64, urgency: Urgency) -> Result<()>;
}

/// How long a job that finds the node busy waits before it looks again.
const BUSY_WAIT: Duration = Duration::from_millis(5);
/// How long it waits in all before it goes on for one part: a node that is always busy needs
/// its files merged, too. Parts of 8,192 rows go on at 160,000 rows a second so; where more come, the
/// files become many, and the job is behind.
const BUSY_MAX: Duration = Duration::from_millis(50);

/// At most so many bytes a second, less while the node is busy, nothing after a stop.
pub struct Throttle {
    bytes_per_second: u64,
    busy: Box<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Until when the bytes so far take, at the rate; in the clock's monotonic time.
    paid_until: Duration,
    stopped: bool,
}

impl Throttle {
    /// `busy` tells whether clients are waiting for what a job also needs.
    pub fn new(
        bytes_per_second: u64,
        clock: Arc<dyn Clock>,
        busy: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Throttle {
        Throttle {
            bytes_per_second: bytes_per_second.max(1),
            busy: Box::new(busy),
            clock,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Whether it was stopped.
    pub fn stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Ends whatever waits here, and all that asks from now on.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }
}

impl Pace for Throttle {
    fn spend(&self, bytes: u64, urgency: Urgency) -> Result<()> {
        let stopped = || Error::new(Code::JobStopped, "the node is stopping");
        let price = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut state = self.state.lock();
        // What was not used before is not saved up.
        state.paid_until = state.paid_until.max(self.clock.monotonic()) + price;
        loop {
            if state.stopped {
                return Err(stopped());
            }
            let left = state.paid_until.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                break;
            }
            self.changed.wait_for(&mut state, left);
        }
        let mut waited = Duration::ZERO;
        while urgency == Urgency::Whenever && waited < BUSY_MAX && (self.busy)() {
            self.changed.wait_for(&mut state, BUSY_WAIT);
            if state.stopped {
                return Err(stopped());
            }
            waited += BUSY_WAIT;
        }
        Ok(())
    }
}
