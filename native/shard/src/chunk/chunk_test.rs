//! Chunks beside what the Parquet writer makes of the same rows: the same values, the same
//! statistics, the same page index.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Int32Array, Int64Array, RecordBatch, StringViewBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::ChunkEncoder;
use super::bounds::{BOUND_BYTES, above, below};
use super::encoder::DICTIONARY_BYTES;
use crate::gather::gather;
use crate::rows::Random;

const ROUNDS: u64 = 150;
const PAGE_ROWS: usize = 512;

/// Rows of a text that may be null, and of numbers, each column with its own count of values.
fn batches(random: &mut Random) -> Vec<RecordBatch> {
    let counts: Vec<u64> = (0..4)
        .map(|_| 1 + (random.next() >> (40 + random.below(24))))
        .collect();
    let nulls = random.below(4);
    let long = random.below(200);
    let texts: Vec<String> = (0..counts[0].min(5_000))
        .map(|_| {
            let length = random.below(3) * random.below(1 + long);
            let letters = ["a", "b", "é", "\u{fff0}", "0"];
            let text: String = (0..length)
                .map(|_| letters[random.below(5) as usize])
                .collect();
            // Many are as long as others, and begin and end as they do.
            match random.below(3) {
                0 => format!("a beginning, {text:.3}, and an end"),
                _ => text,
            }
        })
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("text", DataType::Utf8View, true),
        Field::new("int", DataType::Int32, false),
        Field::new("long", DataType::Int64, true),
        Field::new("trace", DataType::FixedSizeBinary(16), false),
        Field::new("parent", DataType::FixedSizeBinary(8), true),
    ]));
    (0..1 + random.below(4))
        .map(|_| {
            let rows = random.below(4_000);
            let is_null = |random: &mut Random| match nulls {
                0 => false,
                1 => true,
                _ => random.below(nulls) == 0,
            };
            let mut text = StringViewBuilder::new();
            let mut views = Vec::new();
            for value in &texts {
                // As the decoder does for a resource: the text once, a view of it for each row.
                let block = text.append_block(value.as_bytes().to_vec().into());
                views.push((block, value.len() as u32));
            }
            for _ in 0..rows {
                if is_null(random) {
                    text.append_null();
                } else {
                    let value = random.below(views.len() as u64) as usize;
                    if random.below(3) == 0 {
                        // As one of a span: in a place of its own.
                        text.append_value(&texts[value]);
                    } else {
                        let (block, length) = views[value];
                        text.try_append_view(block, 0, length).unwrap();
                    }
                }
            }
            let mut run = 0;
            let ints: Int32Array = (0..rows)
                .map(|_| {
                    // Runs of all lengths.
                    if random.below(12) == 0 {
                        run = random.below(counts[1].min(70_000)) as i32 - 3;
                    }
                    Some(run)
                })
                .collect();
            let longs: Int64Array = (0..rows)
                .map(|_| {
                    let value = random.below(counts[2]) as i64 * -1_000_000_007;
                    (!is_null(random)).then_some(value)
                })
                .collect();
            let mut traces = FixedSizeBinaryBuilder::new(16);
            let mut parents = FixedSizeBinaryBuilder::new(8);
            for _ in 0..rows {
                let trace = u128::from(random.below(counts[3])) << 60;
                traces.append_value(trace.to_le_bytes()).unwrap();
                if is_null(random) {
                    parents.append_null();
                } else {
                    parents.append_value(random.next().to_le_bytes()).unwrap();
                }
            }
            let columns: Vec<ArrayRef> = vec![
                Arc::new(text.finish()),
                Arc::new(ints),
                Arc::new(longs),
                Arc::new(traces.finish()),
                Arc::new(parents.finish()),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        })
        .collect()
}

