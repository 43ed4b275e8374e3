//! What questions about files take: rows a second of SQL in one partition and in as many as there are
//! processors, and of traces by ids that were not asked for before. The files are in the page cache.
//!
//! `cargo bench --profile release --bench query` in `bench/native`.

#[path = "../../../native/shard/testing/rows.rs"]
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use futures::TryStreamExt;
use otlake_allocator as _;
use otlake_base::{
    Capture, Consistency, DataFile, Metrics, Moment, Result, SystemClock, Table, TableSource,
};
use otlake_decode::schema::schema;
use otlake_query::{QueryConfig, QueryEngine, QueryRequest, QueryResult};
use otlake_shard::{WriteOptions, write};
use tokio::runtime::{Builder, Runtime};

const FILES: u64 = 4;
const BATCHES: u64 = 64;
const BATCH_ROWS: usize = 4_096;
const ROWS: u64 = FILES * BATCHES * BATCH_ROWS as u64;
/// From one trace that is asked for to the next: a prime.
const STEP: usize = 7_919;
/// Spans of a trace, as `rows` makes them.
const TRACE_SPANS: usize = 8;

const STATEMENTS: [(&str, &str); 4] = [
    (
        "group-by",
        "SELECT service_name, count(*), avg(duration_ns) FROM spans GROUP BY service_name",
    ),
    (
        "typed",
        "SELECT count(*) FROM spans WHERE http_route = '/api/v1/resource/7' AND duration_ns > 50000000",
    ),
    (
        "attribute",
        "SELECT count(*) FROM spans WHERE attributes['user.id'] = '4711'",
    ),
    (
        "newest",
        "SELECT name, duration_ns FROM spans ORDER BY start_time_unix_nano DESC LIMIT 20",
    ),
];

/// The table of a moment that does not end.
struct Spans {
    root: PathBuf,
    files: Arc<Vec<DataFile>>,
}

impl TableSource for Spans {
    fn table(&self) -> Table {
        Table::Spans
    }

    fn schema(&self) -> SchemaRef {
        schema(Table::Spans)
    }

    fn capture(&self, _: &Consistency) -> Result<Capture> {
        let files = Arc::clone(&self.files);
        Ok(Capture::new(Vec::new(), files, self.root.clone()))
    }

    fn moment(&self, _: &Consistency) -> Result<Option<Moment>> {
        Ok(Some(Moment {
            newest: None,
            version: 1,
        }))
    }
}

/// The files, and their traces.
async fn files(root: &Path) -> (Vec<DataFile>, Vec<[u8; 16]>) {
    let (mut files, mut traces) = (Vec::new(), Vec::new());
    for file in 0..FILES {
        let batches = (0..BATCHES).map(|batch| {
            let seed = file * BATCHES + batch + 1;
            let start = rows::DAY_NANOS + seed as i64 * 4_000_000_000;
            rows::batch(Table::Spans, seed, BATCH_ROWS, start, "default")
        });
        let batches: Vec<RecordBatch> = batches.collect();
        for batch in &batches {
            let ids = batch.column_by_name("trace_id").expect("the ids");
            let ids = ids.as_fixed_size_binary();
            let firsts = (0..ids.len()).step_by(TRACE_SPANS);
            traces.extend(
                firsts.map(|row| -> [u8; 16] { ids.value(row).try_into().expect("16 bytes") }),
            );
        }
        let written = write(Table::Spans, batches, root, &WriteOptions::default()).await;
        files.extend(written.expect("written").into_iter().map(|one| one.file));
    }
    (files, traces)
}

fn engine(folder: &Path, files: &Arc<Vec<DataFile>>, partitions: usize) -> Arc<QueryEngine> {
    let config = QueryConfig {
        memory_bytes: 1 << 30,
        max_rows: 1_000_000,
        timeout_ms: 60_000,
        concurrency: 1,
        queue: 0,
        queue_ms: 0,
        temp_dir: folder.to_owned(),
        partitions,
        distribute_bytes: u64::MAX,
        trace_filters_bytes: otlake_base::limits::TRACE_FILTERS_BYTES,
    };
    let source = Spans {
        root: folder.to_owned(),
        files: Arc::clone(files),
    };
    let metrics = Arc::new(Metrics::new());
    QueryEngine::new(
        config,
        vec![Arc::new(source)],
        Arc::new(SystemClock),
        metrics,
    )
    .expect("an engine")
}

/// Rows of an answer, all of which are read.
async fn read(answer: Result<QueryResult>) -> usize {
    let stream = answer.expect("an answer").stream;
    let batches: Vec<RecordBatch> = stream.try_collect().await.expect("its rows");
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let folder = tempfile::tempdir().expect("a folder");
    let (files, traces) = runtime(1).block_on(files(folder.path()));
    let files = Arc::new(files);
    let mut widths = vec![1, available_parallelism().map_or(1, usize::from)];
    widths.dedup();
    let mut group = criterion.benchmark_group("query");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(ROWS));
    for partitions in widths {
        let runtime = runtime(partitions);
        let engine = engine(folder.path(), &files, partitions);
        for (name, sql) in STATEMENTS {
            let request = QueryRequest {
                sql: sql.to_owned(),
                ..QueryRequest::default()
            };
            group.bench_function(BenchmarkId::new(name, partitions), |bencher| {
                bencher.iter(|| {
                    let asked = async { read(engine.query(request.clone()).await).await };
                    let found = runtime.block_on(asked);
                    assert_ne!(found, 0, "{name} finds rows");
                });
            });
        }
    }
    group.throughput(Throughput::Elements(1));
    let runtime = runtime(1);
    let engine = engine(folder.path(), &files, 1);
    let mut asked = 0;
    group.bench_function(BenchmarkId::new("trace", 1), |bencher| {
        bencher.iter(|| {
            // From all over the files, one after the other: none is asked for twice.
            let id = traces[asked * STEP % traces.len()];
            asked += 1;
            let strong = Consistency::Strong;
            let answer = async { read(engine.trace(id, None, None, strong, false).await).await };
            assert_eq!(runtime.block_on(answer), TRACE_SPANS, "a whole trace");
        });
    });
    group.finish();
    criterion.final_summary();
}
