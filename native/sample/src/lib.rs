//! Tail sampling: which traces are written to files, decided from all their spans (docs/sampling.md).
//!
//! ```text
//!  spans wait in live memory for `decision_wait`, and whoever asks sees all of them
//!        |
//!  seal --Sampler::decide--> remembered? --yes--> as it was decided
//!        |                      | no
//!        |        evidence from every live span of the trace --> one threshold for the trace
//!        |                      |        kept where its randomness reaches the threshold
//!        |        Sampler::save: the decisions are durable
//!        v
//!  Verdicts::rows: the rows that are kept, their threshold in `trace_state`
//!        |
//!  one commit: files, and the watermark of all the rows, kept or not
//! ```
//!
//! Nothing here moves a watermark: a flush covers every batch that it had, whatever of it is written.
//! So a dropped span does not come back, a kept one is there once (I2, I3), and a replay of what was
//! decided but not committed finds the decisions, which were durable before.
//!
//! Every policy comes to a *threshold* for a trace, as OpenTelemetry's probability sampling has it
//! (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>): 0 where a
//! condition alone decides, what rejects the rest where a probability or a rate does. The lowest counts,
//! so policies are consistent with each other, and a count can be extrapolated from what is kept.
//!
//! - `config`: policies as they are set.
//! - `decide`: one flush: evidence of each trace, and its threshold.
//! - `decisions`: what was decided, within a bound.
//! - `journal`: the same on disk.
//! - `rules`: policies as they are asked, and what a span has to say to each.
//! - `sampler`: the state of a node between flushes.
//! - `spans`: the columns that are read.
//! - `trace_state`: `ot=th:…;rv:…` among the members of others.
//! - `verdicts`: what is written of one flush.

mod config;
mod decide;
mod decisions;
mod journal;
mod rules;
mod sampler;
mod spans;
mod trace_state;
mod verdicts;

pub use config::{Condition, Measured, Policy, Rated, SampleConfig, Scope, Test};
pub use decide::{Batch, Early, Sealed};
pub use journal::check as check_journal;
pub use sampler::Sampler;
pub use verdicts::{Counts, Verdicts};

#[cfg(test)]
mod decide_test;
#[cfg(test)]
mod journal_test;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod rules_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod trace_state_test;
