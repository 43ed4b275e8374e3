use std::fs::{self, File};
use std::path::Path;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringViewArray,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Int64Type;
use otlake_base::{Code, DataFile, Error, Table};
use otlake_decode::schema::{file_schema, schema};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::{MergeOptions, Merged, WriteOptions, Written, merge, sort_rows, write};

use crate::rows::{DAY_NANOS, Random, batch};

fn options() -> MergeOptions {
    MergeOptions {
        write: WriteOptions {
            row_group_rows: 5_000,
            ..WriteOptions::default()
        },
        memory_bytes: 256 * 1024 * 1024,
        copy_group_rows: usize::MAX,
    }
}

fn read(table: Table, root: &Path, file: &DataFile) -> RecordBatch {
    let file = File::open(root.join(&file.path)).unwrap();
    let options = ArrowReaderOptions::new().with_schema(file_schema(table));
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// The file schema's part of rows in the table's order.
fn sorted(table: Table, batches: &[RecordBatch]) -> RecordBatch {
    let all = concat_batches(&schema(table), batches).unwrap();
    let order = sort_rows(table, std::slice::from_ref(&all)).unwrap();
    let order = Int64Array::from_iter_values(order.iter().map(|(_, row)| *row as i64));
    let kept: Vec<usize> = (0..file_schema(table).fields().len()).collect();
    take_record_batch(&all, &order)
        .unwrap()
        .project(&kept)
        .unwrap()
}

async fn files(table: Table, root: &Path, batches: &[RecordBatch]) -> Vec<DataFile> {
    let mut files = Vec::new();
    for batch in batches {
        let written = write(table, vec![batch.clone()], root, &options().write).await;
        files.extend(written.unwrap().into_iter().map(|written| written.file));
    }
    files
}

fn merged(table: Table, root: &Path, files: &[DataFile]) -> Merged {
    merge(table, root, files, &options(), &mut |_| Ok(())).unwrap()
}

/// `rows` with the values of one column in place of those it has.
fn with(rows: &RecordBatch, name: &str, values: ArrayRef) -> RecordBatch {
    let index = rows.schema().index_of(name).unwrap();
    let mut columns = rows.columns().to_vec();
    columns[index] = values;
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

fn names_below(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(names_below(&path));
        } else {
            names.push(path.to_string_lossy().into_owned());
        }
    }
    names
}

fn seed() -> u64 {
    let seed = std::env::var("OTLAKE_TEST_SEED").ok();
    let seed = seed.map_or(1, |seed| seed.parse().unwrap());
    eprintln!("OTLAKE_TEST_SEED={seed}");
    seed
}

#[tokio::test]
async fn a_merge_has_the_rows_of_its_files_in_the_order_of_one_write() {
    let mut random = Random(seed());
    for table in Table::ALL {
        let folder = tempfile::tempdir().unwrap();
        let batches: Vec<RecordBatch> = (0..7)
            .map(|seed| {
                let count = 1 + random.below(4_000) as usize;
                let start = DAY_NANOS + random.below(3_000_000_000) as i64;
                batch(table, 100 + seed, count, start, "acme")
            })
            .collect();
        let inputs = files(table, folder.path(), &batches).await;
        let merged = merged(table, folder.path(), &inputs);
        let whole = write(table, batches.clone(), folder.path(), &options().write)
            .await
            .unwrap();
        let [Written { file, stats_json }] = &whole[..] else {
            panic!("one partition");
        };
        assert_eq!(merged.inputs.len(), inputs.len());
        assert_eq!(merged.duplicates, 0, "{}", table.name());
        assert_eq!(&merged.output.stats_json, stats_json, "{}", table.name());
        assert_eq!(merged.output.file.rows, file.rows);
        assert_eq!(merged.output.file.min_time, file.min_time);
        assert_eq!(merged.output.file.max_time, file.max_time);
        // Equal keys may stand in either order; the metrics' rows have no equal ones.
        let (ours, theirs) = (
            read(table, folder.path(), &merged.output.file),
            read(table, folder.path(), file),
        );
        assert_eq!(ours, theirs, "{}", table.name());
    }
}

