//! Rows a second of the compaction's merges, on one core, to a durable file: of small files, whose
//! rows are encoded anew, and of files with full row groups, which are copied.
//!
//! `cargo bench --profile release --bench merge` in `bench/native`.

#[path = "../../../native/shard/testing/rows.rs"]
mod rows;

use std::path::Path;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use otlake_allocator as _;
use otlake_base::limits::{COPY_GROUP_ROWS, ROW_GROUP_ROWS};
use otlake_base::{DataFile, Table};
use otlake_shard::{MergeOptions, WriteOptions, merge, write};

/// Rows of one batch that a file is written of.
const BATCH_ROWS: usize = 4_096;
/// More than the files of a merge take here, so that it takes them all.
const MEMORY_BYTES: usize = 1024 * 1024 * 1024;

/// Files of so many rows, of one day, whose times overlap as those of flushes at once do.
async fn files(table: Table, root: &Path, number: u64, file_rows: usize) -> Vec<DataFile> {
    let mut files = Vec::new();
    for file in 0..number {
        let batches = (0..file_rows / BATCH_ROWS).map(|batch| {
            let seed = file * 1_000_000 + batch as u64 + 1;
            let start = rows::DAY_NANOS + batch as i64 * 400_000_000;
            rows::batch(table, seed, BATCH_ROWS, start, "default")
        });
        let written = write(table, batches.collect(), root, &WriteOptions::default()).await;
        files.extend(written.expect("written").into_iter().map(|one| one.file));
    }
    files
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("merge");
    group.sampling_mode(SamplingMode::Flat);
    group.sample_size(10);
    let options = MergeOptions {
        write: WriteOptions::default(),
        memory_bytes: MEMORY_BYTES,
        copy_group_rows: COPY_GROUP_ROWS,
    };
    for table in [Table::Spans, Table::Logs, Table::MetricsGauge] {
        for (what, number, file_rows) in
            [("anew", 8, 4 * BATCH_ROWS), ("copied", 2, ROW_GROUP_ROWS)]
        {
            let folder = tempfile::tempdir().expect("a folder");
            let inputs = runtime.block_on(files(table, folder.path(), number, file_rows));
            group.throughput(Throughput::Elements(number * file_rows as u64));
            group.bench_function(BenchmarkId::new(what, table.name()), |bencher| {
                bencher.iter(|| {
                    let merged = merge(table, folder.path(), &inputs, &options, &mut |_| Ok(()))
                        .map_err(|failure| failure.error)
                        .expect("merged");
                    assert_eq!(merged.inputs.len(), inputs.len(), "all files are merged");
                    let output = folder.path().join(&merged.output.file.path);
                    std::fs::remove_file(output).expect("removed");
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