/// A file of the rows in this order, and how many columns were encoded here.
fn file(batches: &[RecordBatch], rows: &[(usize, usize)], ours: bool) -> (Bytes, usize) {
    let schema = batches[0].schema();
    let (trace, parent) = (ColumnPath::from("trace"), ColumnPath::from("parent"));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(BOUND_BYTES))
        .set_column_index_truncate_length(Some(BOUND_BYTES))
        .set_column_dictionary_enabled(trace.clone(), false)
        .set_column_statistics_enabled(trace.clone(), EnabledStatistics::None)
        .set_column_bloom_filter_enabled(trace.clone(), true)
        .set_column_bloom_filter_fpp(trace.clone(), 0.01)
        .set_column_bloom_filter_max_ndv(trace, rows.len() as u64)
        .set_column_dictionary_enabled(parent.clone(), false)
        .set_column_statistics_enabled(parent.clone(), EnabledStatistics::None)
        .set_column_compression(parent, Compression::UNCOMPRESSED)
        .build();
    let mut out = Vec::new();
    let mut encoded = 0;
    let writer = ArrowWriter::try_new(&mut out, schema, Some(properties)).unwrap();
    let (mut writer, factory) = writer.into_serialized_writer().unwrap();
    let columns = factory.create_column_writers(0).unwrap();
    let leaves = writer.schema_descr().columns().to_vec();
    let properties = Arc::clone(writer.properties());
    let mut group = writer.next_row_group().unwrap();
    let mut chunks = ChunkEncoder::new().unwrap();
    for (index, mut column) in columns.into_iter().enumerate() {
        if ours
            && let Some(chunk) = chunks
                .encode(batches, index, rows, &leaves[index], &properties)
                .unwrap()
        {
            group.append_column(&chunk.bytes, chunk.close).unwrap();
            encoded += 1;
            continue;
        }
        let array = gather(batches, index, rows).unwrap();
        let field = batches[0].schema().field(index).clone();
        for leaf in parquet::arrow::arrow_writer::compute_leaves(&field, &array).unwrap() {
            column.write(&leaf).unwrap();
        }
        column
            .close()
            .unwrap()
            .append_to_row_group(&mut group)
            .unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    (out.into(), encoded)
}

fn read(file: &Bytes) -> (Vec<RecordBatch>, Arc<ParquetMetaData>) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let reader =
        ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
    let metadata = Arc::clone(reader.metadata());
    let rows = reader.with_batch_size(100_000).build().unwrap();
    (rows.map(Result::unwrap).collect(), metadata)
}

/// What the index says of each page, but for histograms of levels, which no reader needs of a
/// column that is not nested.
fn pages(index: &ColumnIndexMetaData) -> impl PartialEq + Debug {
    fn texts<T: Debug>(values: impl Iterator<Item = T>) -> Vec<String> {
        values.map(|value| format!("{value:?}")).collect()
    }
    let (least, greatest) = match index {
        ColumnIndexMetaData::INT32(index) => (
            texts(index.min_values_iter()),
            texts(index.max_values_iter()),
        ),
        ColumnIndexMetaData::INT64(index) => (
            texts(index.min_values_iter()),
            texts(index.max_values_iter()),
        ),
        ColumnIndexMetaData::BYTE_ARRAY(index) => (
            texts(index.min_values_iter()),
            texts(index.max_values_iter()),
        ),
        ColumnIndexMetaData::NONE => Default::default(),
        other => panic!("no such column is here: {other:?}"),
    };
    let order = index.get_boundary_order();
    (least, greatest, index.null_counts().cloned(), order)
}

/// The bytes of a chunk's bloom filter.
fn filter(file: &Bytes, chunk: &ColumnChunkMetaData) -> Option<Bytes> {
    let start = chunk.bloom_filter_offset()? as usize;
    Some(file.slice(start..start + chunk.bloom_filter_length()? as usize))
}

