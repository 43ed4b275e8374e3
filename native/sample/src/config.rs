//! Policies as they are set.

use std::time::Duration;

use otlake_base::limits;

/// Every setting of tail sampling.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleConfig {
    /// A trace is kept where one of them keeps it; without any, everything is.
    pub policies: Vec<Policy>,
    /// How long spans wait in memory for the others of their traces, in milliseconds.
    pub decision_wait_ms: u64,
    /// Decisions that are remembered for spans that come later (I5).
    pub max_decisions: usize,
}

impl SampleConfig {
    /// Whether anything is decided.
    pub fn is_on(&self) -> bool {
        !self.policies.is_empty()
    }

    /// How long spans wait; not at all where nothing is decided.
    pub fn wait(&self) -> Duration {
        match self.is_on() {
            true => Duration::from_millis(self.decision_wait_ms),
            false => Duration::ZERO,
        }
    }
}

impl Default for SampleConfig {
    fn default() -> Self {
        SampleConfig {
            policies: Vec::new(),
            decision_wait_ms: limits::SAMPLING_DECISION_WAIT_MS,
            max_decisions: limits::SAMPLING_MAX_DECISIONS,
        }
    }
}

/// What keeps traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What counters call it.
    pub name: String,
    /// All have to hold of a trace, each by any of its spans.
    pub conditions: Vec<Condition>,
}

/// What a policy asks of a trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A span has one of these status codes, OTLP's numbers.
    Status(Vec<i32>),
    /// So long at least.
    Latency {
        /// What is measured.
        of: Measured,
        /// Nanoseconds.
        at_least_ns: u64,
    },
    /// A span, or its resource, has an attribute.
    Attribute {
        /// Its key.
        key: String,
        /// Where it is looked for.
        scope: Scope,
        /// What its value has to be.
        test: Test,
    },
    /// So many in a second, those of the highest randomness.
    Rate {
        /// What is counted.
        of: Rated,
        /// How many.
        per_second: f64,
    },
    /// This share of traces, the same ones everywhere.
    Probability(f64),
}

/// What a latency is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// From the first start to the last end.
    Trace,
    /// Any span.
    Span,
}

/// Where an attribute is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In spans, then in their resources.
    Any,
    /// In spans alone.
    Span,
    /// In resources alone.
    Resource,
}

/// What an attribute's value has to be. Numbers and the like are compared as JSON writes them.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Anything but empty.
    Present,
    /// One of these.
    OneOf(Vec<String>),
    /// A regular expression, somewhere in it.
    Matches(String),
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rated {
    /// Traces.
    Traces,
    /// Their spans, as far as they are there when it is decided.
    Spans,
}
