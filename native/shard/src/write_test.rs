use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, AsArray, Int64Array, ListArray, RecordBatch, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch,
};
use arrow::datatypes::{DataType, Int64Type};
use otlake_base::worker::Parts;
use otlake_base::{Code, Table};
use otlake_decode::schema::{file_schema, schema};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Encoding;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};

use crate::order::sort_columns;
use crate::{SCHEMA_VERSION_KEY, WriteOptions, Written, write};

use crate::rows::{DAY, DAY_NANOS, batch};

fn options() -> WriteOptions {
    WriteOptions {
        row_group_rows: 700,
        zstd_level: 1,
        ..WriteOptions::default()
    }
}

fn read(table: Table, root: &Path, written: &Written) -> RecordBatch {
    let file = File::open(root.join(&written.file.path)).unwrap();
    let options = ArrowReaderOptions::new().with_schema(file_schema(table));
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// The same rows in the same order by arrow's own stable means.
fn reference(table: Table, batches: &[RecordBatch]) -> RecordBatch {
    let all = concat_batches(&schema(table), batches).unwrap();
    let mut columns: Vec<SortColumn> = sort_columns(table)
        .iter()
        .map(|name| SortColumn {
            values: all.column_by_name(name).unwrap().clone(),
            options: Some(SortOptions {
                descending: false,
                nulls_first: true,
            }),
        })
        .collect();
    let place = UInt64Array::from_iter_values(0..all.num_rows() as u64);
    columns.push(SortColumn {
        values: Arc::new(place),
        options: None,
    });
    let order = lexsort_to_indices(&columns, None).unwrap();
    let sorted = take_record_batch(&all, &order).unwrap();
    let kept: Vec<usize> = (0..file_schema(table).fields().len()).collect();
    sorted.project(&kept).unwrap()
}

fn files_below(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(files_below(&entry.path()));
        } else {
            names.push(entry.path().display().to_string());
        }
    }
    names
}

#[tokio::test]
async fn rows_of_every_table_read_back_equal_and_sorted() {
    for table in Table::ALL {
        let folder = tempfile::tempdir().unwrap();
        let batches: Vec<RecordBatch> = [5, 3, 9, 3]
            .map(|seed| batch(table, seed, 500, DAY_NANOS + 1_000, "acme"))
            .to_vec();
        let expected = reference(table, &batches);
        let written = write(table, batches, folder.path(), &options())
            .await
            .unwrap();
        assert_eq!(written.len(), 1, "{}", table.name());
        let back = read(table, folder.path(), &written[0]);
        assert_eq!(back.num_rows(), 2_000);
        for (index, field) in expected.schema().fields().iter().enumerate() {
            assert_eq!(
                back.column(index),
                expected.column(index),
                "{}",
                field.name()
            );
        }
        assert_eq!(back.schema().fields(), file_schema(table).fields());
    }
}

#[tokio::test]
async fn each_column_is_encoded_at_the_priority_of_its_moment() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let parts = Parts::new(move || count.fetch_add(1, Ordering::Relaxed) % 2 == 1);
    let turns = WriteOptions { parts, ..options() };
    let mut read_back = Vec::new();
    for options in [options(), turns] {
        let folder = tempfile::tempdir().unwrap();
        let batches = vec![batch(Table::Spans, 5, 500, DAY_NANOS, "acme")];
        let written = write(Table::Spans, batches, folder.path(), &options);
        read_back.push(read(
            Table::Spans,
            folder.path(),
            &written.await.unwrap()[0],
        ));
    }
    assert_eq!(read_back[0], read_back[1]);
    // Sorting is a part, too.
    let columns = file_schema(Table::Spans).fields().len();
    assert!(asked.load(Ordering::Relaxed) > columns);
}

