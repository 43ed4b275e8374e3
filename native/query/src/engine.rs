//! Runs queries within their limits.

use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{
    FunctionRegistry, SendableRecordBatchStream, SessionStateDefaults, TaskContext,
};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::{FutureExt, Stream};
use otlake_base::{Clock, Code, Consistency, Error, Metrics, Result, Table, TableSource};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admission::{Admission, Pass};
use crate::error::{from_datafusion, near};
use crate::memory::Share;
use crate::reader::CheckedReaderFactory;
use crate::statement::{self, Parameters};
use crate::syntax::{Ids, Syntax};
use crate::table::LakeTable;
use crate::{functions, trace};

/// The catalog's name in SQL and Flight SQL.
pub(crate) const CATALOG: &str = "otlake";
/// The schema that holds every table.
pub(crate) const SCHEMA: &str = "public";
/// Consumers that an exhausted pool names.
const TOP_CONSUMERS: NonZeroUsize = NonZeroUsize::new(3).unwrap();
/// Filters decide row by row inside the Parquet reader, so that columns of rows that do not
/// match are not decoded.
const PUSHDOWN_FILTERS: bool = true;

/// Operators whose output is not bounded by their input.
const MULTIPLYING: [&str; 7] = [
    "CrossJoinExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "RecursiveQueryExec",
    "SortMergeJoinExec",
    "WorkTableExec",
];

/// What queries may take.
#[derive(Clone, Debug)]
pub struct QueryConfig {
    /// Memory of all queries together, in bytes.
    pub memory_bytes: usize,
    /// Rows of one answer.
    pub max_rows: usize,
    /// Time of one query, in milliseconds.
    pub timeout_ms: u64,
    /// Queries at once.
    pub concurrency: usize,
    /// Queries that wait for others to end.
    pub queue: usize,
    /// How long each waits, in milliseconds.
    pub queue_ms: u64,
    /// Where sorts and joins spill to.
    pub temp_dir: PathBuf,
    /// Partitions that one query runs in, at most.
    pub partitions: usize,
}

/// A query.
#[derive(Clone, Debug, Default)]
pub struct QueryRequest {
    /// One statement.
    pub sql: String,
    /// Values for `$1`, `$2`, …: strings, numbers, booleans, nulls.
    pub parameters: Vec<serde_json::Value>,
    /// The tenant whose rows are seen; every tenant's where absent.
    pub tenant: Option<String>,
    /// How fresh.
    pub consistency: Consistency,
    /// A limit on rows below the configured one.
    pub max_rows: Option<usize>,
    /// A limit on milliseconds below the configured one.
    pub timeout_ms: Option<u64>,
    /// A limit on bytes below the configured one.
    pub memory_bytes: Option<usize>,
}

/// Batches of an answer; dropping it ends the query.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// An answer that has begun.
pub struct QueryResult {
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub stream: BatchStream,
}

