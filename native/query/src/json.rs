//! How values become JSON where Arrow's own encoding does not keep them: integers beyond what
//! a JavaScript number holds are text, binary is hexadecimal, and NaN and infinities are text.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray, StringBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type, Int64Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, JsonFormat, NullableEncoder, make_encoder,
};

use crate::functions::push_hex;

/// Greatest integer that a JavaScript number holds exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Gives Arrow's JSON writer the encoders that differ.
#[derive(Debug)]
pub(crate) struct Exact;

impl EncoderFactory for Exact {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Int64 => Box::new(Integers(array.as_primitive::<Int64Type>())),
            DataType::UInt64 => Box::new(Integers(array.as_primitive::<UInt64Type>())),
            DataType::Float64 => Box::new(Floats(array.as_primitive::<Float64Type>())),
            DataType::Float32 => Box::new(Floats(array.as_primitive::<Float32Type>())),
            DataType::FixedSizeBinary(_)
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => Box::new(Bytes(array)),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Integers<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for Integers<'_, T>
where
    T::Native: Into<i128>,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value: i128 = self.0.value(row).into();
        // Writing to a vector cannot fail.
        let _ = if value.unsigned_abs() > u128::from(MAX_SAFE_INTEGER) {
            write!(out, "\"{value}\"")
        } else {
            write!(out, "{value}")
        };
    }
}

struct Floats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for Floats<'_, T>
where
    T::Native: Into<f64> + std::fmt::Debug,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let native = self.0.value(row);
        let value: f64 = native.into();
        let _ = if value.is_nan() {
            out.write_all(b"\"NaN\"")
        } else if value.is_infinite() {
            out.write_all(if value > 0.0 {
                b"\"Infinity\""
            } else {
                b"\"-Infinity\""
            })
        } else {
            // Rust's debug form is the shortest text that reads back as the same number.
            write!(out, "{native:?}")
        };
    }
}

struct Bytes<'a>(&'a dyn Array);

impl Encoder for Bytes<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let bytes: &[u8] = match self.0.data_type() {
            DataType::FixedSizeBinary(_) => self.0.as_fixed_size_binary().value(row),
            DataType::Binary => self.0.as_binary::<i32>().value(row),
            DataType::LargeBinary => self.0.as_binary::<i64>().value(row),
            _ => self.0.as_binary_view().value(row),
        };
        out.push(b'"');
        push_hex(bytes, out);
        out.push(b'"');
    }
}

/// Rows of an object, with commas between them and nothing around them.
#[derive(Debug, Default)]
pub(crate) struct Rows;

impl JsonFormat for Rows {
    fn start_row<W: Write>(&self, writer: &mut W, is_first_row: bool) -> Result<(), ArrowError> {
        if !is_first_row {
            writer.write_all(b",")?;
        }
        Ok(())
    }
}

/// A column as JSON text, for formats that have no nested values.
pub(crate) fn text(field: &FieldRef, array: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(std::sync::Arc::new(Exact));
    let mut encoder = make_encoder(field, array, &options)?;
    let mut builder = StringBuilder::new();
    let mut buffer = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        buffer.clear();
        encoder.encode(row, &mut buffer);
        builder.append_value(String::from_utf8_lossy(&buffer));
    }
    Ok(builder.finish())
}
