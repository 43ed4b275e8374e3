//! What a Parquet file holds, for tests that tell rows by their times.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use otlake_base::Table;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The times of a file's rows, in its order.
pub fn times(table: Table, file: Bytes) -> Vec<i64> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let batches = reader.build().unwrap().map(Result::unwrap);
    let of = |batch: RecordBatch| {
        let times = batch.column_by_name(table.time_column()).unwrap();
        times.as_primitive::<Int64Type>().values().to_vec()
    };
    batches.flat_map(of).collect()
}
