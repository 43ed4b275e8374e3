//! A column chunk out of the parts that were read of a file, for the Parquet reader.
//!
//! That reader makes what it decompresses with anew for each column, which takes longer than most
//! pages of a lookup do. Here pages are taken as they are, and decompressed with what all columns
//! of a thread share.

use std::sync::Arc;

use datafusion::parquet::arrow::arrow_reader::RowGroups;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use datafusion::parquet::file::page_index::offset_index::PageLocation;
use datafusion::parquet::file::serialized_reader::SerializedPageReader;
use datafusion::parquet::schema::types::ColumnDescPtr;

use super::inflate::Shared;
use super::pages::Pages;

/// One of a file's row groups, as far as it was read.
pub(super) struct ReadGroup<'a> {
    pub(super) metadata: &'a ParquetMetaData,
    pub(super) group: usize,
    pub(super) pages: Arc<Pages>,
    pub(super) inflater: Shared,
}

impl<'a> ReadGroup<'a> {
    fn chunks(&self) -> &'a RowGroupMetaData {
        self.metadata.row_group(self.group)
    }
}

/// Where the pages of a column are; none where the file does not tell.
pub(super) fn places(
    metadata: &ParquetMetaData,
    group: usize,
    leaf: usize,
) -> Option<&[PageLocation]> {
    let index = metadata.offset_index()?.get(group)?.get(leaf)?;
    let places = index.page_locations().as_slice();
    (!places.is_empty()).then_some(places)
}

/// How a page is found and understood, but not what it is compressed with.
fn raw(
    column: ColumnDescPtr,
    (start, data): (Option<i64>, i64),
    bytes: i64,
) -> Result<ColumnChunkMetaData> {
    ColumnChunkMetaData::builder(column)
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_page_offset(start)
        .set_data_page_offset(data)
        .set_total_compressed_size(bytes)
        .build()
}

/// One page as it is in the file, in a column whose pages' places are known.
pub(super) fn raw_page(
    pages: &Arc<Pages>,
    column: &ColumnDescPtr,
    place: &PageLocation,
) -> Result<Page> {
    let bytes = i64::from(place.compressed_page_size);
    let chunk = raw(Arc::clone(column), (None, place.offset), bytes)?;
    let place = vec![place.clone()];
    // The number of rows counts only for what is not read.
    let mut reader = SerializedPageReader::new(Arc::clone(pages), &chunk, 0, Some(place))?;
    let page = reader.get_next_page()?;
    page.ok_or_else(|| ParquetError::EOF("a page is not there".to_owned()))
}

impl RowGroups for ReadGroup<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.chunks().num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        let chunk = self.chunks().column(leaf);
        let places = places(self.metadata, self.group, leaf).map(<[_]>::to_vec);
        let read = |chunk: &ColumnChunkMetaData| {
            SerializedPageReader::new(Arc::clone(&self.pages), chunk, self.num_rows(), places)
        };
        let pages = match chunk.compression() {
            Compression::ZSTD(_) => {
                let offsets = (chunk.dictionary_page_offset(), chunk.data_page_offset());
                let raw = raw(chunk.column_descr_ptr(), offsets, chunk.compressed_size())?;
                ChunkPages {
                    raw: read(&raw)?,
                    inflater: Some(Arc::clone(&self.inflater)),
                }
            }
            _ => ChunkPages {
                raw: read(chunk)?,
                inflater: None,
            },
        };
        Ok(Box::new(OneChunk(Some(pages))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.chunks()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

struct OneChunk(Option<ChunkPages>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = self.0.take()?;
        Some(Ok(Box::new(chunk)))
    }
}

impl PageIterator for OneChunk {}

/// The pages of a chunk.
struct ChunkPages {
    raw: SerializedPageReader<Pages>,
    /// None where the pages come decompressed.
    inflater: Option<Shared>,
}

impl ChunkPages {
    fn inflated(&self, mut page: Page) -> Result<Page> {
        let Some(inflater) = &self.inflater else {
            return Ok(page);
        };
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => {
                *buf = inflater.lock().owned(buf)?.into();
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: true,
                ..
            } => {
                // The levels before the values are not compressed.
                let levels = (*def_levels_byte_len + *rep_levels_byte_len) as usize;
                if levels > buf.len() {
                    return Err(ParquetError::EOF(
                        "a page has no room for levels".to_owned(),
                    ));
                }
                let mut whole = buf[..levels].to_vec();
                whole.extend_from_slice(inflater.lock().whole(&buf[levels..])?);
                *buf = whole.into();
            }
            Page::DataPageV2 { .. } => {}
        }
        Ok(page)
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.raw.get_next_page()?;
        page.map(|page| self.inflated(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.raw.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.raw.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.raw.at_record_boundary()
    }
}

impl Iterator for ChunkPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
