//! Queries that run, and how far each is.
//!
//! ```text
//!  registry: an entry for each query, from its coming to its end
//!     `- waiting -> planning -> reading, or shared with other nodes
//!          leaves of its plan --+-- files: rows of pieces and row groups that are done with, or
//!                               |          rows decoded, whichever are more
//!                               `-- live batches: rows handed on
//! ```
//!
//! A share is of the rows that the plan's leaves have after pruning. It only grows. What is skipped
//! counts as read, so that it does not stop at a row group that a filter leaves out; a limit ends a
//! query before its share is 1. What is done with rows once they are read (a sort's merge, a join's
//! other side) is in no share: it stands still while that goes on.
//!
//! - `files`: files as they are read.
//! - `live`: live batches as they are read.

mod files;
mod live;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use otlake_base::Clock;
use parking_lot::Mutex;

pub(crate) use files::{FileCount, ScanCount};
pub(crate) use live::LiveSource;

/// Rows that filters within the Parquet reader left out, as DataFusion counts them.
const FILTERED_ROWS: &str = "pushdown_rows_pruned";
/// Rows that the page index left out.
const SKIPPED_ROWS: &str = "page_index_rows_pruned";

/// What a query does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryState {
    /// Others run, and it waits for one of them to end.
    Waiting,
    /// It is planned, and rows of other nodes are gathered for it.
    Planning,
    /// This node reads for it.
    Reading,
    /// Its files are read by many nodes: how far they are, this one does not know.
    Shared,
}

impl QueryState {
    /// As APIs have it.
    pub fn name(self) -> &'static str {
        match self {
            QueryState::Waiting => "waiting",
            QueryState::Planning => "planning",
            QueryState::Reading => "reading",
            QueryState::Shared => "shared",
        }
    }
}

/// A query that runs, at one moment.
#[derive(Clone, Debug)]
pub struct RunningQuery {
    /// What the client calls it; none where it said nothing.
    pub id: Option<String>,
    /// As queries are counted: `sql`, `flight`, `trace`, `traceql_search`, ….
    pub kind: &'static str,
    /// Whose rows it sees; none: every tenant's.
    pub tenant: Option<String>,
    /// What it does.
    pub state: QueryState,
    /// Since it came.
    pub elapsed: Duration,
    /// Rows that the plan at work has read or skipped.
    pub rows_read: u64,
    /// Rows that it has to read or skip.
    pub rows_to_read: u64,
    /// How much of everything is read, 0 to 1; none where that is not known.
    pub share: Option<f64>,
}

/// The queries of a node that have come and not ended. Admission bounds how many there are (I5).
pub(crate) struct Registry {
    clock: Arc<dyn Clock>,
    next: AtomicU64,
    queries: Mutex<BTreeMap<u64, Arc<Progress>>>,
}

impl Registry {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Registry> {
        Arc::new(Registry {
            clock,
            next: AtomicU64::new(0),
            queries: Mutex::default(),
        })
    }

    /// Lists a query as long as what this gives is there.
    pub(crate) fn enter(
        self: &Arc<Self>,
        kind: &'static str,
        id: Option<String>,
        tenant: Option<String>,
    ) -> Listed {
        let progress = Arc::new(Progress {
            id,
            kind,
            tenant,
            started: self.clock.monotonic(),
            now: Mutex::new(Now {
                state: QueryState::Waiting,
                part: (0.0, 1.0),
                leaves: Vec::new(),
                most: None,
            }),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.queries.lock().insert(number, Arc::clone(&progress));
        Listed {
            registry: Arc::clone(self),
            number,
            progress,
        }
    }

    /// All of them, those first that came first.
    pub(crate) fn all(&self) -> Vec<RunningQuery> {
        let queries: Vec<_> = self.queries.lock().values().cloned().collect();
        let now = self.clock.monotonic();
        queries.iter().map(|query| query.told(now)).collect()
    }
}

/// A query's place in the list.
pub(crate) struct Listed {
    registry: Arc<Registry>,
    number: u64,
    progress: Arc<Progress>,
}

impl Listed {
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.registry.queries.lock().remove(&self.number);
        // What the leaves hold goes with the query, whoever looks at its progress still.
        self.progress.now.lock().leaves.clear();
    }
}

/// How far a query is.
pub(crate) struct Progress {
    id: Option<String>,
    kind: &'static str,
    tenant: Option<String>,
    started: Duration,
    now: Mutex<Now>,
}

struct Now {
    state: QueryState,
    /// What the plan at work is of the whole: from one share to another.
    part: (f64, f64),
    leaves: Vec<Leaf>,
    /// The largest share that there was.
    most: Option<f64>,
}

/// Something that a plan reads.
enum Leaf {
    Files {
        scan: Arc<dyn ExecutionPlan>,
        count: Arc<ScanCount>,
        rows: u64,
    },
    Live {
        read: Arc<AtomicU64>,
        rows: u64,
    },
}

impl Progress {
    pub(crate) fn enter(&self, state: QueryState) {
        let mut now = self.now.lock();
        now.state = state;
        if state == QueryState::Shared {
            now.leaves.clear();
            now.most = None;
        }
    }

