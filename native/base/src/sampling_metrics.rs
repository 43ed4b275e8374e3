//! What is counted of tail sampling (docs/sampling.md).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{Labels, Names};

/// What becomes of a trace or span.
pub const OUTCOMES: [&str; 2] = ["kept", "dropped"];
/// Why a trace is decided before its spans have waited.
pub const EARLY: [&str; 2] = ["memory", "asked"];
/// In place of a policy's name: no policy kept it.
pub const NONE: &str = "none";
/// In place of a policy's name: it came after the decision.
pub const LATE: &str = "late";
/// Seconds, from 1 ms to 16 s, each bound four times the one before.
const SECONDS: [f64; 8] = [0.001, 0.004, 0.016, 0.064, 0.256, 1.024, 4.096, 16.384];

/// The labels of what one policy kept, or of what none did.
pub fn by_policy(outcome: &'static str, policy: &str) -> Names {
    let outcome = outcome.to_owned();
    vec![("outcome", outcome), ("policy", policy.to_owned())]
}

/// Every figure of tail sampling. Each field is a handle.
pub struct SamplingMetrics {
    /// Traces that were decided, by `outcome` and `policy`.
    pub traces: Family<Names, Counter>,
    /// Spans that were written to files or left out of them, by `outcome` and `policy`.
    pub spans: Family<Names, Counter>,
    /// Traces that were decided before their spans had waited long enough (I5), by `reason`.
    pub early: Family<Labels, Counter>,
    /// Decisions that were forgotten for the limit (I5): late spans of their traces are decided anew.
    pub forgotten: Counter,
    /// Kept spans whose trace state has no room for their threshold.
    pub unmarked: Counter,
    /// Decisions that are remembered.
    pub decisions: Gauge,
    /// Seconds that deciding of one flush took.
    pub seconds: Histogram,
}

impl SamplingMetrics {
    /// Registers all, at zero; what has policies' names appears with the policies.
    pub(crate) fn new(registry: &mut Registry) -> SamplingMetrics {
        let traces = Family::<Names, Counter>::default();
        registry.register(
            "sampling_traces",
            "Traces that tail sampling decided",
            traces.clone(),
        );
        let spans = Family::<Names, Counter>::default();
        registry.register(
            "sampling_spans",
            "Spans that tail sampling had written or left out",
            spans.clone(),
        );
        let early = Family::<Labels, Counter>::default();
        registry.register(
            "sampling_early",
            "Traces decided before their spans had waited (I5)",
            early.clone(),
        );
        let forgotten = Counter::default();
        registry.register(
            "sampling_forgotten",
            "Decisions forgotten for the limit (I5)",
            forgotten.clone(),
        );
        let unmarked = Counter::default();
        registry.register(
            "sampling_unmarked",
            "Kept spans whose trace state has no room for their threshold",
            unmarked.clone(),
        );
        let decisions = Gauge::default();
        registry.register(
            "sampling_decisions",
            "Decisions that are remembered",
            decisions.clone(),
        );
        let seconds = Histogram::new(SECONDS);
        registry.register_with_unit(
            "sampling_duration",
            "Deciding of one flush",
            Unit::Seconds,
            seconds.clone(),
        );
        for reason in EARLY {
            drop(early.get_or_create(&vec![("reason", reason)]));
        }
        drop(traces.get_or_create(&by_policy("dropped", NONE)));
        for (outcome, policy) in [("dropped", NONE), ("kept", LATE), ("dropped", LATE)] {
            drop(spans.get_or_create(&by_policy(outcome, policy)));
        }
        SamplingMetrics {
            traces,
            spans,
            early,
            forgotten,
            unmarked,
            decisions,
            seconds,
        }
    }
}
