//! Attempts at a distributed query, until an answer is there.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{StreamExt, stream};
use otlake_base::{Code, Error, Result};
use tokio::time::Instant;

use super::Distribution;
use super::limits::{MAX_ATTEMPTS, WHOLE_ANSWER_BYTES};
use super::plan::Team;
use super::trouble::{Trouble, Troubles};
use crate::error::from_datafusion;
use crate::pieces::value_bytes;

/// A query that was planned for this node.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    /// The session that it was planned in.
    pub(crate) state: &'a SessionState,
    pub(crate) logical: &'a LogicalPlan,
    pub(crate) deadline: Instant,
    /// What it may hold on each node, where that is less than what the node has.
    pub(crate) memory_bytes: Option<usize>,
}

/// An attempt whose rows come.
struct Attempt {
    rows: SendableRecordBatchStream,
    troubles: Arc<Troubles>,
    /// Its live rows are kept as long as it.
    _plan: Arc<dyn ExecutionPlan>,
    is_over: bool,
}

impl Attempt {
    /// The next rows; none after the last.
    async fn next(&mut self) -> Result<Option<RecordBatch>, Trouble> {
        if self.is_over {
            return Ok(None);
        }
        let next = tokio::select! {
            biased;
            next = self.rows.next() => next,
            trouble = self.troubles.found() => {
                self.is_over = true;
                return Err(trouble);
            }
        };
        match next {
            Some(Ok(batch)) => Ok(Some(batch)),
            Some(Err(error)) => {
                self.is_over = true;
                Err(self.troubles.judge(&error))
            }
            None => {
                self.is_over = true;
                Ok(None)
            }
        }
    }
}

impl Distribution {
    /// Runs a query over many nodes; none where this node has to do it alone.
    ///
    /// # Errors
    /// Those of the query.
    pub(crate) async fn run(&self, query: Query<'_>) -> Result<Option<SendableRecordBatchStream>> {
        let mut lost: BTreeSet<Arc<str>> = BTreeSet::new();
        for _ in 0..MAX_ATTEMPTS {
            let Some(team) = self.team(&lost) else {
                break;
            };
            match self.attempt(&query, &team).await {
                Ok(Some(rows)) => {
                    self.count("ok");
                    return Ok(Some(rows));
                }
                Ok(None) => return Ok(None),
                Err(Trouble::Lost(nodes, why)) => {
                    let own = self.workers.own();
                    if nodes.contains(&own) {
                        return Err(why);
                    }
                    tracing::warn!(
                        target: "otlake::query", "a query is tried again without {nodes:?}: {why}"
                    );
                    self.metrics.distributed_retries.inc();
                    for node in nodes {
                        self.channels.shun(&node);
                        lost.insert(node);
                    }
                }
                Err(Trouble::Unfit(why)) => {
                    tracing::warn!(target: "otlake::query", "a query runs on one node: {why}");
                    break;
                }
                Err(Trouble::Ended(error)) => {
                    self.count("failed");
                    return Err(error);
                }
            }
        }
        self.count("local");
        Ok(None)
    }

    fn count(&self, outcome: &'static str) {
        let queries = &self.metrics.distributed_queries;
        queries.get_or_create(&vec![("outcome", outcome)]).inc();
    }

    /// One attempt, up to a whole answer or one that is too large to be held back.
    async fn attempt(
        &self,
        query: &Query<'_>,
        team: &Team,
    ) -> Result<Option<SendableRecordBatchStream>, Trouble> {
        let troubles = Arc::new(Troubles::default());
        let unfit = |error: DataFusionError| Trouble::Unfit(from_datafusion(&error));
        let planned = self.plan(query, team, &troubles).await.map_err(unfit)?;
        let Some((plan, state)) = planned else {
            return Ok(None);
        };
        let rows = execute_stream(Arc::clone(&plan), state.task_ctx()).map_err(unfit)?;
        let schema = rows.schema();
        let mut attempt = Attempt {
            rows,
            troubles,
            _plan: plan,
            is_over: false,
        };
        let (mut held, mut bytes) = (VecDeque::new(), 0);
        while bytes <= WHOLE_ANSWER_BYTES {
            let Some(batch) = attempt.next().await? else {
                break;
            };
            bytes += value_bytes(&batch);
            held.push_back(batch);
        }
        let rest = stream::unfold((held, attempt), |(mut held, mut attempt)| async {
            if let Some(batch) = held.pop_front() {
                return Some((Ok(batch), (held, attempt)));
            }
            let next = attempt.next().await.map_err(late).transpose()?;
            Some((next, (held, attempt)))
        });
        Ok(Some(Box::pin(RecordBatchStreamAdapter::new(schema, rest))))
    }
}

/// The error of an answer that has begun: another attempt would give rows twice.
fn late(trouble: Trouble) -> DataFusionError {
    let error = match trouble {
        Trouble::Lost(_, why) => {
            let what = format!("{}: a part of the answer was given already", why.message);
            Error::new(Code::QueryIncomplete, what)
        }
        other => other.error(),
    };
    DataFusionError::External(Box::new(error))
}
