//! A column chunk: which columns are encoded here, and its parts put together.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::hybrid::{self, bit_width};
use super::keys::{Column, Keys};
use super::pages::Pages;
use super::range::{PageRanges, Ranks};
use super::value::{Number, Value};

/// Bytes of a dictionary above which a column is left to the Parquet writer, which gives the
/// dictionary up in the midst of the chunk; that writer's own default.
pub(super) const DICTIONARY_BYTES: usize = 1024 * 1024;

/// An encoded column chunk, to be appended to a row group.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// Encodes column chunks, one after the other.
pub(crate) struct ChunkEncoder {
    compressor: Compressor<'static>,
    /// The page at hand, not compressed yet.
    page: Vec<u8>,
}

impl ChunkEncoder {
    /// # Errors
    /// Where there is no memory for compression.
    pub(crate) fn new() -> Result<ChunkEncoder> {
        Ok(ChunkEncoder {
            compressor: Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?,
            page: Vec::new(),
        })
    }

    /// The chunk of column `index` of `batches` at `rows`, as (batch, row). `None` where it is one
    /// for the Parquet writer: nested, without a dictionary, or with too large a one.
    ///
    /// # Errors
    /// Where a page cannot be compressed.
    pub(crate) fn encode(
        &mut self,
        batches: &[RecordBatch],
        index: usize,
        rows: &[(usize, usize)],
        leaf: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<Option<Chunk>> {
        let Compression::ZSTD(level) = properties.compression(leaf.path()) else {
            return Ok(None);
        };
        if !properties.dictionary_enabled(leaf.path()) {
            return Ok(None);
        }
        let level = level.compression_level();
        self.compressor.set_compression_level(level)?;
        let arrays: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(index)).collect();
        let column = Column::new(arrays, rows);
        match column.data_type() {
            Some(DataType::Utf8View) => {
                let keys = column.texts(DICTIONARY_BYTES);
                self.chunk(keys, rows.len(), leaf, properties)
            }
            Some(DataType::Int32) => self.numbers::<Int32Type>(&column, leaf, properties),
            Some(DataType::Int64) => self.numbers::<Int64Type>(&column, leaf, properties),
            _ => Ok(None),
        }
    }

    fn numbers<T: Number>(
        &mut self,
        column: &Column<'_>,
        leaf: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<Option<Chunk>> {
        let keys = column.numbers::<T>(DICTIONARY_BYTES / size_of::<T::Native>());
        self.chunk(keys, column.rows(), leaf, properties)
    }

    fn chunk<V: Value>(
        &mut self,
        keys: Option<Keys<V>>,
        rows: usize,
        leaf: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<Option<Chunk>> {
        let Some(keys) = keys else { return Ok(None) };
        let statistics = properties.statistics_enabled(leaf.path());
        let ranks = Ranks::of(&keys.values);
        let mut ranges = (statistics == EnabledStatistics::Page).then(|| PageRanges::new(leaf));
        let mut pages = Pages::new(&mut self.compressor);
        let page = &mut self.page;

        page.clear();
        for value in &keys.values {
            value.plain(page);
        }
        pages.dictionary(page, keys.values.len())?;
        let width = bit_width(keys.values.len());
        for part in keys.parts(rows, properties.data_page_row_count_limit()) {
            page.clear();
            if leaf.max_def_level() > 0 {
                part.levels(page);
            }
            page.push(width);
            hybrid::encode(part.indices, width, page);
            pages.data(page, part.rows)?;
            if let Some(ranges) = &mut ranges {
                ranges.add(ranks.range(part.indices), part.rows - part.indices.len());
            }
        }

        let (bytes, mut footer, offsets) = pages.finish(leaf)?;
        footer = footer.set_compression(properties.compression(leaf.path()));
        if statistics != EnabledStatistics::None {
            let nulls = (rows - keys.indices.len()) as u64;
            footer = footer.set_statistics(V::statistics(ranks.whole(), nulls));
        }
        Ok(Some(Chunk {
            close: ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: rows as u64,
                metadata: footer.build()?,
                bloom_filter: None,
                column_index: ranges.map(PageRanges::build).transpose()?,
                offset_index: Some(offsets.build()),
            },
            bytes: bytes.into(),
        }))
    }
}
