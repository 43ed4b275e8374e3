//! Which files have a trace, and what was found in them. A file never changes, so what is known of
//! it never gets old; a file that is gone is not asked for any more, and is forgotten.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::bloom_filter::Sbbf;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use futures::{StreamExt, TryStreamExt, stream};
use otlake_base::DataFile;
use otlake_base::limits::{TRACE_MARKS_BYTES, TRACE_ROWS_BYTES};
use parking_lot::Mutex;

use super::TRACE_ID;
use super::bounded::Bounded;
use super::columns::Columns;
use super::filters::{FileFilters, GroupFilter, Groups, Known, KnownFilters, Part};
use super::inflate::Inflaters;
use super::marks::Marks;
use crate::table::{FOOTERS_AT_ONCE, LakeTable};

/// What an entry takes beside what it holds, in bytes.
const ENTRY_BYTES: usize = 256;

type Reader = Box<dyn AsyncFileReader + Send>;
/// A file's rows of one trace.
pub(super) type Found = Arc<Vec<RecordBatch>>;

/// What lookups have learned.
pub(crate) struct TraceIndex {
    filters: Mutex<KnownFilters>,
    found: Mutex<Bounded<(String, [u8; 16]), Found>>,
    marks: Mutex<Bounded<(String, usize), Arc<Marks>>>,
    /// Those of the file that was read last.
    columns: Mutex<Option<Arc<Columns>>>,
    pub(super) inflaters: Arc<Inflaters>,
}

impl TraceIndex {
    /// `filters_bytes`: of filters that are kept in memory.
    pub(crate) fn new(filters_bytes: usize) -> Self {
        Self {
            filters: Mutex::new(KnownFilters::new(filters_bytes)),
            found: Mutex::new(Bounded::new(TRACE_ROWS_BYTES)),
            marks: Mutex::new(Bounded::new(TRACE_MARKS_BYTES)),
            columns: Mutex::new(None),
            inflaters: Arc::default(),
        }
    }

    /// The files that may have spans of one of the traces, in their order, and which row groups of them.
    pub(crate) async fn groups<'a>(
        &self,
        table: &LakeTable,
        files: Vec<&'a DataFile>,
        trace_ids: &[[u8; 16]],
    ) -> Result<Vec<(&'a DataFile, Groups)>> {
        let paths = files.iter().map(|file| file.path.as_str());
        let known = self.filters.lock().ask(table.table(), paths, trace_ids);
        let asks: Vec<_> = files
            .into_iter()
            .zip(known)
            .filter(|(_, known)| !known.is_none())
            .map(async |(file, known)| {
                let groups = match known {
                    Known::Sure(groups) => groups,
                    Known::Unsure(groups, places) => {
                        ask(table.open(file)?, groups, places, trace_ids).await?
                    }
                    Known::Nothing => self.read(table, file, trace_ids).await?,
                };
                Ok::<_, DataFusionError>((file, groups))
            })
            .collect();
        let asks = stream::iter(asks).buffered(FOOTERS_AT_ONCE);
        let mut groups: Vec<_> = asks.try_collect().await?;
        groups.retain(|(_, groups)| !groups.passing.is_empty());
        Ok(groups)
    }

    /// As `groups` of one file, whose filters are kept from then on.
    async fn read(
        &self,
        table: &LakeTable,
        file: &DataFile,
        trace_ids: &[[u8; 16]],
    ) -> Result<Groups> {
        let filters = read(table.open(file)?).await?;
        let groups = filters.passing(trace_ids);
        let mut known = self.filters.lock();
        known.keep(table.table(), &file.path, filters);
        Ok(groups)
    }

    /// How the columns of a file with this footer are read; none where it takes a scan.
    pub(super) fn columns(
        &self,
        metadata: &Arc<ParquetMetaData>,
        stored: SchemaRef,
    ) -> Result<Option<Arc<Columns>>> {
        let known = self.columns.lock().clone();
        let known = known.filter(|columns| columns.are_of(metadata, &stored));
        if known.is_some() {
            return Ok(known);
        }
        let columns = Columns::of(metadata, stored)?.map(Arc::new);
        if columns.is_some() {
            self.columns.lock().clone_from(&columns);
        }
        Ok(columns)
    }

    /// Which pages of a row group may have a trace; none where its ids were not looked at yet.
    pub(super) fn marks(&self, path: &str, group: usize) -> Option<Arc<Marks>> {
        self.marks.lock().get(&(path.to_owned(), group))
    }

    /// Keeps these.
    pub(super) fn keep_marks(&self, path: String, group: usize, marks: Marks) {
        let bytes = marks.bytes() + ENTRY_BYTES;
        let mut known = self.marks.lock();
        known.put((path, group), Arc::new(marks), bytes);
    }

    /// What was found of the trace in a file; none where it is not known.
    pub(super) fn found(&self, path: &str, trace_id: &[u8; 16]) -> Option<Found> {
        self.found.lock().get(&(path.to_owned(), *trace_id))
    }

    /// Bytes of rows that are worth being gathered for `remember`.
    pub(super) fn remembers(&self, bytes: usize) -> bool {
        self.found.lock().takes(bytes + ENTRY_BYTES)
    }

    /// Keeps what was found of the trace in a file.
    pub(super) fn remember(&self, path: String, trace_id: [u8; 16], rows: Vec<RecordBatch>) {
        let bytes: usize = rows.iter().map(RecordBatch::get_array_memory_size).sum();
        let mut found = self.found.lock();
        found.put((path, trace_id), Arc::new(rows), bytes + ENTRY_BYTES);
    }
}