/// Answers queries.
pub struct QueryEngine {
    config: QueryConfig,
    sources: Vec<Arc<dyn TableSource>>,
    /// Functions, rules and settings; each query adds its tables to a copy.
    state: SessionState,
    runtime: Arc<RuntimeEnv>,
    reader: Arc<dyn ParquetFileReaderFactory>,
    admission: Admission,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl QueryEngine {
    /// An engine over `sources`.
    ///
    /// # Errors
    /// `QUERY_FAILED` where `temp_dir` is of no use.
    pub fn new(
        config: QueryConfig,
        sources: Vec<Arc<dyn TableSource>>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<QueryEngine>> {
        let fail = |error| Error::new(Code::QueryFailed, error);
        let pool = TrackConsumersPool::new(FairSpillPool::new(config.memory_bytes), TOP_CONSUMERS);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_temp_file_path(&config.temp_dir)
            .build_arc()
            .map_err(fail)?;
        let reader = Arc::new(CheckedReaderFactory::new(
            runtime.cache_manager.get_file_metadata_cache(),
            Arc::clone(&metrics),
        ));
        let mut session = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true)
            .with_target_partitions(config.partitions.max(1));
        let parquet = &mut session.options_mut().execution.parquet;
        parquet.pushdown_filters = PUSHDOWN_FILTERS;
        parquet.reorder_filters = PUSHDOWN_FILTERS;
        let mut planners = SessionStateDefaults::default_expr_planners();
        planners.insert(0, Arc::new(Syntax));
        let mut state = SessionStateBuilder::new_with_default_features()
            .with_config(session)
            .with_runtime_env(Arc::clone(&runtime))
            .with_expr_planners(planners)
            .build();
        for function in functions::all() {
            state.register_udf(Arc::new(function)).map_err(fail)?;
        }
        state
            .register_function_rewrite(Arc::new(Ids))
            .map_err(fail)?;
        Ok(Arc::new(QueryEngine {
            admission: Admission::new(&config, Arc::clone(&metrics)),
            config,
            sources,
            state,
            runtime,
            reader,
            clock,
            metrics,
        }))
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// Those of planning and of the first rows: `QUERY_INVALID`, `QUERY_PARAMETERS`,
    /// `QUERY_NOT_READ_ONLY`, `QUERY_OVERLOADED`, `QUERY_TIMEOUT`, `QUERY_SESSION` and others; the
    /// stream gives those that come later.
    pub async fn query(&self, request: QueryRequest) -> Result<QueryResult> {
        let parameters = Parameters::Json(request.parameters.clone());
        self.run("sql", request, parameters).await
    }

    /// The rows of `spans` that a trace has, from its whole past.
    ///
    /// # Errors
    /// `QUERY_OVERLOADED`, `QUERY_TIMEOUT`, `QUERY_SESSION`, `TABLE_IO` and others.
    pub async fn trace(
        &self,
        trace_id: [u8; 16],
        tenant: Option<&str>,
        consistency: Consistency,
    ) -> Result<Vec<RecordBatch>> {
        let mut account = self.account("trace");
        let found = self.trace_rows(trace_id, tenant, consistency).await;
        account.end(found.as_ref().err());
        found
    }

    async fn trace_rows(
        &self,
        trace_id: [u8; 16],
        tenant: Option<&str>,
        consistency: Consistency,
    ) -> Result<Vec<RecordBatch>> {
        let _pass = self.admission.enter().await?;
        let spans = self
            .sources
            .iter()
            .find(|source| source.table() == Table::Spans)
            .ok_or_else(|| Error::new(Code::Internal, "there is no table `spans`"))?;
        let tenant = tenant.map(Arc::from);
        let table = LakeTable::new(
            Arc::clone(spans),
            tenant,
            consistency,
            Arc::clone(&self.reader),
        );
        let context = Arc::new(TaskContext::from(&self.state));
        let work = async {
            trace::rows(&table, trace_id, self.config.partitions, context)
                .await
                .map_err(|error| from_datafusion(&error))
        };
        within(self.config.timeout_ms, work).await
    }

    /// Runs a statement for the interface `kind`.
    pub(crate) async fn run(
        &self,
        kind: &'static str,
        request: QueryRequest,
        parameters: Parameters,
    ) -> Result<QueryResult> {
        let mut account = self.account(kind);
        let timeout_ms = smaller(self.config.timeout_ms, request.timeout_ms);
        let max_rows = smaller(self.config.max_rows, request.max_rows);
        let pass = self.admission.enter().await;
        let pass = pass.inspect_err(|error| account.end(Some(error)))?;
        // It runs from here, so that planning and reading share one time.
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let started = within(timeout_ms, self.start(&request, parameters)).await;
        let (stream, tables) = started.inspect_err(|error| account.end(Some(error)))?;
        let schema = stream.schema();
        let running = Arc::new(Mutex::new(Some((stream, (pass, tables)))));
        // A reader that has stopped reading never asks for more, so the deadline does not wait
        // to be asked: what the query holds goes to others.
        let (ended, overdue) = (CancellationToken::new(), Arc::clone(&running));
        let guard = ended.clone().drop_guard();
        tokio::spawn(async move {
            tokio::select! {
                () = sleep_until(deadline) => drop(overdue.lock().take()),
                () = ended.cancelled() => {}
            }
        });
        Ok(QueryResult {
            schema,
            stream: Box::pin(Limited {
                running,
                deadline: Box::pin(sleep_until(deadline)),
                _guard: guard,
                ended: false,
                timeout_ms,
                rows: 0,
                max_rows,
                account,
            }),
        })
    }

    /// The columns of a statement's answer and the types of its parameters. A column's type can
    /// follow from a parameter's alone (`SELECT $1`), so the values count once they are bound.
    pub(crate) async fn describe(
        &self,
        request: &QueryRequest,
        bound: Option<Vec<ScalarValue>>,
    ) -> Result<(SchemaRef, Vec<Option<FieldRef>>)> {
        let work = async {
            let state = self.session(request)?;
            let plan = self.plan(&state, &request.sql).await?;
            let parameters = statement::parameters(&plan)?;
            let plan = match bound {
                Some(values) => statement::bind(plan, Parameters::Scalars(values))?,
                None => plan,
            };
            let plan = state
                .optimize(&plan)
                .map_err(|error| from_datafusion(&error))?;
            Ok((Arc::clone(plan.schema().inner()), parameters))
        };
        let _pass = self.admission.enter().await?;
        within(self.config.timeout_ms, work).await
    }

    /// The tables, in order of their names' declaration.
    pub(crate) fn sources(&self) -> &[Arc<dyn TableSource>] {
        &self.sources
    }

    async fn plan(
        &self,
        state: &SessionState,
        sql: &str,
    ) -> Result<datafusion::logical_expr::LogicalPlan> {
        statement::plan(state, sql).await.map_err(|mut error| {
            // DataFusion says which table there is not, but not which there are.
            if let Some(name) = error.message.strip_prefix("table '")
                && let Some(name) = name.strip_suffix("' not found")
            {
                let name = name.rsplit('.').next().unwrap_or(name);
                let names = self.sources.iter().map(|source| source.table().name());
                let near = near(name, names.clone());
                error.message = match near.is_empty() {
                    true => format!(
                        "there is no table `{name}`; the tables are {}",
                        names.collect::<Vec<_>>().join(", ")
                    ),
                    false => format!(
                        "there is no table `{name}`; near names are {}",
                        near.join(", ")
                    ),
                };
            }
            error
        })
    }

    async fn start(
        &self,
        request: &QueryRequest,
        parameters: Parameters,
    ) -> Result<(SendableRecordBatchStream, Arc<dyn CatalogProviderList>)> {
        let state = self.session(request)?;
        let plan = self.plan(&state, &request.sql).await?;
        let plan = statement::bind(plan, parameters)?;
        let fail = |error| from_datafusion(&error);
        let plan = state.create_physical_plan(&plan).await.map_err(fail)?;
        let plan = yielding(plan).map_err(fail)?;
        let stream = execute_stream(plan, state.task_ctx()).map_err(fail)?;
        Ok((stream, Arc::clone(state.catalog_list())))
    }

    /// A session that sees the tables as the request may.
    fn session(&self, request: &QueryRequest) -> Result<SessionState> {
        let fail = |error| from_datafusion(&error);
        let tenant: Option<Arc<str>> = request.tenant.as_deref().map(Arc::from);
        let tables = MemorySchemaProvider::new();
        for source in &self.sources {
            let table = LakeTable::new(
                Arc::clone(source),
                tenant.clone(),
                request.consistency.clone(),
                Arc::clone(&self.reader),
            );
            tables
                .register_table(source.table().name().to_owned(), Arc::new(table))
                .map_err(fail)?;
        }
        let catalog = MemoryCatalogProvider::new();
        catalog
            .register_schema(SCHEMA, Arc::new(tables))
            .map_err(fail)?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let mut state = self.state.clone();
        if let Some(bytes) = request.memory_bytes {
            let mut runtime = RuntimeEnv::clone(&self.runtime);
            let pool = Arc::clone(&self.runtime.memory_pool);
            runtime.memory_pool = Arc::new(Share::new(pool, bytes));
            state = SessionStateBuilder::new_from_existing(state)
                .with_runtime_env(Arc::new(runtime))
                .build();
        }
        state.register_catalog_list(Arc::new(catalogs));
        state.mark_start_execution();
        Ok(state)
    }

    fn account(&self, kind: &'static str) -> Account {
        Account {
            kind,
            started: self.clock.monotonic(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            open: true,
        }
    }
}

/// Makes operators that can produce far more than they read give way now and then. DataFusion
/// yields where it reads, which such an operator no longer does: without this, a large join
/// would see neither its time-out nor its cancellation.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    let yielding = plan.transform_up(|node| {
        Ok(if MULTIPLYING.contains(&node.name()) {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(node)
        })
    })?;
    Ok(yielding.data)
}

