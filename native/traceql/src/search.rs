//! Search: the newest traces with spansets that pass, as `tempopb.SearchResponse`.
//!
//! ```text
//!  window --> candidates, the newest first --> chunks of them --> pipeline --> shown, up to the limit
//!    ^________________________ older ______________________________|  not enough
//! ```

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use otlake_base::Result;
use otlake_base::limits::{TRACEQL_CHUNK_TRACES, TRACEQL_SEARCH_SPANS, TRACEQL_SEARCH_TRACES};
use otlake_query::{QueryEngine, to_hex};
use serde_json::{Value as Json, json};

use crate::Answer;
use crate::candidates::{Candidates, extent};
use crate::chunk::{Chunk, ids, longs, named, own_columns};
use crate::columns::columns_of;
use crate::json::{any_value, written};
use crate::pipeline::{Pipeline, Set, key_values};
use crate::request::{SearchRequest, parse, within};
use crate::spans::{Spans, of_part};

/// What searches are counted as.
const KIND: &str = "traceql_search";
/// Traces of the first chunk, where some may turn out not to pass.
const FIRST_CHUNK: usize = 64;
/// How many times larger each chunk is than the one before.
const GROWTH: usize = 4;
/// A status as OTLP numbers it.
const ERROR: i32 = 2;
/// What stands for the root's service where no root is stored.
const NO_ROOT: &str = "<root span not yet received>";

/// Traces that have spansets of a query. `request` is `TraceqlScope & { query, limit,
/// spansPerSpanset, mostRecent }` as JSON. The newest come first; only where `mostRecent` says so is
/// it made sure that there are no newer ones than those, which can take longer.
///
/// # Errors
/// `TRACEQL_REQUEST`, `TRACEQL_TYPE`, `TRACEQL_REGEX`, `TRACEQL_TOO_LARGE`, and those of queries.
pub async fn search(engine: &QueryEngine, request: &str) -> Result<Answer> {
    let request: SearchRequest = parse(request)?;
    let limit = within(request.limit, TRACEQL_SEARCH_TRACES, "traces")?;
    let spans_shown = match request.spans_per_spanset {
        0 => TRACEQL_SEARCH_SPANS,
        asked => within(asked, TRACEQL_SEARCH_SPANS, "spans of a spanset")?,
    };
    if request.query.metrics.is_some() {
        return Err(crate::invalid(
            "the query makes series: ask for them, not for traces",
        ));
    }
    let pipeline = Pipeline::new(&request.query, true)?;
    let times = request.scoped.times()?;
    let columns = pipeline.columns.of_table().into_iter();
    let columns = columns.chain(own_columns().map(str::to_owned));
    let columns = columns.chain(pipeline.leaves.iter().flat_map(columns_of));
    let around = times.around();
    let read = request.scoped.read(KIND, around, columns)?;
    let result = engine
        .read(read, |reading| async move {
            let spans = Spans::new(reading, times);
            Search {
                spans: &spans,
                pipeline: &pipeline,
                limit,
                most_recent: request.most_recent,
                spans_shown,
                found: Vec::new(),
                traces: 0,
                inspected: 0,
                bytes: 0,
            }
            .answer()
            .await
        })
        .await?;
    Ok(Answer::of(result))
}

struct Search<'a> {
    spans: &'a Spans,
    pipeline: &'a Pipeline,
    limit: usize,
    most_recent: bool,
    spans_shown: usize,
    /// When the last span that passed starts, and the trace.
    found: Vec<(i64, Json)>,
    traces: usize,
    inspected: u64,
    bytes: u64,
}

