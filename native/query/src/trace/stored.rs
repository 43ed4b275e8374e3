//! A file's rows of one trace. The column of ids tells which rows, and of the other columns only
//! the pages with those rows are read; what a row group's statistics tell is not read at all. Both
//! the ids and what is left are decoded on several threads at once.
//!
//! ```text
//!  row group --> trace_id -------> rows --+--> one value in all rows, or none: from the statistics
//!                (all pages, later        `--> pages with the rows --> decoded in parts
//!                 those that may have it)
//! ```

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use arrow::array::{ArrayRef, Date32Array, FixedSizeBinaryArray, RecordBatch, StringViewArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use futures::stream::{self, StreamExt};
use otlake_base::DataFile;

use super::chosen::{Chosen, inflated, range, whole};
use super::chunk::{ReadGroup, places};
use super::columns::Columns;
use super::ids::Ids;
use super::index::TraceIndex;
use super::inflate::Shared;
use super::marks::Marks;
use super::pages::Pages;
use super::parts::{Group, Part, Rows};
use super::texts::{self, PageTexts};
use super::{Batches, TRACE_ID_BYTES};
use crate::table::LakeTable;

/// What decoding a leaf costs beside its bytes, as so many that could be decompressed meanwhile.
const LEAF_BYTES: u64 = 16 * 1024;

/// Row groups of a file whose pages are read at once, so that a disk or a store is asked less often (I5).
const GROUPS_AT_ONCE: usize = 4;

/// A file that a trace is looked up in.
pub(super) struct Stored {
    path: String,
    reader: Box<dyn AsyncFileReader + Send>,
    metadata: Arc<ParquetMetaData>,
    columns: Arc<Columns>,
    /// The table's columns: those of the file, and those that its place tells.
    schema: SchemaRef,
    place: [ArrayRef; 2],
}

/// What is looked for, and how it is read.
#[derive(Clone, Copy)]
pub(crate) struct Lookup {
    pub(crate) trace_id: [u8; 16],
    /// Rows of a batch, at most.
    pub(crate) batch_rows: usize,
    /// Threads that decode at once, at most.
    pub(crate) threads: usize,
}

impl Stored {
    /// The file, open; none where another writer gave its columns other types, which takes a scan.
    pub(super) async fn open(
        table: &LakeTable,
        index: &TraceIndex,
        file: &DataFile,
    ) -> Result<Option<Stored>> {
        let mut reader = table.open(file)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = reader.get_metadata(Some(&options)).await?;
        let (schema, stored) = table.schemas();
        let Some(columns) = index.columns(&metadata, stored)? else {
            return Ok(None);
        };
        Ok(Some(Stored {
            path: file.path.clone(),
            reader,
            metadata,
            columns,
            schema,
            place: [
                Arc::new(StringViewArray::from(vec![file.tenant.as_str()])),
                Arc::new(Date32Array::from(vec![file.day])),
            ],
        }))
    }

    /// The rows of these row groups, group by group.
    pub(super) fn rows(
        self,
        index: &Arc<TraceIndex>,
        groups: Vec<usize>,
        lookup: Lookup,
    ) -> Batches {
        let reading = Reading {
            file: self,
            index: Arc::clone(index),
            lookup,
            groups: groups.into_iter(),
            ahead: VecDeque::new(),
        };
        let rows = stream::try_unfold(reading, |mut reading| async move {
            let batch = reading.next().await?;
            Ok(batch.map(|batch| (batch, reading)))
        });
        rows.boxed()
    }
}

struct Reading {
    file: Stored,
    index: Arc<TraceIndex>,
    lookup: Lookup,
    groups: IntoIter<usize>,
    /// Row groups whose pages are read.
    ahead: VecDeque<Group>,
}

/// How the chosen rows of a row group are read.
struct Plan {
    chosen: Chosen,
    /// By column: the value that all of the rows have, in one row; none where it is decoded.
    known: Vec<Option<ArrayRef>>,
    /// Columns that are decoded, and what that costs.
    decoded: Vec<(usize, u64)>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            while let Some(group) = self.ahead.front_mut() {
                if let Some(columns) = group.next().await? {
                    let schema = Arc::clone(&self.file.schema);
                    return Ok(Some(RecordBatch::try_new(schema, columns)?));
                }
                self.ahead.pop_front();
            }
            let next: Vec<usize> = self.groups.by_ref().take(GROUPS_AT_ONCE).collect();
            if next.is_empty() {
                return Ok(None);
            }
            self.read_ahead(next).await?;
        }
    }

    /// Finds the rows of the trace in row groups, and reads the pages that they are in.
    async fn read_ahead(&mut self, groups: Vec<usize>) -> Result<()> {
        let mut ranges = Vec::new();
        let mut plans = Vec::new();
        for chosen in self.choose(groups).await? {
            plans.push(self.plan(chosen, &mut ranges));
        }
        let pages = self.read(ranges).await?;
        for plan in plans {
            let group = self.open(plan, &pages)?;
            self.ahead.push_back(group);
        }
        Ok(())
    }

    /// The rows of the trace in these row groups, without those that have none.
    async fn choose(&mut self, groups: Vec<usize>) -> Result<Vec<Chosen>> {
        let metadata = Arc::clone(&self.file.metadata);
        let leaf = self.file.columns.id;
        let mut ranges = Vec::new();
        let mut wanted = Vec::with_capacity(groups.len());
        for group in groups {
            let mut places = places(&metadata, group, leaf).unwrap_or_default().to_vec();
            let marks = self.index.marks(&self.file.path, group);
            match &marks {
                Some(marks) => {
                    let mut may_have = marks.may_have(self.lookup.trace_id).into_iter();
                    places.retain(|_| may_have.next().unwrap_or(true));
                    if places.is_empty() {
                        continue;
                    }
                    ranges.extend(places.iter().map(range));
                }
                None => ranges.push(whole(metadata.row_group(group).column(leaf))),
            }
            wanted.push((group, places, marks.is_some()));
        }
        let pages = self.read(ranges).await?;
        let mut chosen = Vec::new();
        for (group, places, is_marked) in wanted {
            let ids = Ids {
                pages: Arc::clone(&pages),
                columns: Arc::clone(&self.file.columns),
                metadata: Arc::clone(&metadata),
                group,
                places,
            };
            let Lookup {
                trace_id, threads, ..
            } = self.lookup;
            let looked = ids.look(trace_id, threads, &self.index.inflaters).await?;
            if let (false, Some(found)) = (is_marked, looked.marks) {
                let path = self.file.path.clone();
                self.index.keep_marks(path, group, Marks::new(found));
            }
            if !looked.runs.is_empty() {
                let rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
                chosen.push(Chosen::new(group, rows, looked.runs));
            }
        }
        Ok(chosen)
    }

    /// What is known of the columns, and what decoding the others costs; adds what has to be read of them.
    fn plan(&self, chosen: Chosen, ranges: &mut Vec<Range<u64>>) -> Plan {
        let metadata = &self.file.metadata;
        let known = self.known(chosen.group);
        let mut decoded = Vec::new();
        for (number, column) in self.file.columns.each().iter().enumerate() {
            if known[number].is_some() {
                continue;
            }
            let mut cost = 0;
            for leaf in column.leaves.clone() {
                let chunk = metadata.row_group(chosen.group).column(leaf);
                let read = chosen.ranges(chunk, places(metadata, chosen.group, leaf));
                let bytes = read.iter().map(|range| range.end - range.start).sum();
                cost += LEAF_BYTES + inflated(bytes, chunk);
                ranges.extend(read);
            }
            decoded.push((number, cost));
        }
        Plan {
            chosen,
            known,
            decoded,
        }
    }

    /// What decodes the rows of a row group.
    fn open(&self, plan: Plan, pages: &Arc<Pages>) -> Result<Group> {
        let Plan {
            chosen,
            known,
            decoded,
        } = plan;
        let mut parts = Vec::with_capacity(decoded.len());
        for (column, cost) in decoded {
            match self.texts(column, &chosen, pages)? {
                Some(texts) => parts.extend(texts),
                None => parts.push(Part {
                    column,
                    cost,
                    rows: Rows::All,
                }),
            }
        }
        let batch_rows = self.lookup.batch_rows.min(chosen.count);
        let decoder = |column: usize, inflater: &Shared| {
            let group = ReadGroup {
                metadata: &self.file.metadata,
                group: chosen.group,
                pages: Arc::clone(pages),
                inflater: Arc::clone(inflater),
            };
            let levels = &self.file.columns.each()[column].levels;
            let selection = Some(chosen.selection.clone());
            Ok(ParquetRecordBatchReader::try_new_with_row_groups(
                levels, &group, batch_rows, selection,
            )?)
        };
        let threads = self.lookup.threads;
        Group::new(
            known,
            (parts, threads),
            (chosen.count, batch_rows),
            &self.index.inflaters,
            decoder,
        )
    }

    /// By column: the value that it has in all of the trace's rows in a row group.
    fn known(&self, group: usize) -> Vec<Option<ArrayRef>> {
        let columns = &self.file.columns;
        let group = self.file.metadata.row_group(group);
        let own: ArrayRef = Arc::new(FixedSizeBinaryArray::new(
            TRACE_ID_BYTES as i32,
            Buffer::from(&self.lookup.trace_id[..]),
            None,
        ));
        let known = columns.each().iter().enumerate().map(|(number, column)| {
            if column.leaves == (columns.id..columns.id + 1) {
                return Some(Arc::clone(&own));
            }
            columns.constant(number, group)
        });
        let place = self.file.place.iter().cloned().map(Some);
        known.chain(place).collect()
    }

    /// The parts of a column of texts in large pages; none where it is another, or where the rows are
    /// more than a batch.
    fn texts(
        &self,
        column: usize,
        chosen: &Chosen,
        pages: &Arc<Pages>,
    ) -> Result<Option<Vec<Part>>> {
        let metadata = &self.file.metadata;
        let leaves = self.file.columns.each()[column].leaves.clone();
        let is_text = self.file.schema.field(column).data_type() == &DataType::Utf8View;
        let fits = !chosen.scattered && chosen.count <= self.lookup.batch_rows;
        if leaves.len() != 1 || !is_text || !fits {
            return Ok(None);
        }
        let Some(places) = places(metadata, chosen.group, leaves.start) else {
            return Ok(None);
        };
        let chunk = metadata.row_group(chosen.group).column(leaves.start);
        let texts = texts::of(pages, chunk, places, &chosen.runs, chosen.rows)?;
        let part = |texts: PageTexts| Part {
            column,
            cost: LEAF_BYTES + inflated(texts.page_bytes() as u64, chunk),
            rows: Rows::Page(texts),
        };
        Ok(texts.map(|texts| texts.into_iter().map(part).collect()))
    }

    async fn read(&mut self, ranges: Vec<Range<u64>>) -> Result<Arc<Pages>> {
        let read = self.file.reader.get_byte_ranges(ranges.clone()).await?;
        Ok(Arc::new(Pages::new(&ranges, read)))
    }
}