#[tokio::test]
async fn a_merged_file_is_encoded_as_a_flushed_one() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [1, 2, 3].map(|seed| batch(Table::Spans, seed, 3_000, DAY_NANOS, "acme"));
    let inputs = files(Table::Spans, folder.path(), &batches).await;
    let merged = merged(Table::Spans, folder.path(), &inputs);
    let whole = write(
        Table::Spans,
        batches.to_vec(),
        folder.path(),
        &options().write,
    )
    .await;
    let metadata = |file: &DataFile| {
        let file = File::open(folder.path().join(&file.path)).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        builder.metadata().clone()
    };
    let (ours, theirs) = (
        metadata(&merged.output.file),
        metadata(&whole.unwrap()[0].file),
    );
    assert_eq!(ours.num_row_groups(), theirs.num_row_groups());
    let pairs = ours.row_groups().iter().zip(theirs.row_groups());
    for (ours, theirs) in pairs {
        assert_eq!(ours.num_rows(), theirs.num_rows());
        assert_eq!(ours.sorting_columns(), theirs.sorting_columns());
        for (ours, theirs) in ours.columns().iter().zip(theirs.columns()) {
            assert_eq!(ours.compression(), theirs.compression());
            assert_eq!(
                ours.encodings().collect::<Vec<_>>(),
                theirs.encodings().collect::<Vec<_>>(),
                "{}",
                ours.column_path()
            );
            assert_eq!(
                ours.bloom_filter_offset().is_some(),
                theirs.bloom_filter_offset().is_some()
            );
            assert_eq!(ours.statistics(), theirs.statistics());
        }
    }
    let keys = |metadata: &parquet::file::metadata::ParquetMetaData| {
        let pairs = metadata.file_metadata().key_value_metadata().cloned();
        let mut keys: Vec<_> = pairs.unwrap().into_iter().map(|pair| pair.key).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&ours), keys(&theirs));
}

#[tokio::test]
async fn equal_spans_are_merged_into_one_and_spans_that_differ_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = batch(Table::Spans, 1, 2_000, DAY_NANOS, "acme");
    // The same once more, in part; and the same ids at the same time with another name.
    let again = first.slice(300, 900);
    let names = StringViewArray::from_iter_values(vec!["another operation"; 2_000]);
    let renamed = with(&first, "name", std::sync::Arc::new(names));
    let other = batch(Table::Spans, 2, 500, DAY_NANOS, "acme");
    let batches = [
        first.clone(),
        again.clone(),
        renamed.clone(),
        other.clone(),
        again,
    ];
    let inputs = files(Table::Spans, folder.path(), &batches).await;
    let merged = merged(Table::Spans, folder.path(), &inputs);
    assert_eq!(merged.duplicates, 1_800);
    assert_eq!(merged.output.file.rows, 4_500);
    let rows = read(Table::Spans, folder.path(), &merged.output.file);
    let expected = sorted(Table::Spans, &[first, renamed, other]);
    assert_eq!(rows.columns(), expected.columns());
}

#[tokio::test]
async fn a_file_that_holds_a_span_twice_is_merged_to_one_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = batch(Table::Spans, 1, 64, DAY_NANOS, "acme");
    let twice = concat_batches(&schema(Table::Spans), &[first.clone(), first.clone()]).unwrap();
    let other = batch(Table::Spans, 2, 10, DAY_NANOS, "acme");
    let inputs = files(Table::Spans, folder.path(), &[twice, other]).await;
    let merged = merged(Table::Spans, folder.path(), &inputs);
    assert_eq!((merged.duplicates, merged.output.file.rows), (64, 74));
}

#[tokio::test]
async fn log_records_and_points_are_never_taken_for_repetitions() {
    for table in [Table::Logs, Table::MetricsSum] {
        let folder = tempfile::tempdir().unwrap();
        let rows = batch(table, 1, 100, DAY_NANOS, "acme");
        let inputs = files(table, folder.path(), &[rows.clone(), rows]).await;
        let merged = merged(table, folder.path(), &inputs);
        assert_eq!((merged.duplicates, merged.output.file.rows), (0, 200));
    }
}

#[tokio::test]
async fn spans_of_one_moment_are_compared_by_id_and_content() {
    let folder = tempfile::tempdir().unwrap();
    let first = batch(Table::Spans, 1, 20_000, DAY_NANOS, "acme");
    let at_once = Int64Array::from_value(DAY_NANOS, first.num_rows());
    let first = with(&first, "start_time_unix_nano", std::sync::Arc::new(at_once));
    let again = first.slice(0, 5_000);
    let inputs = files(Table::Spans, folder.path(), &[first.clone(), again]).await;
    let merged = merged(Table::Spans, folder.path(), &inputs);
    // More rows of one moment than are remembered: what is removed is right, though not all is.
    assert!(merged.duplicates <= 5_000);
    assert_eq!(merged.output.file.rows + merged.duplicates, 25_000);
    let ids = |rows: &RecordBatch| {
        let ids: &FixedSizeBinaryArray = rows
            .column_by_name("span_id")
            .unwrap()
            .as_fixed_size_binary();
        let ids: std::collections::BTreeSet<Vec<u8>> =
            (0..ids.len()).map(|row| ids.value(row).to_vec()).collect();
        ids
    };
    assert_eq!(
        ids(&read(Table::Spans, folder.path(), &merged.output.file)),
        ids(&first)
    );

    let small = first.slice(0, 6_000);
    let inputs = files(Table::Spans, folder.path(), &[small.clone(), small]).await;
    let merged = merge(
        Table::Spans,
        folder.path(),
        &inputs,
        &options(),
        &mut |_| Ok(()),
    );
    assert_eq!(merged.unwrap().duplicates, 6_000);
}