fn smaller<T: Ord + Copy>(configured: T, asked: Option<T>) -> T {
    asked.map_or(configured, |asked| asked.min(configured))
}

fn timed_out(timeout_ms: u64) -> Error {
    Error::new(
        Code::QueryTimeout,
        format!("the query ran for {timeout_ms} ms"),
    )
}

fn panicked() -> Error {
    Error::new(Code::QueryFailed, "the query's execution panicked")
}

/// Runs `work` for at most `timeout_ms`; a panic in it becomes an error.
async fn within<T>(timeout_ms: u64, work: impl Future<Output = Result<T>>) -> Result<T> {
    let work = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(Duration::from_millis(timeout_ms), work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(panicked()),
        Err(_) => Err(timed_out(timeout_ms)),
    }
}

/// Tells the metrics how a query ended, once.
struct Account {
    kind: &'static str,
    started: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    open: bool,
}

impl Account {
    fn end(&mut self, error: Option<&Error>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let outcome = error.map_or("ok", |error| error.kind().name());
        let labels = vec![("kind", self.kind), ("outcome", outcome)];
        self.metrics.queries.get_or_create(&labels).inc();
        let elapsed = self.clock.monotonic().saturating_sub(self.started);
        self.metrics
            .query_seconds
            .get_or_create(&vec![("kind", self.kind)])
            .observe(elapsed.as_secs_f64());
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let cancelled = Error::new(Code::QueryCancelled, "the answer was dropped");
        self.end(Some(&cancelled));
    }
}

