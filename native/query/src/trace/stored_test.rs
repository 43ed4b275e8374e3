use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, FixedSizeBinaryArray, Int32Array, Int64Array, ListArray,
    RecordBatch, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use otlake_base::checksum::BlockSums;
use otlake_base::{Capture, Consistency, DataFile, Moment, Result, Table, TableSource};
use otlake_shard::{MergeOptions, WriteOptions, merge, write};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use tempfile::TempDir;

use crate::engine::QueryEngine;
use crate::sample_test::{self, DAY_NANOS, Random, Spans, config, engine, seeded};
use crate::{QueryConfig, QueryRequest};

#[path = "../../../shard/testing/rows.rs"]
mod rows;

/// Files of the table that a node has.
pub(super) struct Files {
    pub(super) files: Arc<Vec<DataFile>>,
    pub(super) root: PathBuf,
    pub(super) schema: SchemaRef,
}

impl TableSource for Files {
    fn table(&self) -> Table {
        Table::Spans
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn capture(&self, _: &Consistency) -> Result<Capture> {
        let (files, root) = (Arc::clone(&self.files), self.root.clone());
        Ok(Capture::new(Vec::new(), files, root))
    }

    fn moment(&self, _: &Consistency) -> Result<Option<Moment>> {
        Ok(None)
    }
}

/// Rows as text, in an order of their own.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// How many rows of the trace a lookup finds, which are those that a scan finds.
async fn found_as_scanned(engine: &QueryEngine, id: [u8; 16]) -> usize {
    let answer = engine.trace(id, None, None, Consistency::Strong, false);
    let trace: Vec<_> = answer.await.unwrap().stream.try_collect().await.unwrap();
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = engine.query(QueryRequest {
        sql: format!("SELECT * FROM spans WHERE trace_id = '{hex}'"),
        ..QueryRequest::default()
    });
    let rows: Vec<_> = answer.await.unwrap().stream.try_collect().await.unwrap();
    assert_eq!(lines(&trace), lines(&rows), "trace {hex}");
    trace.iter().map(RecordBatch::num_rows).sum()
}

/// The sample's columns, and columns with nulls and within each other.
fn schema() -> SchemaRef {
    let mut fields: Vec<_> = sample_test::schema().fields().iter().cloned().collect();
    let own = [
        Field::new("note", DataType::Utf8View, true),
        Field::new("number", DataType::Int64, true),
        Field::new("parent", DataType::FixedSizeBinary(8), true),
        Field::new("events", DataType::List(event()), false),
        Field::new("links", DataType::List(event()), true),
    ];
    fields.splice(6..6, own.map(Arc::new));
    Arc::new(Schema::new(fields))
}

fn event() -> Arc<Field> {
    let fields = Fields::from(vec![
        Field::new("name", DataType::Utf8View, false),
        Field::new("attributes", DataType::Utf8View, true),
    ]);
    Arc::new(Field::new("element", DataType::Struct(fields), false))
}

/// A text that is seldom long, and sometimes not of one byte a letter.
fn text(random: &mut Random, most: u64) -> String {
    let longest = [3, 20, most][random.below(3) as usize];
    let letter = ["a", "ü", "€", "z"][random.below(4) as usize];
    let mut text = letter.repeat(random.below(longest + 1) as usize);
    text.push_str(&random.below(1_000).to_string());
    text
}

fn lists(random: &mut Random, count: usize, any: bool, nullable: bool) -> ListArray {
    let lengths: Vec<usize> = (0..count)
        .map(|_| {
            if any {
                random.below(4).saturating_sub(1) as usize
            } else {
                0
            }
        })
        .collect();
    let all: usize = lengths.iter().sum();
    let names: Vec<String> = (0..all).map(|_| text(random, 30)).collect();
    let attributes: Vec<Option<String>> = (0..all)
        .map(|_| (random.below(3) > 0).then(|| text(random, 90)))
        .collect();
    let columns: [ArrayRef; 2] = [
        Arc::new(StringViewArray::from_iter_values(names)),
        Arc::new(StringViewArray::from_iter(attributes)),
    ];
    let element = event();
    let DataType::Struct(fields) = element.data_type() else {
        panic!("an event is a struct");
    };
    let values = StructArray::new(fields.clone(), columns.to_vec(), None);
    let nulls = nullable.then(|| {
        let valid = lengths
            .iter()
            .map(|length| *length > 0 || random.below(2) == 0);
        NullBuffer::from(valid.collect::<Vec<bool>>())
    });
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    ListArray::new(element, offsets, Arc::new(values), nulls)
}

/// Rows of `traces` traces in no order.
fn batch(random: &mut Random, count: usize, traces: u64) -> RecordBatch {
    let times: Vec<i64> = (0..count as i64)
        .map(|row| 100 * DAY_NANOS + row * 1_000)
        .collect();
    let ids: Vec<[u8; 16]> = (0..count)
        .map(|_| [random.below(traces) as u8; 16])
        .collect();
    let few = random.below(4);
    let most = [60, 900][random.below(2) as usize];
    let mut optional = |all: u64| random.below(4) < all;
    let (notes, numbers, parents, events, links) = (
        optional(3),
        optional(3),
        optional(3),
        optional(3),
        optional(2),
    );
    let names: Vec<String> = (0..count)
        .map(|_| "n".repeat(random.below(few + 1) as usize * 40))
        .collect();
    let attributes: Vec<String> = (0..count).map(|_| text(random, most)).collect();
    let notes: Vec<Option<String>> = (0..count)
        .map(|_| (notes && random.below(3) == 0).then(|| text(random, 40)))
        .collect();
    let numbers: Vec<Option<i64>> = (0..count)
        .map(|_| (numbers && random.below(3) > 0).then(|| random.below(1 << 40) as i64))
        .collect();
    let parents: Vec<Option<[u8; 8]>> = (0..count)
        .map(|_| (parents && random.below(3) > 0).then(|| [random.below(200) as u8; 8]))
        .collect();
    let kinds: Vec<i32> = (0..count).map(|_| random.below(few + 1) as i32).collect();
    let micros = times.iter().map(|time| time / 1_000);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_from_iter(ids.into_iter()).unwrap()),
        Arc::new(StringViewArray::from_iter_values(names)),
        Arc::new(Int32Array::from(kinds)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC")),
        Arc::new(Int64Array::from(times)),
        Arc::new(StringViewArray::from_iter_values(attributes)),
        Arc::new(StringViewArray::from_iter(notes)),
        Arc::new(Int64Array::from(numbers)),
        Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(parents.into_iter(), 8).unwrap(),
        ),
        Arc::new(lists(random, count, events, false)),
        Arc::new(lists(random, count, links, true)),
        Arc::new(StringViewArray::from(vec!["a"; count])),
        Arc::new(Date32Array::from(vec![100; count])),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn compression(random: &mut Random) -> Compression {
    match random.below(4) {
        0 => Compression::UNCOMPRESSED,
        1 => Compression::SNAPPY,
        level => Compression::ZSTD(ZstdLevel::try_new(level as i32).unwrap()),
    }
}

/// How a writer may write, of ours and of others.
fn properties(random: &mut Random) -> WriterProperties {
    let pages = 1 + random.below(90) as usize;
    let version = match random.below(3) {
        0 => WriterVersion::PARQUET_2_0,
        _ => WriterVersion::PARQUET_1_0,
    };
    let statistics = [
        EnabledStatistics::None,
        EnabledStatistics::Chunk,
        EnabledStatistics::Page,
    ];
    let mut builder = WriterProperties::builder()
        .set_writer_version(version)
        .set_compression(compression(random))
        .set_bloom_filter_enabled(random.below(2) == 0)
        .set_dictionary_enabled(random.below(2) == 0)
        .set_statistics_enabled(statistics[random.below(3) as usize])
        .set_offset_index_disabled(random.below(4) == 0)
        .set_data_page_row_count_limit(pages)
        .set_write_batch_size(1 + random.below(8) as usize)
        .set_max_row_group_row_count(Some(1 + random.below(300) as usize));
    if random.below(2) == 0 {
        builder = builder.set_column_dictionary_enabled("trace_id".into(), false);
    }
    if random.below(4) > 0 {
        builder = builder
            .set_column_dictionary_enabled("attributes".into(), false)
            .set_column_compression("attributes".into(), compression(random))
            .set_column_encoding("attributes".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    builder.build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_finds_what_a_scan_does_across_pages_nulls_and_encodings() {
    let mut random = seeded();
    let (mut rows, mut all) = (0, 0);
    for _ in 0..24 {
        let folder = TempDir::new().unwrap();
        let mut source = Spans::new(&folder);
        // So many that the rows of some are scattered, and of some are far between.
        let traces = [3, 60, 250][random.below(3) as usize];
        for _ in 0..3 {
            let count = [1, 2, 90, 250, 900][random.below(5) as usize];
            let batch = batch(&mut random, count, traces);
            all += count;
            source = source.file_as("a", 100, &batch, properties(&mut random));
        }
        let config = QueryConfig {
            partitions: 1 + random.below(4) as usize,
            ..config(&folder)
        };
        let files = Files {
            files: Arc::new(source.files),
            root: source.root,
            schema: schema(),
        };
        let engine = engine(config, files);
        for id in 0..=traces {
            rows += found_as_scanned(&engine, [id as u8; 16]).await;
        }
    }
    assert_eq!(rows, all, "each row is of a trace that was looked up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_large_page_the_texts_that_are_wanted_are_found_whatever_their_lengths() {
    let mut random = seeded();
    for longest in [0, 40, 5_000, 90_000] {
        let folder = TempDir::new().unwrap();
        let count = 9_000;
        let rows = batch(&mut random, count, 250);
        let mut columns = rows.columns().to_vec();
        let attributes = (0..count).map(|row| match random.below(20) {
            0 => "x".repeat(random.below(longest + 1) as usize),
            _ => format!(
                "{row} {}",
                "y".repeat(random.below(longest.min(60) + 1) as usize)
            ),
        });
        columns[5] = Arc::new(StringViewArray::from_iter_values(attributes));
        let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
            .set_data_page_row_count_limit(8_192)
            .set_data_page_size_limit(64 << 20)
            .set_write_batch_size(1_024)
            .set_column_dictionary_enabled("attributes".into(), false)
            .set_column_encoding("attributes".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
            .build();
        let source = Spans::new(&folder).file_as("a", 100, &rows, properties);
        let files = Files {
            files: Arc::new(source.files),
            root: source.root,
            schema: schema(),
        };
        let engine = engine(config(&folder), files);
        for _ in 0..20 {
            let id = [random.below(250) as u8; 16];
            assert!(found_as_scanned(&engine, id).await > 0);
        }
    }
}

/// The same rows in a file whose pages are larger than those that are written now.
fn with_larger_pages(root: &Path, file: &DataFile) -> DataFile {
    let path = root.join(&file.path);
    let open = || ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let metadata = Arc::clone(open().metadata());
    let schema = Arc::clone(open().schema());
    let batches: Vec<RecordBatch> = open()
        .build()
        .unwrap()
        .map(|batch| batch.unwrap())
        .collect();
    let rows = concat_batches(&schema, &batches).unwrap();
    let keys = metadata.file_metadata().key_value_metadata().cloned();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap()))
        .set_data_page_row_count_limit(50_000)
        .set_data_page_size_limit(16 << 20)
        .set_key_value_metadata(keys)
        .set_column_dictionary_enabled("trace_id".into(), false)
        .set_column_bloom_filter_enabled("trace_id".into(), true)
        .set_column_dictionary_enabled("attributes".into(), false)
        .set_column_encoding("attributes".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        .build();
    let name = file.path.replace(".parquet", "-older.parquet");
    let older = root.join(&name);
    let mut writer =
        ArrowWriter::try_new(File::create(&older).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    fs::remove_file(path).unwrap();
    let bytes = fs::read(&older).unwrap();
    DataFile {
        path: name,
        size: bytes.len() as u64,
        sums: Some(Arc::new(BlockSums::of(&bytes))),
        ..file.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_over_files_of_the_writer_and_of_merges_find_what_scans_do() {
    let mut random = seeded();
    for copy_group_rows in [1, usize::MAX] {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("spans");
        fs::create_dir(&root).unwrap();
        let options = WriteOptions {
            row_group_rows: 20_000,
            ..WriteOptions::default()
        };
        let mut files = Vec::new();
        for file in 0..3 {
            let batches = (0..6).map(|batch| {
                let start = rows::DAY_NANOS + (file * 6 + batch) * 3_000_000_000;
                let seed = random.below(1 << 40);
                rows::batch(Table::Spans, seed, 5_000, start, "default")
            });
            let written = write(Table::Spans, batches.collect(), &root, &options).await;
            files.extend(written.unwrap().into_iter().map(|written| written.file));
        }
        let mut ids = Vec::new();
        for file in &files {
            let file = File::open(root.join(&file.path)).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            let rows: Vec<RecordBatch> = reader
                .build()
                .unwrap()
                .map(|batch| batch.unwrap())
                .collect();
            for _ in 0..12 {
                let rows = &rows[random.below(rows.len() as u64) as usize];
                let row = random.below(rows.num_rows() as u64) as usize;
                let id = rows.column(0).as_fixed_size_binary().value(row);
                ids.push(id.try_into().unwrap());
            }
        }
        let older = with_larger_pages(&root, &files[1]);
        let written: Vec<DataFile> = vec![files[0].clone(), older, files[2].clone()];
        let options = MergeOptions {
            write: options,
            memory_bytes: 1 << 30,
            copy_group_rows,
        };
        let merged = merge(Table::Spans, &root, &written, &options, &mut |_| Ok(()));
        let merged = merged.map_err(|failure| failure.error).unwrap();
        assert_eq!(merged.inputs.len(), 3);
        let schema = otlake_decode::schema::schema(Table::Spans);
        for files in [written, vec![merged.output.file]] {
            let files = Files {
                files: Arc::new(files),
                root: root.clone(),
                schema: Arc::clone(&schema),
            };
            let engine = engine(config(&folder), files);
            for id in &ids {
                assert_eq!(found_as_scanned(&engine, *id).await, 8);
            }
        }
    }
}
