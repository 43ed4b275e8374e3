//! Compresses pages, writes them one after the other, and keeps count for the footer.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

/// An encoded column chunk, to be appended to a row group.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// The pages of a chunk in memory.
pub(super) struct Pages<'a> {
    /// None where the pages stay as they are.
    compressor: Option<&'a mut Compressor<'static>>,
    encoding: Encoding,
    sink: TrackedWrite<Vec<u8>>,
    offsets: OffsetIndexBuilder,
    has_dictionary: bool,
    first_data_page: Option<u64>,
    data_pages: i32,
    values: usize,
    uncompressed: usize,
}

impl<'a> Pages<'a> {
    /// No pages yet; the values of all of them will have this encoding.
    pub(super) fn new(
        compressor: Option<&'a mut Compressor<'static>>,
        encoding: Encoding,
    ) -> Pages<'a> {
        Pages {
            compressor,
            encoding,
            sink: TrackedWrite::new(Vec::new()),
            offsets: OffsetIndexBuilder::new(),
            has_dictionary: false,
            first_data_page: None,
            data_pages: 0,
            values: 0,
            uncompressed: 0,
        }
    }

    fn compressed(&mut self, page: &[u8]) -> Result<Bytes> {
        Ok(match &mut self.compressor {
            Some(compressor) => compressor.compress(page)?.into(),
            None => Bytes::copy_from_slice(page),
        })
    }

    /// The dictionary, which is the chunk's first page: `values` in PLAIN encoding.
    pub(super) fn dictionary(&mut self, plain: &[u8], values: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: self.compressed(plain)?,
            num_values: values as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let page = CompressedPage::new(page, plain.len());
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        self.has_dictionary = true;
        Ok(())
    }

    /// A page of `rows` rows, as levels and values.
    pub(super) fn data(&mut self, encoded: &[u8], rows: usize) -> Result<()> {
        let page = Page::DataPage {
            buf: self.compressed(encoded)?,
            num_values: rows as u32,
            encoding: self.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let page = CompressedPage::new(page, encoded.len());
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        self.first_data_page.get_or_insert(written.offset);
        self.data_pages += 1;
        self.values += rows;
        self.offsets.append_row_count(rows as i64);
        self.offsets
            .append_offset_and_size(written.offset as i64, written.compressed_size as i32);
        Ok(())
    }

    /// The chunk of all pages, without a page index or a filter.
    pub(super) fn finish(
        self,
        leaf: &ColumnDescPtr,
        compression: Compression,
        statistics: Option<Statistics>,
    ) -> Result<Chunk> {
        let bytes = self.sink.into_inner()?;
        let count = |page_type, encoding, count| PageEncodingStats {
            page_type,
            encoding,
            count,
        };
        let mut encodings = vec![Encoding::RLE, self.encoding];
        let mut counts = vec![count(PageType::DATA_PAGE, self.encoding, self.data_pages)];
        if self.has_dictionary {
            encodings.push(Encoding::PLAIN);
            // In the order of the file.
            counts.insert(0, count(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        let mut footer = ColumnChunkMetaData::builder(leaf.clone())
            .set_compression(compression)
            .set_encodings(encodings)
            .set_page_encoding_stats(counts)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.values as i64)
            .set_dictionary_page_offset(self.has_dictionary.then_some(0))
            .set_data_page_offset(self.first_data_page.unwrap_or_default() as i64);
        if let Some(statistics) = statistics {
            footer = footer.set_statistics(statistics);
        }
        Ok(Chunk {
            close: ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: self.values as u64,
                metadata: footer.build()?,
                bloom_filter: None,
                column_index: None,
                offset_index: Some(self.offsets.build()),
            },
            bytes: bytes.into(),
        })
    }
}