/// The trace ids' filters of a file.
async fn read(mut reader: Reader) -> Result<FileFilters> {
    // As the scan reads it, so that it is one entry of the cache.
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    let metadata = reader.get_metadata(Some(&options)).await?;
    let places = places(&metadata);
    let read = read_at(&mut reader, &places).await?;
    let filter = |(place, bytes): (Option<Range<u64>>, Option<Bytes>)| {
        let Some((place, bytes)) = place.zip(bytes) else {
            return Ok(None);
        };
        let filter = Sbbf::from_bytes(&bytes).map_err(DataFusionError::from)?;
        Ok::<_, DataFusionError>(Some(GroupFilter::new(place.end, filter)))
    };
    let filters = places.into_iter().zip(read).map(filter);
    Ok(FileFilters::new(filters.collect::<Result<_>>()?))
}

/// What is at these places of a file; none where there is no place.
async fn read_at(reader: &mut Reader, places: &[Option<Range<u64>>]) -> Result<Vec<Option<Bytes>>> {
    let known = places.iter().flatten().cloned().collect();
    let mut read = reader.get_byte_ranges(known).await?.into_iter();
    let at = |place: &Option<_>| place.as_ref().and_then(|_| read.next());
    Ok(places.iter().map(at).collect())
}

/// Those of the row groups that may have one of the traces by their filters, which are at these places.
async fn ask(
    mut reader: Reader,
    groups: Groups,
    places: Vec<Option<Range<u64>>>,
    trace_ids: &[[u8; 16]],
) -> Result<Groups> {
    let part = |place: &Range<u64>| Part::new(place, trace_ids);
    let parts: Vec<_> = places
        .iter()
        .map(|place| place.as_ref().map(part))
        .collect();
    let range = |part: &Option<Part>| part.as_ref().map(|part| part.place.clone());
    let ranges: Vec<_> = parts.iter().map(range).collect();
    let read = read_at(&mut reader, &ranges).await?;
    let may_have = |part: &Option<Part>, bytes: Option<Bytes>| {
        let told = part.as_ref().zip(bytes);
        told.is_none_or(|(part, bytes)| part.may_have(&bytes, trace_ids))
    };
    let passing = groups.passing.iter().zip(parts.iter().zip(read));
    Ok(Groups {
        passing: passing
            .filter_map(|(group, (part, bytes))| may_have(part, bytes).then_some(*group))
            .collect(),
        count: groups.count,
    })
}

/// Where the filter of each row group is in the file.
fn places(metadata: &ParquetMetaData) -> Vec<Option<Range<u64>>> {
    let place = |group: &RowGroupMetaData| {
        let mut columns = group.columns().iter();
        let column = columns.find(|column| column.column_path().string() == TRACE_ID)?;
        let start = u64::try_from(column.bloom_filter_offset()?).ok()?;
        let length = u64::try_from(column.bloom_filter_length()?).ok()?;
        Some(start..start + length)
    };
    metadata.row_groups().iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A writer may leave out the filter of some row groups.
    #[tokio::test]
    async fn i7_a_row_group_without_a_filter_does_not_take_that_of_the_next() {
        let [own, other, absent] = [1, 2, 3].map(|id| [id; 16]);
        let filter = |id: &[u8; 16]| {
            let mut filter = Sbbf::new_with_ndv_fpp(1, 0.001).unwrap();
            filter.insert(&id[..]);
            let mut bytes = Vec::new();
            filter.write_bitset(&mut bytes).unwrap();
            bytes
        };
        let (first, second) = (filter(&own), filter(&other));
        let length = first.len() as u64;
        let places = vec![None, Some(0..length), None, Some(length..2 * length)];
        let bytes = [first, second].concat();
        for (id, passing) in [
            (own, vec![0, 1, 2]),
            (other, vec![0, 2, 3]),
            (absent, vec![0, 2]),
        ] {
            let groups = Groups {
                passing: vec![0, 1, 2, 3],
                count: 4,
            };
            let reader = Box::new(Cursor::new(bytes.clone()));
            let asked = ask(reader, groups, places.clone(), &[id]).await.unwrap();
            assert_eq!(asked.passing, passing, "{id:?}");
        }
    }
}
