//! Rows a second and bytes a row of the write path, on one core.
//!
//! `cargo bench --profile release -p otlake-shard`

#[path = "../testing/rows.rs"]
mod rows;

use std::time::Duration;

use arrow::array::RecordBatch;
use otlake_base::{Clock, SystemClock, Table};
use otlake_shard::{WriteOptions, sort_rows, write};

/// Rows of one flush, in requests of a thousand.
const BATCHES: usize = 262;
const BATCH_ROWS: usize = 1_000;
const RUNS: usize = 3;

fn batches(table: Table) -> Vec<RecordBatch> {
    (0..BATCHES as u64)
        .map(|seed| {
            let start = rows::DAY_NANOS + seed as i64 * 400_000_000;
            rows::batch(table, seed + 1, BATCH_ROWS, start, "default")
        })
        .collect()
}

fn rate(rows: usize, elapsed: Duration) -> f64 {
    rows as f64 / elapsed.as_secs_f64() / 1e6
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let clock = SystemClock;
    for table in [Table::Spans, Table::Logs, Table::MetricsGauge] {
        let batches = batches(table);
        let rows = BATCHES * BATCH_ROWS;
        let mut sorts = Duration::MAX;
        let mut writes = Duration::MAX;
        let mut bytes = 0;
        for _ in 0..RUNS {
            let start = clock.monotonic();
            sort_rows(table, &batches).expect("sorted");
            sorts = sorts.min(clock.monotonic() - start);

            let folder = tempfile::tempdir().expect("a folder");
            let start = clock.monotonic();
            let written = runtime
                .block_on(write(
                    table,
                    batches.clone(),
                    folder.path(),
                    &WriteOptions::default(),
                ))
                .expect("written");
            writes = writes.min(clock.monotonic() - start);
            bytes = written.iter().map(|written| written.file.size).sum();
        }
        println!(
            "{:<14} sort {:.2} M rows/s   write (sort, encode, fsync) {:.2} M rows/s   {:.1} bytes/row",
            table.name(),
            rate(rows, sorts),
            rate(rows, writes),
            bytes as f64 / rows as f64
        );
    }
}
