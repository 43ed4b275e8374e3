//! Merges that copy row groups, and merges of what such merges left.

use std::fs::File;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use otlake_base::{DataFile, Table};
use otlake_decode::schema::{file_schema, schema};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;

use crate::rows::{DAY_NANOS, batch};
use crate::{MergeOptions, Merged, RUNS_KEY, WriteOptions, merge, write};

/// Row groups of 5,000 rows at most; files with 2,000 in each on average are copied.
fn options() -> MergeOptions {
    MergeOptions {
        write: WriteOptions {
            row_group_rows: 5_000,
            ..WriteOptions::default()
        },
        memory_bytes: 256 * 1024 * 1024,
        copy_group_rows: 2_000,
    }
}

async fn file(table: Table, root: &Path, rows: &RecordBatch) -> DataFile {
    let written = write(table, vec![rows.clone()], root, &options().write).await;
    written.unwrap().remove(0).file
}

fn merged(table: Table, root: &Path, files: &[DataFile]) -> Merged {
    merge(table, root, files, &options(), &mut |_| Ok(())).unwrap()
}

fn builder(table: Table, root: &Path, file: &DataFile) -> ParquetRecordBatchReaderBuilder<File> {
    let file = File::open(root.join(&file.path)).unwrap();
    let options = ArrowReaderOptions::new()
        .with_schema(file_schema(table))
        .with_page_index_policy(PageIndexPolicy::Required);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap()
}

fn rows(table: Table, root: &Path, file: &DataFile) -> RecordBatch {
    let reader = builder(table, root, file).build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(&file_schema(table), &batches).unwrap()
}

fn runs(table: Table, root: &Path, file: &DataFile) -> Option<String> {
    let builder = builder(table, root, file);
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let runs = pairs.unwrap().iter().find(|pair| pair.key == RUNS_KEY);
    runs.and_then(|pair| pair.value.clone())
}

#[tokio::test]
async fn files_of_full_row_groups_are_copied_with_all_that_finds_their_rows() {
    for table in Table::ALL {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let batches = [7_000, 5_000, 4_000].map(|count| {
            let start = DAY_NANOS + count as i64 * 1_000_000;
            batch(table, count as u64, count, start, "acme")
        });
        let mut inputs = Vec::new();
        for rows in &batches {
            inputs.push(file(table, root, rows).await);
        }
        let merged = merged(table, root, &inputs);
        assert_eq!((merged.inputs.len(), merged.duplicates), (3, 0));
        assert_eq!(merged.output.file.rows, 16_000);
        let output = &merged.output.file;
        assert_eq!(runs(table, root, output).as_deref(), Some("2,1,1"));

        // The rows of the files one after the other.
        let expected: Vec<RecordBatch> = inputs
            .iter()
            .map(|input| rows(table, root, input))
            .collect();
        let expected = concat_batches(&file_schema(table), &expected).unwrap();
        assert_eq!(rows(table, root, output), expected, "{}", table.name());

        // The statistics of one file with all rows.
        let whole = write(table, batches.to_vec(), root, &options().write).await;
        assert_eq!(merged.output.stats_json, whole.unwrap()[0].stats_json);

        // Each chunk is as it was: encodings, statistics, pages.
        let ours = builder(table, root, output);
        let mut group = 0;
        for input in &inputs {
            let theirs = builder(table, root, input);
            for (number, chunk) in theirs.metadata().row_groups().iter().enumerate() {
                let copied = ours.metadata().row_group(group);
                assert_eq!(copied.num_rows(), chunk.num_rows());
                assert_eq!(copied.sorting_columns(), chunk.sorting_columns());
                for (column, chunk) in chunk.columns().iter().enumerate() {
                    let copied = copied.column(column);
                    assert_eq!(copied.statistics(), chunk.statistics());
                    assert_eq!(copied.encodings_mask(), chunk.encodings_mask());
                    assert_eq!(copied.compressed_size(), chunk.compressed_size());
                }
                assert_eq!(
                    ours.metadata().column_index().unwrap()[group],
                    theirs.metadata().column_index().unwrap()[number]
                );
                group += 1;
            }
        }
        let ids = (table == Table::Spans).then(|| file_schema(table).index_of("trace_id").unwrap());
        if let Some(column) = ids {
            let mut row = 0;
            for group in 0..ours.metadata().num_row_groups() {
                let filter = ours.get_row_group_column_bloom_filter(group, column);
                let filter = filter.unwrap().expect("a filter");
                for _ in 0..ours.metadata().row_group(group).num_rows() {
                    let id = expected.column(column).as_fixed_size_binary().value(row);
                    assert!(filter.check(id));
                    row += 1;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_was_copied_is_copied_again_or_sorted_where_a_span_is_there_twice() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let table = Table::Spans;
    let batches: Vec<RecordBatch> = (1..6)
        .map(|seed| batch(table, seed, 3_000, DAY_NANOS + seed as i64, "acme"))
        .collect();
    let mut inputs = Vec::new();
    for rows in &batches {
        inputs.push(file(table, root, rows).await);
    }
    let first = merged(table, root, &inputs[..3]).output.file;
    let second = merged(table, root, &inputs[3..]).output.file;
    let both = merged(table, root, &[first.clone(), second.clone()]);
    assert_eq!(
        runs(table, root, &both.output.file).as_deref(),
        Some("1,1,1,1,1")
    );

    // Some of it once more: the spans that are there twice go, and the file is sorted.
    let again = file(table, root, &batches[1].slice(500, 2_000)).await;
    let sorted = merged(table, root, &[both.output.file, again]);
    assert_eq!(sorted.duplicates, 2_000);
    let output = &sorted.output.file;
    assert_eq!(runs(table, root, output), None);
    let whole = concat_batches(&schema(table), &batches).unwrap();
    let whole = file(table, root, &whole).await;
    assert_eq!(rows(table, root, output), rows(table, root, &whole));
}

#[tokio::test]
async fn small_row_groups_are_gathered_into_full_ones() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let table = Table::Logs;
    let mut inputs = Vec::new();
    for seed in 1..6 {
        inputs.push(file(table, root, &batch(table, seed, 1_900, DAY_NANOS, "acme")).await);
    }
    let output = merged(table, root, &inputs).output.file;
    let groups = builder(table, root, &output).metadata().num_row_groups();
    assert_eq!((groups, runs(table, root, &output)), (2, None));
}

#[tokio::test]
async fn small_row_groups_are_gathered_beside_full_ones_that_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let table = Table::Spans;
    let mut inputs = Vec::new();
    for (seed, count) in [(1, 700), (2, 6_000), (3, 900), (4, 4_000)] {
        let start = DAY_NANOS + seed * 1_000_000;
        inputs.push(
            file(
                table,
                root,
                &batch(table, seed as u64, count, start, "acme"),
            )
            .await,
        );
    }
    let merged = merged(table, root, &inputs);
    let output = &merged.output.file;
    assert_eq!((merged.duplicates, output.rows), (0, 11_600));
    assert_eq!(runs(table, root, output).as_deref(), Some("1,2,1"));
    let ours = rows(table, root, output);
    assert_eq!(ours.slice(1_600, 6_000), rows(table, root, &inputs[1]));
    assert_eq!(ours.slice(7_600, 4_000), rows(table, root, &inputs[3]));
}
