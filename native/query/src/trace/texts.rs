//! Few texts out of large pages: attributes. What is decompressed of a page ends with the last text that
//! is wanted, and of the page nothing but the texts is kept.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewBuilder};
use bytes::Bytes;
use datafusion::parquet::basic::{Compression, Encoding};
use datafusion::parquet::column::page::Page;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::ColumnChunkMetaData;
use datafusion::parquet::file::page_index::offset_index::PageLocation;

use super::chunk::raw_page;
use super::inflate::Inflater;
use super::lengths::Lengths;
use super::pages::Pages;

/// Bytes of a page that are decompressed first, for the lengths: of 8,192 texts.
const HEAD_BYTES: usize = 16 * 1024;

/// Some rows of one page.
pub(super) struct PageTexts {
    /// Compressed.
    page: Bytes,
    /// Rows of the page, in order.
    runs: Vec<Range<usize>>,
}

/// The rows of these runs, page by page; none where they are not texts whose lengths stand before
/// them, each row has one, and Zstandard compressed them.
pub(super) fn of(
    pages: &Arc<Pages>,
    chunk: &ColumnChunkMetaData,
    places: &[PageLocation],
    runs: &[Range<usize>],
    rows: usize,
) -> Result<Option<Vec<PageTexts>>> {
    let column = chunk.column_descr_ptr();
    let is_flat = (column.max_def_level(), column.max_rep_level()) == (0, 0);
    let is_zstd = matches!(chunk.compression(), Compression::ZSTD(_));
    let has_lengths = chunk
        .encodings()
        .any(|encoding| encoding == Encoding::DELTA_LENGTH_BYTE_ARRAY);
    if !is_flat || !is_zstd || !has_lengths {
        return Ok(None);
    }
    let mut texts = Vec::new();
    for (place, within) in by_page(places, runs, rows) {
        let Page::DataPage {
            buf,
            encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY,
            ..
        } = raw_page(pages, &column, place)?
        else {
            return Ok(None);
        };
        texts.push(PageTexts {
            page: buf,
            runs: within,
        });
    }
    Ok(Some(texts))
}

/// The pages that these runs of rows are in, and where in each.
fn by_page<'a>(
    places: &'a [PageLocation],
    runs: &[Range<usize>],
    rows: usize,
) -> Vec<(&'a PageLocation, Vec<Range<usize>>)> {
    let first = |place: &PageLocation| usize::try_from(place.first_row_index).unwrap_or(0);
    let ends = places.iter().skip(1).map(first).chain([rows]);
    let mut runs = runs.iter().peekable();
    let mut found = Vec::new();
    for (place, end) in places.iter().zip(ends) {
        let start = first(place);
        let mut within = Vec::new();
        while let Some(run) = runs.peek() {
            if run.start >= end {
                break;
            }
            within.push(run.start.max(start) - start..run.end.min(end) - start);
            if run.end > end {
                break;
            }
            runs.next();
        }
        if !within.is_empty() {
            found.push((place, within));
        }
    }
    found
}

impl PageTexts {
    /// Bytes of the page, compressed.
    pub(super) fn page_bytes(&self) -> usize {
        self.page.len()
    }

    /// The texts.
    pub(super) fn decoded(&self, inflater: &mut Inflater) -> Result<ArrayRef> {
        let mut builder = StringViewBuilder::new();
        self.add(inflater, &mut builder)?;
        Ok(Arc::new(builder.finish()))
    }

    fn add(&self, inflater: &mut Inflater, builder: &mut StringViewBuilder) -> Result<()> {
        if let Some(mut page) = inflater.beginning(&self.page)? {
            let mut head = HEAD_BYTES;
            loop {
                let found = Lengths::of(page.first(head)?, self.rows())?;
                let Some(lengths) = found else {
                    if head >= page.size() {
                        break;
                    }
                    head *= 2;
                    continue;
                };
                let end = lengths.end();
                if end <= page.size() {
                    return self.take(page.first(end)?, &lengths, builder);
                }
                break;
            }
        }
        // It does not tell its size, or has more frames than one.
        let whole = inflater.whole(&self.page)?;
        match Lengths::of(whole, self.rows())? {
            Some(lengths) => self.take(whole, &lengths, builder),
            None => Err(cut_short()),
        }
    }

    /// Rows from the first to the last that is wanted.
    fn rows(&self) -> usize {
        self.runs.last().map_or(0, |run| run.end)
    }

    fn take(&self, bytes: &[u8], lengths: &Lengths, builder: &mut StringViewBuilder) -> Result<()> {
        let (mut row, mut at) = (0, lengths.start);
        let mut all = lengths.lengths.iter().map(|length| *length as usize);
        for run in &self.runs {
            at += all.by_ref().take(run.start - row).sum::<usize>();
            for length in all.by_ref().take(run.len()) {
                let text = bytes.get(at..at + length).ok_or_else(cut_short)?;
                let text = std::str::from_utf8(text)
                    .map_err(|error| ParquetError::General(format!("a text: {error}")))?;
                builder.try_append_value(text).map_err(ParquetError::from)?;
                at += length;
            }
            row = run.end;
        }
        Ok(())
    }
}

fn cut_short() -> ParquetError {
    ParquetError::EOF("a page of texts is cut short".to_owned())
}
