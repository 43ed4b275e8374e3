//! One flush: evidence of each trace, and its threshold.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use otlake_base::{Position, Result};
use xxhash_rust::xxh3::xxh3_128;

use crate::Rated;
use crate::decisions::{Key, Remembered};
use crate::rules::{Evidence, Resources, Rules};
use crate::spans::Spans;
use crate::trace_state::NEVER;

/// What a rate may keep at once, beyond the time in which its spans came.
const BURST: Duration = Duration::from_secs(1);

/// The spans of one log record that are one tenant's.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The record's name.
    pub position: Position,
    /// Whose spans they are.
    pub tenant: Arc<str>,
    /// Rows of the table `spans`.
    pub rows: RecordBatch,
    /// When they became live, by the monotonic clock.
    pub arrived: Duration,
}

/// Why spans are flushed that have not waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// There is no more room for them in memory.
    Memory,
    /// Someone waits for them to be in files.
    Asked,
}

impl Early {
    /// As counters call it.
    pub fn name(self) -> &'static str {
        match self {
            Early::Memory => "memory",
            Early::Asked => "asked",
        }
    }
}

/// When a flush began, and whether it took spans early.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    /// By the monotonic clock.
    pub at: Duration,
    /// Why.
    pub early: Option<Early>,
}

/// A trace of a flush.
pub(crate) struct Trace {
    pub(crate) key: Key,
    /// Of one that has no decision yet.
    pub(crate) evidence: Option<Evidence>,
    pub(crate) remembered: Option<Remembered>,
    /// When the first of its spans that are flushed became live.
    pub(crate) arrived: Duration,
}

/// Names a batch: by its record, and by whose spans they are.
pub(crate) type Name = (Position, Arc<str>);

impl Batch {
    pub(crate) fn name(&self) -> Name {
        (self.position, Arc::clone(&self.tenant))
    }
}

/// The traces of a flush.
#[derive(Default)]
pub(crate) struct Traces {
    index: HashMap<Key, u32, foldhash::fast::RandomState>,
    pub(crate) traces: Vec<Trace>,
    /// By batch: of each row its trace's place.
    pub(crate) rows: HashMap<Name, Vec<u32>>,
}

impl Traces {
    /// Takes in a batch that is flushed.
    pub(crate) fn seal(
        &mut self,
        batch: &Batch,
        known: impl Fn(Key) -> Option<Remembered>,
    ) -> Result<()> {
        let spans = Spans::of(&batch.rows)?;
        let mut keys = Keys::of(&batch.tenant);
        let mut places = Vec::with_capacity(spans.len());
        for row in 0..spans.len() {
            let trace_id = spans.trace_id(row);
            let key = keys.key(&trace_id);
            let place = *self.index.entry(key).or_insert_with(|| {
                let remembered = known(key);
                let evidence = remembered.is_none().then(|| Evidence::of(trace_id));
                self.traces.push(Trace {
                    key,
                    evidence,
                    remembered,
                    arrived: batch.arrived,
                });
                self.traces.len() as u32 - 1
            });
            places.push(place);
        }
        self.rows.insert(batch.name(), places);
        Ok(())
    }

    /// Takes in what a live batch, of this flush or a later one, says of the traces without a decision.
    pub(crate) fn observe(&mut self, batch: &Batch, rules: &Rules) -> Result<()> {
        let spans = Spans::of(&batch.rows)?;
        let mut keys = Keys::of(&batch.tenant);
        let mut resources = Resources::default();
        for row in 0..spans.len() {
            let Some(place) = self.index.get(&keys.key(&spans.trace_id(row))) else {
                continue;
            };
            if let Some(evidence) = &mut self.traces[*place as usize].evidence {
                rules.take(&spans, row, evidence, &mut resources);
            }
        }
        Ok(())
    }
}

/// The keys of one tenant's traces.
struct Keys {
    bytes: [u8; 32],
    /// A trace's spans come in runs.
    last: Option<([u8; 16], Key)>,
}

impl Keys {
    fn of(tenant: &str) -> Keys {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&xxh3_128(tenant.as_bytes()).to_le_bytes());
        Keys { bytes, last: None }
    }

    fn key(&mut self, trace_id: &[u8; 16]) -> Key {
        if let Some((last, key)) = &self.last
            && last == trace_id
        {
            return *key;
        }
        self.bytes[16..].copy_from_slice(trace_id);
        let key = Key(xxh3_128(&self.bytes));
        self.last = Some((*trace_id, key));
        key
    }
}

