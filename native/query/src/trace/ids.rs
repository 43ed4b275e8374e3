//! Which rows of a row group are of a trace. Its ids are compared page by page in one buffer, where
//! they stand as they are; where another writer encoded them otherwise the Parquet reader decodes them.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::{Compression, Encoding, Type};
use datafusion::parquet::column::page::Page;
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use datafusion::parquet::file::page_index::offset_index::PageLocation;
use datafusion::parquet::schema::types::ColumnDescPtr;
use otlake_base::{Code, Error};

use super::chunk::raw_page;
use super::columns::Columns;
use super::inflate::{Inflater, Inflaters};
use super::marks::{Marking, PageMarks};
use super::pages::Pages;
use super::parts::ended;
use super::{TRACE_ID_BYTES, add_run, runs_of};
use crate::table::external;

/// Rows of one batch of ids.
const ID_ROWS: usize = 8192;

/// The ids of a row group, or of some of its pages.
pub(super) struct Ids {
    pub(super) metadata: Arc<ParquetMetaData>,
    pub(super) columns: Arc<Columns>,
    pub(super) group: usize,
    /// What was read of their column.
    pub(super) pages: Arc<Pages>,
    /// Pages of the row group that are looked at; all where nothing tells where they are.
    pub(super) places: Vec<PageLocation>,
}

/// What looking for a trace came to.
pub(super) struct Looked {
    /// Where its rows are in the row group, in order.
    pub(super) runs: Vec<Range<usize>>,
    /// By page that was looked at; none where another writer encoded the ids otherwise.
    pub(super) marks: Option<Vec<PageMarks>>,
}

impl Ids {
    /// Looks for the trace on so many threads at most.
    pub(super) async fn look(
        self,
        trace_id: [u8; TRACE_ID_BYTES],
        threads: usize,
        inflaters: &Arc<Inflaters>,
    ) -> Result<Looked> {
        let Some(compressed) = self.compressed() else {
            return self.decoded(&trace_id);
        };
        let each = self.places.len().div_ceil(threads.max(1)).max(1);
        let search = |places: &[PageLocation]| Search {
            trace_id,
            column: self.chunk().column_descr_ptr(),
            compressed,
            pages: Arc::clone(&self.pages),
            places: places.to_vec(),
            inflaters: Arc::clone(inflaters),
        };
        let mut searches = self.places.chunks(each).map(search);
        let first = searches.next();
        let others: Vec<_> = searches
            .map(|search| tokio::task::spawn_blocking(move || search.look()))
            .collect();
        let mut found = first.map_or_else(|| Ok(Some(Vec::new())), Search::look)?;
        for other in others {
            let other = other.await.map_err(ended)??;
            found = found.zip(other).map(|(mut found, other)| {
                found.extend(other);
                found
            });
        }
        let Some(pages) = found else {
            return self.decoded(&trace_id);
        };
        let (runs, marks): (Vec<_>, Vec<_>) = pages.into_iter().unzip();
        Ok(Looked {
            runs: runs.into_iter().flatten().collect(),
            marks: Some(marks),
        })
    }

    fn chunk(&self) -> &ColumnChunkMetaData {
        self.metadata.row_group(self.group).column(self.columns.id)
    }

    /// Whether the pages are compressed; none where they are otherwise than they are looked at here.
    fn compressed(&self) -> Option<bool> {
        let column = self.chunk().column_descr();
        let is_plain = column.physical_type() == Type::FIXED_LEN_BYTE_ARRAY
            && column.type_length() == TRACE_ID_BYTES as i32
            && (column.max_def_level(), column.max_rep_level()) == (0, 0);
        if !is_plain || self.places.is_empty() {
            return None;
        }
        match self.chunk().compression() {
            Compression::UNCOMPRESSED => Some(false),
            Compression::ZSTD(_) => Some(true),
            _ => None,
        }
    }

    /// The same of ids that the Parquet reader decodes.
    fn decoded(self, trace_id: &[u8; TRACE_ID_BYTES]) -> Result<Looked> {
        let layout = self.columns.layout(&self.metadata);
        let layout = layout
            .ok_or_else(|| external(Error::new(Code::Internal, "a file lost its columns")))?;
        let mask = ProjectionMask::leaves(layout.parquet_schema(), [self.columns.id]);
        let rows = self.metadata.row_group(self.group).num_rows();
        let rows = usize::try_from(rows).unwrap_or(0);
        let pages = Pages::clone(&self.pages);
        let ids = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, layout)
            .with_row_groups(vec![self.group])
            .with_projection(mask)
            .with_batch_size(ID_ROWS.min(rows.max(1)))
            .build()?;
        let (mut runs, mut row) = (Vec::new(), 0);
        for batch in ids {
            let batch = batch?;
            let found = runs_of(&batch, trace_id)?.into_iter();
            runs.extend(found.map(|run| row + run.start..row + run.end));
            row += batch.num_rows();
        }
        Ok(Looked { runs, marks: None })
    }
}

/// What looks for a trace in some pages.
struct Search {
    trace_id: [u8; TRACE_ID_BYTES],
    column: ColumnDescPtr,
    compressed: bool,
    pages: Arc<Pages>,
    places: Vec<PageLocation>,
    inflaters: Arc<Inflaters>,
}

/// Where a trace's rows are in a row group, as one page has them, and the page's marks.
type InPage = (Vec<Range<usize>>, PageMarks);

impl Search {
    /// By page; none where the ids do not stand as they are.
    fn look(self) -> Result<Option<Vec<InPage>>> {
        let shared = self.inflaters.take()?;
        let looked = {
            let mut inflater = shared.lock();
            let pages = self.places.iter();
            let looked = pages.map(|place| self.page(place, &mut inflater));
            looked.collect()
        };
        self.inflaters.put(&shared);
        looked
    }

    fn page(&self, place: &PageLocation, inflater: &mut Inflater) -> Result<Option<InPage>> {
        let Page::DataPage {
            buf,
            num_values,
            encoding: Encoding::PLAIN,
            ..
        } = raw_page(&self.pages, &self.column, place)?
        else {
            return Ok(None);
        };
        let bytes = if self.compressed {
            inflater.whole(&buf)?
        } else {
            &buf[..]
        };
        let (ids, rest) = bytes.as_chunks::<TRACE_ID_BYTES>();
        let first = usize::try_from(place.first_row_index).ok();
        let Some(first) = first.filter(|_| ids.len() == num_values as usize && rest.is_empty())
        else {
            return Ok(None);
        };
        let wanted = u128::from_ne_bytes(self.trace_id);
        let (mut runs, mut marking) = (Vec::new(), Marking::new());
        for (row, id) in (first..).zip(ids) {
            let id = u128::from_ne_bytes(*id);
            marking.add(id);
            if id == wanted {
                add_run(&mut runs, row);
            }
        }
        Ok(Some((runs, marking.finish())))
    }
}
