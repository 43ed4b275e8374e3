//! Which columns are encoded here, and the parts of a chunk put together.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use parquet::basic::{Compression, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::column::{Column, Fixed};
use super::hybrid::{self, bit_width};
use super::keys::Keys;
use super::pages::{Chunk, Pages};
use super::range::{PageRanges, Ranks};
use super::value::{Number, Value};
use crate::encoding::may_repeat;

/// Bytes of a dictionary above which a column is left to the Parquet writer, which gives the
/// dictionary up in the midst of the chunk; that writer's own default.
pub(super) const DICTIONARY_BYTES: usize = 1024 * 1024;

/// Different numbers of which the same holds.
const NUMBERS: usize = DICTIONARY_BYTES / size_of::<i64>();
/// Rows of a value, on average, from which on a dictionary is taken where values repeat or do not:
/// its places are then shorter than the differences that stand there otherwise.
const ROWS_OF_A_VALUE: usize = 16;

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
    /// for the Parquet writer: nested, of another encoding, or with too large a dictionary.
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
        let compressor = match properties.compression(leaf.path()) {
            Compression::ZSTD(level) => {
                let level = level.compression_level();
                self.compressor.set_compression_level(level)?;
                Some(&mut self.compressor)
            }
            Compression::UNCOMPRESSED => None,
            _ => return Ok(None),
        };
        let arrays = batches.iter().map(|batch| batch.column(index)).collect();
        let column = Column { arrays, rows };
        let target = Target {
            leaf,
            properties,
            compressor,
            page: &mut self.page,
        };
        let repeats = properties.dictionary_enabled(leaf.path());
        let numbers = match (repeats, may_repeat(&leaf.path().string())) {
            (true, _) => NUMBERS,
            (false, true) => rows.len() / ROWS_OF_A_VALUE,
            (false, false) => 0,
        };
        match (column.data_type(), repeats) {
            (Some(DataType::Utf8View), true) => {
                let keys = column.texts(DICTIONARY_BYTES);
                keys.map(|keys| target.repeated(&keys, rows.len()))
                    .transpose()
            }
            (Some(DataType::Int32), _) if numbers > 0 => {
                target.numbers::<Int32Type>(&column, numbers)
            }
            (Some(DataType::Int64), _) if numbers > 0 => {
                target.numbers::<Int64Type>(&column, numbers)
            }
            (Some(DataType::FixedSizeBinary(width)), false) => {
                let width = *width as usize;
                // The ids have none.
                if target.statistics() != EnabledStatistics::None {
                    return Ok(None);
                }
                let values = column.fixed(width);
                values
                    .map(|values| target.fixed(&values, width, rows.len()))
                    .transpose()
            }
            _ => Ok(None),
        }
    }
}

/// What a chunk is encoded for, and with.
struct Target<'a> {
    leaf: &'a ColumnDescPtr,
    properties: &'a WriterProperties,
    compressor: Option<&'a mut Compressor<'static>>,
    page: &'a mut Vec<u8>,
}

impl Target<'_> {
    fn statistics(&self) -> EnabledStatistics {
        self.properties.statistics_enabled(self.leaf.path())
    }

    fn page_rows(&self) -> usize {
        self.properties.data_page_row_count_limit()
    }

    /// A chunk of numbers, at most `limit` different ones.
    fn numbers<T: Number>(self, column: &Column<'_>, limit: usize) -> Result<Option<Chunk>> {
        let keys = column.numbers::<T>(limit);
        keys.map(|keys| self.repeated(&keys, column.rows.len()))
            .transpose()
    }

    /// A chunk of places in a dictionary.
    fn repeated<V: Value>(self, keys: &Keys<V>, rows: usize) -> Result<Chunk> {
        let statistics = self.statistics();
        let ranks = Ranks::of(&keys.values);
        let paged = statistics == EnabledStatistics::Page;
        let mut ranges = paged.then(|| PageRanges::new(self.leaf));
        // A page in which all rows are the same is some bytes, however many rows it has.
        let page_rows = if keys.are_equal() {
            rows
        } else {
            self.page_rows()
        };
        let mut pages = Pages::new(self.compressor, Encoding::RLE_DICTIONARY);
        let page = self.page;

        page.clear();
        for value in &keys.values {
            value.plain(page);
        }
        pages.dictionary(page, keys.values.len())?;
        let width = bit_width(keys.values.len());
        for part in keys.levels.parts(rows, page_rows) {
            page.clear();
            if self.leaf.max_def_level() > 0 {
                part.encode_levels(page);
            }
            page.push(width);
            let indices = &keys.indices[part.values.clone()];
            hybrid::encode(indices, width, page);
            pages.data(page, part.rows)?;
            if let Some(ranges) = &mut ranges {
                ranges.add(ranks.range(indices), part.nulls());
            }
        }

        let statistics = (statistics != EnabledStatistics::None).then(|| {
            let nulls = (rows - keys.indices.len()) as u64;
            V::statistics(ranks.whole(), nulls)
        });
        let compression = self.properties.compression(self.leaf.path());
        let mut chunk = pages.finish(self.leaf, compression, statistics)?;
        chunk.close.column_index = ranges.map(PageRanges::build).transpose()?;
        Ok(chunk)
    }

    /// A chunk of values of `width` bytes as they are.
    fn fixed(self, column: &Fixed, width: usize, rows: usize) -> Result<Chunk> {
        let page_rows = self.page_rows();
        let mut pages = Pages::new(self.compressor, Encoding::PLAIN);
        for part in column.levels.parts(rows, page_rows) {
            self.page.clear();
            if self.leaf.max_def_level() > 0 {
                part.encode_levels(self.page);
            }
            let values = part.values.start * width..part.values.end * width;
            self.page.extend_from_slice(&column.values[values]);
            pages.data(self.page, part.rows)?;
        }
        let compression = self.properties.compression(self.leaf.path());
        let mut chunk = pages.finish(self.leaf, compression, None)?;
        if let Some(wanted) = self.properties.bloom_filter_properties(self.leaf.path()) {
            let mut filter = Sbbf::new_with_ndv_fpp(wanted.ndv(), wanted.fpp())?;
            for value in column.values.chunks_exact(width) {
                filter.insert(value);
            }
            // It is as large as for rows that all differ.
            filter.fold_to_target_fpp(wanted.fpp());
            chunk.close.bloom_filter = Some(filter);
        }
        Ok(chunk)
    }
}