/// What a running query keeps: its place among those at once, and the tables whose files it
/// reads, which nobody deletes before it ends.
type Held = (Pass, Arc<dyn CatalogProviderList>);

/// A running query; none once it is over, which stops what still runs and lets the next one in.
type Running = Arc<Mutex<Option<(SendableRecordBatchStream, Held)>>>;

/// A stream of batches that ends with an error at a limit.
struct Limited {
    running: Running,
    /// Wakes a reader that waits for rows.
    deadline: Pin<Box<Sleep>>,
    /// Ends the other wait for the deadline.
    _guard: DropGuard,
    /// Nothing more comes.
    ended: bool,
    timeout_ms: u64,
    rows: usize,
    max_rows: usize,
    account: Account,
}

impl Limited {
    fn fail(&mut self, error: Error) -> Poll<Option<Result<RecordBatch>>> {
        self.end(Some(&error));
        Poll::Ready(Some(Err(error)))
    }

    fn end(&mut self, error: Option<&Error>) {
        self.ended = true;
        drop(self.running.lock().take());
        self.account.end(error);
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        drop(self.running.lock().take());
    }
}

impl Stream for Limited {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.deadline.as_mut().poll(context).is_ready() {
            let error = timed_out(this.timeout_ms);
            return this.fail(error);
        }
        let mut running = this.running.lock();
        let polled = running.as_mut().map(|(stream, _)| {
            catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_next(context)))
        });
        drop(running);
        let Some(polled) = polled else {
            let error = timed_out(this.timeout_ms);
            return this.fail(error);
        };
        let Ok(polled) = polled else {
            return this.fail(panicked());
        };
        match ready!(polled) {
            Some(Ok(batch)) => {
                this.rows += batch.num_rows();
                if this.rows > this.max_rows {
                    let error = Error::new(
                        Code::QueryTooManyRows,
                        format!("the answer has more than {} rows", this.max_rows),
                    );
                    return this.fail(error);
                }
                Poll::Ready(Some(Ok(batch)))
            }
            Some(Err(error)) => this.fail(from_datafusion(&error)),
            None => {
                this.end(None);
                Poll::Ready(None)
            }
        }
    }
}