#[test]
fn chunks_have_the_values_the_statistics_and_the_index_that_the_parquet_writer_gives() {
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(7, |seed| seed.parse().unwrap());
    eprintln!("OTLAKE_TEST_SEED={seed}");
    let mut random = Random(seed);
    let mut single = 0;
    for round in 0..ROUNDS {
        let batches = batches(&mut random);
        let mut rows: Vec<(usize, usize)> = batches
            .iter()
            .enumerate()
            .flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)))
            .collect();
        if rows.is_empty() {
            continue;
        }
        for at in (1..rows.len()).rev() {
            // Some rounds keep the order, so that runs stay.
            if round % 2 == 0 {
                rows.swap(at, random.below(at as u64 + 1) as usize);
            }
        }
        let (ours, encoded) = file(&batches, &rows, true);
        let (reference_file, _) = file(&batches, &rows, false);
        assert_eq!(encoded, 5, "round {round}");
        let (found, footer) = read(&ours);
        let (expected, reference) = read(&reference_file);
        assert_eq!(found, expected, "round {round}");
        let (group, other) = (footer.row_group(0), reference.row_group(0));
        assert_eq!(group.num_rows(), other.num_rows());
        for column in 0..5 {
            let (chunk, theirs) = (group.column(column), other.column(column));
            assert_eq!(chunk.statistics(), theirs.statistics(), "round {round}");
            assert_eq!(chunk.num_values(), theirs.num_values());
            assert_eq!(chunk.compression(), theirs.compression());
            assert_eq!(
                filter(&ours, chunk),
                filter(&reference_file, theirs),
                "round {round}"
            );
            assert_eq!(filter(&ours, chunk).is_some(), column == 3);
            let index = |metadata: &ParquetMetaData| {
                (
                    metadata.column_index().unwrap()[0][column].clone(),
                    metadata.offset_index().unwrap()[0][column].clone(),
                )
            };
            let (ranges, offsets) = index(&footer);
            let (their_ranges, their_offsets) = index(&reference);
            let firsts = |pages: &[PageLocation]| {
                let first = pages.iter().map(|page| page.first_row_index);
                first.collect::<Vec<_>>()
            };
            let firsts = (
                firsts(offsets.page_locations()),
                firsts(their_offsets.page_locations()),
            );
            if firsts.0 == firsts.1 {
                assert_eq!(
                    pages(&ranges),
                    pages(&their_ranges),
                    "round {round}, column {column}"
                );
            } else {
                // Only a column with one value or none at all is one page.
                assert_eq!(firsts.0, [0]);
                let nulls = chunk.statistics().unwrap().null_count_opt().unwrap() as i64;
                assert!(nulls == 0 || nulls == group.num_rows(), "round {round}");
                single += 1;
            }
        }
    }
    assert!(single > 0, "no column had one value");
}

#[test]
fn a_column_with_too_large_a_dictionary_is_left_to_the_parquet_writer() {
    let mut text = StringViewBuilder::new();
    for number in 0..4_096 {
        text.append_value(format!("{number:0300}"));
    }
    let schema = Arc::new(Schema::new(vec![Field::new(
        "text",
        DataType::Utf8View,
        true,
    )]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(text.finish())]).unwrap();
    let rows: Vec<_> = (0..batch.num_rows()).map(|row| (0, row)).collect();
    assert!(batch.num_rows() * 300 > DICTIONARY_BYTES);
    let (bytes, encoded) = file(std::slice::from_ref(&batch), &rows, true);
    assert_eq!(encoded, 0);
    assert_eq!(read(&bytes).0, std::slice::from_ref(&batch));
    let half = &rows[..batch.num_rows() / 2];
    assert_eq!(file(&[batch], half, true).1, 1);
}

#[test]
fn bounds_of_long_texts_are_short_and_hold() {
    let mut random = Random(11);
    let letters = [
        'a',
        '~',
        '\u{7f}',
        '\u{7ff}',
        '\u{d7ff}',
        '\u{ffff}',
        char::MAX,
    ];
    for _ in 0..20_000 {
        let length = random.below(90);
        let text: String = (0..length)
            .map(|_| letters[random.below(letters.len() as u64) as usize])
            .collect();
        let (low, high) = (below(&text), above(&text));
        assert!(low.len() <= BOUND_BYTES);
        assert!(low.as_slice() <= text.as_bytes() && text.as_bytes() <= high.as_slice());
        assert!(std::str::from_utf8(&low).is_ok() && std::str::from_utf8(&high).is_ok());
        if text.len() <= BOUND_BYTES {
            assert_eq!(
                (low.as_slice(), high.as_slice()),
                (text.as_bytes(), text.as_bytes())
            );
        }
    }
    // There is no text above the greatest character but a longer one.
    let greatest = char::MAX.to_string().repeat(40);
    assert_eq!(above(&greatest), greatest.as_bytes());
}
