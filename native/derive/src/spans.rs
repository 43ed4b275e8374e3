//! The columns of a batch of spans that are read.

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch, StringViewArray};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type};
use otlake_base::{Code, Error, Result};

/// What a span without `service.name` is of, as OpenTelemetry's SDKs call it.
const UNKNOWN_SERVICE: &str = "unknown_service";
/// A span that is longer counts at its start: how far the days of points can be from those of spans
/// must have a bound, for each is a file (I5).
const LONGEST_NS: i64 = 24 * 3600 * 1_000_000_000;

/// The kinds of OTLP that edges are made of.
pub(crate) const SERVER: i32 = 2;
pub(crate) const CLIENT: i32 = 3;
pub(crate) const PRODUCER: i32 = 4;
pub(crate) const CONSUMER: i32 = 5;
/// OTLP's status of a span that failed.
const ERROR: i32 = 2;

/// One batch of spans, by column.
pub(crate) struct Spans<'a> {
    trace_id: &'a FixedSizeBinaryArray,
    span_id: &'a FixedSizeBinaryArray,
    parent_span_id: &'a FixedSizeBinaryArray,
    name: &'a StringViewArray,
    kind: &'a [i32],
    status: &'a [i32],
    start: &'a [i64],
    duration: &'a [i64],
    service: &'a StringViewArray,
    attributes: &'a StringViewArray,
    resource: &'a StringViewArray,
}

fn column<'a, T>(
    batch: &'a RecordBatch,
    name: &str,
    cast: impl FnOnce(&'a dyn Array) -> Option<T>,
) -> Result<T> {
    let column = batch.column_by_name(name);
    let column = column.and_then(|column| cast(column.as_ref()));
    column.ok_or_else(|| Error::new(Code::Internal, format!("spans lack the column `{name}`")))
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringViewArray> {
    column(batch, name, |array| array.as_string_view_opt())
}

fn ids<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a FixedSizeBinaryArray> {
    column(batch, name, |array| array.as_fixed_size_binary_opt())
}

fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a [T::Native]> {
    column(batch, name, |array| {
        Some(&**array.as_primitive_opt::<T>()?.values())
    })
}

impl<'a> Spans<'a> {
    /// The columns of a batch of the table `spans`.
    ///
    /// # Errors
    /// `INTERNAL` where it has others.
    pub(crate) fn of(batch: &'a RecordBatch) -> Result<Spans<'a>> {
        Ok(Spans {
            trace_id: ids(batch, "trace_id")?,
            span_id: ids(batch, "span_id")?,
            parent_span_id: ids(batch, "parent_span_id")?,
            name: texts(batch, "name")?,
            kind: numbers::<Int32Type>(batch, "kind")?,
            status: numbers::<Int32Type>(batch, "status_code")?,
            start: numbers::<Int64Type>(batch, "start_time_unix_nano")?,
            duration: numbers::<Int64Type>(batch, "duration_ns")?,
            service: texts(batch, "service_name")?,
            attributes: texts(batch, "attributes")?,
            resource: texts(batch, "resource_attributes")?,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.kind.len()
    }

    pub(crate) fn trace_id(&self, row: usize) -> [u8; 16] {
        self.trace_id.value(row).try_into().unwrap_or_default()
    }

    pub(crate) fn span_id(&self, row: usize) -> [u8; 8] {
        self.span_id.value(row).try_into().unwrap_or_default()
    }

    /// None of a root.
    pub(crate) fn parent(&self, row: usize) -> Option<[u8; 8]> {
        let is_child = self.parent_span_id.is_valid(row);
        is_child.then(|| {
            self.parent_span_id
                .value(row)
                .try_into()
                .unwrap_or_default()
        })
    }

    pub(crate) fn name(&self, row: usize) -> &'a str {
        self.name.value(row)
    }

    pub(crate) fn kind(&self, row: usize) -> i32 {
        self.kind[row]
    }

    pub(crate) fn status(&self, row: usize) -> i32 {
        self.status[row]
    }

    pub(crate) fn failed(&self, row: usize) -> bool {
        self.status[row] == ERROR
    }

    /// Nanoseconds; 0 where a clock went back.
    pub(crate) fn duration(&self, row: usize) -> u64 {
        u64::try_from(self.duration[row]).unwrap_or(0)
    }

    /// When it counts: at its end; a span of more than a day, or of less than nothing, at its start.
    pub(crate) fn time(&self, row: usize) -> i64 {
        match self.duration[row] {
            duration @ 0..=LONGEST_NS => self.start[row].saturating_add(duration),
            _ => self.start[row],
        }
    }

    pub(crate) fn service(&self, row: usize) -> &'a str {
        match self.service.is_valid(row) {
            true => self.service.value(row),
            false => UNKNOWN_SERVICE,
        }
    }

    /// JSON text.
    pub(crate) fn attributes(&self, row: usize) -> &'a str {
        self.attributes.value(row)
    }

    /// JSON text.
    pub(crate) fn resource(&self, row: usize) -> &'a str {
        self.resource.value(row)
    }
}
