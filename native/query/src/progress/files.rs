//! Files as they are read: which pieces of a scan's files are done with, and within a piece which row
//! groups.
//!
//! The reader of a file tells by the ranges that it is asked for: one in another row group than the last
//! means that the last is done with, and a piece without a reader, that all of it is. That holds whatever
//! is skipped, and in whichever order.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::ParquetMetaData;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use parking_lot::Mutex;

/// One scan of files.
#[derive(Debug, Default)]
pub(crate) struct ScanCount {
    /// By where they begin in which file. Those that are done with stay: no row counts twice.
    pieces: Mutex<HashMap<(Path, u64), Piece>>,
    passed: AtomicU64,
}

/// A file's part in its scan, kept at the file.
#[derive(Clone, Debug)]
pub(crate) struct FileCount {
    scan: Arc<ScanCount>,
    /// Of the whole file.
    rows: u64,
}

/// A part of a file that is read at once.
#[derive(Debug, Default)]
struct Piece {
    /// Two for a moment, where one has looked at filters and another one is to decode.
    readers: usize,
    rows: u64,
    /// Of these, those that are done with.
    passed: u64,
    range: Range<u64>,
    /// Its row groups; none before the footer is there.
    groups: Option<Vec<Group>>,
    /// The one that was read last.
    group: Option<usize>,
    /// Rows of row groups that were left for another.
    left: u64,
}

#[derive(Debug)]
struct Group {
    bytes: Range<u64>,
    rows: u64,
}

impl ScanCount {
    /// Rows of what is done with.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Changes a piece, and counts what it has passed by that.
    fn change(&self, key: &(Path, u64), change: impl FnOnce(&mut Piece)) {
        let mut pieces = self.pieces.lock();
        let piece = pieces.entry(key.clone()).or_default();
        let before = piece.passed;
        change(piece);
        let more = piece.passed.saturating_sub(before);
        self.passed.fetch_add(more, Ordering::Relaxed);
    }
}

impl FileCount {
    pub(crate) fn new(scan: &Arc<ScanCount>, rows: u64) -> FileCount {
        FileCount {
            scan: Arc::clone(scan),
            rows,
        }
    }

    pub(crate) fn scan(&self) -> &Arc<ScanCount> {
        &self.scan
    }

    /// Rows of a piece of the file, by its bytes; those of all its pieces are the file's.
    pub(crate) fn rows_of(&self, piece: &PartitionedFile) -> u64 {
        let size = u128::from(piece.object_meta.size.max(1));
        let before = |byte: u64| {
            let rows = u128::from(self.rows) * u128::from(byte).min(size) / size;
            u64::try_from(rows).unwrap_or(self.rows)
        };
        let (start, end) = piece.range();
        before(end).saturating_sub(before(start))
    }

    /// A reader of the piece that tells how far it is.
    pub(crate) fn reader(
        &self,
        piece: &PartitionedFile,
        inner: Box<dyn AsyncFileReader + Send>,
    ) -> Box<dyn AsyncFileReader + Send> {
        let (start, end) = piece.range();
        let key = (piece.object_meta.location.clone(), start);
        let rows = self.rows_of(piece);
        self.scan.change(&key, |piece| {
            piece.readers += 1;
            piece.rows = rows;
            piece.range = start..end;
        });
        let open = Open {
            scan: Arc::clone(&self.scan),
            key,
        };
        Box::new(CountedReader { inner, open })
    }
}

/// A reader's hold on its piece.
struct Open {
    scan: Arc<ScanCount>,
    key: (Path, u64),
}

impl Open {
    /// What the footer says.
    fn know(&self, metadata: &ParquetMetaData) {
        self.scan.change(&self.key, |piece| {
            if piece.groups.is_some() {
                return;
            }
            let groups = metadata.row_groups().iter().filter_map(|group| {
                let of = |(start, length): (u64, u64)| start..start + length;
                let mut columns = group.columns().iter().map(|column| of(column.byte_range()));
                let first = columns.next()?;
                // A row group is of the piece that it begins in, as the scan has it.
                piece.range.contains(&first.start).then(|| Group {
                    bytes: columns.fold(first, |all, column| {
                        all.start.min(column.start)..all.end.max(column.end)
                    }),
                    rows: u64::try_from(group.num_rows()).unwrap_or(0),
                })
            });
            piece.groups = Some(groups.collect());
        });
    }

    /// Something at this place is read.
    fn at(&self, place: u64) {
        self.scan.change(&self.key, |piece| {
            let Some(groups) = &piece.groups else {
                return;
            };
            let group = groups.iter().position(|group| group.bytes.contains(&place));
            if group.is_none() || group == piece.group {
                return;
            }
            let left = piece.group.map_or(0, |group| groups[group].rows);
            piece.left += left;
            piece.group = group;
            let all: u64 = groups.iter().map(|group| group.rows).sum();
            let passed = u128::from(piece.rows) * u128::from(piece.left.min(all));
            let passed = passed / u128::from(all.max(1));
            piece.passed = piece.passed.max(u64::try_from(passed).unwrap_or(0));
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.scan.change(&self.key, |piece| {
            piece.readers = piece.readers.saturating_sub(1);
            if piece.readers == 0 {
                piece.passed = piece.rows;
                piece.groups = None;
            }
        });
    }
}

struct CountedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    open: Open,
}

impl AsyncFileReader for CountedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.open.at(range.start);
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        if let Some(place) = ranges.iter().map(|range| range.start).min() {
            self.open.at(place);
        }
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let open = &self.open;
        let read = self.inner.get_metadata(options);
        let told = read.map(|read| read.inspect(|metadata| open.know(metadata)));
        told.boxed()
    }
}