#[tokio::test]
async fn what_does_not_fit_in_memory_is_left_for_another_merge() {
    let folder = tempfile::tempdir().unwrap();
    let batches: Vec<RecordBatch> = (0..8)
        .map(|seed| batch(Table::Spans, seed, 500, DAY_NANOS, "acme"))
        .collect();
    let inputs = files(Table::Spans, folder.path(), &batches).await;
    let small = MergeOptions {
        memory_bytes: 1,
        ..options()
    };
    let merged = merge(
        Table::Spans,
        folder.path(),
        &inputs,
        &small,
        &mut |_| Ok(()),
    )
    .unwrap();
    assert_eq!(merged.inputs.len(), 2);
    assert_eq!(merged.output.file.rows, 1_000);
}

#[tokio::test]
async fn i6_a_flipped_bit_anywhere_in_a_file_keeps_it_out_of_a_merge() {
    let mut random = Random(seed());
    let folder = tempfile::tempdir().unwrap();
    let batches = [1, 2, 3].map(|seed| batch(Table::Spans, seed, 3_000, DAY_NANOS, "acme"));
    let inputs = files(Table::Spans, folder.path(), &batches).await;
    let path = folder.path().join(&inputs[1].path);
    let bytes = fs::read(&path).unwrap();
    for _ in 0..50 {
        let mut damaged = bytes.clone();
        let bit = random.below(8 * bytes.len() as u64) as usize;
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, damaged).unwrap();
        let failure = merge(
            Table::Spans,
            folder.path(),
            &inputs,
            &options(),
            &mut |_| Ok(()),
        );
        let failure = failure.unwrap_err();
        assert_eq!(failure.error.code, Code::TableCorrupt, "bit {bit}");
        assert_eq!(failure.input.as_ref(), Some(&inputs[1].path), "bit {bit}");
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(merged(Table::Spans, folder.path(), &inputs).inputs.len(), 3);
}

#[tokio::test]
async fn a_merge_that_fails_leaves_no_file_and_names_the_one_to_blame() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [1, 2, 3].map(|seed| batch(Table::Spans, seed, 9_000, DAY_NANOS, "acme"));
    let inputs = files(Table::Spans, folder.path(), &batches).await;
    let mut before = names_below(folder.path());
    before.sort();

    // Told to stop after some rows.
    let mut calls = 0;
    let mut stop = |_| {
        calls += 1;
        match calls {
            1 => Ok(()),
            _ => Err(Error::new(Code::NodeState, "stop")),
        }
    };
    let failure = merge(Table::Spans, folder.path(), &inputs, &options(), &mut stop).unwrap_err();
    assert_eq!((failure.error.code, failure.input), (Code::NodeState, None));
    let mut after = names_below(folder.path());
    after.sort();
    assert_eq!(before, after);

    // A file cut short.
    let path = folder.path().join(&inputs[1].path);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let failure = merge(
        Table::Spans,
        folder.path(),
        &inputs,
        &options(),
        &mut |_| Ok(()),
    )
    .unwrap_err();
    assert_eq!(failure.error.code, Code::TableCorrupt);
    assert_eq!(failure.input.as_ref(), Some(&inputs[1].path));
    let mut after = names_below(folder.path());
    after.sort();
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_file_whose_rows_are_not_sorted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rows = batch(Table::Spans, 1, 100, DAY_NANOS, "acme");
    let inputs = files(
        Table::Spans,
        folder.path(),
        &[rows.clone(), rows.slice(0, 50)],
    )
    .await;
    // The same rows backwards, under the first file's name, with its properties.
    let path = folder.path().join(&inputs[0].path);
    let sorted = read(Table::Spans, folder.path(), &inputs[0]);
    let backwards = Int64Array::from_iter_values((0..sorted.num_rows() as i64).rev());
    let backwards = take_record_batch(&sorted, &backwards).unwrap();
    let times = backwards
        .column_by_name("start_time_unix_nano")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert!(times.value(0) > times.value(99));
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_key_value_metadata(Some(vec![parquet::file::metadata::KeyValue::new(
            crate::SCHEMA_VERSION_KEY.to_owned(),
            crate::SCHEMA_VERSION.to_string(),
        )]))
        .build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(
        File::create(&path).unwrap(),
        backwards.schema(),
        Some(properties),
    )
    .unwrap();
    writer.write(&backwards).unwrap();
    writer.close().unwrap();
    let failure = merge(
        Table::Spans,
        folder.path(),
        &inputs,
        &options(),
        &mut |_| Ok(()),
    )
    .unwrap_err();
    assert_eq!(failure.input.as_ref(), Some(&inputs[0].path));
}
