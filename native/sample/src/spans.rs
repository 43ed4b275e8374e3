//! The columns of a batch of spans that are read.

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch, StringViewArray};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type};
use otlake_base::{Code, Error, Result};

/// Where a span's trace state is.
pub(crate) const TRACE_STATE: &str = "trace_state";

/// One batch of spans, by column.
pub(crate) struct Spans<'a> {
    trace_id: &'a FixedSizeBinaryArray,
    trace_state: &'a StringViewArray,
    status: &'a [i32],
    start: &'a [i64],
    duration: &'a [i64],
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
            trace_id: column(batch, "trace_id", |array| array.as_fixed_size_binary_opt())?,
            trace_state: texts(batch, TRACE_STATE)?,
            status: numbers::<Int32Type>(batch, "status_code")?,
            start: numbers::<Int64Type>(batch, "start_time_unix_nano")?,
            duration: numbers::<Int64Type>(batch, "duration_ns")?,
            attributes: texts(batch, "attributes")?,
            resource: texts(batch, "resource_attributes")?,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.status.len()
    }

    pub(crate) fn trace_id(&self, row: usize) -> [u8; 16] {
        self.trace_id.value(row).try_into().unwrap_or_default()
    }

    /// Empty where there is none.
    pub(crate) fn trace_state(&self, row: usize) -> &'a str {
        match self.trace_state.is_valid(row) {
            true => self.trace_state.value(row),
            false => "",
        }
    }

    pub(crate) fn status(&self, row: usize) -> i32 {
        self.status[row]
    }

    /// Nanoseconds since 1970.
    pub(crate) fn start(&self, row: usize) -> i64 {
        self.start[row]
    }

    /// Nanoseconds; 0 where a clock went back.
    pub(crate) fn duration(&self, row: usize) -> u64 {
        u64::try_from(self.duration[row]).unwrap_or(0)
    }

    /// Nanoseconds since 1970; the start where a clock went back.
    pub(crate) fn end(&self, row: usize) -> i64 {
        let duration = i64::try_from(self.duration(row)).unwrap_or(i64::MAX);
        self.start[row].saturating_add(duration)
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