#[tokio::test]
async fn one_file_for_each_tenant_and_day() {
    let folder = tempfile::tempdir().unwrap();
    let day = 86_400_000_000_000;
    let batches = vec![
        batch(Table::Spans, 1, 40, DAY_NANOS, "acme"),
        batch(Table::Spans, 2, 30, DAY_NANOS + day, "acme"),
        batch(Table::Spans, 3, 20, DAY_NANOS, "b/ä %"),
        // The last rows of a day and the first of the next.
        batch(Table::Spans, 4, 10, DAY_NANOS + day - 5_000_000, "acme"),
        batch(Table::Spans, 5, 1, -1_000_000_000, "acme"),
    ];
    let written = write(Table::Spans, batches, folder.path(), &options())
        .await
        .unwrap();
    let counts: BTreeMap<(String, i32), u64> = written
        .iter()
        .map(|written| {
            (
                (written.file.tenant.clone(), written.file.day),
                written.file.rows,
            )
        })
        .collect();
    let first = counts[&("acme".to_owned(), DAY)];
    let second = counts[&("acme".to_owned(), DAY + 1)];
    assert!(first > 40 && second > 30, "{counts:?}");
    assert_eq!(first + second, 80);
    assert_eq!(counts[&("b/ä %".to_owned(), DAY)], 20);
    assert_eq!(counts[&("acme".to_owned(), -1)], 1);
    assert_eq!(counts.len(), 4);
    for written in &written {
        assert_eq!(
            read(Table::Spans, folder.path(), written).num_rows() as u64,
            written.file.rows
        );
        let size = fs::metadata(folder.path().join(&written.file.path))
            .unwrap()
            .len();
        assert_eq!(size, written.file.size);
        assert_eq!(
            written.file.path.split('/').count(),
            3,
            "{}",
            written.file.path
        );
    }
    let escaped = written
        .iter()
        .find(|written| written.file.rows == 20)
        .unwrap();
    assert!(
        escaped
            .file
            .path
            .starts_with("tenant=b%2F%C3%A4%20%25/day=2026-11-23/")
    );
    let names = files_below(folder.path());
    assert_eq!(names.len(), 4);
    assert!(names.iter().all(|name| name.ends_with(".parquet")));
}

/// Many readers know views but cannot compute on them, and follow a hint that asks for them.
#[tokio::test]
async fn readers_choose_their_own_types() {
    for table in Table::ALL {
        let folder = tempfile::tempdir().unwrap();
        let batches = vec![batch(table, 1, 10, DAY_NANOS, "acme")];
        let written = write(table, batches, folder.path(), &options())
            .await
            .unwrap();
        let file = File::open(folder.path().join(&written[0].file.path)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let types = format!("{:?}", reader.schema());
        assert!(!types.contains("View"), "{}: {types}", table.name());
    }
}

#[tokio::test]
async fn statistics_are_those_of_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [1, 2, 3]
        .map(|seed| batch(Table::Spans, seed, 900, DAY_NANOS + 7, "acme"))
        .to_vec();
    let written = write(Table::Spans, batches, folder.path(), &options())
        .await
        .unwrap();
    let rows = read(Table::Spans, folder.path(), &written[0]);
    let times = rows.column_by_name("start_time_unix_nano").unwrap();
    let times = times.as_primitive::<Int64Type>().values();
    let (low, high) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    assert_eq!(
        (written[0].file.min_time, written[0].file.max_time),
        (low, high)
    );

    let stats: serde_json::Value = serde_json::from_str(&written[0].stats_json).unwrap();
    assert_eq!(stats["numRecords"], 2_700);
    assert_eq!(stats["minValues"]["start_time_unix_nano"], low);
    assert_eq!(stats["maxValues"]["start_time_unix_nano"], high);
    assert_eq!(stats["minValues"]["service_name"], "service-01");
    assert_eq!(stats["maxValues"]["service_name"], "service-03");
    assert_eq!(stats["maxValues"]["status_code"], 2);
    assert_eq!(stats["nullCount"]["service_name"], 0);
    let first = stats["minValues"]["start_time"].as_str().unwrap();
    assert!(
        first.starts_with("2026-11-23T00:00:00.") && first.ends_with('Z'),
        "{first}"
    );
}

#[tokio::test]
async fn files_carry_bloom_filters_page_index_order_and_version() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [1, 2]
        .map(|seed| batch(Table::Spans, seed, 600, DAY_NANOS, "acme"))
        .to_vec();
    let written = write(Table::Spans, batches, folder.path(), &options())
        .await
        .unwrap();
    let rows = read(Table::Spans, folder.path(), &written[0]);
    let file = File::open(folder.path().join(&written[0].file.path)).unwrap();
    let read_options = ReadOptionsBuilder::new()
        .with_reader_properties(
            ReaderProperties::builder()
                .set_read_bloom_filter(true)
                .build(),
        )
        .with_page_index()
        .build();
    let reader = SerializedFileReader::new_with_options(file, read_options).unwrap();
    assert_eq!(reader.num_row_groups(), 2);
    let ids = rows
        .column_by_name("trace_id")
        .unwrap()
        .as_fixed_size_binary();
    let mut start = 0;
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index).unwrap();
        let filter = group
            .get_column_bloom_filter(0)
            .expect("a bloom filter on trace_id");
        let count = group.metadata().num_rows() as usize;
        assert!((start..start + count).all(|row| filter.check(ids.value(row))));
        let absent = (0..1_000_u128).filter(|id| filter.check(id.to_be_bytes().as_slice()));
        assert!(absent.count() < 50);
        start += count;
        let sorting = group.metadata().sorting_columns().unwrap();
        let names: Vec<String> = sorting
            .iter()
            .map(|column| {
                group
                    .metadata()
                    .column(column.column_idx as usize)
                    .column_path()
                    .string()
            })
            .collect();
        assert_eq!(names, ["service_name", "start_time_unix_nano"]);
    }
    let metadata = reader.metadata();
    assert!(metadata.column_index().is_some() && metadata.offset_index().is_some());
    let pairs = metadata.file_metadata().key_value_metadata().unwrap();
    assert!(pairs.iter().any(|pair| pair.key == SCHEMA_VERSION_KEY));
}

