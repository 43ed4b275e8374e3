//! Which traces may answer a query: those where what it needs matches somewhere. Windows of time from
//! the newest to the oldest; what was found of a trace in one counts in the next.

use std::collections::HashMap;

use arrow::array::AsArray;
use datafusion::functions_aggregate::expr_fn::{bool_or, max, min};
use datafusion::logical_expr::{Expr, utils::disjunction};
use otlake_base::limits::TRACEQL_TRACES;
use otlake_base::{Code, Error, Result};

use crate::chunk::{ids, longs, named};
use crate::functions::TraceId;
use crate::pipeline::Need;
use crate::spans::{Spans, Times, column, fail};

/// What is kept for a trace in memory, in bytes.
const TRACE_BYTES: usize = 64;

/// A trace that may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: TraceId,
    /// When the first and the last span that matched in this window start.
    pub(crate) times: Times,
}

/// What was found up to now.
pub(crate) struct Candidates<'a> {
    spans: &'a Spans,
    leaves: &'a [Expr],
    need: &'a Need,
    /// By trace: which leaves have matched; all, once it was given.
    found: HashMap<TraceId, u64>,
}

impl<'a> Candidates<'a> {
    pub(crate) fn new(spans: &'a Spans, leaves: &'a [Expr], need: &'a Need) -> Candidates<'a> {
        Candidates {
            spans,
            leaves,
            need,
            found: HashMap::new(),
        }
    }

    /// The traces that a window makes candidates, the newest first, each given once.
    pub(crate) async fn of_window(&mut self, window: Times) -> Result<Vec<Candidate>> {
        let start = || column("start_time_unix_nano");
        let matched = disjunction(self.leaves.iter().cloned());
        let matched = matched.unwrap_or_else(|| datafusion::logical_expr::lit(true));
        let mut aggregates = vec![min(start()).alias("first"), max(start()).alias("last")];
        if self.leaves.len() > 1 {
            let leaves = self.leaves.iter().enumerate();
            aggregates.extend(leaves.map(|(number, leaf)| {
                bool_or(leaf.clone().is_true()).alias(format!("leaf_{number}"))
            }));
        }
        let plan = self.spans.scan(window)?.filter(matched).map_err(fail)?;
        let plan = plan.aggregate(vec![column("trace_id")], aggregates);
        let plan = plan.map_err(fail)?.build().map_err(fail)?;
        let mut candidates = Vec::new();
        let mut kept = 0;
        let (leaves, need, found) = (self.leaves.len(), self.need, &mut self.found);
        let held = &self.spans.held;
        self.spans
            .each(&plan, |batch| {
                let traces = ids(&batch, "trace_id")?;
                let first = longs(&batch, "first")?;
                let last = longs(&batch, "last")?;
                let matched: Result<Vec<_>> = (0..leaves)
                    .filter(|_| leaves > 1)
                    .map(|number| Ok(named(&batch, &format!("leaf_{number}"))?.as_boolean()))
                    .collect();
                let matched = matched?;
                for row in 0..batch.num_rows() {
                    let Ok(id) = TraceId::try_from(traces.value(row)) else {
                        continue;
                    };
                    let mut bits = u64::from(matched.is_empty());
                    for (number, leaf) in matched.iter().enumerate() {
                        bits |= u64::from(leaf.value(row)) << number;
                    }
                    let before = found.entry(id).or_default();
                    if *before == u64::MAX {
                        continue;
                    }
                    *before |= bits;
                    if need.met(*before) {
                        *before = u64::MAX;
                        let times = Times {
                            first: first.value(row),
                            last: last.value(row),
                        };
                        candidates.push(Candidate { id, times });
                    }
                }
                if found.len() > TRACEQL_TRACES {
                    let message = format!("more than {TRACEQL_TRACES} traces match");
                    return Err(Error::new(Code::TraceqlTooLarge, message));
                }
                let bytes = (found.len() + candidates.len()) * TRACE_BYTES;
                if bytes > kept {
                    held.try_resize(bytes).map_err(fail)?;
                    kept = bytes;
                }
                Ok(true)
            })
            .await?;
        candidates.sort_unstable_by_key(|one| (std::cmp::Reverse(one.times.last), one.id));
        Ok(candidates)
    }
}

/// The times of all of these.
pub(crate) fn extent(candidates: &[Candidate]) -> Times {
    let first = candidates.iter().map(|one| one.times.first).min();
    let last = candidates.iter().map(|one| one.times.last).max();
    Times {
        first: first.unwrap_or(0),
        last: last.unwrap_or(0),
    }
}