    /// What the next plans are of all that is read: from one share to another, 0 to 1.
    pub(crate) fn part(&self, from: f64, to: f64) {
        let mut now = self.now.lock();
        now.advance();
        now.leaves.clear();
        now.part = (from.clamp(0.0, 1.0), to.clamp(from.clamp(0.0, 1.0), 1.0));
        now.most = Some(now.most.unwrap_or(0.0).max(now.part.0));
    }

    /// This plan is read from now on, in place of the one before.
    pub(crate) fn read(&self, plan: &Arc<dyn ExecutionPlan>) {
        let leaves = leaves(plan);
        let mut now = self.now.lock();
        now.advance();
        now.state = QueryState::Reading;
        now.leaves = leaves;
    }

    fn told(&self, at: Duration) -> RunningQuery {
        let mut now = self.now.lock();
        let (rows_read, rows_to_read) = now.advance();
        RunningQuery {
            id: self.id.clone(),
            kind: self.kind,
            tenant: self.tenant.clone(),
            state: now.state,
            elapsed: at.saturating_sub(self.started),
            rows_read,
            rows_to_read,
            share: now.most,
        }
    }
}

impl Now {
    /// Takes in what was read meanwhile; gives the rows that are, and all there are.
    fn advance(&mut self) -> (u64, u64) {
        let (mut read, mut rows) = (0, 0);
        for leaf in &self.leaves {
            let (of, all) = leaf.read();
            read += of.min(all);
            rows += all;
        }
        if rows > 0 {
            let (from, to) = self.part;
            let share = from + (to - from) * (read as f64 / rows as f64);
            self.most = Some(self.most.unwrap_or(0.0).max(share));
        }
        (read, rows)
    }
}

impl Leaf {
    /// Rows that were read or skipped, and all.
    fn read(&self) -> (u64, u64) {
        match self {
            Leaf::Files { scan, count, rows } => (count.passed().max(decoded(scan)), *rows),
            Leaf::Live { read, rows } => (read.load(Ordering::Relaxed), *rows),
        }
    }
}

/// Rows that a scan of files has given, or left out once it had looked at them.
fn decoded(scan: &Arc<dyn ExecutionPlan>) -> u64 {
    let Some(metrics) = scan.metrics() else {
        return 0;
    };
    let rows = metrics.iter().map(|metric| match metric.value() {
        MetricValue::OutputRows(count) => count.value(),
        MetricValue::Count { name, count } if name == FILTERED_ROWS => count.value(),
        MetricValue::PruningMetrics {
            name,
            pruning_metrics,
        } if name == SKIPPED_ROWS => pruning_metrics.pruned(),
        _ => 0,
    });
    rows.sum::<usize>() as u64
}

fn leaves(plan: &Arc<dyn ExecutionPlan>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    // What cannot be walked is not told of.
    let _ = plan.apply(|node| {
        if let Some(source) = node.downcast_ref::<DataSourceExec>() {
            let source = source.data_source();
            if let Some(live) = source.downcast_ref::<LiveSource>() {
                leaves.push(Leaf::Live {
                    read: Arc::clone(live.read()),
                    rows: live.rows(),
                });
            } else if let Some(files) = source.downcast_ref::<FileScanConfig>() {
                let pieces = files.file_groups.iter().flat_map(FileGroup::iter);
                let counts =
                    pieces.filter_map(|piece| Some((piece.extension::<FileCount>()?, piece)));
                let (mut count, mut rows) = (None, 0);
                for (file, piece) in counts {
                    count.get_or_insert_with(|| Arc::clone(file.scan()));
                    rows += file.rows_of(piece);
                }
                leaves.extend(count.map(|count| Leaf::Files {
                    scan: Arc::clone(node),
                    count,
                    rows,
                }));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    leaves
}

#[cfg(test)]
mod files_test;
#[cfg(test)]
mod progress_test;
