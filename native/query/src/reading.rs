//! A read that is planned by another crate: plans over one table of one moment, as many as it takes,
//! with the admission, memory and time of one query.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use datafusion::datasource::provider_as_source;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use otlake_base::{Consistency, Missing, Result, Session, Table, Wanted};

use crate::engine::execute;
use crate::error::from_datafusion;
use crate::limited::Deadline;
use crate::progress::Progress;
use crate::table::LakeTable;

/// What is read, and how.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// What queries of this kind are counted as.
    pub kind: &'static str,
    /// What the client calls it.
    pub id: Option<String>,
    /// The table.
    pub table: Table,
    /// The tenant whose rows are seen; every tenant's where absent.
    pub tenant: Option<String>,
    /// How fresh.
    pub consistency: Consistency,
    /// Whether an answer may lack the rows of nodes that do not answer; it names them.
    pub partial: bool,
    /// A limit on milliseconds below the configured one.
    pub timeout_ms: Option<u64>,
    /// What of other nodes' live rows any of the plans needs: its times and columns.
    pub wanted: Wanted,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct ReadResult<T> {
    /// What the work made.
    pub value: T,
    /// The session token that covers what it saw, and what its own token covered.
    pub session: Session,
    /// Streams whose rows it may lack; none unless a partial answer was asked for.
    pub missing: Vec<Missing>,
}

/// Rows of some files, and when they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTimes {
    /// The least value of the time column, in ns; `i64::MIN` where unknown.
    pub least: i64,
    /// The greatest; `i64::MAX` where unknown.
    pub most: i64,
    /// Rows.
    pub rows: u64,
}

/// One table at one moment, for the length of one read.
pub struct Reading {
    state: SessionState,
    table: Arc<LakeTable>,
    batch_rows: Arc<AtomicUsize>,
    progress: Arc<Progress>,
    deadline: Deadline,
}

impl Reading {
    pub(crate) fn new(
        state: SessionState,
        table: Arc<LakeTable>,
        batch_rows: Arc<AtomicUsize>,
        progress: Arc<Progress>,
        deadline: Deadline,
    ) -> Reading {
        Reading {
            state,
            table,
            batch_rows,
            progress,
            deadline,
        }
    }

    pub(crate) fn table(&self) -> &LakeTable {
        &self.table
    }

    /// A scan of the table, to build a plan on.
    ///
    /// # Errors
    /// `QUERY_FAILED`.
    pub fn scan(&self) -> Result<LogicalPlanBuilder> {
        let name = self.table.table().name();
        let table: Arc<dyn datafusion::catalog::TableProvider> = self.table.clone();
        LogicalPlanBuilder::scan(name, provider_as_source(table), None)
            .map_err(|error| from_datafusion(&error))
    }

    /// Begins a plan; dropping its rows ends it.
    ///
    /// # Errors
    /// `QUERY_INVALID`, `QUERY_MEMORY`, `TABLE_IO` and others.
    pub async fn run(&self, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
        let state = &mut self.state.clone();
        execute(state, plan, &self.batch_rows, &self.progress).await
    }

    /// Tells what the plans that begin from now on are of all that this reads: from one share of it to
    /// another, 0 to 1.
    pub fn part(&self, (from, to): (f64, f64)) {
        self.progress.part(from, to);
    }

    /// Whether there is time left. Work that goes on for long without waiting for rows asks now and then:
    /// while it runs nothing else can end it.
    ///
    /// # Errors
    /// `QUERY_TIMEOUT`.
    pub fn in_time(&self) -> Result<()> {
        self.deadline.check()
    }

    /// The same, after others have had their turn on this thread.
    ///
    /// # Errors
    /// `QUERY_TIMEOUT`.
    pub async fn give_way(&self) -> Result<()> {
        tokio::task::yield_now().await;
        self.in_time()
    }

    /// What expressions are planned by.
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// An account of memory that is held beside the plans' own, in the pool of all queries.
    pub fn reservation(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.state.runtime_env().memory_pool)
    }

    /// The table's files at this moment.
    ///
    /// # Errors
    /// Those of the capture.
    pub fn file_times(&self) -> Result<Vec<FileTimes>> {
        let files = self.table.files()?.into_iter();
        let times = files.map(|file| FileTimes {
            least: file.min_time,
            most: file.max_time,
            rows: file.rows,
        });
        Ok(times.collect())
    }
}
