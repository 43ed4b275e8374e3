//! Arrow schema to Delta schema, and the properties of our tables.

use std::time::Duration;

use arrow::datatypes::{DataType as ArrowType, Field, TimeUnit};
use deltalake_core::kernel::{ArrayType, DataType, StructField, StructType};
use otlake_base::{Code, Error, Result, Table};
use otlake_decode::schema::schema;
use otlake_shard::stats_columns;

/// Commits of a table between two checkpoints.
pub(crate) const CHECKPOINT_INTERVAL: u64 = 50;
/// How long an entry of a table's log is kept once a checkpoint holds it. At six commits a minute a
/// longer time fills the log's folder, which each commit lists.
pub(crate) const LOG_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How long a checkpoint remembers a removed file: longer than vacuum may leave it on disk.
pub(crate) const REMOVED_RETENTION: Duration = Duration::from_secs(48 * 3600);

/// The columns of a table, partition columns last.
pub(crate) fn columns(table: Table) -> Result<Vec<StructField>> {
    schema(table)
        .fields()
        .iter()
        .map(|field| convert(field))
        .collect()
}

fn convert(field: &Field) -> Result<StructField> {
    Ok(StructField::new(
        field.name(),
        convert_type(field.data_type())?,
        field.is_nullable(),
    ))
}

fn convert_type(data_type: &ArrowType) -> Result<DataType> {
    Ok(match data_type {
        ArrowType::Boolean => DataType::BOOLEAN,
        ArrowType::Int32 => DataType::INTEGER,
        ArrowType::Int64 => DataType::LONG,
        ArrowType::Float64 => DataType::DOUBLE,
        ArrowType::Utf8View => DataType::STRING,
        // Delta knows no fixed width.
        ArrowType::FixedSizeBinary(_) => DataType::BINARY,
        ArrowType::Date32 => DataType::DATE,
        ArrowType::Timestamp(TimeUnit::Microsecond, Some(_)) => DataType::TIMESTAMP,
        ArrowType::List(item) => {
            let element = convert_type(item.data_type())?;
            DataType::from(ArrayType::new(element, item.is_nullable()))
        }
        ArrowType::Struct(fields) => {
            let fields: Vec<StructField> = fields
                .iter()
                .map(|field| convert(field))
                .collect::<Result<_>>()?;
            let fields =
                StructType::try_new(fields).map_err(|error| Error::new(Code::Internal, error))?;
            DataType::from(fields)
        }
        other => {
            return Err(Error::new(
                Code::Internal,
                format!("no Delta type for {other}"),
            ));
        }
    })
}

fn interval(duration: Duration) -> String {
    format!("interval {} hours", duration.as_secs() / 3600)
}

/// What a new table's `configuration` says.
pub(crate) fn properties(table: Table) -> Vec<(String, Option<String>)> {
    let pairs = [
        ("delta.checkpointInterval", CHECKPOINT_INTERVAL.to_string()),
        ("delta.logRetentionDuration", interval(LOG_RETENTION)),
        (
            "delta.deletedFileRetentionDuration",
            interval(REMOVED_RETENTION),
        ),
        // The columns that queries filter by; other writers keep to it. No retention of `txn`
        // actions is set: a watermark that expired would let a flush count twice.
        (
            "delta.dataSkippingStatsColumns",
            stats_columns(table).join(","),
        ),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Some(value)))
        .collect()
}
