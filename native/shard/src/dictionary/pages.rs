//! Compresses pages, writes them one after the other, and keeps count for the footer.

use parquet::basic::{Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::errors::Result;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnChunkMetaDataBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

/// The pages of a chunk in memory.
pub(super) struct Pages<'a> {
    compressor: &'a mut Compressor<'static>,
    sink: TrackedWrite<Vec<u8>>,
    offsets: OffsetIndexBuilder,
    first_data_page: Option<u64>,
    data_pages: i32,
    values: usize,
    uncompressed: usize,
}

impl<'a> Pages<'a> {
    pub(super) fn new(compressor: &'a mut Compressor<'static>) -> Pages<'a> {
        Pages {
            compressor,
            sink: TrackedWrite::new(Vec::new()),
            offsets: OffsetIndexBuilder::new(),
            first_data_page: None,
            data_pages: 0,
            values: 0,
            uncompressed: 0,
        }
    }

    /// The dictionary, which is the chunk's first page: `values` in PLAIN encoding.
    pub(super) fn dictionary(&mut self, plain: &[u8], values: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: self.compressor.compress(plain)?.into(),
            num_values: values as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let page = CompressedPage::new(page, plain.len());
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        Ok(())
    }

    /// A page of `rows` rows, as levels and places in the dictionary.
    pub(super) fn data(&mut self, encoded: &[u8], rows: usize) -> Result<()> {
        let page = Page::DataPage {
            buf: self.compressor.compress(encoded)?.into(),
            num_values: rows as u32,
            encoding: Encoding::RLE_DICTIONARY,
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

    /// The bytes, what the footer says of them, and where each data page is.
    pub(super) fn finish(
        self,
        leaf: &ColumnDescPtr,
    ) -> Result<(Vec<u8>, ColumnChunkMetaDataBuilder, OffsetIndexBuilder)> {
        let bytes = self.sink.into_inner()?;
        let count = |page_type, encoding, count| PageEncodingStats {
            page_type,
            encoding,
            count,
        };
        let footer = ColumnChunkMetaData::builder(leaf.clone())
            .set_encodings(vec![
                Encoding::PLAIN,
                Encoding::RLE,
                Encoding::RLE_DICTIONARY,
            ])
            .set_page_encoding_stats(vec![
                count(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                count(
                    PageType::DATA_PAGE,
                    Encoding::RLE_DICTIONARY,
                    self.data_pages,
                ),
            ])
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.values as i64)
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(self.first_data_page.unwrap_or_default() as i64);
        Ok((bytes, footer, self.offsets))
    }
}
