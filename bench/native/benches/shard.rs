//! Rows a second and bytes a row of the write path, on one core.
//!
//! `cargo bench --profile release --bench shard` in `bench/native`.

#[path = "../../../native/shard/testing/rows.rs"]
mod rows;

use arrow::array::RecordBatch;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use otlake_allocator as _;
use otlake_base::Table;
use otlake_shard::{WriteOptions, sort_rows, write};

/// Rows of one flush, in requests of a thousand.
const BATCHES: usize = 262;
const BATCH_ROWS: usize = 1_000;

fn batches(table: Table) -> Vec<RecordBatch> {
    (0..BATCHES as u64)
        .map(|seed| {
            let start = rows::DAY_NANOS + seed as i64 * 400_000_000;
            rows::batch(table, seed + 1, BATCH_ROWS, start, "default")
        })
        .collect()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements((BATCHES * BATCH_ROWS) as u64));
    group.sampling_mode(SamplingMode::Flat);
    for table in [Table::Spans, Table::Logs, Table::MetricsGauge] {
        let batches = batches(table);
        let mut bytes = 0;
        group.bench_function(BenchmarkId::new("sort", table.name()), |bencher| {
            bencher.iter_with_large_drop(|| sort_rows(table, &batches).expect("sorted"));
        });
        // Sorts, encodes and makes it durable; the folder is deleted outside the measured time.
        group.bench_function(BenchmarkId::new("write", table.name()), |bencher| {
            bencher.iter_with_large_drop(|| {
                let folder = tempfile::tempdir().expect("a folder");
                let options = WriteOptions::default();
                let written = write(table, batches.clone(), folder.path(), &options);
                let files = runtime.block_on(written).expect("written");
                bytes = files.iter().map(|written| written.file.size).sum();
                folder
            });
        });
        println!(
            "shard/write/{}: {:.1} bytes a row",
            table.name(),
            bytes as f64 / (BATCHES * BATCH_ROWS) as f64
        );
    }
    group.finish();
    criterion.final_summary();
}
