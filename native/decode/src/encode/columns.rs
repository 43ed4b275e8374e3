//! The columns of a batch by name, whatever text and binary layout they come back in.
//!
//! Live batches have the layouts of `schema`; rows that went through Parquet and a query may
//! have others of the same meaning (`Utf8` for `Utf8View`, `BinaryView` for fixed-size ids).

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields};
use otlake_base::{Code, Error, Result};

/// Columns to take by name: a batch's, or those of a struct.
pub(super) struct Columns<'a> {
    fields: &'a Fields,
    arrays: &'a [ArrayRef],
}

/// A trace or span id column.
pub(super) enum Ids {
    Fixed(FixedSizeBinaryArray),
    Plain(BinaryArray),
    View(BinaryViewArray),
}

impl Ids {
    /// The id of a row; empty where it is null.
    pub(super) fn value(&self, row: usize) -> &[u8] {
        match self {
            Ids::Fixed(array) if array.is_valid(row) => array.value(row),
            Ids::Plain(array) if array.is_valid(row) => array.value(row),
            Ids::View(array) if array.is_valid(row) => array.value(row),
            _ => &[],
        }
    }
}

/// A text column.
pub(super) struct Texts(StringViewArray);

impl Texts {
    /// The text of a row; none where it is null.
    pub(super) fn get(&self, row: usize) -> Option<&str> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }

    /// The text of a row; empty where it is null.
    pub(super) fn value(&self, row: usize) -> &str {
        self.get(row).unwrap_or_default()
    }
}

/// A list column whose elements are structs, or numbers.
pub(super) struct Lists(ListArray);

impl Lists {
    /// The elements of a row within `elements`; none where it is null.
    pub(super) fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let offsets = self.0.value_offsets();
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        self.0.is_valid(row).then_some(range)
    }

    fn elements(&self, name: &str) -> Result<&StructArray> {
        self.0
            .values()
            .as_any()
            .downcast_ref()
            .ok_or_else(|| mistyped(name, self.0.values().data_type()))
    }

    /// The columns of the elements.
    pub(super) fn structs(&self, name: &str) -> Result<Columns<'_>> {
        let elements = self.elements(name)?;
        Ok(Columns {
            fields: elements.fields(),
            arrays: elements.columns(),
        })
    }

    /// The elements, being 64-bit integers.
    pub(super) fn longs(&self, name: &str) -> Result<Int64Array> {
        typed(name, self.0.values(), &DataType::Int64)
    }

    /// The elements, being doubles.
    pub(super) fn doubles(&self, name: &str) -> Result<Float64Array> {
        typed(name, self.0.values(), &DataType::Float64)
    }
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Self {
        Self {
            fields: batch.schema_ref().fields(),
            arrays: batch.columns(),
        }
    }

    fn column(&self, name: &str) -> Result<&'a ArrayRef> {
        let (index, _) = self.fields.find(name).ok_or_else(|| {
            Error::new(
                Code::Internal,
                format!("rows to be written as OTLP have no column {name}"),
            )
        })?;
        Ok(&self.arrays[index])
    }

    pub(super) fn texts(&self, name: &str) -> Result<Texts> {
        typed(name, self.column(name)?, &DataType::Utf8View).map(Texts)
    }

    pub(super) fn longs(&self, name: &str) -> Result<Int64Array> {
        typed(name, self.column(name)?, &DataType::Int64)
    }

    pub(super) fn ints(&self, name: &str) -> Result<Int32Array> {
        typed(name, self.column(name)?, &DataType::Int32)
    }

    pub(super) fn doubles(&self, name: &str) -> Result<Float64Array> {
        typed(name, self.column(name)?, &DataType::Float64)
    }

    pub(super) fn booleans(&self, name: &str) -> Result<BooleanArray> {
        typed(name, self.column(name)?, &DataType::Boolean)
    }

    pub(super) fn ids(&self, name: &str) -> Result<Ids> {
        let column = self.column(name)?;
        let any = column.as_any();
        if let Some(array) = any.downcast_ref::<FixedSizeBinaryArray>() {
            return Ok(Ids::Fixed(array.clone()));
        }
        if let Some(array) = any.downcast_ref::<BinaryViewArray>() {
            return Ok(Ids::View(array.clone()));
        }
        typed(name, column, &DataType::Binary).map(Ids::Plain)
    }

    pub(super) fn lists(&self, name: &str) -> Result<Lists> {
        let column = self.column(name)?;
        match column.as_any().downcast_ref::<ListArray>() {
            Some(array) => Ok(Lists(array.clone())),
            None => Err(mistyped(name, column.data_type())),
        }
    }
}

/// The column as `T`, converted where it has another layout. Arrays are counted references:
/// cloning one copies no values.
fn typed<T: Array + Clone + 'static>(
    name: &str,
    column: &ArrayRef,
    data_type: &DataType,
) -> Result<T> {
    if let Some(array) = column.as_any().downcast_ref::<T>() {
        return Ok(array.clone());
    }
    let converted = cast(column, data_type).map_err(|_| mistyped(name, column.data_type()))?;
    match converted.as_any().downcast_ref::<T>() {
        Some(array) => Ok(array.clone()),
        None => Err(mistyped(name, column.data_type())),
    }
}

fn mistyped(name: &str, data_type: &DataType) -> Error {
    Error::new(
        Code::Internal,
        format!("rows to be written as OTLP have a column {name} of type {data_type}"),
    )
}
