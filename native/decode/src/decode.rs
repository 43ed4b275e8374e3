//! A request of any signal to its tables' rows.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Date32Type;
use bytes::Bytes;
use otlake_base::limits::{MAX_REQUEST_DAYS, RecordLimits};
use otlake_base::{Code, Error, Result, Signal, Table};

use crate::path::path_at;
use crate::rejections::{ByReason, Rejections, Tally, message};
use crate::request::Request;
use crate::wire::{Fault, Malformed, Reader};
use crate::{logs, metrics, schema, spans};

/// Rows by table, in the tables' whole schemas; only tables with rows are here.
pub type Tables = Vec<(Table, RecordBatch)>;

/// The rows of one request.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The rows.
    pub tables: Tables,
    /// Records that the request holds: spans, log records, data points. Each is a row or refused.
    pub received: u64,
    /// Records that have become rows.
    pub accepted: u64,
    /// Records that were refused.
    pub rejections: Rejections,
    /// Accepted records that are not stored as they came, by reason; one can count under several.
    pub changed: ByReason,
    /// Accepted records that are stored as they came and look wrong, by reason.
    pub flagged: ByReason,
    /// Whether other limits could have given other rows.
    pub limited: bool,
}

impl Decoded {
    /// What a client is told; None where all was stored as it came.
    pub fn message(&self) -> Option<String> {
        message(&self.rejections, &self.changed)
    }
}

/// Decodes an `Export…ServiceRequest`. The same bytes with the same limits always give the same
/// rows.
///
/// # Errors
/// `OTLP_MALFORMED` where the bytes are not such a message, `OTLP_TOO_LARGE` where it has more
/// records, buckets, text or days than `MAX_REQUEST_…`: then nothing of it is kept. A record that
/// OTLP does not allow is refused alone, in `rejections`; what of a record goes beyond a limit is
/// cut off, and counted in `changed`.
pub fn decode(
    signal: Signal,
    body: &Bytes,
    tenant: &str,
    limits: &RecordLimits,
) -> Result<Decoded> {
    decode_received(signal, body, tenant, limits, u64::MAX)
}

/// As `decode`, of a request that was received at `now`, in nanoseconds since 1970: times that are
/// later are flagged. It has no part in the rows.
///
/// # Errors
/// As `decode`.
pub fn decode_received(
    signal: Signal,
    body: &Bytes,
    tenant: &str,
    limits: &RecordLimits,
    now: u64,
) -> Result<Decoded> {
    let decoded = decode_any_days(signal, body, tenant, limits, now)?;
    for (_, batch) in &decoded.tables {
        check_days(batch)?;
    }
    Ok(decoded)
}

/// A table has a file for each day (I5).
fn check_days(batch: &RecordBatch) -> Result<()> {
    let days = batch.column_by_name("day");
    let days = days.and_then(|days| days.as_primitive_opt::<Date32Type>());
    let days = days.ok_or_else(|| Error::new(Code::Internal, "rows have no day"))?;
    let (mut last, mut seen) = (None, BTreeSet::new());
    for day in days.values() {
        if last.replace(*day) != Some(*day) && seen.insert(*day) && seen.len() > MAX_REQUEST_DAYS {
            return Err(Error::new(
                Code::OtlpTooLarge,
                format!(
                    "its records are of more than {MAX_REQUEST_DAYS} days: \
                     send fewer days in one request"
                ),
            ));
        }
    }
    Ok(())
}

/// As `decode_received`, of as many days as there are: what was acknowledged once is replayed, whatever
/// the limit has become since.
pub(crate) fn decode_any_days(
    signal: Signal,
    body: &Bytes,
    tenant: &str,
    limits: &RecordLimits,
    now: u64,
) -> Result<Decoded> {
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
    let request = Request::new(body, *limits, now);
    let reader = Reader::new(body, &request);
    let mut tally = Tally::new(signal, body);
    let refused = |malformed: Box<Malformed>| located(signal, body, &malformed);
    let tables = match signal {
        Signal::Traces => spans::read(reader, &mut tally)
            .map_err(refused)?
            .finish(tenant),
        Signal::Metrics => metrics::read(reader, &mut tally)
            .map_err(refused)?
            .finish(tenant),
        Signal::Logs => logs::read(reader, &mut tally)
            .map_err(refused)?
            .finish(tenant),
    }?;
    let rows = tables.iter().map(|(_, batch)| batch.num_rows() as u64);
    Ok(Decoded {
        received: tally.received,
        accepted: rows.sum(),
        changed: tally.changed(),
        flagged: tally.flagged(),
        limited: request.limited(),
        rejections: tally.rejections,
        tables,
    })
}

/// The error of a whole request.
#[cold]
fn located(signal: Signal, body: &[u8], malformed: &Malformed) -> Error {
    let what = malformed.what;
    if malformed.fault == Fault::Size {
        return Error::new(malformed.code(), what);
    }
    let (at, path) = (malformed.at, path_at(signal, body, malformed.at));
    let path = if path.is_empty() {
        path
    } else {
        format!(", in {path}")
    };
    Error::new(
        malformed.code(),
        format!("the message is refused at byte {at}{path}: {what}"),
    )
}

/// Columns to the batch of a table.
pub(crate) fn batches(table: Table, columns: Vec<ArrayRef>) -> Result<Tables> {
    let batch = RecordBatch::try_new(schema::schema(table), columns)
        .map_err(|error| Error::new(Code::Internal, format!("{}: {error}", table.name())))?;
    Ok(vec![(table, batch)])
}
