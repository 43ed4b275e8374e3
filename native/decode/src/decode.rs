//! A request of any signal to its tables' rows.

use arrow::array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use otlake_base::{Code, Error, Result, Signal, Table};

use crate::rejections::Rejections;
use crate::{logs, metrics, schema, spans};

/// The rows of one request.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Rows by table, in the tables' whole schemas; only tables with rows are here.
    pub tables: Vec<(Table, RecordBatch)>,
    /// Records that have become rows.
    pub accepted: u64,
    /// Records that were refused.
    pub rejections: Rejections,
}

/// Decodes an `Export…ServiceRequest`. The same bytes always give the same rows, so a replay
/// gives what was acknowledged.
///
/// # Errors
/// `OTLP_MALFORMED` where the bytes are not such a message, `OTLP_TOO_LARGE` where it has more
/// records than `MAX_REQUEST_RECORDS`: then nothing of it is kept. A record that OTLP does not
/// allow is refused alone, in `rejections`.
pub fn decode(signal: Signal, body: &Bytes, tenant: &str) -> Result<Decoded> {
    // No list of a row has more elements than the request has bytes, and lists count in 32 bits.
    if i32::try_from(body.len()).is_err() {
        return Err(Error::new(
            Code::OtlpTooLarge,
            format!(
                "a request must be shorter than 2 GiB, got {} bytes",
                body.len()
            ),
        ));
    }
    match signal {
        Signal::Traces => spans::decode(body, tenant),
        Signal::Metrics => metrics::decode(body, tenant),
        Signal::Logs => logs::decode(body, tenant),
    }
}

/// Columns to a batch of the table.
pub(crate) fn batch(table: Table, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema::schema(table), columns)
        .map_err(|error| Error::new(Code::Internal, format!("{}: {error}", table.name())))
}
