//! Runs queries within their limits.
//!
//! - `lookups`: traces by their ids.

mod lookups;

#[cfg(test)]
mod engine_test;

use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};
use bytes::Bytes;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::Stream;
use futures::future::try_join_all;
use object_store::ObjectStore;
use otlake_base::limits::FOOTERS_BYTES;
use otlake_base::{
    Clock, Code, Consistency, Error, Metrics, Missing, Result, Session, TableSource,
};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::distributed::{Distribution, Parts, Query, Wire, Workers};
use crate::error::{from_datafusion, near};
use crate::groups::by_codes;
use crate::limited::{Account, Deadline, Limited, Started, within};
use crate::local::LocalFiles;
use crate::memory::Share;
use crate::progress::{Listed, Progress, QueryState, Registry, RunningQuery};
use crate::reader::CheckedReaderFactory;
use crate::reading::{ReadRequest, ReadResult, Reading};
use crate::statement::{self, Parameters};
use crate::syntax;
use crate::table::LakeTable;
use crate::trace::{TraceAnswers, TraceIndex};
use crate::wanted::wanted;

/// The catalog's name in SQL and Flight SQL.
pub(crate) const CATALOG: &str = "otlake";
/// The schema that holds every table.
pub(crate) const SCHEMA: &str = "public";
/// Consumers that an exhausted pool names.
const TOP_CONSUMERS: NonZeroUsize = NonZeroUsize::new(3).unwrap();
/// Filters decide row by row inside the Parquet reader, so that columns of rows that do not
/// match are not decoded.
const PUSHDOWN_FILTERS: bool = true;

/// Bytes of a file's end in a store that one request reads for its footer: most footers.
const FOOTER_BYTES: usize = 64 * 1024;

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
    /// Bytes of files to scan from which on a query is shared with other nodes; 0: every query that
    /// scans files.
    pub distribute_bytes: u64,
    /// Filters of trace ids that are kept in memory, in bytes.
    pub trace_filters_bytes: usize,
}

/// A query.
#[derive(Clone, Debug, Default)]
pub struct QueryRequest {
    /// What the client calls it, to ask how far it is.
    pub id: Option<String>,
    /// One statement.
    pub sql: String,
    /// Values for `$1`, `$2`, …: strings, numbers, booleans, nulls.
    pub parameters: Vec<serde_json::Value>,
    /// The tenant whose rows are seen; every tenant's where absent.
    pub tenant: Option<String>,
    /// How fresh.
    pub consistency: Consistency,
    /// Whether an answer may lack the rows of nodes that do not answer; it names them.
    pub partial: bool,
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
    /// The session token that covers what it shows, and what its own token covered.
    pub session: Session,
    /// Streams whose rows it may lack; none unless a partial answer was asked for.
    pub missing: Vec<Missing>,
}

