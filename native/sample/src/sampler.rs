//! The state of a node between flushes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::disk::Disk;
use otlake_base::sampling_metrics::{LATE, NONE, by_policy};
use otlake_base::{Clock, Code, Error, Metrics, Result};
use parking_lot::Mutex;

use crate::decide::{Bucket, Case, Judgement, Trace, Traces, judge};
use crate::decisions::{Decision, Decisions, Key, Remembered};
use crate::journal::Journal;
use crate::rules::Rules;
use crate::{Batch, Counts, Policy, SampleConfig, Sealed, Verdicts};

/// Decides which traces are written.
pub struct Sampler {
    rules: Rules,
    wait: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    journal: Mutex<Journal>,
}

struct State {
    decisions: Decisions,
    /// One for each policy, though only rates use theirs.
    buckets: Vec<Bucket>,
    /// Decisions that are not on disk yet.
    unsaved: Vec<(Key, Decision)>,
}

impl Sampler {
    /// Whether policies can be used.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, with the policy and what to correct in it.
    pub fn check(policies: &[Policy]) -> Result<()> {
        Rules::of(policies).map(drop)
    }

    /// With the decisions that the last start left in `folder`. May block.
    ///
    /// # Errors
    /// `CONFIG_INVALID` as `check`; `NODE_DIRECTORY_UNUSABLE` where the folder cannot be made or read.
    pub fn open(
        config: &SampleConfig,
        disk: Arc<dyn Disk>,
        folder: &Path,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Sampler> {
        let rules = Rules::of(&config.policies)?;
        let mut decisions = Decisions::new(config.max_decisions);
        let journal = Journal::open(disk, folder, config.max_decisions, &metrics, |key, of| {
            let remembered = Remembered {
                decision: of,
                policy: None,
                at: Duration::ZERO,
            };
            // That the limit was lowered between two starts counts as little as the start itself.
            decisions.remember(key, remembered);
        })?;
        let sampling = &metrics.sampling;
        for name in rules.policies.iter().map(|rule| &rule.name) {
            drop(sampling.traces.get_or_create(&by_policy("kept", name)));
            drop(sampling.spans.get_or_create(&by_policy("kept", name)));
        }
        sampling.decisions.set(decisions.len() as i64);
        let buckets = vec![Bucket::default(); rules.policies.len()];
        Ok(Sampler {
            rules,
            wait: config.wait(),
            clock,
            metrics,
            state: Mutex::new(State {
                decisions,
                buckets,
                unsaved: Vec::new(),
            }),
            journal: Mutex::new(journal),
        })
    }

    /// Decides of the batches of a flush, by all that is `live`, they themselves included. Takes the
    /// processor for long.
    ///
    /// # Errors
    /// `INTERNAL` for rows that are no spans.
    pub fn decide(&self, batches: &[Batch], live: &[Batch], seal: Sealed) -> Result<Verdicts> {
        let started = self.clock.monotonic();
        let mut state = self.state.lock();
        let mut found = Traces::default();
        for batch in batches {
            found.seal(batch, |key| state.decisions.get(key))?;
        }
        let is_new = |trace: &Trace| trace.evidence.is_some();
        if found.traces.iter().any(is_new) {
            for batch in live {
                found.observe(batch, &self.rules)?;
            }
        }
        let evidence = found
            .traces
            .iter()
            .filter_map(|trace| trace.evidence.as_ref());
        let cases: Vec<Case> = evidence
            .map(|evidence| Case {
                met: self.rules.met(evidence),
                randomness: evidence.randomness(),
                spans: evidence.spans,
            })
            .collect();
        let times = || batches.iter().map(|batch| batch.arrived);
        let came = (
            times().min().unwrap_or_default(),
            times().max().unwrap_or_default(),
        );
        let judged = judge(&self.rules, &cases, &mut state.buckets, came);
        let mut judged = judged.into_iter();
        let now = self.clock.monotonic();
        let mut traces = Vec::with_capacity(found.traces.len());
        let mut early = 0;
        for trace in &found.traces {
            let remembered = match trace.remembered {
                Some(remembered) => remembered,
                None => {
                    early += u64::from(trace.arrived + self.wait > seal.at);
                    let judgement = judged.next().ok_or_else(unjudged)?;
                    self.remember(&mut state, trace.key, judgement, now)
                }
            };
            traces.push(remembered);
        }
        let sampling = &self.metrics.sampling;
        if let Some(why) = seal.early {
            let why = vec![("reason", why.name())];
            sampling.early.get_or_create(&why).inc_by(early);
        }
        sampling.decisions.set(state.decisions.len() as i64);
        let seconds = self.clock.monotonic().saturating_sub(started);
        sampling.seconds.observe(seconds.as_secs_f64());
        Ok(Verdicts {
            rows: found.rows,
            traces,
            policies: self.rules.policies.len(),
        })
    }

    fn remember(
        &self,
        state: &mut State,
        key: Key,
        Judgement { threshold, policy }: Judgement,
        now: Duration,
    ) -> Remembered {
        let (decision, outcome, name) = match policy {
            Some(policy) => {
                let name = self.rules.policies[usize::from(policy)].name.as_str();
                (Decision::Kept(threshold), "kept", name)
            }
            None => (Decision::Dropped, "dropped", NONE),
        };
        let sampling = &self.metrics.sampling;
        let labels = by_policy(outcome, name);
        sampling.traces.get_or_create(&labels).inc();
        let remembered = Remembered {
            decision,
            policy,
            at: now,
        };
        let forgotten = state.decisions.remember(key, remembered);
        sampling.forgotten.inc_by(forgotten);
        state.unsaved.push((key, decision));
        remembered
    }

    /// Makes all decisions durable: after it their rows may be written, or left out. Blocks.
    ///
    /// # Errors
    /// `TABLE_IO`; then they may be saved again.
    pub fn save(&self) -> Result<()> {
        let mut journal = self.journal.lock();
        let unsaved = self.state.lock().unsaved.clone();
        if unsaved.is_empty() {
            return Ok(());
        }
        journal.append(&unsaved)?;
        self.state.lock().unsaved.drain(..unsaved.len());
        Ok(())
    }

    /// The rows that were counted are in files, or left out of them.
    pub fn written(&self, counts: &Counts) {
        let sampling = &self.metrics.sampling;
        let add = |outcome, policy: &str, count: u64| {
            let labels = by_policy(outcome, policy);
            sampling.spans.get_or_create(&labels).inc_by(count);
        };
        for (rule, count) in self.rules.policies.iter().zip(&counts.kept) {
            add("kept", &rule.name, *count);
        }
        add("dropped", NONE, counts.dropped);
        add("kept", LATE, counts.late_kept);
        add("dropped", LATE, counts.late_dropped);
        sampling.unmarked.inc_by(counts.unmarked);
    }
}

fn unjudged() -> Error {
    Error::new(Code::Internal, "a trace was not judged")
}