#[tokio::test]
async fn durations_have_a_dictionary_where_they_repeat() {
    for (unit, repeats) in [(1, false), (10_000_000, true)] {
        let folder = tempfile::tempdir().unwrap();
        let rows = batch(Table::Spans, 1, 500, DAY_NANOS, "acme");
        let index = rows.schema().index_of("duration_ns").unwrap();
        let durations = rows.column(index).as_primitive::<Int64Type>();
        let rounded: Int64Array = durations.unary(|duration| duration / unit * unit);
        let mut columns = rows.columns().to_vec();
        columns[index] = Arc::new(rounded);
        let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
        let expected = reference(Table::Spans, std::slice::from_ref(&rows));
        let written = write(Table::Spans, vec![rows], folder.path(), &options())
            .await
            .unwrap();
        let back = read(Table::Spans, folder.path(), &written[0]);
        assert_eq!(back.column(index), expected.column(index));
        let file = File::open(folder.path().join(&written[0].file.path)).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let chunk = reader.metadata().row_group(0).column(index);
        assert_eq!(chunk.column_path().string(), "duration_ns");
        let encodings: Vec<Encoding> = chunk.encodings().collect();
        assert_eq!(
            encodings.contains(&Encoding::RLE_DICTIONARY),
            repeats,
            "{encodings:?}"
        );
        assert_eq!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), !repeats);
    }
}

#[tokio::test]
async fn nothing_remains_of_a_failed_write() {
    let folder = tempfile::tempdir().unwrap();
    let good = batch(Table::Spans, 1, 10, DAY_NANOS, "acme");
    // The second tenant's folder cannot be made, for a file stands in its place.
    fs::write(folder.path().join("tenant=other"), b"").unwrap();
    let batches = vec![good, batch(Table::Spans, 2, 10, DAY_NANOS, "other")];
    let error = write(Table::Spans, batches, folder.path(), &options())
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::TableIo);
    assert_eq!(files_below(folder.path()).len(), 1);

    let wrong = batch(Table::Logs, 1, 10, DAY_NANOS, "acme");
    let error = write(Table::Spans, vec![wrong], folder.path(), &options())
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Internal);
    let none = write(Table::Spans, Vec::new(), folder.path(), &options())
        .await
        .unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn statistics_tell_that_a_list_is_empty_in_all_rows() {
    let folder = tempfile::tempdir().unwrap();
    let rows = batch(Table::Spans, 1, 600, DAY_NANOS, "acme");
    let links = rows.schema().index_of("links").unwrap();
    let none = RecordBatch::new_empty(rows.schema());
    let none = none.column(links).as_list::<i32>();
    let DataType::List(element) = none.data_type() else {
        panic!("links are a list");
    };
    let empty = ListArray::new(
        Arc::clone(element),
        OffsetBuffer::from_lengths(vec![0; rows.num_rows()]),
        Arc::clone(none.values()),
        None,
    );
    let mut columns = rows.columns().to_vec();
    columns[links] = Arc::new(empty);
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let written = write(Table::Spans, vec![rows], folder.path(), &options())
        .await
        .unwrap();
    let file = File::open(folder.path().join(&written[0].file.path)).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let group = reader.metadata().row_group(0);
    let nulls = |list: &str| {
        let path = format!("{list}.list.element.dropped_attributes_count");
        let mut columns = group.columns().iter();
        let column = columns.find(|column| column.column_path().string() == path);
        let column = column.unwrap();
        assert_eq!(column.num_values(), 600);
        column.statistics().unwrap().null_count_opt()
    };
    assert_eq!(nulls("links"), Some(600));
    // Each fifth row has an event.
    assert_eq!(nulls("events"), Some(480));
}