/// What is known of a trace, at last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) met: u64,
    pub(crate) randomness: u64,
    pub(crate) spans: u64,
}

/// What a trace comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// What its randomness has to reach.
    pub(crate) threshold: u64,
    /// What keeps it, by its number.
    pub(crate) policy: Option<u16>,
}

/// What a rate may still keep.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// Below zero after a trace of more spans than there was room for.
    tokens: f64,
    /// Up to when it was filled.
    upto: Option<Duration>,
}

impl Bucket {
    /// Fills it for the time until `newest` of spans of which the first came at `oldest`. Of time in which
    /// nothing came, what is not owed is worth a second at most.
    fn fill(&mut self, per_second: f64, oldest: Duration, newest: Duration) {
        let came_in = newest.saturating_sub(oldest) + BURST;
        let passed = match self.upto {
            Some(upto) => newest.saturating_sub(upto),
            None => came_in,
        };
        let most = per_second * came_in.as_secs_f64();
        self.tokens = (self.tokens + per_second * passed.as_secs_f64()).min(most);
        self.upto = Some(self.upto.map_or(newest, |upto| upto.max(newest)));
    }
}

/// A threshold for each trace. Policies without a rate come first; what none of them keeps is left to the
/// rates, in their order. Each rate keeps the traces of the highest randomness that it has room for, and
/// its threshold is what rejects the next: so it is consistent with probabilities, and with other rates.
pub(crate) fn judge(
    rules: &Rules,
    cases: &[Case],
    buckets: &mut [Bucket],
    (oldest, newest): (Duration, Duration),
) -> Vec<Judgement> {
    let mut judged = vec![
        Judgement {
            threshold: NEVER,
            policy: None,
        };
        cases.len()
    ];
    let numbered = || rules.policies.iter().enumerate();
    let apply = |judged: &mut [Judgement], number: usize, needs: u64, threshold: u64| {
        for (case, judgement) in cases.iter().zip(judged) {
            if case.met & needs != needs {
                continue;
            }
            judgement.threshold = judgement.threshold.min(threshold);
            if judgement.policy.is_none() && case.randomness >= threshold {
                judgement.policy = Some(number as u16);
            }
        }
    };
    for (number, rule) in numbered().filter(|(_, rule)| rule.rate.is_none()) {
        apply(&mut judged, number, rule.needs, rule.threshold);
    }
    for ((number, rule), bucket) in numbered().zip(buckets) {
        let Some((of, per_second)) = rule.rate else {
            continue;
        };
        bucket.fill(per_second, oldest, newest);
        let is_left = |(case, judgement): &(&Case, &Judgement)| {
            judgement.policy.is_none()
                && case.met & rule.needs == rule.needs
                && case.randomness >= rule.threshold
        };
        let left = cases.iter().zip(&judged).filter(is_left);
        let mut left: Vec<(u64, f64)> = left
            .map(|(case, _)| match of {
                Rated::Traces => (case.randomness, 1.0),
                Rated::Spans => (case.randomness, case.spans as f64),
            })
            .collect();
        left.sort_unstable_by_key(|(randomness, _)| std::cmp::Reverse(*randomness));
        let threshold = bucket.keep(&left).max(rule.threshold);
        apply(&mut judged, number, rule.needs, threshold);
    }
    judged
}

impl Bucket {
    /// Pays for the first of these, which are in the order of falling randomness, as far as there is
    /// room; gives the threshold that they reach and the others do not. Traces that share their
    /// randomness are kept or rejected together.
    fn keep(&mut self, traces: &[(u64, f64)]) -> u64 {
        let mut tokens = self.tokens;
        let first = traces.iter().position(|(_, cost)| {
            let is_spent = tokens <= 0.0;
            tokens -= cost;
            is_spent
        });
        let rejected = first.map(|first| traces[first].0);
        let kept = |(randomness, _): &&(u64, f64)| rejected.is_none_or(|most| *randomness > most);
        self.tokens -= traces
            .iter()
            .filter(kept)
            .map(|(_, cost)| cost)
            .sum::<f64>();
        rejected.map_or(0, |most| most + 1)
    }
}
