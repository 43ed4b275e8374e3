//! How the columns of files are read: worked out once for all files with the same Parquet schema, which
//! are all that one build wrote.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, new_empty_array, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::Result;
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use datafusion::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use datafusion::parquet::schema::types::SchemaDescPtr;
use otlake_base::{Code, Error};

use super::TRACE_ID;
use crate::table::external;

/// The columns of a file, as the table has them.
pub(super) struct Columns {
    parquet: SchemaDescPtr,
    arrow: SchemaRef,
    each: Vec<Column>,
    /// The leaf of the trace's id.
    pub(super) id: usize,
}

/// One of them.
pub(super) struct Column {
    /// Its leaves in the file.
    pub(super) leaves: Range<usize>,
    pub(super) levels: FieldLevels,
}

impl Columns {
    /// Of a file with this footer, `arrow` being the table's columns that files hold; none where another
    /// writer gave them other types.
    ///
    /// # Errors
    /// `TABLE_CORRUPT` where there is no trace id.
    pub(super) fn of(metadata: &Arc<ParquetMetaData>, arrow: SchemaRef) -> Result<Option<Columns>> {
        let parquet = metadata.file_metadata().schema_descr_ptr();
        if layout(metadata, &arrow).is_none() {
            return Ok(None);
        }
        let leaves = parquet.num_columns();
        let mut each = Vec::with_capacity(arrow.fields().len());
        let mut leaf = 0;
        for column in 0..arrow.fields().len() {
            let first = leaf;
            let is_own = |leaf: &usize| parquet.get_column_root_idx(*leaf) == column;
            leaf += (first..leaves).take_while(is_own).count();
            let mask = ProjectionMask::roots(&parquet, [column]);
            each.push(Column {
                leaves: first..leaf,
                levels: parquet_to_arrow_field_levels(&parquet, mask, Some(arrow.fields()))?,
            });
        }
        let id = parquet
            .columns()
            .iter()
            .position(|leaf| leaf.path().string() == TRACE_ID);
        let id = id.ok_or_else(|| external(Error::new(Code::TableCorrupt, "no trace_id")))?;
        Ok(Some(Columns {
            parquet,
            arrow,
            each,
            id,
        }))
    }

    /// Whether a file with this footer has these columns.
    pub(super) fn are_of(&self, metadata: &ParquetMetaData, arrow: &SchemaRef) -> bool {
        let parquet = metadata.file_metadata().schema_descr_ptr();
        let is_same = Arc::ptr_eq(&parquet, &self.parquet)
            || parquet.root_schema() == self.parquet.root_schema();
        is_same && *arrow == self.arrow
    }

    pub(super) fn each(&self) -> &[Column] {
        &self.each
    }

    /// The file for the Parquet reader.
    pub(super) fn layout(&self, metadata: &Arc<ParquetMetaData>) -> Option<ArrowReaderMetadata> {
        layout(metadata, &self.arrow)
    }

    /// The value that a column has in all rows of a row group, in one row; none where they differ or
    /// the statistics do not tell.
    pub(super) fn constant(&self, column: usize, group: &RowGroupMetaData) -> Option<ArrayRef> {
        let leaves = &self.each[column].leaves;
        let field: &Field = self.arrow.field(column);
        if let DataType::List(element) = field.data_type() {
            let mut leaves = leaves.clone();
            let empty = leaves.any(|leaf| has_only_empty_lists(group, leaf));
            return empty.then(|| {
                let offsets = OffsetBuffer::from_lengths([0]);
                let none = new_empty_array(element.data_type());
                Arc::new(ListArray::new(Arc::clone(element), offsets, none, None)) as ArrayRef
            });
        }
        if leaves.len() != 1 {
            return None;
        }
        let statistics = group.column(leaves.start).statistics()?;
        let nulls = statistics.null_count_opt()?;
        if nulls > 0 {
            let all = nulls == u64::try_from(group.num_rows()).ok()?;
            return all.then(|| new_null_array(field.data_type(), 1));
        }
        let is_exact = statistics.min_is_exact() && statistics.max_is_exact();
        // Statistics leave out what is not a number, and hold one zero for both.
        let is_ordered = !field.data_type().is_floating() && !field.data_type().is_nested();
        let least = statistics.min_bytes_opt()?;
        if !is_exact || !is_ordered || Some(least) != statistics.max_bytes_opt() {
            return None;
        }
        let converter = StatisticsConverter::try_new(field.name(), &self.arrow, &self.parquet);
        let value = converter.ok()?.row_group_mins([group]).ok()?;
        let is_same = value.is_valid(0) && value.data_type() == field.data_type();
        is_same.then_some(value)
    }
}

/// Whether the statistics of a leaf tell that the list that it is in is empty in all rows.
fn has_only_empty_lists(group: &RowGroupMetaData, leaf: usize) -> bool {
    let chunk = group.column(leaf);
    let levels = chunk.column_descr();
    // A value can be missing for no other reason.
    let is_element = (levels.max_def_level(), levels.max_rep_level()) == (1, 1);
    let nulls = chunk.statistics().and_then(|found| found.null_count_opt());
    let rows = u64::try_from(group.num_rows()).ok();
    let is_each_empty = chunk.num_values() == group.num_rows() && nulls.is_some() && nulls == rows;
    is_element && is_each_empty
}

fn layout(metadata: &Arc<ParquetMetaData>, arrow: &SchemaRef) -> Option<ArrowReaderMetadata> {
    let options = ArrowReaderOptions::new().with_schema(Arc::clone(arrow));
    ArrowReaderMetadata::try_new(Arc::clone(metadata), options).ok()
}
