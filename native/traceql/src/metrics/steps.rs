//! Steps of time, as Tempo's: they end at multiples of their length, and a time at which one ends is
//! still of it. What is shown of a step stands at its end.

use otlake_base::limits::TRACEQL_STEPS;
use otlake_base::{Code, Error, Result};

use crate::spans::Times;

const NANOS_PER_MS: i64 = 1_000_000;

/// Steps of a range; one over all of it where there is no step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    times: Times,
    /// The nanosecond before the first step.
    pub(crate) before: i64,
    /// Nanoseconds of each.
    pub(crate) step: i64,
    /// How many.
    pub(crate) count: usize,
    /// Whether there is one value alone.
    pub(crate) is_instant: bool,
}

impl Steps {
    /// Steps of what is behind a start, up to an end.
    ///
    /// # Errors
    /// `TRACEQL_REQUEST` for a step that is none, `TRACEQL_TOO_LARGE` for too many.
    pub(crate) fn new((start, end): (i64, i64), step: Option<i64>) -> Result<Steps> {
        let times = Times {
            first: start.saturating_add(1),
            last: end,
        };
        let Some(step) = step else {
            return Ok(Steps {
                times,
                before: start,
                step: end.saturating_sub(start),
                count: 1,
                is_instant: true,
            });
        };
        if step <= 0 {
            let message = "a step is longer than nothing";
            return Err(Error::new(Code::TraceqlRequest, message));
        }
        let before = start.div_euclid(step).saturating_mul(step);
        let count = (end - 1).saturating_sub(before).div_euclid(step) + 1;
        match usize::try_from(count) {
            Ok(count) if count <= TRACEQL_STEPS => Ok(Steps {
                times,
                before,
                step,
                count,
                is_instant: false,
            }),
            _ => {
                let message = format!("{count} steps are more than {TRACEQL_STEPS}");
                Err(Error::new(Code::TraceqlTooLarge, message))
            }
        }
    }

    /// All of their time.
    pub(crate) fn times(&self) -> Times {
        self.times
    }

    /// When a step ends, in milliseconds.
    pub(crate) fn timestamp_ms(&self, step: usize) -> i64 {
        (self.before + self.step * (step as i64 + 1)).div_euclid(NANOS_PER_MS)
    }

    /// The step that a time is in.
    pub(crate) fn of(&self, time: i64) -> usize {
        let since = time.saturating_sub(self.before).saturating_sub(1);
        let step = since.div_euclid(self.step);
        usize::try_from(step).unwrap_or(0).min(self.count - 1)
    }

    /// Seconds of a step.
    pub(crate) fn seconds(&self) -> f64 {
        self.step as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_at_multiples_and_hold_all_of_the_range() {
        let steps = Steps::new((1_005, 1_031), Some(10)).unwrap();
        assert_eq!((steps.before, steps.count), (1_000, 4));
        let times = Times {
            first: 1_006,
            last: 1_031,
        };
        assert_eq!(steps.times(), times);
        assert_eq!(
            (steps.of(1_006), steps.of(1_010), steps.of(1_011)),
            (0, 0, 1)
        );
        assert_eq!(steps.of(1_031), 3);
        let aligned = Steps::new((1_000, 1_030), Some(10)).unwrap();
        assert_eq!(
            (aligned.count, aligned.of(1_001), aligned.of(1_030)),
            (3, 0, 2)
        );
        let seconds = Steps::new((1_000_000_000, 3_000_000_000), Some(1_000_000_000)).unwrap();
        assert_eq!(seconds.timestamp_ms(0), 2_000);
        let whole = Steps::new((1_005, 1_031), None).unwrap();
        assert_eq!((whole.count, whole.step), (1, 26));
        assert!(Steps::new((0, 1_000_000), Some(1)).is_err());
    }
}