impl Search<'_> {
    async fn answer(mut self) -> Result<String> {
        let passing = self.pipeline.is_plain();
        let mut candidates =
            Candidates::new(self.spans, &self.pipeline.leaves, &self.pipeline.need);
        let mut size = match passing {
            true => self.limit,
            false => FIRST_CHUNK.max(self.limit),
        };
        'windows: for window in self.spans.windows()? {
            if self.has_enough(window.times.last) {
                break;
            }
            self.spans.reading.part(window.step(0, 2));
            let second = window.step(1, 2);
            let window = candidates.of_window(window.times).await?;
            let mut rest = &window[..];
            while let Some(next) = rest.first() {
                if self.has_enough(next.times.last) {
                    break 'windows;
                }
                let missing = self.limit.saturating_sub(self.found.len()).max(1);
                let count = if passing { missing } else { size };
                let (now, later) = rest.split_at(count.min(rest.len()));
                let done = |left: &[_]| 1.0 - left.len() as f64 / window.len() as f64;
                let part = of_part(second, done(rest), done(later));
                self.spans.reading.part(part);
                rest = later;
                size = (size * GROWTH).min(TRACEQL_CHUNK_TRACES);
                let around = extent(now).around();
                let traces: Vec<_> = now.iter().map(|one| one.id).collect();
                let columns = &self.pipeline.columns;
                let chunk = Chunk::read(self.spans, &traces, around, columns, true).await?;
                self.take(&chunk)?;
                self.spans.reading.give_way().await?;
            }
        }
        self.found
            .sort_by_key(|(newest, _)| std::cmp::Reverse(*newest));
        self.found.truncate(self.limit);
        let traces: Vec<Json> = self.found.into_iter().map(|(_, trace)| trace).collect();
        let answer = json!({
            "traces": traces,
            "metrics": {
                "inspectedTraces": self.traces,
                "inspectedBytes": self.bytes.to_string(),
                "inspectedSpans": self.inspected.to_string(),
                "completedJobs": 1,
                "totalJobs": 1,
            },
        });
        written(&answer, || self.spans.reading.in_time())
    }

    /// Whether nothing that starts at a time or earlier is wanted any more.
    fn has_enough(&mut self, time: i64) -> bool {
        if self.found.len() < self.limit {
            return false;
        }
        let last = self.limit - 1;
        let newest = |(newest, _): &(i64, Json)| std::cmp::Reverse(*newest);
        let (_, (oldest, _), _) = self.found.select_nth_unstable_by_key(last, newest);
        !self.most_recent || *oldest >= time
    }

    fn take(&mut self, chunk: &Chunk) -> Result<()> {
        self.traces += chunk.ids.len();
        self.inspected += chunk.spans.num_rows() as u64;
        self.bytes += chunk.bytes;
        let sets = self.pipeline.evaluate(chunk)?;
        let starts = longs(&chunk.spans, "start_time_unix_nano")?;
        for sets in sets.chunk_by(|a, b| a.trace == b.trace) {
            chunk.in_time()?;
            let rows = sets.iter().flat_map(|set| &set.rows);
            let newest = rows.map(|row| starts.value(*row as usize)).max();
            let trace = self.trace(chunk, sets)?;
            self.found.push((newest.unwrap_or(i64::MIN), trace));
        }
        Ok(())
    }

    fn trace(&self, chunk: &Chunk, sets: &[Set]) -> Result<Json> {
        let trace = sets[0].trace;
        let (first, last) = chunk.extent(trace)?;
        let names = named(&chunk.spans, "name")?.as_string_view();
        let services = named(&chunk.spans, "service_name")?.as_string_view();
        let statuses = named(&chunk.spans, "status_code")?.as_primitive::<Int32Type>();
        let mut stats: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for row in chunk.forest.traces[trace].clone() {
            let service = if services.is_null(row) {
                ""
            } else {
                services.value(row)
            };
            let (spans, errors) = stats.entry(service).or_default();
            *spans += 1;
            *errors += u32::from(statuses.value(row) == ERROR);
        }
        let stats = stats.into_iter().map(|(service, (spans, errors))| {
            let stats = json!({ "spanCount": spans, "errorCount": errors });
            (service.to_owned(), stats)
        });
        let root = chunk.root(trace);
        let sets: Result<Vec<Json>> = sets.iter().map(|set| self.set(chunk, set)).collect();
        let sets = sets?;
        let mut shown = json!({
            "traceID": to_hex(&chunk.ids[trace]),
            "rootServiceName": NO_ROOT,
            "startTimeUnixNano": first.to_string(),
            "durationMs": (last - first) / 1_000_000,
            "spanSet": sets[0],
            "spanSets": sets,
            "serviceStats": Json::Object(stats.collect()),
        });
        if let Some(root) = root {
            let service = if services.is_null(root) {
                ""
            } else {
                services.value(root)
            };
            shown["rootServiceName"] = json!(service);
            shown["rootTraceName"] = json!(names.value(root));
        }
        Ok(shown)
    }

    fn set(&self, chunk: &Chunk, set: &Set) -> Result<Json> {
        chunk.in_time()?;
        let spans = ids(&chunk.spans, "span_id")?;
        let names = named(&chunk.spans, "name")?.as_string_view();
        let starts = longs(&chunk.spans, "start_time_unix_nano")?;
        let durations = longs(&chunk.spans, "duration_ns")?;
        let shown = set.rows.iter().take(self.spans_shown).map(|row| {
            let row = *row as usize;
            let fields = self.pipeline.fields.iter().filter_map(|field| {
                let value = any_value(field.shown, &chunk.values[field.column], row)?;
                Some((field.key.clone(), value))
            });
            json!({
                "spanID": to_hex(spans.value(row)),
                "name": names.value(row),
                "startTimeUnixNano": starts.value(row).to_string(),
                "durationNanos": durations.value(row).max(0).to_string(),
                "attributes": key_values(fields),
            })
        });
        let shown: Vec<Json> = shown.collect();
        Ok(json!({
            "spans": shown,
            "matched": set.rows.len(),
            "attributes": key_values(set.attributes.iter().cloned()),
        }))
    }
}
