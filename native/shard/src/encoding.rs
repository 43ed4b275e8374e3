//! How each column is encoded, compressed and indexed.
//!
//! A dictionary where values repeat; none where nearly each value is its own, for there the
//! dictionary is built, given up and written plain; differences for numbers that grow with the
//! order; span ids as they are, for random bytes do not compress. `bench/write.rs` tells what
//! a change of these costs or gains.

use arrow::datatypes::{DataType, Schema};
use otlake_base::{Code, Error, Result, Table};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use crate::chunk::BOUND_BYTES;
use crate::order::sort_columns;
use crate::stats::stats_columns;
use crate::write::WriteOptions;

/// Key of the files' metadata under which the version of the table schemas stands.
pub const SCHEMA_VERSION_KEY: &str = "otlake.schema_version";
/// The version of the table schemas that this build writes.
pub const SCHEMA_VERSION: u32 = 1;
/// Key of the metadata of a file whose row groups are not sorted as a whole: how many of them
/// each sorted run has, in order, with commas between.
pub const RUNS_KEY: &str = "otlake.sorted_runs";

/// Zstandard level of attributes, the largest column by far: on spans it takes a tenth longer than
/// level 1 for this column and leaves an eighth less.
const ATTRIBUTES_ZSTD_LEVEL: i32 = 3;
/// Share of row groups without a trace id that its lookup reads in vain: of the 760 that 100 million
/// spans are in, less than one. A filter's size is a power of two, so that this takes twice what
/// 0.01 would: an eighth of a byte more for each span of traces of ten.
const TRACE_ID_FALSE_POSITIVES: f64 = 0.001;
/// Rows of one page: what a lookup by the page index decodes at least.
const PAGE_ROWS: usize = 8_192;

/// A dictionary is worth its building for this leaf.
fn repeats(table: Table, leaf: &str) -> bool {
    if leaf.starts_with("resource_") || leaf.starts_with("scope_") {
        return true;
    }
    match leaf {
        // A series repeats its attributes on every point; spans and log records seldom do.
        "attributes" => !matches!(table, Table::Spans | Table::Logs),
        "body" | "body_value" | "value" | "value_int" | "sum" | "min" | "max" | "count"
        | "duration_ns" | "series_id" => false,
        // Within events, links, exemplars and buckets only names and counts repeat.
        nested if nested.contains('.') => {
            nested.ends_with(".name")
                || nested.ends_with("count")
                || nested.ends_with(".flags")
                || nested.starts_with("explicit_bounds")
        }
        other => !other.ends_with("time") && !other.ends_with("_unix_nano"),
    }
}

/// The values of this leaf repeat or do not as their source has it: a duration in milliseconds does,
/// one in nanoseconds does not. Each chunk of it has a dictionary if that is small.
pub(crate) fn may_repeat(leaf: &str) -> bool {
    leaf == "duration_ns"
}

fn is_id(leaf: &str) -> bool {
    let name = leaf.rsplit('.').next().unwrap_or(leaf);
    matches!(name, "trace_id" | "span_id" | "parent_span_id")
}

/// A leaf within lists whose null count tells whether all of them are empty, as those of links mostly are:
/// a reader then passes by the list's other leaves as well.
fn tells_empty(leaf: &str) -> bool {
    leaf.ends_with(".element.dropped_attributes_count")
}

/// The properties of a file of `table` whose row groups have `rows` rows at most.
pub(crate) fn properties(
    table: Table,
    schema: &Schema,
    leaves: &SchemaDescriptor,
    rows: usize,
    options: &WriteOptions,
) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(options.zstd_level)
        .map_err(|error| Error::new(Code::ConfigInvalid, error))?;
    let sorting = sort_columns(table)
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        // The sort columns stand before every nested one or are found by name among leaves.
        .filter_map(|index| {
            let name = schema.field(index).name();
            leaves
                .columns()
                .iter()
                .position(|leaf| leaf.path().string() == *name)
        })
        .map(|leaf| SortingColumn {
            column_idx: leaf as i32,
            descending: false,
            nulls_first: true,
        })
        .collect();
    let attributes_level = ZstdLevel::try_new(options.zstd_level.max(ATTRIBUTES_ZSTD_LEVEL))
        .map_err(|error| Error::new(Code::ConfigInvalid, error))?;
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("otlake ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS / 8)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_index_truncate_length(Some(BOUND_BYTES))
        .set_statistics_truncate_length(Some(BOUND_BYTES))
        .set_sorting_columns(Some(sorting))
        .set_key_value_metadata(Some(vec![
            KeyValue::new(SCHEMA_VERSION_KEY.to_owned(), SCHEMA_VERSION.to_string()),
            KeyValue::new("otlake.table".to_owned(), table.name().to_owned()),
        ]));
    for leaf in leaves.columns() {
        let path: ColumnPath = leaf.path().clone();
        let name = path.string();
        if is_id(&name) {
            builder = builder.set_column_dictionary_enabled(path.clone(), false);
            // Spans of one trace lie near each other, and so do those of one parent, so that these
            // ids compress.
            if !name.ends_with("trace_id") && name != "parent_span_id" {
                builder = builder.set_column_compression(path.clone(), Compression::UNCOMPRESSED);
            }
            if name == "trace_id" && matches!(table, Table::Spans | Table::Logs) {
                builder = builder
                    .set_column_bloom_filter_enabled(path.clone(), true)
                    .set_column_bloom_filter_fpp(path.clone(), TRACE_ID_FALSE_POSITIVES)
                    .set_column_bloom_filter_max_ndv(path, rows.max(1) as u64);
            }
            continue;
        }
        builder = builder.set_column_dictionary_enabled(path.clone(), repeats(table, &name));
        let field = schema.field_with_name(&name).ok();
        let grows = name.ends_with("time") || name.ends_with("_unix_nano");
        let number = matches!(
            field.map(|field| field.data_type()),
            Some(DataType::Int64 | DataType::Timestamp(..))
        );
        if number && (grows || name == "series_id" || name == "duration_ns") {
            builder = builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        if name == "attributes" {
            let level = Compression::ZSTD(attributes_level);
            builder = builder
                .set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
                .set_column_compression(path.clone(), level);
        }
        if let Some(field) = field {
            let pruned = stats_columns(table).contains(&field.name().as_str());
            let chunk = !field.data_type().is_nested() && name != "attributes" && name != "body";
            let enabled = match (pruned, chunk) {
                (true, _) => EnabledStatistics::Page,
                // Cheap for a reader that filters by it: at least the null count of the chunk.
                (false, true) => EnabledStatistics::Chunk,
                (false, false) => EnabledStatistics::None,
            };
            builder = builder.set_column_statistics_enabled(path, enabled);
        } else if tells_empty(&name) {
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Chunk);
        }
    }
    Ok(builder.build())
}
