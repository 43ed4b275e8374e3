//! Traces by their ids.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::AsArray;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::collect;
use futures::{StreamExt, TryStreamExt, future};
use otlake_base::{Code, Consistency, Error, Moment, Result, Table, TableSource, Wanted};

use super::{QueryEngine, QueryRequest, QueryResult, planned, seen};
use crate::error::from_datafusion;
use crate::limited::{Account, Started};
use crate::table::LakeTable;
use crate::trace::{self, Lookup, TRACE_ID, TRACE_ID_BYTES, TraceForm};

/// A trace by its id, as queries are counted.
const TRACE: &str = "trace";
/// Batches that are read of the trace that is looked up at the start: those of most traces.
const BATCHES_AT_START: usize = 2;

impl QueryEngine {
    /// The rows of `spans` that a trace has, within the limits of any query; an empty stream where
    /// there are none. With `times`, nanoseconds since 1970, files without a span that began within
    /// them are left out; what is in no file yet is always looked at. Without, its whole past is.
    ///
    /// # Errors
    /// `QUERY_OVERLOADED`, `QUERY_TIMEOUT`, `QUERY_SESSION`, `TABLE_IO` and others; the stream
    /// gives those that come later.
    pub async fn trace(
        &self,
        trace_id: [u8; 16],
        tenant: Option<&str>,
        times: Option<(i64, i64)>,
        consistency: Consistency,
        partial: bool,
    ) -> Result<QueryResult> {
        let limits = (self.config.timeout_ms, self.config.max_rows);
        let started = self.start_trace((trace_id, times), tenant, (consistency, partial));
        let listed = self.registry.enter(TRACE, None, tenant.map(str::to_owned));
        self.limited(TRACE, listed, limits, started).await
    }

    /// Learns which files have which traces, and looks one up, so that the first question after a start waits
    /// neither for that nor for the parts of this module that nobody has used yet: the system reads those from
    /// the disk when they are needed first. What cannot be read is left to the lookup that needs it.
    pub async fn learn_traces(&self) {
        if let Err(error) = self.look_one_up().await {
            tracing::debug!(target: "otlake::query", "traces are learnt of later: {error}");
        }
    }

    async fn look_one_up(&self) -> Result<()> {
        let files_alone = (Consistency::Eventual, false);
        // Nobody's id asks for every file's filters, and for nothing else.
        let nobodys = ([0; TRACE_ID_BYTES], None);
        self.start_trace(nobodys, None, files_alone.clone()).await?;
        let Some(trace_id) = self.any_trace().await? else {
            return Ok(());
        };
        let started = self.start_trace((trace_id, None), None, files_alone);
        // Not more: a trace may be of any size.
        let rows = started.await?.rows.take(BATCHES_AT_START);
        let looked_at = rows.try_for_each(|_| future::ready(Ok(())));
        looked_at.await.map_err(|error| from_datafusion(&error))
    }

    /// The id of a trace that a file has; none where no file has rows.
    async fn any_trace(&self) -> Result<Option<[u8; TRACE_ID_BYTES]>> {
        let request = QueryRequest {
            sql: format!("SELECT {TRACE_ID} FROM {} LIMIT 1", Table::Spans.name()),
            consistency: Consistency::Eventual,
            ..QueryRequest::default()
        };
        let batch_rows = self.batch_rows();
        let (mut state, _) = self.session(&request, &batch_rows)?;
        let logical = self.plan(&state, &request.sql).await?;
        let plan = planned(&mut state, &logical, &batch_rows).await?;
        let rows = collect(plan, state.task_ctx()).await;
        let rows = rows.map_err(|error| from_datafusion(&error))?;
        let first = rows.iter().find(|batch| batch.num_rows() > 0);
        let ids = first.and_then(|batch| batch.column(0).as_fixed_size_binary_opt());
        Ok(ids.and_then(|ids| ids.value(0).try_into().ok()))
    }

    /// What `spans` holds now, for `keep_trace`; none where other nodes hold some of it, too.
    ///
    /// # Errors
    /// `QUERY_SESSION`.
    pub fn moment(&self, consistency: &Consistency) -> Result<Option<Moment>> {
        self.spans()?.moment(consistency)
    }

    /// A trace as it was answered before, where it still has no more and no fewer spans. It waits
    /// for nothing, and does not count among the queries that run.
    ///
    /// # Errors
    /// `QUERY_SESSION`.
    pub fn known_trace(
        &self,
        form: &TraceForm,
        consistency: &Consistency,
    ) -> Result<Option<Arc<[u8]>>> {
        let mut account = Account::new(TRACE, Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let moment = self.moment(consistency);
        let moment = moment.inspect_err(|error| account.end(Some(error)))?;
        let known = moment.and_then(|moment| self.answers.get(form, moment));
        match &known {
            Some(_) => account.end(None),
            // The query that is asked next counts.
            None => account.forget(),
        }
        Ok(known)
    }

    /// Keeps how a trace was answered; `moment` was taken before it was looked up.
    pub fn keep_trace(&self, form: TraceForm, moment: Moment, answer: &[u8]) {
        self.answers.keep(form, moment, answer);
    }

    fn spans(&self) -> Result<&Arc<dyn TableSource>> {
        let mut sources = self.sources.iter();
        sources
            .find(|source| source.table() == Table::Spans)
            .ok_or_else(|| Error::new(Code::Internal, "there is no table `spans`"))
    }

    async fn start_trace(
        &self,
        (trace_id, times): ([u8; 16], Option<(i64, i64)>),
        tenant: Option<&str>,
        freshness: (Consistency, bool),
    ) -> Result<Started> {
        let spans = self.spans()?;
        let batch_rows = self.batch_rows();
        let table = LakeTable::new(
            Arc::clone(spans),
            tenant.map(Arc::from),
            freshness,
            (Arc::clone(&self.reader), Arc::clone(&self.traces)),
            Arc::clone(&batch_rows),
        );
        if table.gathers() {
            let wanted = Wanted {
                trace_id: Some(trace_id),
                ..Wanted::default()
            };
            table.gather(wanted).await?;
        }
        let fail = |error| from_datafusion(&error);
        let candidates = trace::candidates(&table, &self.traces, &trace_id, times);
        let candidates = candidates.await.map_err(fail)?;
        let unread = candidates.iter().filter(|candidate| candidate.is_unread());
        let unread: Vec<_> = unread.map(|candidate| candidate.file).collect();
        table.fit_batches(&unread, None).await.map_err(fail)?;
        let lookup = Lookup {
            trace_id,
            batch_rows: batch_rows.load(Ordering::Relaxed),
            threads: self.config.partitions,
        };
        let scanning = || {
            let config = self.state.config().clone();
            let config = config.with_batch_size(lookup.batch_rows);
            TaskContext::from(&self.state).with_session_config(config)
        };
        let stream = trace::rows(&table, &self.traces, lookup, candidates, scanning);
        let stream = stream.map_err(fail)?;
        let (seen, missing) = seen([&table]);
        Ok(Started {
            rows: stream,
            held: Box::new(table),
            seen,
            missing,
        })
    }
}