/// Answers queries.
pub struct QueryEngine {
    config: QueryConfig,
    sources: Vec<Arc<dyn TableSource>>,
    /// Functions, rules and settings; each query adds its tables to a copy.
    state: SessionState,
    runtime: Arc<RuntimeEnv>,
    reader: Arc<dyn ParquetFileReaderFactory>,
    traces: Arc<TraceIndex>,
    answers: TraceAnswers,
    admission: Admission,
    /// Those that have come and not ended.
    registry: Arc<Registry>,
    /// Among other nodes: what queries are shared through.
    distribution: RwLock<Option<Arc<Distribution>>>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl QueryEngine {
    /// An engine over `sources`, whose files are the machine's.
    ///
    /// # Errors
    /// `QUERY_FAILED` where `temp_dir` is of no use.
    pub fn new(
        config: QueryConfig,
        sources: Vec<Arc<dyn TableSource>>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<QueryEngine>> {
        let files = (Arc::new(LocalFiles::new()) as _, None);
        Self::built(config, sources, files, clock, metrics)
    }

    /// As `new`, with files in a store, where each request costs time and money: a key is a file's
    /// path without its first slash.
    ///
    /// # Errors
    /// As `new`.
    pub fn over(
        config: QueryConfig,
        sources: Vec<Arc<dyn TableSource>>,
        files: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<QueryEngine>> {
        let files = (files, Some(FOOTER_BYTES));
        Self::built(config, sources, files, clock, metrics)
    }

    fn built(
        config: QueryConfig,
        sources: Vec<Arc<dyn TableSource>>,
        (files, footer_bytes): (Arc<dyn ObjectStore>, Option<usize>),
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<QueryEngine>> {
        let fail = |error| Error::new(Code::QueryFailed, error);
        let pool = TrackConsumersPool::new(FairSpillPool::new(config.memory_bytes), TOP_CONSUMERS);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_temp_file_path(&config.temp_dir)
            .with_metadata_cache_limit(FOOTERS_BYTES)
            .build_arc()
            .map_err(fail)?;
        let reader = Arc::new(CheckedReaderFactory::new(
            files,
            footer_bytes,
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
        let builder = SessionStateBuilder::new_with_default_features()
            .with_config(session)
            .with_runtime_env(Arc::clone(&runtime));
        let state = syntax::speaking(builder).map_err(fail)?;
        Ok(Arc::new(QueryEngine {
            admission: Admission::new(&config, Arc::clone(&metrics)),
            registry: Registry::new(Arc::clone(&clock)),
            traces: Arc::new(TraceIndex::new(config.trace_filters_bytes)),
            config,
            sources,
            state,
            runtime,
            reader,
            answers: TraceAnswers::new(),
            distribution: RwLock::default(),
            clock,
            metrics,
        }))
    }

    /// From here on, queries that scan much are shared with these nodes, and tasks of theirs are taken.
    pub fn join(&self, workers: Arc<dyn Workers>) {
        let parts = Parts {
            runtime: Arc::clone(&self.runtime),
            reader: Arc::clone(&self.reader),
            sources: self.sources.clone(),
            metrics: Arc::clone(&self.metrics),
            distribute_bytes: self.config.distribute_bytes,
        };
        *self.distribution.write() = Some(Distribution::new(workers, parts));
    }

    /// Does tasks of another node's queries, which come through `wire`, until that ends; `head` is what
    /// that node opened it with.
    ///
    /// # Errors
    /// `QUERY_OVERLOADED` where this node is among no others; `PEER_REFUSED` where the other one is of
    /// another version.
    pub async fn serve(&self, head: Bytes, wire: Wire) -> Result<()> {
        let distribution = self.distribution();
        let distribution = distribution.ok_or_else(|| {
            let what = "the node does no tasks of other nodes' queries now";
            Error::new(Code::QueryOverloaded, what)
        })?;
        distribution.serve(&head, wire).await
    }

    /// The queries that have come to this node and not ended, the oldest first.
    pub fn running_queries(&self) -> Vec<RunningQuery> {
        self.registry.all()
    }

    /// Its part among other nodes.
    pub(crate) fn distribution(&self) -> Option<Arc<Distribution>> {
        self.distribution.read().clone()
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

    /// Runs a statement for the interface `kind`.
    pub(crate) async fn run(
        &self,
        kind: &'static str,
        request: QueryRequest,
        parameters: Parameters,
    ) -> Result<QueryResult> {
        let timeout_ms = smaller(self.config.timeout_ms, request.timeout_ms);
        let max_rows = smaller(self.config.max_rows, request.max_rows);
        let (id, tenant) = (request.id.clone(), request.tenant.clone());
        let listed = self.registry.enter(kind, id, tenant);
        let progress = Arc::clone(listed.progress());
        let started = self.start(&request, parameters, &progress);
        let limits = (timeout_ms, max_rows);
        self.limited(kind, listed, limits, started).await
    }

    /// Runs what `start` begins within the limits.
    async fn limited(
        &self,
        kind: &'static str,
        listed: Listed,
        (timeout_ms, max_rows): (u64, usize),
        start: impl Future<Output = Result<Started>>,
    ) -> Result<QueryResult> {
        let metrics = Arc::clone(&self.metrics);
        let mut account = Account::new(kind, Arc::clone(&self.clock), metrics);
        let pass = self.admission.enter().await;
        let pass = pass.inspect_err(|error| account.end(Some(error)))?;
        listed.progress().enter(QueryState::Planning);
        // It runs from here, so that planning and reading share one time.
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let started = within(timeout_ms, start).await;
        let started = started.inspect_err(|error| account.end(Some(error)))?;
        Ok(QueryResult {
            schema: started.rows.schema(),
            session: started.seen.clone(),
            missing: started.missing.clone(),
            stream: Box::pin(Limited::new(
                (started, pass, listed),
                (deadline, timeout_ms),
                max_rows,
                account,
            )),
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
            let (state, _) = self.session(request, &self.batch_rows())?;
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

    /// Does `work` on what the engine reads for it: admitted, timed and counted as a query.
    ///
    /// # Errors
    /// Those of `work`, and `QUERY_OVERLOADED`, `QUERY_TIMEOUT`, `QUERY_SESSION`,
    /// `QUERY_INCOMPLETE` and others.
    pub async fn read<T, F>(
        &self,
        request: ReadRequest,
        work: impl FnOnce(Arc<Reading>) -> F,
    ) -> Result<ReadResult<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let timeout_ms = smaller(self.config.timeout_ms, request.timeout_ms);
        let metrics = Arc::clone(&self.metrics);
        let mut account = Account::new(request.kind, Arc::clone(&self.clock), metrics);
        let tenant = request.tenant.clone();
        let listed = self
            .registry
            .enter(request.kind, request.id.clone(), tenant);
        let pass = self.admission.enter().await;
        let _pass = pass.inspect_err(|error| account.end(Some(error)))?;
        listed.progress().enter(QueryState::Planning);
        let deadline = Deadline::new(Arc::clone(&self.clock), timeout_ms);
        let whole = async {
            let batch_rows = self.batch_rows();
            let as_query = QueryRequest {
                tenant: request.tenant,
                consistency: request.consistency,
                partial: request.partial,
                ..QueryRequest::default()
            };
            let (state, tables) = self.session(&as_query, &batch_rows)?;
            let table = tables
                .into_iter()
                .find(|table| table.table() == request.table);
            let table = table.ok_or_else(|| {
                let message = format!("there is no table `{}`", request.table.name());
                Error::new(Code::Internal, message)
            })?;
            table.gather(request.wanted).await?;
            let reading = Arc::new(Reading::new(
                state,
                table,
                batch_rows,
                Arc::clone(listed.progress()),
                deadline,
            ));
            let value = work(Arc::clone(&reading)).await?;
            // What is done in one go is done before the timer is looked at.
            reading.in_time()?;
            let (session, missing) = seen([reading.table()]);
            Ok(ReadResult {
                value,
                session,
                missing,
            })
        };
        let result = within(timeout_ms, whole).await;
        account.end(result.as_ref().err());
        result
    }

    /// The time of one query.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    /// Rows of a batch, which the tables that a query reads make fewer where rows are wide.
    fn batch_rows(&self) -> Arc<AtomicUsize> {
        Arc::new(AtomicUsize::new(self.state.config().batch_size()))
    }

    /// The tables, in order of their names' declaration.
    pub(crate) fn sources(&self) -> &[Arc<dyn TableSource>] {
        &self.sources
    }

    async fn plan(&self, state: &SessionState, sql: &str) -> Result<LogicalPlan> {
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
        progress: &Progress,
    ) -> Result<Started> {
        let batch_rows = self.batch_rows();
        let (mut state, tables) = self.session(request, &batch_rows)?;
        let logical = self.plan(&state, &request.sql).await?;
        let logical = statement::bind(logical, parameters)?;
        let fail = |error| from_datafusion(&error);
        if tables.iter().any(|table| table.gathers()) {
            let optimized = state.optimize(&logical).map_err(fail)?;
            let wanted = wanted(&optimized).map_err(fail)?;
            let gatherings = wanted.into_iter().filter_map(|(of, wanted)| {
                let table = tables.iter().find(|table| table.table() == of)?;
                Some(table.gather(wanted))
            });
            try_join_all(gatherings).await?;
        }
        let plan = planned(&mut state, &logical, &batch_rows).await?;
        let planned = (&state, &logical, plan);
        let stream = self.running(request, planned, progress).await?;
        let (seen, missing) = seen(tables.iter().map(|table| &**table));
        Ok(Started {
            rows: stream,
            held: Box::new(Arc::clone(state.catalog_list())),
            seen,
            missing,
        })
    }

    /// Begins a query that was planned for this node: over many, where that is worth it.
    async fn running(
        &self,
        request: &QueryRequest,
        (state, logical, mut plan): (&SessionState, &LogicalPlan, Arc<dyn ExecutionPlan>),
        progress: &Progress,
    ) -> Result<SendableRecordBatchStream> {
        if let Some(distribution) = self.distribution() {
            let timeout = smaller(self.config.timeout_ms, request.timeout_ms);
            let query = Query {
                state,
                logical,
                deadline: Instant::now() + Duration::from_millis(timeout),
                memory_bytes: request.memory_bytes,
            };
            if distribution.is_worth(&plan) {
                progress.enter(QueryState::Shared);
                if let Some(rows) = distribution.run(query).await? {
                    return Ok(rows);
                }
            }
            let explained = distribution.explained(&query, &plan).await;
            if let Some(explained) = explained.map_err(|error| from_datafusion(&error))? {
                plan = explained;
            }
        }
        begun(plan, state, progress)
    }

    /// A session that sees the tables as the request may.
    fn session(
        &self,
        request: &QueryRequest,
        batch_rows: &Arc<AtomicUsize>,
    ) -> Result<(SessionState, Vec<Arc<LakeTable>>)> {
        let fail = |error| from_datafusion(&error);
        let tenant: Option<Arc<str>> = request.tenant.as_deref().map(Arc::from);
        let tables = MemorySchemaProvider::new();
        let mut lake = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let table = LakeTable::new(
                Arc::clone(source),
                tenant.clone(),
                (request.consistency.clone(), request.partial),
                (Arc::clone(&self.reader), Arc::clone(&self.traces)),
                Arc::clone(batch_rows),
            );
            let table = Arc::new(table);
            lake.push(Arc::clone(&table));
            tables
                .register_table(source.table().name().to_owned(), table)
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
        Ok((state, lake))
    }
}

/// Plans and begins in a session, on this node.
pub(crate) async fn execute(
    state: &mut SessionState,
    logical: &LogicalPlan,
    batch_rows: &AtomicUsize,
    progress: &Progress,
) -> Result<SendableRecordBatchStream> {
    let plan = planned(state, logical, batch_rows).await?;
    begun(plan, state, progress)
}

fn begun(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    progress: &Progress,
) -> Result<SendableRecordBatchStream> {
    let fail = |error| from_datafusion(&error);
    progress.read(&plan);
    let plan = by_codes(plan).and_then(yielding).map_err(fail)?;
    execute_stream(plan, state.task_ctx()).map_err(fail)
}

async fn planned(
    state: &mut SessionState,
    logical: &LogicalPlan,
    batch_rows: &AtomicUsize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let fail = |error| from_datafusion(&error);
    let mut plan = state.create_physical_plan(logical).await.map_err(fail)?;
    let rows = batch_rows.load(Ordering::Relaxed);
    if rows < state.config().batch_size() {
        // The files that it turned out to read have wide rows: every operator is to take
        // fewer of them at a time.
        *state.config_mut() = state.config().clone().with_batch_size(rows);
        plan = state.create_physical_plan(logical).await.map_err(fail)?;
    }
    Ok(plan)
}

/// What an answer may lack, as the header `otlake-partial` names it.
pub fn named(missing: &[Missing]) -> String {
    let names: Vec<String> = missing.iter().map(Missing::to_string).collect();
    names.join(", ")
}

/// What a query has seen of its tables, and what it may lack.
fn seen<'a>(tables: impl IntoIterator<Item = &'a LakeTable>) -> (Session, Vec<Missing>) {
    let (mut seen, mut missing) = (Session::default(), Vec::<Missing>::new());
    for (session, lacks) in tables.into_iter().filter_map(LakeTable::seen) {
        seen.merge(session);
        for lack in lacks {
            if !missing.contains(lack) {
                missing.push(lack.clone());
            }
        }
    }
    (seen, missing)
}

/// Makes operators that can produce far more than they read give way now and then. DataFusion
/// yields where it reads, which such an operator no longer does: without this, a large join
/// would see neither its time-out nor its cancellation.
pub(crate) fn yielding(
    plan: Arc<dyn ExecutionPlan>,
) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
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
